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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import DatasetError
from cqlbench.core.progress import Progress
from cqlbench.core.seeding import Purpose, environment_seeds, numpy_generator
from cqlbench.data.cards import Card
from cqlbench.data.embedded.policy import BehaviourPolicy, policy_path
from cqlbench.data.transitions import Transitions
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


def collect(card: Card, progress: bool = True) -> Transitions:
    """The card's dataset, collected now, in memory only.

    Args:
        card: an embedded dataset's card.
        progress: show a progress bar on a terminal, and plain lines elsewhere.

    Raises:
        DatasetError: the card lacks a fact, or a policy cannot be read or does not fit its environment.
        UserError: the environment cannot be made on this machine.
    """
    order = _order(card)
    policies = [BehaviourPolicy.load(name) for name in order.policies]
    bounds = np.arange(len(policies) + 1) * order.rows // len(policies)
    parts = []
    for number, policy in enumerate(policies):
        share = f" {number + 1}/{len(policies)}" if len(policies) > 1 else ""
        title = f"collecting {card.id}{share}" if progress else None
        rows = int(bounds[number + 1] - bounds[number])
        parts.append(collect_transitions(policy, order.spec, rows, order.seed + number, title=title))
    return parts[0] if len(parts) == 1 else _one_after_another(parts)


def _one_after_another(parts: Sequence[Transitions]) -> Transitions:
    firsts = np.cumsum([0, *(len(part) for part in parts)])
    starts = [part.episode_starts + first for part, first in zip(parts, firsts[:-1], strict=True)]
    return Transitions(
        observations=np.concatenate([part.observations for part in parts]),
        actions=np.concatenate([part.actions for part in parts]),
        rewards=np.concatenate([part.rewards for part in parts]),
        next_observations=np.concatenate([part.next_observations for part in parts]),
        terminated=np.concatenate([part.terminated for part in parts]),
        truncated=np.concatenate([part.truncated for part in parts]),
        episode_starts=np.concatenate(starts),
    )


def source_key(card: Card) -> str:
    """A hash of everything that the dataset's content depends on, 64 hex digits.

    It covers the policy file's bytes, seed, rows, environment, the collector's version, and the simulator's
    backend and version: other simulators give other rows.

    Raises:
        DatasetError: the card lacks a fact, or its policy file cannot be read.
    """
    order = _order(card)
    digests = []
    for path in map(policy_path, order.policies):
        try:
            digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise DatasetError(
                f"The behaviour policy {path} of '{card.id}' cannot be read: {error.strerror}."
            ) from error
    facts = {
        "policy_sha256": digests[0] if len(digests) == 1 else digests,
        "seed": order.seed,
        "rows": order.rows,
        "environment": environment_versions(order.spec, choose_backend(order.spec)),
        "environments": ENVIRONMENTS,
        "collector": COLLECTOR_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def collect_transitions(
    policy: BehaviourPolicy,
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
            tape = _record(policy, vector, _Tape.empty(rows, streams, policy), noise, shown)
    finally:
        vector.close()
    return tape.transitions()


@dataclass(frozen=True)
class _Order:
    """A card whose optional facts are all there."""

    policies: tuple[str, ...]
    spec: EnvironmentSpec
    rows: int
    seed: int


def _order(card: Card) -> _Order:
    facts = {
        "policies": card.policies or None,
        "environment": card.environment,
        "rows": card.rows,
        "collection_seed": card.collection_seed,
    }
    missing = [name for name, fact in facts.items() if fact is None]
    if missing or card.environment is None or card.rows is None or card.collection_seed is None:
        raise DatasetError(f"The card of '{card.id}' cannot be collected: it lacks {', '.join(missing)}.")
    return _Order(card.policies, card.environment, card.rows, card.collection_seed)


def _check_fit(policy: BehaviourPolicy, vector: VectorEnvironment, spec: EnvironmentSpec) -> None:
    fits = (
        policy.observation_size == vector.observation_size
        and np.array_equal(policy.action_low, vector.action_low)
        and np.array_equal(policy.action_high, vector.action_high)
    )
    if not fits:
        raise DatasetError(
            f"The behaviour policy ({policy.observation_size} observations, actions from "
            f"{policy.action_low.tolist()} to {policy.action_high.tolist()}) does not fit '{spec.id}' "
            f"({vector.observation_size} observations, actions from {vector.action_low.tolist()} to "
            f"{vector.action_high.tolist()})."
        )


@dataclass
class _Tape:
    """The dataset while it is written: stream `i` fills its rows from `cursors[i]` up to `limits[i]`."""

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    starts: NDArray[np.bool_]
    cursors: NDArray[np.int64]
    limits: NDArray[np.int64]

    @classmethod
    def empty(cls, rows: int, streams: int, policy: BehaviourPolicy) -> "_Tape":
        bounds = np.arange(streams + 1, dtype=np.int64) * rows // streams
        return cls(
            observations=np.empty((rows, policy.observation_size), np.float32),
            actions=np.empty((rows, policy.action_size), np.float32),
            rewards=np.empty(rows, np.float32),
            next_observations=np.empty((rows, policy.observation_size), np.float32),
            terminated=np.empty(rows, np.bool_),
            truncated=np.empty(rows, np.bool_),
            starts=np.empty(rows, np.bool_),
            cursors=bounds[:-1].copy(),
            limits=bounds[1:],
        )

    def transitions(self) -> Transitions:
        finite = all(np.isfinite(each).all() for each in (self.next_observations, self.rewards, self.actions))
        if not finite:
            raise DatasetError(
                "The simulator gave numbers that are not finite; the policy drives it too hard."
            )
        return Transitions(
            observations=self.observations,
            actions=self.actions,
            rewards=self.rewards,
            next_observations=self.next_observations,
            terminated=self.terminated,
            truncated=self.truncated,
            episode_starts=np.flatnonzero(self.starts).astype(np.int64),
        )


def _record(
    policy: BehaviourPolicy,
    vector: VectorEnvironment,
    tape: _Tape,
    noise: list[np.random.Generator],
    shown: Progress,
) -> _Tape:
    first_rows = tape.cursors.copy()
    observations = vector.reset()
    starting = np.ones(len(noise), np.bool_)
    ended = np.zeros(len(noise), np.bool_)
    normals = np.empty((len(noise), 0, policy.action_size))
    tick = 0
    while (tape.cursors < tape.limits).any():
        if tick == normals.shape[1]:
            shape = (_NOISE_CHUNK, policy.action_size)
            normals, tick = np.stack([generator.standard_normal(shape) for generator in noise]), 0
        actions = policy.sample(observations, normals[:, tick])
        step = vector.step(actions)
        tick += 1
        # The step after an episode's end only resets: its action was ignored, so it is no transition.
        writing = ~ended & (tape.cursors < tape.limits)
        at = tape.cursors[writing]
        tape.observations[at] = observations[writing]
        tape.actions[at] = actions[writing]
        tape.rewards[at] = step.rewards[writing]
        tape.next_observations[at] = step.observations[writing]
        tape.terminated[at] = step.terminated[writing]
        tape.truncated[at] = step.truncated[writing]
        # A stream's first row starts an episode, and so does the row after a reset.
        tape.starts[at] = starting[writing]
        tape.cursors += writing
        starting, ended = ended, step.terminated | step.truncated
        observations = step.observations
        shown.update(int((tape.cursors - first_rows).sum()))
    return tape
