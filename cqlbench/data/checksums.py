"""Checksums of a buffer's files, block by block: they tell which file is damaged, and where."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xxhash

from cqlbench.data.buffer_files import MANIFEST, file_sizes, read_manifest

_BLOCK = 1 << 20
_THREADS = 2  # reading and hashing release the interpreter's lock


def checksums(folder: Path) -> dict[str, Any]:
    """Of each file under `folder`, the manifest aside: how many bytes it has, and its blocks' checksums.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        name: {"bytes": size, "blocks": _of_blocks(folder / name)}
        for name, size in file_sizes(folder).items()
    }


def damage(folder: Path) -> str:
    """The first fault of the buffer in `folder`, a clause that names the file; empty if there is none.

    Every byte is read, at 0.13 s per GB where the files are in memory already.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is missing, changed or cut off"
    sizes = file_sizes(folder)
    for name in sorted({*sizes, *manifest["files"]}):
        if name not in sizes:
            return f"{name} is missing"
        if name not in manifest["files"]:
            return f"{name} is not one of its files"
        facts = manifest["files"][name]
        if sizes[name] != facts["bytes"]:
            return f"{name} has {sizes[name]:,} bytes instead of {facts['bytes']:,}"
        try:
            blocks = _of_blocks(folder / name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
        for number, pair in enumerate(zip(blocks, facts["blocks"], strict=False)):
            if pair[0] != pair[1]:
                first, end = number * _BLOCK, min((number + 1) * _BLOCK, sizes[name])
                return f"{name} has changed between bytes {first:,} and {end:,}"
    return ""


def _of_blocks(path: Path) -> list[str]:
    """XXH3 of every `_BLOCK` bytes of a file, 16 hex digits each."""
    with path.open("rb") as file, ThreadPoolExecutor(_THREADS) as pool:
        descriptor = file.fileno()

        def checksum(start: int) -> str:
            return str(xxhash.xxh3_64_hexdigest(os.pread(descriptor, _BLOCK, start)))

        return list(pool.map(checksum, range(0, os.fstat(descriptor).st_size, _BLOCK)))
