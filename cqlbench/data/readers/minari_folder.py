"""The folder of a Minari dataset: its files, and what its `metadata.json` says."""

import json
import math
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import kind
from cqlbench.data.cards import Card


def metadata_of(folder: Path) -> dict[str, Any]:
    """`metadata.json` below a dataset's folder or `data` folder; empty if missing, as before Minari 0.5.

    Raises:
        DatasetError: it cannot be read.
    """
    places = [place / "metadata.json" for place in (folder / "data", folder)]
    path = next((place for place in places if kind(place) == "file"), None)
    if path is None:
        return {}
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); download the dataset again.") from error


def scored(card: Card, folder: Path) -> Card:
    """The card with the reference scores of the Minari dataset in `folder`, if that gives both of them.

    `minari.get_normalized_score` takes them as 0 and 1.

    Raises:
        DatasetError: its metadata cannot be read.
    """
    ends = [metadata_of(folder).get(name) for name in ("ref_min_score", "ref_max_score")]
    low, high = (end if isinstance(end, int | float) else math.nan for end in ends)
    if not -math.inf < low < high < math.inf:
        return card
    return replace(
        card,
        score_min=low,
        score_max=high,
        endpoints_source="the dataset's metadata (ref_min_score, ref_max_score)",
        endpoints_missing_because="",
    )


def data_folder(folder: Path) -> Path:
    """The `data` folder of a dataset, given that or the dataset's own.

    Raises:
        DatasetError: the folder is no Minari dataset, or of a storage that cannot be read.
    """
    for data in (folder / "data", folder):
        if kind(data / "main_data.hdf5") == "file":
            return data
    for data in (folder / "data", folder):
        storage = metadata_of(data).get("data_format")
        if storage in ("arrow", "parquet"):
            return data
        if storage not in (None, "hdf5"):
            raise DatasetError(
                f"{folder} is stored as '{storage}', which is not supported; create it again with "
                "data_format='hdf5'."
            )
    raise DatasetError(
        f"{folder} is not a Minari dataset: it has no data/main_data.hdf5, nor Arrow files; give the folder "
        "of one dataset and version, such as mujoco/hopper/medium-v0."
    )


def files(folder: Path) -> list[Path]:
    """The files that a dataset's content depends on, given its folder or its `data` folder.

    Raises:
        DatasetError: the folder is no Minari dataset.
    """
    data = data_folder(folder)
    main = data / "main_data.hdf5"
    if kind(main) == "file":
        return [path for path in (main, data / "metadata.json") if path.is_file()]
    return sorted(path for path in data.rglob("*") if path.is_file())
