"""Embedded datasets: collected again from shipped behaviour policies, so that no download is needed.

Several policies take the rows in equal shares, one after the other, each with a seed of its own.

`environments` environments run side by side. Each contributes one unbroken stream of whole episodes, with its
own seed and its own action noise, and is cut after its share of the rows; no episode is left out for being
long or short. The streams stand one after the other::

    environment 0: episode, episode, ..., cut episode | environment 1: episode, ...
"""

import hashlib
import json
import zlib
from typing import Any

import numpy as np

from cqlbench.core.errors import DatasetError
from cqlbench.core.progress import Progress
from cqlbench.core.seeding import Purpose, environment_seeds, numpy_generator
from cqlbench.data.cards import Card
from cqlbench.data.embedded.policy import BehaviourPolicy, policy_path
from cqlbench.data.embedded.waypoint import MazePlay
from cqlbench.data.local import sha256_of
from cqlbench.data.transitions import COLUMNS, Transitions
from cqlbench.environments import d4rl
from cqlbench.environments.make import (
    EnvironmentSpec,
    VectorEnvironment,
    choose_backend,
    environment_versions,
    make_environments,
)

COLLECTOR_VERSION = 1
"""Raised whenever the same card would give other rows, so that datasets cached before are not used."""

ENVIRONMENTS = 40
"""Environments side by side. Part of a dataset's content: another number gives other rows."""

_NOISE_CHUNK = 512
# Training runs use the same seeds: without a counter of its own, collection would share their numbers.
_STREAM = zlib.crc32(b"embedded")


def collect(card: Card) -> Transitions:
    """The card's dataset, collected now, in memory only.

    Raises:
        DatasetError: the card lacks a fact, or a policy cannot be read or does not fit its environment.
        UserError: the environment cannot be made on this machine.
    """
    spec, rows, seed = _facts(card)
    policies: list[BehaviourPolicy | MazePlay] = [BehaviourPolicy.load(name) for name in card.policies]
    if card.maze_play:
        policies.append(MazePlay(d4rl.maze_of(spec.id), seed))
    bounds = np.arange(len(policies) + 1) * rows // len(policies)
    parts = []
    for number, (policy, share) in enumerate(zip(policies, np.diff(bounds), strict=True)):
        which = f" {number + 1}/{len(policies)}" if len(policies) > 1 else ""
        title = f"collecting {card.id}{which}"
        parts.append(collect_transitions(policy, spec, int(share), seed + number, title=title))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS
    }
    starts = [part.episode_starts + first for part, first in zip(parts, bounds, strict=False)]
    return Transitions(**columns, episode_starts=np.concatenate(starts))


def source_key(card: Card) -> str:
    """A hash of everything that the dataset's content depends on, 64 hex digits.

    It covers the policy file's bytes, seed, rows, environment, the collector's version, and the simulator's
    backend and version: other simulators give other rows.

    Raises:
        DatasetError: the card lacks a fact, or its policy file cannot be read.
    """
    spec, rows, seed = _facts(card)
    try:
        digests = [sha256_of(policy_path(name)) for name in card.policies]
    except OSError as error:
        raise DatasetError(f"A behaviour policy of '{card.id}' cannot be read: {error}.") from error
    facts = {
        "policy_sha256": "maze play" if card.maze_play else digests[0] if len(digests) == 1 else digests,
        "seed": seed,
        "rows": rows,
        "environment": environment_versions(spec, choose_backend(spec)),
        "environments": ENVIRONMENTS,
        "collector": COLLECTOR_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _facts(card: Card) -> tuple[EnvironmentSpec, int, int]:
    """The card's environment, rows and seed."""
    spec, rows, seed = card.environment, card.rows, card.collection_seed
    if not (card.policies or card.maze_play) or spec is None or rows is None or seed is None:
        raise DatasetError(
            f"'{card.id}' cannot be collected: it lacks policies, environment, rows or collection_seed."
        )
    return spec, rows, seed


def collect_transitions(
    policy: BehaviourPolicy | MazePlay,
    spec: EnvironmentSpec,
    rows: int,
    seed: int,
    environments: int = ENVIRONMENTS,
    title: str | None = None,
    backend: str = "auto",
    threads: int = 0,
) -> Transitions:
    """`rows` transitions of the stochastic `policy`.

    The same arguments give the same bits, whatever `threads` is. The last episode of each stream is usually
    cut: neither `terminated` nor `truncated`, with the next observation known.

    Args:
        policy: who acts.
        spec: where.
        rows: `T`, at least 1.
        seed: of environments and action noise.
        environments: streams; fewer if there are fewer rows.
        title: shown with the progress; `None` shows nothing.
        backend: see `make_environments`.
        threads: see `make_environments`.

    Raises:
        DatasetError: `rows` or `environments` is below 1, the policy does not fit the environment, or the
            simulator gave numbers that are not finite.
        UserError: the environment cannot be made.
    """
    if rows < 1 or environments < 1:
        raise DatasetError(
            f"{rows} rows from {environments} environments cannot be collected: at least 1 of each is needed."
        )
    streams = min(environments, rows)
    seeds = environment_seeds(seed, Purpose.ENVIRONMENT, streams, _STREAM)
    vector = make_environments(spec, seeds, backend, threads)
    try:
        _check_fit(policy, vector, spec)
        noise = [numpy_generator(seed, Purpose.NOISE, _STREAM, stream) for stream in range(streams)]
        with Progress(rows, title=title or "", unit="row", shown=title is not None) as shown:
            return _recorded(policy, vector, rows, noise, shown)
    finally:
        vector.close()


def _check_fit(policy: BehaviourPolicy | MazePlay, vector: VectorEnvironment, spec: EnvironmentSpec) -> None:
    own, other = (
        f"{each.observation_size} observations, actions from {each.action_low.tolist()} to "
        f"{each.action_high.tolist()}"
        for each in (policy, vector)
    )
    if own != other:
        raise DatasetError(f"The behaviour policy ({own}) does not fit '{spec.id}' ({other}).")


def _recorded(
    policy: BehaviourPolicy | MazePlay,
    vector: VectorEnvironment,
    rows: int,
    noise: list[np.random.Generator],
    shown: Progress,
) -> Transitions:
    """Stream `i` fills its rows from `cursors[i]` up to `limits[i]`."""
    observations = np.empty((rows, policy.observation_size), np.float32)
    actions = np.empty((rows, policy.action_size), np.float32)
    rewards = np.empty(rows, np.float32)
    next_observations = np.empty_like(observations)
    terminated, truncated, starts = np.empty((3, rows), np.bool_)
    bounds = np.arange(len(noise) + 1, dtype=np.int64) * rows // len(noise)
    cursors, limits = bounds[:-1].copy(), bounds[1:]
    seen = vector.reset()
    starting, ended = np.ones(len(noise), np.bool_), np.zeros(len(noise), np.bool_)
    normals, tick = np.empty((len(noise), 0, policy.action_size)), 0
    while (cursors < limits).any():
        if tick == normals.shape[1]:
            shape = (_NOISE_CHUNK, policy.action_size)
            normals, tick = np.stack([generator.standard_normal(shape) for generator in noise]), 0
        chosen = policy.sample(seen, normals[:, tick], starting)
        step = vector.step(chosen)
        tick += 1
        # The step after an episode's end only resets: its action was ignored, so it is no transition.
        writing = ~ended & (cursors < limits)
        at = cursors[writing]
        observations[at] = seen[writing]
        actions[at] = chosen[writing]
        rewards[at] = step.rewards[writing]
        next_observations[at] = step.observations[writing]
        terminated[at] = step.terminated[writing]
        truncated[at] = step.truncated[writing]
        # A stream's first row starts an episode, and so does the row after a reset.
        starts[at] = starting[writing]
        cursors += writing
        starting, ended = ended, step.terminated | step.truncated
        seen = step.observations
        shown.update(int((cursors - bounds[:-1]).sum()))
    if not all(np.isfinite(each).all() for each in (next_observations, rewards, actions)):
        raise DatasetError("The simulator gave numbers that are not finite; the policy drives it too hard.")
    return Transitions(
        observations, actions, rewards, next_observations, terminated, truncated, np.flatnonzero(starts)
    )
