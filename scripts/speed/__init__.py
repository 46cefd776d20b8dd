"""How fast the gradient step is, as ratios against what else this machine does in the same run."""
