"""Where the buffers lie, and which of them are whole: files only, so that listing datasets needs no torch.

A buffer's manifest has checksums of its files, block by block: they tell which file is damaged, and where.
"""

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xxhash

from cqlbench.core.paths import cache_dir

# Bump when a reader, the validation or `buffer` changes what lands in a buffer: old ones are made again.
BUFFER_VERSION = 4

_MANIFEST = "manifest.json"
_BLOCK = 1 << 20
_THREADS = 2  # reading and hashing release the interpreter's lock


def buffer_folder(dataset_id: str, source_key: str) -> Path:
    """The folder of the buffer that is made of this dataset from this source."""
    key = json.dumps([dataset_id, source_key, BUFFER_VERSION])
    name = f"{_slug(dataset_id)}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return cache_dir() / "buffers" / name


def built(dataset_id: str, source_key: str) -> dict[str, Any] | None:
    """The manifest of the whole buffer of this dataset from this source, if there is one."""
    return _whole_manifest(buffer_folder(dataset_id, source_key))


def built_from_any_source(dataset_id: str) -> dict[str, Any] | None:
    """The manifest of a whole buffer of this dataset, whatever it was made from."""
    folders = (cache_dir() / "buffers").glob(f"{_slug(dataset_id)}-{'[0-9a-f]' * 16}")
    manifests = filter(None, map(_whole_manifest, folders))
    return next((manifest for manifest in manifests if manifest.get("id") == dataset_id), None)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the buffer in `folder`; `None` if it is missing, damaged or of another version."""
    try:
        manifest = dict(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
        intact = manifest.pop("sha256") == _digest(manifest) and manifest["version"] == BUFFER_VERSION
    # A folder without a manifest that can be read is no buffer, whatever happened to it: it is made again.
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if intact else None


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write a buffer's manifest: `facts`, checksums of all files that are there, and one of its own."""
    files = {
        name: {"bytes": size, "blocks": _checksums(folder / name)} for name, size in _sizes(folder).items()
    }
    manifest = {"version": BUFFER_VERSION, "files": files, **facts}
    text = json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1)
    (folder / _MANIFEST).write_text(text, encoding="utf-8")


def damage(folder: Path) -> str:
    """The first fault of the buffer in `folder`, a clause that names the file; empty if there is none.

    Every byte is read, at 0.13 s per GB where the files are in memory already.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{_MANIFEST} is missing, changed or cut off"
    sizes, files = _sizes(folder), manifest["files"]
    for name in sorted({*sizes, *files}):
        if name not in sizes or name not in files:
            return f"{name} is {'missing' if name in files else 'not one of its files'}"
        if sizes[name] != files[name]["bytes"]:
            return f"{name} has {sizes[name]:,} bytes instead of {files[name]['bytes']:,}"
        try:
            blocks = _checksums(folder / name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
        for number, (block, stated) in enumerate(zip(blocks, files[name]["blocks"], strict=True)):
            if block != stated:
                first, end = number * _BLOCK, min((number + 1) * _BLOCK, sizes[name])
                return f"{name} has changed between bytes {first:,} and {end:,}"
    return ""


def _whole_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the buffer in `folder`; `None` unless it is undamaged and fits all file sizes."""
    manifest = read_manifest(folder)
    sizes = {name: facts["bytes"] for name, facts in manifest["files"].items()} if manifest else {}
    return manifest if sizes == _sizes(folder) else None


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file under `folder`, the manifest aside."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _MANIFEST
    }


def _checksums(path: Path) -> list[str]:
    """XXH3 of every `_BLOCK` bytes of a file, 16 hex digits each."""
    with path.open("rb") as file, ThreadPoolExecutor(_THREADS) as pool:
        descriptor = file.fileno()

        def checksum(start: int) -> str:
            return str(xxhash.xxh3_64_hexdigest(os.pread(descriptor, _BLOCK, start)))

        return list(pool.map(checksum, range(0, os.fstat(descriptor).st_size, _BLOCK)))


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _slug(dataset_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", dataset_id).strip("-")[-60:]
