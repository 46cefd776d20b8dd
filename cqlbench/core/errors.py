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


_NO_MEMORY = "out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED"


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the computer's or the GPU's memory was too small; torch has no class for the former.

    The first error counts, whichever others it led to: that of a CUDA graph cut short, for instance.
    """
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False
