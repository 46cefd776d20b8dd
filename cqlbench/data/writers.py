"""Transitions -> a file that other libraries read: D4RL's HDF5 schema, or a Minari dataset."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage import get_dataset_path

from cqlbench.core.errors import DatasetError
from cqlbench.data.transitions import Transitions
from cqlbench.environments.spec import EnvironmentSpec, remove_leftovers


def write_d4rl(transitions: Transitions, path: Path) -> None:
    """Write D4RL's schema, with `next_observations`; whole or not at all.

    An episode that the recording cuts, neither terminated nor truncated, gets a timeout on its last row: the
    schema knows no other way to say that the next row is another episode's.

    Raises:
        DatasetError: the file is there already, or cannot be written.
    """
    if path.exists():
        raise DatasetError(f"{path} is there already; name another file.")
    ends = transitions.truncated.copy()
    ends[transitions.episode_ends] |= ~transitions.terminated[transitions.episode_ends]
    columns = {
        "observations": transitions.observations,
        "actions": transitions.actions,
        "rewards": transitions.rewards,
        "next_observations": transitions.next_observations,
        "terminals": transitions.terminated,
        "timeouts": ends,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(temporary, "w") as file:
            for key, column in columns.items():
                file.create_dataset(key, data=column, compression="gzip", compression_opts=1)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_minari(transitions: Transitions, dataset_id: str, spec: EnvironmentSpec, **facts: Any) -> None:
    """Make a dataset that `minari.load_dataset(dataset_id)` opens, in Minari's own folder.

    A cut episode is written as truncated, as in `write_d4rl`. The id is `<namespace>/<name>-v<k>`; `facts`
    are further arguments of `minari.create_dataset_from_buffers`, such as `algorithm_name`.

    Raises:
        DatasetError: minari refuses the id or the data.
    """

    def episodes() -> Iterator[Any]:
        starts = transitions.episode_starts
        for number, (first, last) in enumerate(zip(starts, transitions.episode_ends, strict=True)):
            rows = slice(int(first), int(last) + 1)
            terminations = transitions.terminated[rows]
            truncations = transitions.truncated[rows].copy()
            truncations[-1] |= not terminations[-1]
            yield EpisodeBuffer(
                id=number,
                observations=np.concatenate(
                    [transitions.observations[rows], transitions.next_observations[last : last + 1]]
                ),
                actions=transitions.actions[rows],
                rewards=transitions.rewards[rows],
                terminations=terminations,
                truncations=truncations,
            )

    refuse_minari_id(dataset_id)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # minari would like an author, a permalink and more
            environment = gymnasium.make(spec.id, max_episode_steps=spec.max_episode_steps, **spec.kwargs)
            stack.enter_context(contextlib.closing(environment))
            remove_leftovers(environment)
            minari.create_dataset_from_buffers(
                dataset_id,
                list(episodes()),
                env=environment,
                observation_space=gymnasium.spaces.Box(
                    -np.inf, np.inf, (transitions.observation_size,), np.float32
                ),
                **facts,
            )
    except (ValueError, OSError, gymnasium.error.Error) as error:
        reason = str(error).rstrip(".")
        raise DatasetError(f"Minari does not take the dataset '{dataset_id}': {reason}.") from error


def refuse_minari_id(dataset_id: str) -> None:
    """Refuse an id that `write_minari` could not use, before anything is collected for it.

    Raises:
        DatasetError: the id is malformed, or there is such a dataset.
    """
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:  # TypeError: it has no version
        raise DatasetError(
            f"Minari takes no dataset '{dataset_id}'; its id is of the form <namespace>/<name>-v<number>."
        ) from error
    if get_dataset_path(dataset_id).exists():
        raise DatasetError(f"There is a Minari dataset '{dataset_id}' already; give it another version.")
