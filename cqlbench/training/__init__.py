"""The loop around the gradient step: random streams, batches, trainer."""
