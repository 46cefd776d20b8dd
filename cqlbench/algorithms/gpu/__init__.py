"""Parts of a gradient step as single operations, for GPUs, where each one costs a launch and its bytes.

Every operation is a custom one of torch's: a plain form on the CPU, which says what it computes and which
tests compare with autograd in float64, and Triton kernels on CUDA. A CPU trains without them.
"""
