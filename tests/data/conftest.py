"""Episodes with known values, and writers of the published file schemas."""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest


@dataclass(frozen=True)
class Episode:
    """`observations` is `[T+1, O]`; `end` is "terminated", "truncated", "both" or "cut"."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    end: str

    def flags(self, *ends):
        flags = np.zeros(len(self.rewards), np.bool_)
        flags[-1] = self.end in ends
        return flags


def make_episodes(
    ends=("terminated", "truncated", "cut"), lengths=None, seed=0, observation_size=3, action_size=2
):
    rng = np.random.default_rng(seed)
    lengths = lengths or [3 + index % 4 for index in range(len(ends))]
    return [
        Episode(
            rng.normal(size=(length + 1, observation_size)).astype(np.float32),
            rng.uniform(-1, 1, size=(length, action_size)).astype(np.float32),
            rng.normal(size=length).astype(np.float32),
            end,
        )
        for end, length in zip(ends, lengths, strict=True)
    ]


def d4rl_arrays(episodes):
    return {
        "observations": np.concatenate([episode.observations[:-1] for episode in episodes]),
        "next_observations": np.concatenate([episode.observations[1:] for episode in episodes]),
        "actions": np.concatenate([episode.actions for episode in episodes]),
        "rewards": np.concatenate([episode.rewards for episode in episodes]),
        "terminals": np.concatenate([episode.flags("terminated", "both") for episode in episodes]),
        "timeouts": np.concatenate([episode.flags("truncated", "both") for episode in episodes]),
    }


def write_d4rl(path: Path, episodes, without=(), **replaced):
    """The keys of gym-mujoco v2, gzip-compressed, with the extras that those files carry."""
    arrays = {key: value for key, value in d4rl_arrays(episodes).items() if key not in without} | replaced
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file.create_dataset(key, data=value, **({"compression": "gzip"} if np.ndim(value) else {}))
        file.create_dataset("infos/qpos", data=np.zeros((len(arrays["actions"]), 2)))
        file["metadata/algorithm"] = np.bytes_("SAC")
    return path


def write_minari(folder: Path, episodes, metadata=True, **replaced):
    """Minari 0.5's HDF5 storage; `replaced` changes arrays of episode 0."""
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for index, episode in enumerate(episodes):
            arrays = {
                "observations": episode.observations,
                "actions": episode.actions,
                "rewards": episode.rewards.astype(np.float64),
                "terminations": episode.flags("terminated", "both"),
                "truncations": episode.flags("truncated", "both"),
            }
            group = file.create_group(f"episode_{index}")
            group.attrs["id"] = index
            for key, value in (arrays | (replaced if index == 0 else {})).items():
                if value is not None:
                    group.create_dataset(key, data=value)
    if metadata:
        facts = {"total_episodes": len(episodes), "data_format": "hdf5", "minari_version": "0.5.4"}
        (folder / "data" / "metadata.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(name="make_episodes")
def _make_episodes():
    return make_episodes


@pytest.fixture(name="d4rl_arrays")
def _d4rl_arrays():
    return d4rl_arrays


@pytest.fixture(name="write_d4rl")
def _write_d4rl():
    return write_d4rl


@pytest.fixture(name="write_minari")
def _write_minari():
    return write_minari


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """No test sees or changes the user's caches or the network."""
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "d4rl"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    for variable in ("CQLBENCH_MIRROR", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
