"""What one trained seed leaves behind: `Record`. Field by field, with reasons: `results/README.md`."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from cqlbench.core.errors import UserError
from cqlbench.records.consistency import contradictions

SCHEMA_VERSION = 1
HASH_DIGITS = 12
UNCOMMITTED = "code with uncommitted changes"

Status = Literal["finished", "failed", "skipped"]


class RecordError(UserError):
    """A record file that cannot be read, trusted or written."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A part of a record. What a field's type says is checked wherever one is read."""


Count = Annotated[int, msgspec.Meta(ge=0)]
Numbers = tuple[float | None, ...]


class DatasetFacts(Part, frozen=True, kw_only=True):
    """The data a run learned from. What is unknown because a run was skipped early is `None`.

    Attributes:
        id: full dataset id, version included; of a file, `file/<its name>-<8 digits of its content hash>`.
        content_hash: hash of the transitions themselves.
        rows: transitions trained on.
        episodes: whole episodes in the dataset; all of them where none is whole.
        dropped_rows: rows of the source left out because their next observation is unknown.
        resolution: how the id was found, one sentence.
        notes: what the reader changed or noticed, one sentence each.
        behaviour_return_mean: mean undiscounted return of the behaviour policy, or else of the episodes.
        behaviour_score: the same, normalised, 0-100 scale.
        behaviour_source: whose mean the two are: a label, a comma, and over which episodes.
    """

    id: str
    content_hash: str | None
    rows: Count | None
    episodes: Count | None
    dropped_rows: Count
    resolution: str
    notes: tuple[str, ...] = ()
    behaviour_return_mean: float | None = None
    behaviour_score: float | None = None
    behaviour_source: str | None = None


class Budget(Part, frozen=True, kw_only=True):
    """How much was computed; `cqlbench.experiments.config.BudgetConfig` says what the numbers mean."""

    name: str
    steps: Count
    evaluation_interval: Count
    evaluation_episodes: Count


class Environment(Part, frozen=True, kw_only=True):
    """Where the episodes were played, to the version."""

    id: str
    backend: str
    backend_version: str
    mujoco_version: str | None = None
    kwargs: Mapping[str, Any] = {}


class EvaluationProtocol(Part, frozen=True, kw_only=True):
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
    episodes: Count
    environment: Environment
    max_episode_steps: Count | None
    score_min: float | None
    score_max: float | None
    endpoints_source: str


class Evaluation(Part, frozen=True, kw_only=True):
    """All episodes of one evaluation. A return or score that is not finite is `None`.

    Attributes:
        step: gradient steps done.
        returns: undiscounted episode returns, one per episode.
        lengths: episode lengths in steps.
        scores: normalised returns, 100 · (return - score_min) / (score_max - score_min).
        wall_seconds: seconds since the run began, when the evaluation ended.
    """

    step: Count
    returns: Numbers
    lengths: tuple[Count, ...]
    scores: Numbers
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


class OnlineFacts(Part, frozen=True, kw_only=True):
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

    offline_steps: Count
    frames: Count
    evaluated_frames: tuple[Count, ...]
    offline_score: float | None
    online_score: float | None
    cumulative_regret: float | None
    dropped_episodes: Count = 0
    incidents: tuple[str, ...] = ()


class Throughput(Part, frozen=True, kw_only=True):
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


class Git(Part, frozen=True, kw_only=True):
    """The checkout that ran; both `None` outside one."""

    commit: str | None
    dirty: bool | None


class Machine(Part, frozen=True, kw_only=True):
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
    cores: Count
    device: str
    threads: Count
    gpu: str | None
    memory_gib: float | None


class RecordKey(msgspec.Struct, frozen=True, order=True):
    """What a record is filed under."""

    dataset: str
    algorithm: str
    budget: str
    config_hash: str
    seed: int


class Record(Part, frozen=True, kw_only=True, omit_defaults=True):
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
    seed: Count
    seed_batch: tuple[Count, ...]
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
    resumed_at: tuple[Count, ...] = ()
    earlier_commits: tuple[str, ...] = ()
    online: OnlineFacts | None = None
    schema_version: Annotated[int, msgspec.Meta(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)] = SCHEMA_VERSION

    def __post_init__(self) -> None:
        problem = next(contradictions(self, config_hash(self.config)), None)
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


def _finite(values: ArrayLike) -> Numbers:
    return tuple(float(x) if np.isfinite(x) else None for x in np.asarray(values, np.float64))


def _canonical(value: Any) -> Any:
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("Keys of a configuration are text.")
        return {name: _canonical(item) for name, item in value.items()}
    return value
