"""The tiny offline problem."""

from tiny_problem import columns, make_buffer, make_engine, make_loss  # noqa: F401
