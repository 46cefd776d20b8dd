"""Online collection for a whole seed batch: every seed acts in environments of its own, all in step."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms.networks import ActionBox
from cqlbench.core.devices import one_thread
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.text import counted
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collected import Collected, Episode, Rows
from cqlbench.engine.online.guard import EnvironmentGuard, Outcome
from cqlbench.engine.streams import ExplorationStream
from cqlbench.environments.make import EnvironmentSpec, Step, VectorEnvironment
from cqlbench.environments.simulator_state import packed, unpacked

Act = Callable[[Tensor, Tensor], Tensor]
"""Raw observations `[S, E, O]` on the CPU and standard normal numbers `[S, E, A]` on the device -> actions
`[S, E, A]`. The observations' memory is written to again afterwards."""

_FAILURES_IN_A_ROW = 3
_INCIDENTS_KEPT = 100


class SeedCollector:
    """Steps `E` environments for each seed with the seeds' policies.

    Exploration noise, uniform actions and the environments' seeds are functions of the seed and the frame:
    the other seeds of the batch change nothing, and no generator has a state to save. An environment whose
    episode ends is reset at once, so all seeds have the same number of frames.

    An environment that raises, hangs or returns a NaN is replaced: its episode is dropped, `incidents` says
    what happened, and the frame is taken in a new episode.

    Args:
        spec: the environment.
        seeds: the training seeds `[S]`, in the order of the policy's rows.
        act: the policy.
        low: `[A]`, the lowest actions that the policy takes.
        high: `[A]`, the highest.
        environments: `E`.
        frames_per_batch: frames per seed and `collect`; default `E`.
        random_frames: of each seed, taken with uniform actions before the policy acts.
        warmup_frames: of each seed, after these, taken with the policy before gradient steps make sense.
        backend: see `make_environments`.
        timeout: seconds after which a step counts as hung; 0: never; default `DEFAULT_TIMEOUTS`.
        observation_size: `O` of the data; default the environment's.
        device: where `act` wants its normal numbers.

    Attributes:
        frames: of each seed, collected so far.
        episodes: whole episodes, in the order in which they ended. The caller may clear the list; what is in
            it is part of the state.
        dropped_episodes: how many episodes lost their rest.
        incidents: a sentence for each of the last hundred failures.

    Raises:
        UserError: the environment cannot be made.
        ConfigError: its spaces are not the data's, or a count makes no sense.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        seeds: Sequence[int],
        act: Act,
        low: NDArray[np.float32],
        high: NDArray[np.float32],
        *,
        environments: int = 1,
        frames_per_batch: int | None = None,
        random_frames: int = 0,
        warmup_frames: int = 0,
        backend: str = "auto",
        timeout: float | None = None,
        observation_size: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        frames_per_batch = environments if frames_per_batch is None else frames_per_batch
        if environments < 1 or frames_per_batch < 1 or frames_per_batch % environments:
            raise ConfigError(
                f"{frames_per_batch} frames per batch must be a multiple of {environments} environments per"
                " seed, at least 1."
            )
        if min(random_frames, warmup_frames) < 0 or (timeout is not None and not timeout >= 0):
            raise ConfigError(
                f"random_frames={random_frames}, warmup_frames={warmup_frames} and timeout={timeout} must be"
                " 0 or more."
            )
        self.environments, self.frames_per_batch = environments, frames_per_batch
        self._random_frames, self.init_random_frames = random_frames, random_frames + warmup_frames
        self._spec, self._seeds, self._act = spec, tuple(seeds), act
        self._steps = frames_per_batch // environments
        self._guard = EnvironmentGuard(spec, seeds, environments, backend, timeout)
        made = self._guard.environments
        try:
            _check_spaces(spec, made, low, high, observation_size)
        except ConfigError:
            self.close()
            raise
        self._low, self._high = made.action_low, made.action_high
        # A pool's threads would wait for those of the policy's small products. Where simulators' states are
        # saved, a run resumes bit by bit, which one_thread() does not promise.
        pooled = self.backend == "envpool" and (device is None or device.type == "cpu")
        self._acting = one_thread if pooled else nullcontext
        S, E = len(self._seeds), environments
        self._exploration = ExplorationStream(seeds, E, len(low), device or torch.device("cpu"))
        self._observations = np.zeros((S * E, made.observation_size), np.float32)
        self._seen = torch.from_numpy(self._observations).view(S, E, -1)
        self._lengths, self._failures = np.zeros(S * E, np.int64), np.zeros(S * E, np.int64)
        self._returns, self._broken_before = np.zeros(S * E), np.zeros(S * E, np.bool_)
        self._rows = self._empty_rows(0)
        self._begun = self._lost = False
        self.frames = self.dropped_episodes = 0
        self.episodes: list[Episode] = []
        self.incidents: tuple[str, ...] = ()

    def _empty_rows(self, steps: int) -> Rows:
        return Rows(steps, *self._observations.shape, len(self._low))

    @property
    def environment_seeds(self) -> list[int]:
        """`[S * E]`, of the environments as they are now."""
        return self._guard.environment_seeds()

    @property
    def backend(self) -> str:
        """`envpool` or `gymnasium`."""
        return self._guard.environments.backend

    def collect(self) -> Collected:
        """The next `frames_per_batch` frames of each seed.

        Raises:
            UserError: an environment failed three times without a frame in between.
        """
        rows = self._rows = self._empty_rows(self._steps)
        everywhere = np.ones(len(self._lengths), np.bool_)
        if self._lost:
            self._drop(everywhere, "gave no state of its simulators to resume from")
            self._lost = self._begun = False
        if not self._begun:
            self._begin_episodes(everywhere)
            self._begun = True
        for _ in range(self._steps):
            actions = self._actions()
            outcome = self._guard.step(actions)
            if outcome.broken is None:
                self._keep(actions, outcome.step, slice(None))
            else:
                self._keep_in_parts(actions, outcome)
            rows.step += 1
            self.frames += self.environments
            self._failures[:] = 0
        broken_before, self._broken_before = self._broken_before, np.zeros_like(self._broken_before)
        return rows.collected(len(self._seeds), broken_before)

    def close(self) -> None:
        """Free threads and simulators."""
        self._guard.close()

    shutdown = close  # torchrl's name

    def state_dict(self) -> dict[str, Any]:
        """What the frames to come depend on besides the policy, as JSON has it.

        Taken between two `collect`s. Where the simulators' states are out of reach, `simulators` is `None`.
        """
        return {
            "environment": self._spec.id,
            "seeds": list(self._seeds),
            "environments": self.environments,
            "backend": self.backend,
            "frames": self.frames,
            "begun": self._begun,
            "simulators": self._guard.environments.state() if self._begun and not self._lost else None,
            "generations": self._guard.generations.tolist(),
            "observations": packed(self._observations),
            "lengths": self._lengths.tolist(),
            "returns": self._returns.tolist(),
            "broken_before": self._broken_before.tolist(),
            "episodes": [list(episode) for episode in self.episodes],
            "dropped_episodes": self.dropped_episodes,
            "incidents": list(self.incidents),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`, bit by bit; where it has no simulators, with new episodes: an incident.

        Raises:
            ConfigError: it is of other environments or seeds.
        """
        own = self.environments, self._spec.id, self._seeds
        misfit = "This state of collection does not fit {} x '{}' for seeds {}".format(*own)
        try:
            other = state["environments"], state["environment"], tuple(state["seeds"])
            if other != own:
                raise ConfigError(misfit + ": it is of {} x '{}' for seeds {}.".format(*other))
            self._guard.generations[:] = state["generations"]
            self._observations[:] = unpacked(state["observations"])
            self._lengths[:], self._returns[:] = state["lengths"], state["returns"]
            self._broken_before[:] = state["broken_before"]
            self.frames, self._begun = int(state["frames"]), bool(state["begun"])
            self.episodes = [Episode(*each) for each in state["episodes"]]
            self.dropped_episodes = int(state["dropped_episodes"])
            self.incidents = tuple(state["incidents"])
            self._rows = self._empty_rows(0)
            self._failures[:] = 0
            simulators = state["simulators"] if state["backend"] == self.backend else None
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{misfit} ({error}).") from error
        if simulators is not None:
            self._guard.environments.set_state(simulators)
        self._lost = self._begun and simulators is None  # dropped when there is more to collect

    def _actions(self) -> NDArray[np.float32]:
        """`[n, A]`, in the box."""
        step, random = self.frames // self.environments, self.frames < self._random_frames
        if random:
            drawn = self._exploration.uniforms(step)
        else:
            with self._acting():
                drawn = self._act(self._seen, self._exploration.normals(step))
        actions: NDArray[np.float32] = drawn.numpy(force=True).reshape(len(self._lengths), -1)
        if random:
            actions = self._low + actions * (self._high - self._low)
        # A diverged policy's NaN must not reach a simulator, nor a box's edge be missed by rounding.
        actions = np.minimum(np.maximum(actions, self._low), self._high)
        return actions if math.isfinite(actions.sum()) else np.nan_to_num(actions).clip(self._low, self._high)

    def _keep(self, actions: NDArray[np.float32], step: Step, where: NDArray[np.bool_] | slice) -> None:
        """Write down the step of the environments `where`, and continue from it."""
        columns, t = self._rows.columns, self._rows.step
        columns["observations"][where, t] = self._observations[where]
        columns["actions"][where, t] = actions[where]
        columns["rewards"][where, t] = step.rewards[where]
        columns["terminated"][where, t] = step.terminated[where]
        self._observations[where] = step.observations[where]
        columns["next_observations"][where, t] = self._observations[where]
        self._rows.filled[where] = t + 1
        self._lengths[where] += 1
        self._returns[where] += step.rewards[where]
        ended = step.terminated | step.truncated
        if not ended.any():
            return
        ending = np.zeros_like(ended)
        ending[where] = ended[where]
        columns["ended"][ending, t] = True
        for index in np.flatnonzero(ending):
            seed, frame = self._seeds[index // self.environments], self.frames + self.environments
            self.episodes.append(Episode(seed, frame, int(self._lengths[index]), float(self._returns[index])))
        self._lengths[ending], self._returns[ending] = 0, 0.0
        if ending.any():
            self._begin_episodes(ending)

    def _keep_in_parts(self, actions: NDArray[np.float32], outcome: Outcome) -> None:
        """Take one frame everywhere, of which `outcome` is the first part."""
        missing = np.ones(len(self._lengths), np.bool_)
        while True:
            good = missing if outcome.good is None else outcome.good
            missing = missing & ~good
            self._keep(actions, outcome.step, good)
            if outcome.broken is not None:
                self._drop(outcome.broken, outcome.reason)
                self._begin_episodes(outcome.broken)
            if not missing.any():
                return
            actions = self._actions()
            outcome = self._guard.step(actions, missing)

    def _begin_episodes(self, where: NDArray[np.bool_]) -> None:
        while where.any():
            outcome = self._guard.reset_some(where)
            good = where if outcome.good is None else outcome.good
            self._observations[good] = outcome.step.observations[good]
            where = where & ~good
            if outcome.broken is not None:
                where |= outcome.broken
                self._drop(outcome.broken, outcome.reason)

    def _drop(self, broken: NDArray[np.bool_], reason: str) -> None:
        """Give up the episodes of the environments `broken`, and make those anew; a reset must follow."""
        in_flight, filled = broken & (self._lengths > 0), self._rows.filled
        here = in_flight & (filled > 0)
        self._rows.columns["ended"][here, filled[here] - 1] = True
        self._broken_before |= in_flight & ~here
        self._lengths[broken], self._returns[broken] = 0, 0.0
        dropped = int(in_flight.sum())
        self.dropped_episodes += dropped
        seeds = sorted({self._seeds[index // self.environments] for index in np.flatnonzero(broken)})
        incident = (
            f"At frame {self.frames} of seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))},"
            f" '{self._spec.id}' {reason}: restarted, the rest of {counted(dropped, 'episode')} dropped."
        )
        self.incidents = (*self.incidents[-_INCIDENTS_KEPT + 1 :], incident)
        self._failures[broken] += 1
        if self._failures.max() >= _FAILURES_IN_A_ROW:
            raise UserError(
                f"Environment '{self._spec.id}' {reason}, and has now failed {_FAILURES_IN_A_ROW} times"
                " without a frame in between; correct it, or allow its steps more time (timeout)."
            )
        self._guard.replace(broken)


def collector_of(engine: Engine, spec: EnvironmentSpec, **settings: Any) -> SeedCollector:
    """Collects in `spec` with the policies of `engine`, for its seeds and on its device.

    The engine is of continuous actions; `settings` are further arguments of `SeedCollector`.

    Raises:
        UserError: the environment cannot be made.
        ConfigError: its spaces are not the engine's, whose actions may also be discrete.
    """
    if not isinstance(engine.actions, ActionBox):
        raise ConfigError(
            "Fine-tuning needs continuous actions: with discrete ones there is no policy to explore with."
        )
    return SeedCollector(
        spec,
        engine.seeds,
        engine.sample_actions,
        engine.actions.low.numpy(force=True),
        engine.actions.high.numpy(force=True),
        observation_size=engine.observation_size,
        device=engine.device,
        **settings,
    )


def _check_spaces(
    spec: EnvironmentSpec,
    made: VectorEnvironment,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    observation_size: int | None,
) -> None:
    own, other = (made.action_low, made.action_high), (np.asarray(low), np.asarray(high))
    if observation_size not in (None, made.observation_size):
        wrong = f"gives {made.observation_size} observations, but the data have {observation_size}"
    elif not own[0].shape == other[0].shape == other[1].shape:
        wrong = f"takes {len(own[0])} actions, but the policy gives {other[0].size}"
    elif not all(map(np.allclose, own, other)):
        between, given = ("{} and {}".format(*(end.tolist() for end in box)) for box in (own, other))
        wrong = f"takes actions between {between}, but the policy gives some between {given}"
    else:
        return
    raise ConfigError(f"Environment '{spec.id}' {wrong}; collect in the environment that the data come from.")
