"""Policies are kept whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from cqlbench.records.policy import SavedPolicy
from cqlbench.records.schema import RecordError

RUN = "d4rl/hopper-v2/cql/quick-0123456789ab"


def policy(seed: int = 0) -> SavedPolicy:
    generator = np.random.default_rng(seed)
    shapes = {"0.weight": (3, 4), "0.bias": (4,), "1.weight": (4, 2), "1.bias": (2,)}
    shapes |= {"observation_mean": (3,), "observation_scale": (3,), "action_low": (1,), "action_high": (1,)}
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return SavedPolicy(arrays, {"run": RUN, "seed": seed, "config": {"é": None}})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    policy().save(tmp_path / "x.npz")
    again = SavedPolicy.load(tmp_path / "x.npz")
    assert again.notes == policy().notes
    for name, array in policy().arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def lacking(name: str) -> dict:
    return {key: array for key, array in policy().arrays.items() if key != name} | {"notes": np.array("{}")}


@pytest.mark.parametrize("name", ["0.weight", "1.bias", "observation_scale", "action_high", "notes"])
def test_a_file_that_lacks_something_is_refused(tmp_path: Path, name: str) -> None:
    arrays = lacking(name)
    if name == "notes":
        del arrays["notes"]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(RecordError, match="is no policy of a run"):
        SavedPolicy.load(tmp_path / "x.npz")


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    policy().save(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    for part in (b"", content[: len(content) // 2], b"[]"):
        (tmp_path / "x.npz").write_bytes(part)
        with pytest.raises(RecordError) as caught:
            SavedPolicy.load(tmp_path / "x.npz")
        assert "pickle" not in str(caught.value)


def test_notes_are_json(tmp_path: Path) -> None:
    policy().save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert json.loads(str(file["notes"]))["run"] == RUN
