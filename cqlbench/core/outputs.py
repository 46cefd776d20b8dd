"""Files that commands write where the user says: they replace and delete only what they wrote themselves.

A folder of files has a hidden manifest per command, `.cqlbench-<command>.json`, with the name and SHA-256
digest of each file that was written; a file with another content belongs to the user. A single file is only
replaced with `overwrite=true`.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from filelock import FileLock

from cqlbench.core import atomic
from cqlbench.core.errors import ConfigError

_Digests = dict[str, list[str]]


def write_folder(
    folder: Path, files: Mapping[str, bytes], command: str, key: str, *, complete: bool = True
) -> None:
    """Write `files`, in place of those that the same command wrote into `folder` before.

    Args:
        folder: made if it is not there.
        files: contents by path relative to `folder`, with forward slashes.
        command: whose manifest it is; the files of other commands are not its own.
        key: the command's key that chooses another folder, for the error message.
        complete: delete what the command wrote before and does not write now, unless it was changed since.

    Raises:
        ConfigError: a file is in the way that the command did not write; nothing is written then. Or the
            folder cannot be written.
    """
    check_folder(folder, files, command, key)
    try:
        _write(folder, files, command, key, complete)
    except OSError as error:
        raise ConfigError(
            f"'{folder}' cannot be written ({error.strerror or error}); choose another folder with {key}=."
        ) from error


def _write(folder: Path, files: Mapping[str, bytes], command: str, key: str, complete: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(folder, command)
    with FileLock(manifest.with_suffix(".lock")):
        written, new = _read(manifest), {name: [_digest(content)] for name, content in files.items()}
        _refuse(_in_the_way(folder, new, written), key)
        # Cut off anywhere below, each file has one of the contents that the manifest names.
        both = {name: sorted({*written.get(name, []), *new.get(name, [])}) for name in (*written, *new)}
        atomic.replace(manifest, _content(both))
        for name, content in files.items():
            atomic.replace(folder / name, content)
        for name in written.keys() - new.keys() if complete else ():
            if _digest_of(folder / name) in written[name]:
                (folder / name).unlink(missing_ok=True)
        atomic.replace(manifest, _content(new if complete else written | new))


def check_folder(folder: Path, files: Mapping[str, bytes] | Sequence[str], command: str, key: str) -> None:
    """Refuse a folder that `write_folder` would refuse; for commands that run for long before they write.

    `files` may be names alone, where the contents are not known yet.

    Raises:
        ConfigError: a file is in the way that the command did not write.
    """
    contents = files if isinstance(files, Mapping) else {}
    digests = {name: [_digest(contents[name])] if name in contents else [] for name in files}
    manifest = _manifest(folder, command)
    if found := _in_the_way(folder, digests, _read(manifest)):
        if manifest.exists():  # another process may be writing: it had the lock, and we did not
            with FileLock(manifest.with_suffix(".lock")):
                found = _in_the_way(folder, digests, _read(manifest))
        _refuse(found, key)


def write_file(path: Path, content: bytes, overwrite: bool) -> None:
    """Write one file.

    Raises:
        ConfigError: it exists already, and `overwrite` is false; or it cannot be written.
    """
    try:
        (atomic.replace if overwrite else atomic.create)(path, content)
    except OSError as error:
        check_file(path, overwrite)
        raise ConfigError(f"'{path}' cannot be written ({error.strerror or error}).") from error


def check_file(path: Path, overwrite: bool) -> None:
    """Refuse a path that `write_file` would refuse; for commands that compute for long before they write.

    Raises:
        ConfigError: it exists already, and `overwrite` is false.
    """
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"'{path}' already exists; name another file, or replace it with overwrite=true.")


def _in_the_way(folder: Path, new: _Digests, written: _Digests) -> list[Path]:
    """What exists under the new files' names and is neither ours nor what they will be."""
    parents = {parent for name in new for parent in PurePosixPath(name).parents} - {PurePosixPath()}
    paths = [folder / parent for parent in sorted(parents)]
    found = [path for path in paths if os.path.lexists(path) and not path.is_dir()]
    for name in sorted(new):
        if os.path.lexists(folder / name):
            known = (*written.get(name, ()), *new[name])
            found += [folder / name] if _digest_of(folder / name) not in known else []
    return found


def _refuse(found: Sequence[Path], key: str) -> None:
    if found:
        others = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        raise ConfigError(
            f"'{found[0]}'{others} would be replaced, but this command did not write it, or it was changed "
            f"since; move or delete it, or choose another folder with {key}=."
        )


def _manifest(folder: Path, command: str) -> Path:
    return folder / f".cqlbench-{command}.json"


def _read(manifest: Path) -> _Digests:
    """Digests by name; none of a manifest that is not there or damaged: then all files are the user's."""
    try:
        names = json.loads(manifest.read_bytes())["written"]
        inside = {
            name for name in names if ".." not in PurePosixPath(name).parts and not Path(name).is_absolute()
        }
        return {name: [str(digest) for digest in names[name]] for name in inside}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _content(written: Mapping[str, Iterable[str]]) -> bytes:
    return (json.dumps({"written": written}, indent=1, sort_keys=True) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    """Of a file's content; `None` of what is no file, or cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
