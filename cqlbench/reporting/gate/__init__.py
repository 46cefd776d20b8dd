"""Has a suite's score dropped? A verdict against a baseline."""
