"""Files that appear under their final name only when they are whole, and on disk."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cqlbench.core import lease

Check = Callable[[], None]
"""Raises where the file must not be written after all; called right before it appears."""


def create(path: Path, content: bytes, check: Check = lambda: None) -> None:
    """Make the new file `path`.

    Raises:
        FileExistsError: there is one already; it is left as it is.
        OSError: the file cannot be written; nothing is left under its name.
    """
    with _beside(path, content) as whole:
        check()
        try:
            os.link(whole, path)
        except FileExistsError:
            raise
        except OSError:
            # File systems without hard links (exFAT, some network mounts).
            with lease.held(path.with_name(".lease"), f"the writing of '{path}'"):
                if path.exists():
                    raise FileExistsError(path) from None
                whole.rename(path)
    _sync_folder(path.parent)


def replace(path: Path, content: bytes, check: Check = lambda: None) -> None:
    """Make the file `path`, in place of one that may be there.

    Raises:
        OSError: the file cannot be written; what was there is left as it was.
    """
    with _beside(path, content) as whole:
        check()
        whole.replace(path)
    _sync_folder(path.parent)


def replace_folder(path: Path, fill: Callable[[Path], None], check: Check = lambda: None) -> None:
    """Make the folder `path`, in place of what may be there, with what `fill` puts into it.

    It asks nobody: make sure first that what is at `path` and `.<name>.previous` beside it may go.
    Two folders are not swapped at once: cut off at the wrong moment, only `.<name>.previous` is there.

    Raises:
        OSError: the folder cannot be written; what was there is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    whole.mkdir()
    try:
        fill(whole)
        for folder, _, names in os.walk(whole):
            for name in names:
                with (Path(folder) / name).open("rb") as file:
                    os.fsync(file.fileno())
            _sync_folder(Path(folder))
        check()
        if path.exists():
            _remove(_previous(path))
            path.rename(_previous(path))
        whole.rename(path)
    finally:
        _remove(whole)
    _sync_folder(path.parent)
    _remove(_previous(path))


def _previous(path: Path) -> Path:
    """Where `replace_folder` keeps the old folder while it puts the new one in place."""
    return path.with_name(f".{path.name}.previous")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with whole.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield whole
    finally:
        whole.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
