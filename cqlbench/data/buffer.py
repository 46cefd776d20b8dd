"""Transitions -> a memory-mapped replay buffer on disk: made once per source, then checked and opened."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torchrl.data import ImmutableDatasetWriter, TensorDictReplayBuffer, TensorStorage

from cqlbench.core import atomic
from cqlbench.core.errors import DatasetError, UserError
from cqlbench.core.lease import Lease
from cqlbench.data.buffer_files import buffer_folder, damage, read_manifest, write_manifest
from cqlbench.data.local import writing
from cqlbench.data.transitions import Transitions

_STARTS = "episode_starts.npy"
_WHOLE = "whole_episodes.npy"
_BLOCK = 1 << 13
_KEYS = {
    "observations": ("observation",),
    "actions": ("action",),
    "next_observations": ("next", "observation"),
    "rewards": ("next", "reward"),
    "terminated": ("next", "terminated"),
    "truncated": ("next", "truncated"),
}
"""Columns of `Transitions` -> torchrl's keys."""

Columns = Mapping[tuple[str, ...], NDArray[Any]]


@dataclass(frozen=True)
class ReturnSummary:
    """Undiscounted returns of a dataset's whole episodes.

    Attributes:
        episodes: how many there are.
        quantiles: their 0, 25, 50, 75 and 100 % points.
    """

    episodes: int
    mean: float
    quantiles: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Dataset:
    """A dataset ready for training: its rows stay on disk until they are asked for.

    Attributes:
        content_hash: sha256 over every array's name, type, shape and bytes: equal rows, equal hash.
        storage: memory-mapped tensordict `[T]` with torchrl's keys: `observation [T, O]`, `action [T, A]`,
            `("next", "observation")`, `("next", "reward") [T, 1]`, and the flags `("next", "terminated")`,
            `("next", "truncated")` and `("next", "done")`, each `[T, 1]` bool. Not to be written to.
        episode_starts: `[E]` int64, the rows where episodes start.
        whole_episodes: `[E]` bool, the episodes whose returns count (see `Transitions.whole_episodes`).
        observation_mean: `[O]` float64.
        observation_std: `[O]` float64, of the population.
        action_lowest: `[A]` float64, the smallest value seen.
        action_highest: `[A]` float64, the largest value seen.
        returns: undiscounted episode returns. Episodes that the recording cut off are left out, unless there
            are no others.
        dropped_rows: rows of the source that are not here because their next observation is unknown.
        notes: what the reader did that the user should know.
        discrete_actions: whether actions are one-hot, one of A.
        path: the folder that holds all this.
    """

    id: str
    content_hash: str
    storage: TensorDict
    episode_starts: NDArray[np.int64]
    whole_episodes: NDArray[np.bool_]
    observation_mean: NDArray[np.float64]
    observation_std: NDArray[np.float64]
    action_lowest: NDArray[np.float64]
    action_highest: NDArray[np.float64]
    returns: ReturnSummary
    dropped_rows: int
    notes: tuple[str, ...]
    discrete_actions: bool
    path: Path

    @property
    def rows(self) -> int:
        """`T`."""
        return int(self.storage.batch_size[0])

    @property
    def observation_size(self) -> int:
        """`O`."""
        return len(self.observation_mean)

    @property
    def action_size(self) -> int:
        """`A`."""
        return len(self.action_lowest)

    @property
    def last_rows(self) -> NDArray[np.bool_]:
        """`[T]` bool: the last row of each episode, whatever ended it: task, time limit or recording."""
        last = np.zeros(self.rows, bool)
        last[self.episode_starts[1:] - 1] = True
        last[-1] = True
        return last

    def transitions(self) -> Transitions:
        """The rows as they were read, without a copy; what else the source had is not known any more."""
        columns: dict[str, Any] = {name: self.storage[key].numpy() for name, key in _KEYS.items()}
        columns |= {name: columns[name][:, 0] for name in ("rewards", "terminated", "truncated")}
        return Transitions(
            **columns,
            episode_starts=self.episode_starts,
            dropped_rows=self.dropped_rows,
            notes=self.notes,
            discrete_actions=self.discrete_actions,
        )

    def replay_buffer(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> TensorDictReplayBuffer:
        """A torchrl replay buffer that draws rows uniformly with replacement; it takes no new rows.

        Its `storage[:]` is every row, without a copy: the columns still lie in the memory-mapped files.

        Args:
            batch_size: B, rows per `sample()`.
            generator: what draws them; `None` takes torch's global one.
        """
        return TensorDictReplayBuffer(
            storage=TensorStorage(self.storage),
            writer=ImmutableDatasetWriter(),
            batch_size=batch_size,
            generator=generator,
        )


def buffer_for(dataset_id: str, source_key: str, load: Callable[[], Transitions]) -> Dataset:
    """Open the dataset's buffer, making it first if there is none that is whole.

    A buffer that does not agree with its checksums is made again, and standard error says what was damaged.
    Of two processes that ask at once, one makes it and the other waits. What lies on disk is read back and
    compared with the source before it gets its final name.

    `source_key` stands for what the rows are made from, such as a file's checksum: another key, another
    buffer. `load` reads or makes them, and is called only if there is no buffer.

    Raises:
        DatasetError: the cache cannot be written or did not keep what was written; the buffer is damaged and
            `load` cannot give its rows again; or whatever `load` raises.
    """
    folder = buffer_folder(dataset_id, source_key)
    while not (dataset := _open(folder, dataset_id)):
        lease = Lease(folder.with_name(folder.name + ".lease"), f"the making of '{dataset_id}'")
        with writing(folder.parent):
            lease.acquire()
        try:
            if dataset := _open(folder, dataset_id):
                return dataset
            transitions = _load_again(folder, dataset_id, load) if folder.exists() else load()
            with writing(folder.parent):
                _build(folder, dataset_id, transitions, lease.check)
            return _made(folder, dataset_id)
        except UserError:
            if not lease.lost:
                raise  # otherwise another process makes the same buffer
        finally:
            lease.release()
    return dataset


def _made(folder: Path, dataset_id: str) -> Dataset:
    if dataset := _open(folder, dataset_id):
        return dataset
    raise DatasetError(f"The buffer {folder} vanished while it was opened; run again.")


def content_hash(transitions: Transitions) -> str:
    """sha256 over the name, type, shape and bytes of every array of `transitions`."""
    return _hash(_columns(transitions), transitions.episode_starts)


def _open(folder: Path, dataset_id: str) -> Dataset | None:
    """The buffer in `folder`; `None` if there is none, or one that does not agree with its checksums."""
    manifest = read_manifest(folder)
    if manifest is None or damage(folder):
        return None
    statistics = ("observation_mean", "observation_std", "action_lowest", "action_highest")
    try:
        returns = manifest["returns"]
        return Dataset(
            id=dataset_id,
            content_hash=manifest["content_hash"],
            storage=TensorDict.load_memmap(folder),
            episode_starts=np.load(folder / _STARTS, allow_pickle=False),
            whole_episodes=np.load(folder / _WHOLE, allow_pickle=False),
            **{name: np.array(manifest[name], np.float64) for name in statistics},
            returns=ReturnSummary(returns["episodes"], returns["mean"], tuple(returns["quantiles"])),
            dropped_rows=manifest["dropped_rows"],
            notes=tuple(manifest["notes"]),
            discrete_actions=manifest.get("discrete_actions", False),
            path=folder,
        )
    # A folder that does not open is no buffer, whatever happened to it: it is made again.
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _load_again(folder: Path, dataset_id: str, load: Callable[[], Transitions]) -> Transitions:
    """The rows of a damaged buffer, from their source."""
    fault = damage(folder)
    if not fault:  # whole, but written by a tensordict that this one does not understand
        return load()
    damaged = f"The buffer of '{dataset_id}' in {folder} is damaged ({fault})"
    try:
        transitions = load()
    except UserError as error:
        raise DatasetError(f"{damaged} and cannot be made again: {error}") from error
    sys.stderr.write(f"cqlbench: {damaged}; it is made again.\n")
    return transitions


def _build(folder: Path, dataset_id: str, transitions: Transitions, check: atomic.Check) -> None:
    columns = _columns(transitions)
    needed = sum(column.nbytes for column in columns.values()) + (64 << 20)
    free = shutil.disk_usage(folder.parent).free
    # A memory map on a full disk ends the process with SIGBUS, so look before.
    if free < needed:
        raise DatasetError(
            f"The cache {folder.parent} has {free >> 20} MiB free, and '{dataset_id}' needs {needed >> 20}; "
            "make room, or set CQLBENCH_CACHE to another folder."
        )
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed: we hold the lease
    source_hash = _hash(columns, transitions.episode_starts)

    def fill(temporary: Path) -> None:
        _fill(temporary, columns)
        np.save(temporary / _STARTS, transitions.episode_starts)
        np.save(temporary / _WHOLE, transitions.whole_episodes)
        if _hash_on_disk(temporary) != source_hash:
            raise DatasetError(
                f"The buffer of '{dataset_id}' does not hold what was written to it; check the disk under "
                f"{folder.parent}."
            )
        facts = {"id": dataset_id, "content_hash": source_hash, **_statistics(transitions)}
        write_manifest(temporary, facts)

    atomic.replace_folder(folder, fill, check)


def _fill(folder: Path, columns: Columns) -> None:
    """Write the columns as tensordict's memory-mapped files."""
    storage = TensorDict({}, batch_size=[len(columns["observation",])])
    for key, column in columns.items():
        storage.set(key, torch.from_numpy(column))
    storage.memmap(str(folder))


def _columns(transitions: Transitions) -> Columns:
    """The arrays under torchrl's keys; rewards and flags as `[T, 1]`."""
    columns = {key: getattr(transitions, name) for name, key in _KEYS.items()}
    columns["next", "done"] = transitions.terminated | transitions.truncated
    return {key: column.reshape(len(column), -1) for key, column in columns.items()}


def _hash_on_disk(folder: Path) -> str:
    storage = TensorDict.load_memmap(folder)
    keys = storage.keys(include_nested=True, leaves_only=True)
    columns = {key if isinstance(key, tuple) else (key,): storage[key].numpy() for key in keys}
    return _hash(columns, np.load(folder / _STARTS, allow_pickle=False))


def _hash(columns: Columns, starts: NDArray[np.int64]) -> str:
    digest = hashlib.sha256()
    for key, column in sorted({**columns, ("episode_starts",): starts}.items()):
        digest.update(json.dumps([key, column.dtype.str, column.shape]).encode())
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def _statistics(transitions: Transitions) -> dict[str, Any]:
    returns = transitions.episode_returns[transitions.whole_episodes]
    mean = transitions.observations.mean(axis=0, dtype=np.float64)
    return {
        "rows": len(transitions) + transitions.dropped_rows,
        "episodes": len(transitions.episode_starts) - len(transitions.continuations),
        "dropped_rows": transitions.dropped_rows,
        "notes": list(transitions.notes),
        "discrete_actions": transitions.discrete_actions,
        "observation_mean": mean.tolist(),
        "observation_std": _std(transitions.observations, mean).tolist(),
        "action_lowest": transitions.actions.min(axis=0).astype(np.float64).tolist(),
        "action_highest": transitions.actions.max(axis=0).astype(np.float64).tolist(),
        "returns": {
            "episodes": len(returns),
            "mean": float(returns.mean()),
            "quantiles": np.quantile(returns, [0, 0.25, 0.5, 0.75, 1]).tolist(),
        },
    }


def _std(values: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[O]` of the population; in blocks, where numpy's would take the whole dataset's float64 size."""
    blocks = (values[start : start + _BLOCK] - mean for start in range(0, len(values), _BLOCK))
    squares = np.zeros_like(mean)
    for block in blocks:
        squares += np.einsum("to,to->o", block, block)
    return np.sqrt(squares / len(values))
