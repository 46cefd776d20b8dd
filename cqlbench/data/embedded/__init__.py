"""Datasets made on the spot: behaviour policies and the collection of their rows."""
