"""Where the buffers lie, and which of them are whole: files only, so that listing datasets needs no torch."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cqlbench.core.paths import cache_dir

# Bump when a reader, the validation or `buffer` changes what lands in a buffer: old ones are made again.
BUFFER_VERSION = 4
MANIFEST = "manifest.json"


def buffer_folder(dataset_id: str, source_key: str) -> Path:
    """The folder of the buffer that is made of this dataset from this source."""
    key = json.dumps([dataset_id, source_key, BUFFER_VERSION])
    return buffers_dir() / f"{_slug(dataset_id)}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def buffers_dir() -> Path:
    """Where all buffers are."""
    return cache_dir() / "buffers"


def is_built(dataset_id: str, source_key: str) -> bool:
    """Whether there is a whole buffer of this dataset from this source."""
    return whole_manifest(buffer_folder(dataset_id, source_key)) is not None


def is_built_from_any_source(dataset_id: str) -> bool:
    """Whether there is a whole buffer of this dataset, whatever it was made from."""
    manifests = map(whole_manifest, buffers_dir().glob(f"{_slug(dataset_id)}-{'[0-9a-f]' * 16}"))
    return any(manifest is not None and manifest.get("id") == dataset_id for manifest in manifests)


def whole_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the buffer in `folder`; `None` unless it is undamaged and fits all file sizes."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    sizes = {name: facts["bytes"] for name, facts in manifest["files"].items()}
    return manifest if sizes == file_sizes(folder) else None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the buffer in `folder`; `None` if it is missing, damaged or of another version."""
    try:
        manifest = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        intact = manifest.pop("sha256") == _digest(manifest) and manifest["version"] == BUFFER_VERSION
    # A folder without a manifest that can be read is no buffer, whatever happened to it: it is made again.
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if intact else None


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a buffer's manifest, with its own checksum."""
    text = json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file under `folder`, the manifest aside."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _slug(dataset_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", dataset_id).strip("-")[-60:]
