"""npz files: the same rows as HDF5, and a sentence for every malformed one."""

import io
import zipfile

import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data.readers.d4rl import read_d4rl

FIELDS = (
    "observations",
    "actions",
    "rewards",
    "next_observations",
    "terminated",
    "truncated",
    "episode_starts",
)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("without", [(), ("next_observations",), ("timeouts",)])
def test_npz_and_hdf5_give_the_same_rows(tmp_path, make_episodes, write_d4rl, d4rl_arrays, save, without):
    episodes = make_episodes(("terminated", "truncated", "both", "terminated", "cut"))
    arrays = {key: value for key, value in d4rl_arrays(episodes).items() if key not in without}
    save(tmp_path / "a.npz", **arrays, extra=np.zeros(3))
    ours = read_d4rl(tmp_path / "a.npz")
    theirs = read_d4rl(write_d4rl(tmp_path / "a.hdf5", episodes, without=without))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert (ours.dropped_rows, ours.notes, ours.reward_mass) == (
        theirs.dropped_rows,
        theirs.notes,
        theirs.reward_mass,
    )


BAD = {
    "missing": ({"rewards": None}, "lacks rewards"),
    "short": ({"rewards": np.zeros(3)}, r"'rewards' of .* \[3\], but 'observations' has \[12, 3\]"),
    "flat": ({"observations": np.zeros(12)}, r"'observations' .* shape \[12\]"),
    "objects": ({"actions": np.full((12, 2), None)}, "'actions' of .* cannot be read .*pickle"),
    "text": ({"actions": np.full((12, 2), "x")}, "'actions' .* type <U1"),
    "nan": ({"rewards": np.full(12, np.nan)}, "'rewards' .* first at row 0"),
    "large": ({"rewards": np.full(12, 1e300)}, "'rewards' .* too large for float32"),
    "flag": ({"terminals": np.full(12, 2)}, "'terminals' .* row 0 is 2"),
    "scalar": ({"timeouts": np.zeros(())}, "'timeouts' .* single value"),
}


@pytest.mark.parametrize(("replaced", "sentence"), BAD.values(), ids=BAD)
def test_bad_array(tmp_path, make_episodes, d4rl_arrays, replaced, sentence):
    arrays = d4rl_arrays(make_episodes()) | replaced
    np.savez(tmp_path / "a.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(DatasetError, match=sentence):
        read_d4rl(tmp_path / "a.npz")


def test_no_npz_at_all(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(DatasetError, match="There is no file"):
        read_d4rl(path)
    for content in (b"", b"PK\x03\x04", b"<html>404</html>"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="cannot be read"):
            read_d4rl(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DatasetError, match="is a single array"):
        read_d4rl(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(DatasetError, match="lacks observations"):
        read_d4rl(path)


def test_damaged_bytes_end_in_a_sentence(tmp_path, make_episodes, d4rl_arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **d4rl_arrays(make_episodes()))
    whole = file.getvalue()
    rng = np.random.default_rng(0)
    refused = 0
    for round_ in range(200):
        damaged = bytearray(whole[: int(rng.integers(1, len(whole)))] if round_ % 4 == 0 else whole)
        for position in rng.integers(0, len(damaged), 12):
            damaged[position] ^= int(rng.integers(1, 256))
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            read_d4rl(tmp_path / "a.npz")
        except DatasetError:
            refused += 1
    assert refused > 150
