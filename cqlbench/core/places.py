"""What lies at a path that a user gave: an answer or one sentence, whatever was typed."""

import errno
import stat
from pathlib import Path
from typing import Literal

from cqlbench.core.errors import DatasetError

# Nothing can lie at such a path: too long a name, a circle of links, a file where a folder is needed.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


def expanded(text: str) -> Path:
    """`text` as a path, `~` and `~user` replaced.

    Raises:
        DatasetError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DatasetError(f"The home folder in '{text}' is not known; write the whole path.") from error


def kind(path: Path) -> Literal["file", "folder"] | None:
    """What lies at `path`; `None`: nothing.

    Raises:
        DatasetError: the system does not let us look.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise DatasetError(
            f"{path} cannot be looked at ({error.strerror or error}); check the path and its permissions."
        ) from error
    except ValueError:  # a NUL character, or one that the file system cannot encode
        return None
    return "folder" if stat.S_ISDIR(mode) else "file"
