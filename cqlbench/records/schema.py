"""What one trained seed leaves behind: `Record`. Field by field, with reasons: `results/README.md`."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from cqlbench.core.errors import UserError

SCHEMA_VERSION = 1
HASH_DIGITS = 12
UNCOMMITTED = "code with uncommitted changes"

Status = Literal["finished", "failed", "skipped"]


class RecordError(UserError):
    """A record file that cannot be read, trusted or written."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """The data a run learned from. What is unknown because a run was skipped early is `None`.

    Attributes:
        id: full dataset id, version included; of a file, `file/<its name>-<8 digits of its content hash>`.
        content_hash: hash of the transitions themselves.
        rows: transitions trained on.
        episodes: whole episodes in the dataset; all of them where none is whole.
        dropped_rows: rows of the source left out because their next observation is unknown.
        resolution: how the id was found, one sentence.
        notes: what the reader changed or noticed, one sentence each.
        behaviour_return_mean: mean undiscounted return of what made the data.
        behaviour_score: the same, normalised, 0-100 scale.
        behaviour_source: whose mean the two are: a label, a comma, and over which episodes.
    """

    id: str
    content_hash: str | None
    rows: int | None
    episodes: int | None
    dropped_rows: int
    resolution: str
    notes: tuple[str, ...] = ()
    behaviour_return_mean: float | None = None
    behaviour_score: float | None = None
    behaviour_source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much was computed; `cqlbench.experiments.config.BudgetConfig` says what the numbers mean."""

    name: str
    steps: int
    evaluation_interval: int
    evaluation_episodes: int


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where the episodes were played, to the version."""

    id: str
    backend: str
    backend_version: str
    mujoco_version: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How a score comes about. Records whose protocols differ are never pooled.

    Attributes:
        deterministic: the policy acts by its mode, not by a sample.
        episodes: episodes per evaluation.
        environment: the environment.
        max_episode_steps: the time limit in steps; `None` where the environment sets none.
        score_min: return that scores 0; `None` where no endpoints are known (scores are then `None`).
        score_max: return that scores 100.
        endpoints_source: where the two come from.
    """

    deterministic: bool
    episodes: int
    environment: Environment
    max_episode_steps: int | None
    score_min: float | None
    score_max: float | None
    endpoints_source: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All episodes of one evaluation. A return or score that is not finite is `None`.

    Attributes:
        step: gradient steps done.
        returns: undiscounted episode returns, one per episode.
        lengths: episode lengths in steps.
        scores: normalised returns, 100 · (return - score_min) / (score_max - score_min).
        wall_seconds: seconds since the run began, when the evaluation ended.
    """

    step: int
    returns: tuple[float | None, ...]
    lengths: tuple[int, ...]
    scores: tuple[float | None, ...]
    wall_seconds: float

    @classmethod
    def of(
        cls, step: int, returns: ArrayLike, lengths: ArrayLike, scores: ArrayLike | None, wall_seconds: float
    ) -> Self:
        """From arrays `[episodes]`; NaN and infinities become `None`, and so do scores not given."""
        numbers = _finite(returns)
        return cls(
            step=int(step),
            returns=numbers,
            lengths=tuple(int(length) for length in np.asarray(lengths)),
            scores=(None,) * len(numbers) if scores is None else _finite(scores),
            wall_seconds=float(wall_seconds),
        )


@dataclass(frozen=True, kw_only=True)
class OnlineFacts:
    """How a run went on after its offline steps, with frames from its own environments.

    Attributes:
        offline_steps: gradient steps before the first frame.
        frames: environment frames of this seed.
        evaluated_frames: frames collected by each of the record's evaluations.
        offline_score: mean score of the last evaluation before the first frame; `None` without one.
        online_score: mean score of the last evaluation.
        cumulative_regret: mean over the evaluations after the first frame of 1 − score / 100.
        dropped_episodes: episodes that broke off: an environment failed, or a killed process could not take
            its state along.
        incidents: one sentence for each of them.
    """

    offline_steps: int
    frames: int
    evaluated_frames: tuple[int, ...]
    offline_score: float | None
    online_score: float | None
    cumulative_regret: float | None
    dropped_episodes: int = 0
    incidents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Speed of the whole seed batch.

    Attributes:
        train_seconds: seconds in gradient steps, without the hooks between them (checkpoints).
        steps_per_second: gradient steps of the batch per second of training; one step trains every seed.
        seed_steps_per_second: the same, times the number of seeds.
        evaluation_seconds: seconds in evaluation.
        total_seconds: seconds from start to end, loading included.
    """

    train_seconds: float
    steps_per_second: float
    seed_steps_per_second: float
    evaluation_seconds: float
    total_seconds: float


@dataclass(frozen=True, kw_only=True)
class Git:
    """The checkout that ran; both `None` outside one."""

    commit: str | None
    dirty: bool | None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The computer, without anything that names its owner.

    Attributes:
        platform: operating system and architecture.
        cpu: the processor.
        cores: cores that the process may use.
        device: the torch device that trained, with its number: `cpu`, `cuda:0`.
        threads: threads that torch computes with on the CPU.
        gpu: the GPU that trained; `None` where none did.
        memory_gib: main memory.
    """

    platform: str
    cpu: str
    cores: int
    device: str
    threads: int
    gpu: str | None
    memory_gib: float | None


@dataclass(frozen=True, order=True)
class RecordKey:
    """What a record is filed under."""

    dataset: str
    algorithm: str
    budget: str
    config_hash: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """One seed of one run: every evaluation's episodes, and what is needed to make them again.

    Attributes:
        dataset: the data.
        algorithm: the name in tables.
        config: everything that identifies the run and can change its numbers; nothing else (no seeds,
            no device, no folders). `config_hash` is computed from it.
        config_hash: `config_hash(config)`; checked.
        budget: how much was computed.
        comparable: whether the score may stand beside published ones: budget, algorithm and data are those
            of the publication.
        comparable_reason: why it may not; empty exactly if it may.
        seed: this record's seed.
        seed_batch: the seeds trained together with it, itself included.
        protocol: how it was evaluated; `None` where it was not: the run never got that far, or nobody knows
            an environment for its dataset.
        evaluations: in ascending order of step.
        diagnostics: training curves: `{"step": 1000, "critic_loss": 0.3, ...}`; `None` for a value that
            was not finite.
        throughput: speed; `None` only where the run never got that far.
        versions: name of a package (or `python`) to its version.
        git: commit of the checkout; of a resumed run its last one, and dirty if any was.
        machine: hardware.
        status: `finished`, `failed` or `skipped`.
        reason: one sentence, for a run that did not finish or was not evaluated.
        created_at: UTC, ISO 8601.
        command: arguments that make the run again.
        resumed_at: gradient steps after which another process went on with the run, after a kill; a record
            of a run made in one go is written without it.
        earlier_commits: other commits whose code made a part of a resumed run; written only if there are any.
        online: of a fine-tuned run; others are written without it.
        schema_version: of this layout.

    Raises:
        ValueError: the parts contradict each other.
    """

    dataset: DatasetFacts
    algorithm: str
    config: Mapping[str, Any]
    config_hash: str
    budget: Budget
    comparable: bool
    comparable_reason: str
    seed: int
    seed_batch: tuple[int, ...]
    protocol: EvaluationProtocol | None
    evaluations: tuple[Evaluation, ...]
    diagnostics: tuple[Mapping[str, int | float | None], ...]
    throughput: Throughput | None
    versions: Mapping[str, str]
    git: Git
    machine: Machine
    status: Status
    reason: str | None
    created_at: str
    command: tuple[str, ...]
    resumed_at: tuple[int, ...] = field(default=(), metadata={"left_out": True})
    earlier_commits: tuple[str, ...] = field(default=(), metadata={"left_out": True})
    online: OnlineFacts | None = field(default=None, metadata={"left_out": True})
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        problem = next(_contradictions(self), None)
        if problem:
            raise ValueError(problem)

    @property
    def incomparable_because(self) -> str:
        """Why the score may not stand beside published ones: `comparable_reason`, and uncommitted code."""
        reasons = [self.comparable_reason]
        if self.git.dirty and UNCOMMITTED not in self.comparable_reason:
            reasons.append(UNCOMMITTED)
        return "; ".join(filter(None, reasons))

    @property
    def key(self) -> RecordKey:
        """What the record is filed under."""
        return RecordKey(self.dataset.id, self.algorithm, self.budget.name, self.config_hash, self.seed)


def config_hash(config: Mapping[str, Any]) -> str:
    """Hexadecimal digits that stand for `config`, whatever the order of its keys.

    A whole number hashes the same as int and as float, so `alpha=5` and `alpha=5.0` are one configuration.

    Args:
        config: what identifies a run and can change its numbers, in plain JSON types. Leave out seeds,
            device and folders.

    Raises:
        ValueError: a value is not finite.
        TypeError: a value is not a plain JSON type.
    """
    text = json.dumps(_canonical(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def diagnostics_row(step: int, values: Mapping[str, Any]) -> dict[str, int | float | None]:
    """One row of `Record.diagnostics`; `values` may be numpy or torch scalars, NaN becomes `None`."""
    numbers = {name: float(value) for name, value in values.items()}
    return {"step": step} | {name: x if math.isfinite(x) else None for name, x in numbers.items()}


def _contradictions(record: Record) -> Iterator[str]:
    if record.schema_version != SCHEMA_VERSION:
        yield f"its schema_version is {record.schema_version}, not {SCHEMA_VERSION}"
    expected = config_hash(record.config)
    if record.config_hash != expected:
        yield f"its config_hash is '{record.config_hash}', and its config hashes to '{expected}'"
    if record.seed not in record.seed_batch:
        yield f"seed {record.seed} is not in its seed_batch {list(record.seed_batch)}"
    if (record.reason is None) != (record.status == "finished" and record.protocol is not None):
        yield f"status '{record.status}' does not go with reason {record.reason!r}"
    if record.comparable == bool(record.comparable_reason):
        yield f"comparable is {record.comparable} and comparable_reason {record.comparable_reason!r}"
    if (record.dataset.behaviour_return_mean is None) != (record.dataset.behaviour_source is None):
        yield "of behaviour_return_mean and behaviour_source, one is null and the other is not"
    if any("step" not in row for row in record.diagnostics):
        yield "a row of its diagnostics lacks 'step'"
    steps = [evaluation.step for evaluation in record.evaluations]
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        yield "the steps of its evaluations do not ascend"
    for evaluation in record.evaluations:
        yield from _evaluation_contradictions(evaluation, record.protocol)
    if record.status == "finished":
        yield from _missing_at_the_end(record)


def _missing_at_the_end(record: Record) -> Iterator[str]:
    required = {
        "throughput": record.throughput,
        "dataset.content_hash": record.dataset.content_hash,
        "dataset.rows": record.dataset.rows,
        "dataset.episodes": record.dataset.episodes,
    }
    for name, value in required.items():
        if value is None:
            yield f"it is finished, and its '{name}' is null"
    last = record.evaluations[-1].step if record.evaluations else None
    if last != record.budget.steps and record.protocol is not None:
        yield f"it is finished after {record.budget.steps} steps, and its last evaluation is at step {last}"


def _evaluation_contradictions(evaluation: Evaluation, protocol: EvaluationProtocol | None) -> Iterator[str]:
    where = f"the evaluation at step {evaluation.step}"
    if protocol is None:
        yield f"{where} has no protocol"
        return
    for name in ("returns", "lengths", "scores"):
        if len(getattr(evaluation, name)) != protocol.episodes:
            yield f"{where} has {len(getattr(evaluation, name))} {name}, and {protocol.episodes} episodes"
    low, high = protocol.score_min, protocol.score_max
    for value, score in zip(evaluation.returns, evaluation.scores, strict=True):
        expected = None
        if value is not None and low is not None and high is not None:
            expected = 100.0 * (value - low) / (high - low)
        if expected is None or score is None:
            if expected is not score:
                yield f"{where} scores {score} for return {value}, and its endpoints give {expected}"
        elif not math.isclose(score, expected, rel_tol=1e-5, abs_tol=1e-3):
            yield f"{where} scores {score} for return {value}, and its endpoints give {expected}"


def _finite(values: ArrayLike) -> tuple[float | None, ...]:
    return tuple(float(x) if np.isfinite(x) else None for x in np.asarray(values, np.float64))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("Keys of a configuration are text.")
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
