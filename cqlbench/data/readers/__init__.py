"""Files of every format to transitions."""
