"""Datasets: from a file, a download or a behaviour policy into a memory-mapped replay buffer."""
