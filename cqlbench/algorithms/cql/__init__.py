"""Conservative Q-Learning, for continuous and for discrete actions."""
