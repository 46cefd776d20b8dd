"""Evaluates a seed batch while it trains and keeps every episode."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cqlbench.engine.product_rate import ProductRate
from cqlbench.environments.make import EnvironmentSpec, make_environments
from cqlbench.evaluation.player import Player
from cqlbench.evaluation.rollout import Policy, Rollout, rollout
from cqlbench.evaluation.scores import normalized_score
from cqlbench.trainer.trainer import CQLTrainer

Clock = Literal["frames", "steps"]
"""What evaluations of the online phase are counted in."""


@dataclass(frozen=True)
class EvaluationPoint:
    """What is known of a seed batch after `step` gradient steps.

    Attributes:
        rollout: the episodes; `None` where the dataset has no environment.
        scores: `[S, E]` normalised, or `None` where the dataset has no endpoints.
        diagnostics: means over the gradient steps since the one before, one number per seed.
        finite: `[S]`: whether the seed trains on: one that has diverged is frozen.
        seconds: since the run began.
        frames: per seed, collected by then.
    """

    step: int
    rollout: Rollout | None
    scores: NDArray[np.float64] | None
    diagnostics: dict[str, list[float]]
    finite: list[bool]
    seconds: float
    frames: int = 0


@dataclass
class Evaluator:
    """A `post_steps` hook of `CQLTrainer`: evaluates whenever `interval` more gradient steps have been taken.

    Attributes:
        trainer: whose policies play.
        spec: the environment, or `None` to keep diagnostics only.
        episodes: per seed and evaluation.
        interval: gradient steps between evaluations; the last step is evaluated in any case.
        online_interval: between evaluations once frames are collected; the first batch that passes its end is
            evaluated, and the last one in any case.
        online_clock: what it counts: `frames` per seed, or gradient `steps`.
        score_min: return that counts as 0.
        score_max: return that counts as 100.
        seconds: spent in evaluation.
        unplayed_because: why `spec` is `None`, one sentence.
        began: when the run began, on the clock of `time.perf_counter`; by default, now.
        check: called at every step of the environments; what it raises breaks the evaluation off, without a
            trace in the history.
        loaded: entries of the history that are an earlier process's.
        products: the device's speed, measured at each evaluation of this process.
    """

    trainer: CQLTrainer
    spec: EnvironmentSpec | None
    episodes: int
    interval: int
    score_min: float | None
    score_max: float | None
    history: list[EvaluationPoint] = field(default_factory=list)
    seconds: float = 0.0
    online_interval: int = 1
    online_clock: Clock = "frames"
    unplayed_because: str = "Not evaluated: the dataset's card names no environment."
    began: float = field(default_factory=time.perf_counter)
    check: Callable[[], None] = lambda: None
    loaded: int = 0
    products: ProductRate = field(init=False)

    def __post_init__(self) -> None:
        self.products = ProductRate(self.trainer.engine.device)

    def __call__(self) -> None:
        """Evaluate if it is time to and has not been done."""
        step, frames = self.trainer.gradient_steps, self.trainer.collected_frames
        if frames:
            # A checkpoint may lie between a batch of frames and its gradient steps.
            due = step == self.trainer.steps_due and self._due_online(step, frames)
        else:
            due = step > 0 and (step % self.interval == 0 or step == self.trainer.offline_steps)
        if due and not (self.history and self.history[-1].step == step):
            self._evaluate(step)

    def _due_online(self, step: int, frames: int) -> bool:
        if frames >= self.trainer.total_frames:
            return True
        passed, batch = frames, self.trainer.frames_per_batch
        if self.online_clock == "steps":
            passed, batch = step - self.trainer.offline_steps, self.trainer.online_steps_per_batch
        return passed > 0 and passed % self.online_interval < batch  # a batch may pass the interval's end

    def state_dict(self) -> dict[str, Any]:
        """The history and the time it took, as plain values; exact."""
        return {
            "history": [_plain(asdict(point)) for point in self.history],
            "seconds": self.seconds,
            "run_seconds": time.perf_counter() - self.began,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave: the seconds of the run then count as if it had begun earlier."""
        self.history[:] = [_checkpointed(point) for point in state["history"]]
        self.loaded = len(self.history)
        self.seconds = state["seconds"]
        self.began -= state["run_seconds"]
        self._after_evaluation()

    def seconds_at_most(self, steps: int = 20) -> float:
        """The time of an evaluation whose episodes all reach the time limit, from a few measured steps."""
        if self.spec is None or self.spec.max_episode_steps is None:
            return 0.0
        engine = self.trainer.engine
        seeds = range(len(engine.seeds) * self.episodes)
        environments = make_environments(self.spec, seeds, discrete=engine.discrete)
        shape = (len(engine.seeds), self.episodes, environments.observation_size)
        try:
            observations = environments.reset()
            act, rewarded = self._player()
            start = time.perf_counter()
            for _ in range(steps):
                actions = act(observations.reshape(shape))
                step = environments.step(actions.reshape(len(observations), -1))
                observations = step.observations
                rewarded(step.rewards.reshape(shape[:2]))
            return (time.perf_counter() - start) / steps * self.spec.max_episode_steps
        finally:
            environments.close()

    def _evaluate(self, step: int) -> None:
        start = time.perf_counter()
        engine = self.trainer.engine
        played, scores = None, None
        if self.spec is not None:
            index = len(self.history)
            act, rewarded = self._player()
            played = rollout(
                act,
                self.spec,
                engine.seeds,
                self.episodes,
                index,
                discrete=engine.discrete,
                rewarded=rewarded,
            )
            if self.score_min is not None and self.score_max is not None:
                scores = normalized_score(played.returns, self.score_min, self.score_max)
        self.seconds += time.perf_counter() - start
        seconds = time.perf_counter() - self.began
        finite = engine.finite_seeds()
        frames = self.trainer.collected_frames
        diagnostics = engine.drain_diagnostics()
        self.products.measure()
        self.history.append(EvaluationPoint(step, played, scores, diagnostics, finite, seconds, frames))
        self._after_evaluation()

    def _after_evaluation(self) -> None:
        if not self.history:
            return
        latest = self.history[-1]
        if latest.scores is not None:
            self.trainer.show(f"score {_mean(latest.scores):.1f}")
        elif latest.rollout is not None:
            self.trainer.show(f"return {_mean(latest.rollout.returns):.1f}")
        if not any(latest.finite):
            self.trainer.request_stop("every seed has diverged")

    def _player(self) -> tuple[Policy, Callable[[NDArray[np.float64]], None]]:
        """Who plays one evaluation's episodes, and what is to be told their rewards."""
        engine = self.trainer.engine
        by, rewarded = engine.act, None
        if engine.algorithm.context > 1:
            player = Player(
                engine.act_after, engine.algorithm.context, engine.asked_return, engine.actions.size
            )
            by, rewarded = player.act, player.rewarded

        def act(observations: NDArray[np.float64]) -> NDArray[np.float32]:
            self.check()
            actions: NDArray[np.float32] = by(torch.from_numpy(observations)).cpu().numpy()
            return actions

        return act, lambda rewards: rewarded(torch.from_numpy(rewards)) if rewarded else None


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _checkpointed(plain: Mapping[str, Any]) -> EvaluationPoint:
    rollout: Any = plain["rollout"]
    scores = plain["scores"]
    if rollout is not None:
        arrays: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in rollout.items()}
        rollout = Rollout(**arrays)
    return EvaluationPoint(
        **{**plain, "rollout": rollout, "scores": None if scores is None else np.array(scores)}
    )
