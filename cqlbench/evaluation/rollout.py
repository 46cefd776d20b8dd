"""Seeded evaluation episodes of all seeds' policies in one batch of environments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import (
    EnvironmentSpec,
    VectorEnvironment,
    environment_versions,
    make_environments,
)

Policy = Callable[[NDArray[np.float64]], NDArray[np.float32]]
"""`[S, E, O]` float64 observations -> `[S, E, A]` float32 actions; row `s` is for seed `s` of the batch."""


_LONGEST_EPISODE = 100_000


@dataclass(frozen=True)
class Rollout:
    """`E` whole episodes for each of `S` seeds.

    Attributes:
        returns: `[S, E]` float64, undiscounted; NaN throughout the row of a failed seed.
        lengths: `[S, E]` int64, steps; for a failed seed the steps before it failed.
        terminated: `[S, E]` bool: the task ended itself. `False` means that the time limit cut the episode.
        failed: `[S]` bool: the seed's policy gave a NaN or an infinity, or drove the simulator to one.
        environment_seeds: `[S, E]` int64.
        environment: id and versions, see `environment_versions`.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    environment_seeds: NDArray[np.int64]
    environment: dict[str, str]


def rollout(
    policy: Policy,
    spec: EnvironmentSpec,
    seeds: Sequence[int],
    episodes: int,
    evaluation_index: int = 0,
    backend: str = "auto",
    threads: int = 0,
    *,
    discrete: bool = False,
    rewarded: Callable[[NDArray[np.float64]], None] = lambda _: None,
) -> Rollout:
    """Play `episodes` whole episodes with every seed's policy.

    `S * E` environments run side by side and each contributes exactly its first episode. Counting the first
    episodes to finish instead would favour short ones. An environment's seed follows from (training seed,
    evaluation index, episode number), so a seed's episodes do not depend on the seeds that stand beside it.

    Args:
        policy: acts for all seeds at once.
        spec: the environment.
        seeds: the training seeds `[S]`, in the order of the policy's rows.
        episodes: `E`, at least 1.
        evaluation_index: which evaluation of the run this is; each has its own initial states.
        backend: see `make_environments`.
        threads: see `make_environments`.
        discrete: whether actions are discrete, each a one-hot row of A.
        rewarded: told the rewards of each step, `[S, E]`; of ended episodes they mean nothing.

    Raises:
        UserError: the environment cannot be made, or an episode has no end.
        ValueError: there is nothing to play, or `policy` returns another shape than `[S, E, A]`.
    """
    if episodes < 1 or not seeds:
        raise ValueError(f"{episodes} episodes of {len(seeds)} seeds: at least one of each is needed.")
    streams = [environment_seeds(seed, Purpose.EVALUATION, episodes, evaluation_index) for seed in seeds]
    every = [each for stream in streams for each in stream]
    environments = make_environments(spec, every, backend, threads, discrete=discrete)
    try:
        tally = _Tally.empty(len(seeds), episodes)
        _play(policy, environments, tally, rewarded)
    except _EndlessEpisodeError as error:
        raise UserError(
            f"An episode of '{spec.id}' did not end within {_LONGEST_EPISODE} steps; give the environment a "
            "time limit (max_episode_steps)."
        ) from error
    finally:
        environments.close()
    return Rollout(
        returns=np.where(tally.failed[:, None], np.nan, tally.returns),
        lengths=tally.lengths,
        terminated=tally.terminated & ~tally.failed[:, None],
        failed=tally.failed,
        environment_seeds=np.array(streams, np.int64),
        environment=environment_versions(spec, environments.backend),
    )


class _EndlessEpisodeError(Exception):
    pass


@dataclass
class _Tally:
    """What has been seen so far; `live` marks first episodes that still run."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    live: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    @classmethod
    def empty(cls, seeds: int, episodes: int) -> "_Tally":
        shape = (seeds, episodes)
        return cls(
            returns=np.zeros(shape),
            lengths=np.zeros(shape, np.int64),
            terminated=np.zeros(shape, np.bool_),
            live=np.ones(shape, np.bool_),
            failed=np.zeros(seeds, np.bool_),
        )

    def fail(self, broken: NDArray[np.bool_]) -> None:
        """Give up the seeds of the broken episodes, `[S, E]`, that still run."""
        self.failed |= (broken & self.live).any(axis=1)
        self.live &= ~self.failed[:, None]


def _play(
    policy: Policy,
    environments: VectorEnvironment,
    tally: _Tally,
    rewarded: Callable[[NDArray[np.float64]], None],
) -> None:
    shape = tally.live.shape
    observations = environments.reset().reshape(*shape, -1)
    action_shape = (*shape, len(environments.action_low))
    while tally.live.any():
        actions = np.asarray(policy(observations), np.float32)
        if actions.shape != action_shape:
            raise ValueError(f"The policy returned actions {actions.shape}, and {action_shape} are needed.")
        tally.fail(~np.all(np.isfinite(actions), axis=-1))
        # MuJoCo clips controls by itself, but tasks charge the control cost of what was asked for. A NaN must
        # not reach a simulator, not even one whose episode no longer counts.
        actions = np.clip(np.nan_to_num(actions), environments.action_low, environments.action_high)
        actions[tally.failed] = 0.0
        step = environments.step(actions.reshape(-1, action_shape[-1]))

        observations = step.observations.reshape(*shape, -1)
        rewards = step.rewards.reshape(shape)
        tally.lengths += tally.live
        finite = np.all(np.isfinite(observations), axis=-1) & np.isfinite(rewards)
        tally.fail(~finite)
        observations = np.nan_to_num(observations)
        rewarded(np.nan_to_num(rewards))
        tally.returns[tally.live] += rewards[tally.live]
        terminated = step.terminated.reshape(shape)
        tally.terminated |= tally.live & terminated
        tally.live &= ~(terminated | step.truncated.reshape(shape))

        if tally.lengths.max() >= _LONGEST_EPISODE and tally.live.any():
            raise _EndlessEpisodeError
