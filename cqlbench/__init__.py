"""Conservative Q-Learning and its baselines on D4RL and Minari datasets, all seeds at once."""

__version__ = "0.1.0"

SCORES_VERSION = 1
"""Raised by every change that changes scores, so that scores from before and after never share a cell."""
