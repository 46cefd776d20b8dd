"""Seeded episodes of trained policies, and their normalised scores."""
