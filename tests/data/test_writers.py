"""What is written is what is read back, by our readers and by minari."""

import h5py
import minari
import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data.embedded.collect import collect_transitions
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.readers.minari import read_minari
from cqlbench.data.transitions import Transitions
from cqlbench.data.writers import write_d4rl, write_minari
from cqlbench.environments.make import EnvironmentSpec

HOPPER = EnvironmentSpec("Hopper-v4", 1000)


@pytest.fixture(scope="module")
def collected() -> Transitions:
    return collect_transitions(BehaviourPolicy.load("hopper-medium-v0"), HOPPER, 700, 3, environments=3)


def same(read: Transitions, written: Transitions) -> None:
    for name in ("observations", "actions", "rewards", "next_observations", "terminated", "episode_starts"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name), err_msg=name)
    cut = ~(written.terminated | written.truncated)[written.episode_ends]
    assert cut.any()
    np.testing.assert_array_equal(
        read.truncated[read.episode_ends], written.truncated[written.episode_ends] | cut
    )


def test_d4rls_schema(collected, tmp_path) -> None:
    write_d4rl(collected, tmp_path / "new" / "hopper.hdf5")
    same(read_d4rl(tmp_path / "new" / "hopper.hdf5"), collected)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["hopper.hdf5"]


def test_a_file_is_not_written_over(collected, tmp_path) -> None:
    (tmp_path / "x.hdf5").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="is there already"):
        write_d4rl(collected, tmp_path / "x.hdf5")
    assert (tmp_path / "x.hdf5").read_bytes() == b"mine"


def test_a_file_that_cannot_be_written_leaves_nothing(collected, tmp_path, monkeypatch) -> None:
    def full(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(DatasetError, match="No space left"):
        write_d4rl(collected, tmp_path / "x.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_a_minari_dataset(collected, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write_minari(collected, "mine/hopper-v0", HOPPER, algorithm_name="SAC")
    opened = minari.load_dataset("mine/hopper-v0")
    assert (opened.total_steps, opened.env_spec.id) == (700, "Hopper-v4")
    same(read_minari(tmp_path / "mine" / "hopper-v0"), collected)


def test_an_id_that_minari_does_not_take_is_one_sentence(collected, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(DatasetError, match="of the form <namespace>/<name>-v<number>"):
        write_minari(collected, "no version", HOPPER)
    (tmp_path / "mine" / "hopper-v0").mkdir(parents=True)
    with pytest.raises(DatasetError, match="There is a Minari dataset 'mine/hopper-v0' already"):
        write_minari(collected, "mine/hopper-v0", HOPPER)
