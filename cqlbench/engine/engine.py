"""The gradient steps of a seed batch on a fixed dataset: indices, gather, noise, update, diagnostics."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cqlbench.algorithms import algorithm_of
from cqlbench.algorithms.algorithm import AlgorithmConfig, Batch, History, Noise, Spaces
from cqlbench.algorithms.networks import ActionBox, ActionSpace, DiscreteActions
from cqlbench.algorithms.networks.sharing import shared
from cqlbench.algorithms.step import TrainState, initial_state, make_update
from cqlbench.core.devices import numbered, one_thread
from cqlbench.core.errors import ConfigError
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.cuda_graph import capture
from cqlbench.engine.dataset_tensors import Columns, Gather, fits
from cqlbench.engine.diagnostics import Diagnostics, Reader
from cqlbench.engine.online.mixture import EpisodeColumns, Mixture, OnlinePhase
from cqlbench.engine.prefetch import Prefetcher
from cqlbench.engine.seed_groups import ByGroups, Inputs, of_group
from cqlbench.engine.streams import CHUNK, IndexStream, NoiseStream

LAUNCH_SECONDS = 0.25
"""Long enough that groups of seeds seldom wait for each other, and soon over for a signal."""


class Engine:
    """Takes gradient steps; owns the training state and says how it went.

    Args:
        config: the algorithm.
        columns: the dataset; `None` learns from collected rows alone.
        normalizer: applied to observations of every batch (and by `act`).
        reward_transform: applied to rewards of every batch.
        actions: what actions there are.
        seeds: the seed batch.
        device: where the training state lives; `cuda` without a number is the current one.
        online: what changes when `begin_online` is called; `None` for training offline only.

    Attributes:
        dataset: what offline rows are drawn from, on the device where there is room.
        launch_seconds: on a CPU, offline, `advance` takes so many seconds of steps, within a chunk; one step
            by default.

    Raises:
        ConfigError: there is neither a dataset nor a place for collected rows, or the algorithm is not for
            such actions.
    """

    def __init__(
        self,
        config: AlgorithmConfig,
        columns: Columns | None,
        normalizer: ObservationNormalizer,
        reward_transform: RewardTransform,
        actions: ActionSpace,
        seeds: Sequence[int],
        device: torch.device,
        online: OnlinePhase | None = None,
    ) -> None:
        self.device = device = numbered(device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # streams and graphs belong to the current device
        self.config, self.seeds, self.online, self.dataset = config, tuple(seeds), online, columns
        self._on_one_core = one_thread if self.shares_work else nullcontext
        self._mixture: Mixture | None = None
        if columns is not None:
            self.observation_size = columns.observations.shape[1]
        elif online is not None:
            self.observation_size = online.rows.columns["observations"].shape[2]
        else:
            raise ConfigError("There is nothing to learn from: pass a dataset's columns, or an online phase.")
        self.actions = actions.to(device)
        self.discrete = isinstance(actions, DiscreteActions)
        self._mean = torch.as_tensor(normalizer.mean, dtype=torch.float32, device=device)
        self._inverse_std = 1 / torch.as_tensor(normalizer.std, dtype=torch.float32, device=device)
        self._reward_transform = reward_transform
        self._learn_by(config)
        self._draw_offline()
        with self._on_one_core():
            state = initial_state(self.algorithm, seeds)
        self.state = state.to(device)
        self._diagnostics = Diagnostics()
        self._graph: torch.cuda.CUDAGraph | None = None
        self.launch_seconds, self._last_took = 0.0, math.inf

    def _learn_by(self, config: AlgorithmConfig) -> None:
        self.algorithm = algorithm_of(config, Spaces(self.observation_size, self.actions))
        self._noise = NoiseStream(self.seeds, self.algorithm.draws(), self.device)
        self._update = make_update(self.algorithm)
        self._by_groups = ByGroups(self._update)

    @property
    def shares_work(self) -> bool:
        """Whether threads share whole jobs, so that no number depends on how many there are."""
        return self.device.type == "cpu"

    def _draw_offline(self) -> None:
        """Draw batches from the dataset alone."""
        self._rows: Callable[[int], list[Tensor]] = _no_rows
        self._resident = True
        if self.dataset is None:
            return
        extra, wanted = self.dataset.extra, self.algorithm.columns()
        self.dataset = replace(self.dataset, extra={name: extra[name] for name in wanted if name in extra})
        self._resident = fits(self.dataset.tensors(), self.device)
        if self._resident:
            self.dataset = self.dataset.to(self.device)
        where = self.device if self._resident else torch.device("cpu")
        rows, context = len(self.dataset.rewards), self.algorithm.context
        self._indices = IndexStream(self.seeds, self.config.batch_size, rows, where, context=context)
        self._gather = Gather(self.dataset.tensors(), self._indices, self.device)
        self._rows = self._gather
        if not self._resident:
            self._rows = Prefetcher(self.dataset.tensors(), self._indices, self.device)

    def begin_online(self) -> Mixture:
        """From now on, mix collected rows into the batches as `online` says.

        Raises:
            ConfigError: this engine was made for offline training only.
        """
        if self._mixture is not None:
            return self._mixture
        if self.online is None:
            raise ConfigError("This engine has no place for collected rows: pass online=OnlinePhase(…).")
        config = replace(self.config, **self.online.changes)
        if config != self.config:
            self._learn_by(config)
            first, self._diagnostics = self._diagnostics.first, Diagnostics()
            self._diagnostics.first = first
        extra = None
        if self.algorithm.columns():
            lowest = math.nan
            if self.dataset is not None:
                lowest = float(self._reward_transform(self.dataset.rewards.min()))
            extra = EpisodeColumns(self.online.rows, self._reward_transform, self.algorithm.columns(), lowest)
        offline, count = (None, 0) if self.dataset is None else (self._gather, len(self.dataset.rewards))
        self._graph = None  # before it is asked whether collected rows fit the memory
        self._rows = self._mixture = Mixture(
            self.online, offline, self.seeds, config.batch_size, self.device, extra, count
        )
        return self._mixture

    def batch(self, step: int) -> Batch:
        """The preprocessed batch of gradient step `step`, `[S, B, …]`."""
        return self._preprocess(self._rows(step))

    def _preprocess(self, rows: list[Tensor]) -> Batch:
        context = self.algorithm.context
        shape = (-1, self.config.batch_size, *([context] if context > 1 else []))
        observations, actions, rewards, next_observations, terminated, *extra = (
            column.view(*shape, *column.shape[1:]) for column in rows
        )
        names = self.algorithm.columns() if self.dataset is None else self.dataset.extra
        return Batch(
            observations=self._normalize(observations),
            actions=actions,
            rewards=self._reward_transform(rewards),
            next_observations=self._normalize(next_observations),
            terminated=terminated.float(),
            extra=dict(zip(names, extra, strict=True)),
        )

    @property
    def _graphed(self) -> bool:
        possible = self.device.type == "cuda" and self._resident and self._mixture is None
        return possible and all(CHUNK % stage.every == 0 for stage in self.algorithm.stages())

    def advance(self, step: int, at_most: int) -> int:
        """Take gradient steps from `step` (counted from 0) on, as many as one launch takes.

        On CUDA, with the dataset resident, that is a whole chunk replayed as one graph; on a CPU, offline,
        the steps of `launch_seconds`; otherwise one. Numbers do not depend on it.

        Returns:
            How many steps were taken, `at_most` at most.
        """
        if not self._graphed or step % CHUNK or at_most < CHUNK:
            start, count = time.perf_counter(), int(self.launch_seconds / self._last_took)
            if count > 1 and self.shares_work and self._mixture is None:
                count = min(at_most, CHUNK - step % CHUNK, count)
                self._launch(step, count)
            else:
                count = 1
                self.step(step)
            self._last_took = max(time.perf_counter() - start, 1e-6) / count
            return count
        self._noise.prepare(step)
        self._indices.prepare(step)
        if self._graph is not None:
            self._graph.replay()
            self._diagnostics.count(CHUNK)
            return CHUNK

        def chunk() -> None:
            for each in range(step, step + CHUNK):
                self.step(each)

        chunk()  # every stage has run, so the sums have a place for each diagnostic, which the graph keeps to
        summed, changed = self._diagnostics.steps, [*self.state.tensors(), *self._diagnostics.tensors()]
        self._graph = capture(chunk, changed, self.device)
        self._diagnostics.steps = summed
        return CHUNK

    def _launch(self, step: int, count: int) -> None:
        """Take `count` steps of one chunk, each group of seeds all of them before it waits for the others."""
        with shared():
            self._noise.prepare(step)
            self._indices.prepare(step)

            def inputs(each: int, group: slice) -> tuple[Batch, Noise]:
                return self._preprocess(self._gather(each, seeds=group)), of_group(group, self._noise(each))

            steps = range(step, step + count)
            for each, diagnostics in zip(steps, self._take(inputs, steps), strict=True):
                self._diagnostics.add(diagnostics, each)

    def _take(self, inputs: Inputs, steps: range) -> list[dict[str, Tensor]]:
        rows = self.config.batch_size * self.algorithm.context
        return self._by_groups(self.state, inputs, steps, rows)

    def step(self, step: int) -> dict[str, Tensor]:
        """Take gradient step `step` (counted from 0); returns its diagnostics, `[S]` each, on the device."""
        if self.shares_work:
            with shared():
                batch, noise = self.batch(step), self._noise(step)

                def inputs(_: int, group: slice) -> tuple[Batch, Noise]:
                    return Batch(**of_group(group, vars(batch))), of_group(group, noise)

                (diagnostics,) = self._take(inputs, range(step, step + 1))
        else:
            self.state, diagnostics = self._update(self.state, self.batch(step), self._noise(step), step)
        self._diagnostics.add(diagnostics, step)
        return diagnostics

    def latest_diagnostics(self) -> dict[str, Tensor]:
        """The last step's diagnostics, `[S]` each, on the device."""
        return self._diagnostics.latest()

    def drain_diagnostics(self, reader: Reader = Reader.EVALUATION) -> dict[str, list[float]]:
        """Each diagnostic's mean since `reader`'s last call, one number per seed. Synchronises."""
        return self._diagnostics.drain(reader)

    def first_diagnostics(self) -> list[dict[str, list[float]]]:
        """Those of each of the first gradient steps, one number per seed. Synchronises."""
        return self._diagnostics.first_steps()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the following steps and diagnostics depend on, sharing memory with the engine.

        The streams of indices and noise are functions of (seed, step) and have no state.
        """
        online = {} if self._mixture is None else {"online": self._mixture.rows.rows}
        return {
            "train_state": self.state.state_dict(),
            "diagnostics": self._diagnostics.state_dict(),
            "of": {"seeds": list(self.seeds), "mean": self._mean, "inverse_std": self._inverse_std},
            **online,
        }

    def begin_from(self, state: Mapping[str, Any]) -> None:
        """Take over parameters, targets and moments from what `state_dict` gave of the same seeds and data.

        Raises:
            ConfigError: it is of other seeds, data or networks.
        """
        other = state["of"]
        if other["seeds"] != list(self.seeds):
            raise ConfigError(f"It is of the seeds {other['seeds']}, and these are {list(self.seeds)}.")
        if not (
            torch.equal(self._mean, other["mean"].to(self.device))
            and torch.equal(self._inverse_std, other["inverse_std"].to(self.device))
        ):
            raise ConfigError("It has normalised observations by other data.")
        self.load_state_dict({**state, "diagnostics": Diagnostics().state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`, what `state_dict` gave on any device.

        Raises:
            ConfigError: it is of other networks or another number of seeds.
        """
        misfit = "This training state does not fit the engine: "
        try:
            loaded = TrainState(**state["train_state"])
            if [t.shape for t in loaded.tensors()] != [t.shape for t in self.state.tensors()]:
                raise ConfigError(misfit + "its tensors have other shapes.")
            self.state.copy_(loaded)
            if "online" in state:
                self.begin_online().go_back(state["online"])
            elif self._mixture is not None:
                raise ConfigError(misfit + "it is of offline training, and the engine is fine-tuning.")
            self._load_diagnostics(state["diagnostics"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{misfit}{error}.") from error

    def _load_diagnostics(self, state: Mapping[str, Any]) -> None:
        self._diagnostics.load_state_dict(state, self.device)
        self._graph = None  # it adds to the sums that were

    def finite_seeds(self) -> list[bool]:
        """Whether each seed's parameters are all finite. Synchronises."""
        return self.state.finite().tolist()

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """Deterministic actions of every seed at its own raw observations, `[S, E, O]` -> `[S, E, A]`."""
        with self._on_one_core():
            return self.algorithm.act(self.state.parameters, self._seen(observations))

    @torch.no_grad()
    def act_after(self, history: History) -> Tensor:
        """Deterministic actions `[S, E, A]` after raw observations and returns, on any device."""
        with self._on_one_core():
            observations, actions, returns, steps = (each.to(self.device) for each in history)
            returns = returns * self._reward_transform.scale
            normalized = self._normalize(observations)
            return self.algorithm.act_after(
                self.state.parameters, History(normalized, actions, returns, steps)
            )

    @property
    def asked_return(self) -> float:
        """What `act_after` is asked for at an episode's beginning: see `Algorithm.asked_return`."""
        extra = {} if self.dataset is None else self.dataset.extra
        return self.algorithm.asked_return(extra) / self._reward_transform.scale

    @torch.no_grad()
    def sample_actions(self, observations: Tensor, normals: Tensor) -> Tensor:
        """Exploring actions `[S, E, A]` of every seed at its own raw observations, on the engine's device.

        Args:
            observations: `[S, E, O]`, on any device.
            normals: `[S, E, A]` standard normal numbers, on the engine's device.
        """
        with self._on_one_core():
            return self.algorithm.sample(self.state.parameters, self._seen(observations), normals)

    def policy(self, position: int) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """Arrays and notes of the policy of the seed at `position`: see `records/policy.py`."""
        network = self.algorithm.policy(self.state.parameters)
        sequence = network.head == "sequence"
        tensors = {
            name: each[position] if name.endswith("weight") or sequence else each[position].squeeze(-2)
            for name, each in network.layers.items()
        }
        tensors |= {"observation_mean": self._mean, "observation_scale": self._inverse_std}
        if isinstance(self.actions, ActionBox):
            tensors |= {"action_low": self.actions.low, "action_high": self.actions.high}
        notes: dict[str, Any] = {"head": network.head, **network.facts}
        if sequence:
            notes |= {"asked_return": self.asked_return, "return_scale": self._reward_transform.scale}
        return {name: tensor.numpy(force=True).copy() for name, tensor in tensors.items()}, notes

    def seconds_per_step(self, launches: int = 8) -> float:
        """The time of a gradient step, taken as `advance` takes them. Afterwards training is where it was."""
        state, diagnostics = self.state.clone(), copy.deepcopy(self._diagnostics.state_dict())
        steps = CHUNK if self._graphed else 1
        for launch in range(2):  # the first one captures the graph
            self.advance(launch * steps, steps)
        self.synchronize()
        start = time.perf_counter()
        for launch in range(2, 2 + launches):
            self.advance(launch * steps, steps)
        self.synchronize()
        seconds = (time.perf_counter() - start) / (launches * steps)
        self.state.copy_(state)
        self._load_diagnostics(diagnostics)
        return seconds

    def _seen(self, observations: Tensor) -> Tensor:
        return self._normalize(observations.to(self.device, torch.float32))

    def _normalize(self, observations: Tensor) -> Tensor:
        return (observations - self._mean) * self._inverse_std

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _no_rows(_step: int) -> list[Tensor]:
    raise ConfigError("There is no dataset to draw from: collect first.")
