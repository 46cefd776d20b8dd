"""Where things live: the repository's data folders, the cache; and what lies at a path that a user gave."""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

import platformdirs

from cqlbench.core.errors import DatasetError, UserError

_PACKAGE = Path(__file__).resolve().parents[1]

# Nothing can lie at such a path: too long a name, a circle of links, a file where a folder is needed.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


def data_root() -> Path:
    """The folder that holds `benchmarks/`, `datasets/` and `results/`.

    The repository in a checkout (or an editable install); the package's own copy in a wheel.
    """
    bundled = _PACKAGE / "_bundled"
    return bundled if bundled.is_dir() else _PACKAGE.parent


def benchmarks_dir() -> Path:
    """The Hydra config tree."""
    return data_root() / "benchmarks"


def yaml_names(folder: Path) -> list[str]:
    """The sorted names of the YAML files in `folder`, without their ending: what may be chosen there."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def cards_dir() -> Path:
    """Dataset cards."""
    return data_root() / "datasets" / "cards"


def policies_dir() -> Path:
    """Behaviour policies of the embedded datasets."""
    return data_root() / "datasets" / "policies"


def cache_dir() -> Path:
    """`CQLBENCH_CACHE`, or the user's cache folder.

    Raises:
        UserError: it names a user who is not known here.
    """
    chosen = os.environ.get("CQLBENCH_CACHE")
    if not chosen:
        return Path(platformdirs.user_cache_dir("cqlbench"))
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise UserError(f"CQLBENCH_CACHE={chosen} names a user who has no home folder here.") from error


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
