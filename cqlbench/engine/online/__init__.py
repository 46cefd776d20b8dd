"""Collecting for a seed batch, and mixing what was collected into its batches."""
