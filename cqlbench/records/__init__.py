"""What a trained seed leaves behind, where it is kept, and where it came from."""
