"""Where things live: the repository's data folders, the cache, the results."""

import os
from pathlib import Path

import platformdirs

from cqlbench.core.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


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
