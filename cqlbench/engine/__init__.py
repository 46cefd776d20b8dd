"""A seed batch on its device: streams, batches, gradient steps, checkpoints."""
