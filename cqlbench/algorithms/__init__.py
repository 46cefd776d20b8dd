"""Networks, losses and the gradient step, as pure functions of tensors."""
