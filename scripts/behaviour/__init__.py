"""Trains the behaviour policies of embedded datasets."""
