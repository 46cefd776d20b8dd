"""Errors that a user can cause, which the command line prints as one sentence; and its exit statuses."""

USER_ERROR = 2
"""Exit status: the user can put it right; of the gate also, it cannot say."""
BUG = 70
"""Exit status after an error of our own: EX_SOFTWARE of sysexits.h."""


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Attributes:
        status: the command's exit status.
    """

    status: int = USER_ERROR


class DatasetError(UserError):
    """A dataset that cannot be found, fetched, read or trusted."""


class ConfigError(UserError):
    """A configuration value that makes no sense."""


def out_of_memory(error: Exception) -> bool:
    """Whether the computer's or the GPU's memory was too small; torch has no class for the former."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
