"""`CQLTrainer` and its parts: what a user of torchrl plugs in."""
