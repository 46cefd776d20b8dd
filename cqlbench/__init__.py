"""Conservative Q-Learning and its baselines on D4RL and Minari datasets, all seeds at once."""

__version__ = "0.1.0"
