"""What one trained seed leaves behind: `Record`. What each field means, and its unit: `results/README.md`."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from cqlbench.core.errors import UserError

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
    """The data a run learned from. What is unknown because a run was skipped early is `None`."""

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
    """How much was computed."""

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
    """How a score comes about. Records whose protocols differ are never pooled."""

    deterministic: bool
    episodes: Count
    environment: Environment
    max_episode_steps: Count | None
    score_min: float | None
    score_max: float | None
    endpoints_source: str


class Evaluation(Part, frozen=True, kw_only=True):
    """All episodes of one evaluation. A return or score that is not finite is `None`."""

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
    """How a run went on after its offline steps, with frames from its own environments."""

    offline_steps: Count
    frames: Count
    evaluated_frames: tuple[Count, ...]
    offline_score: float | None
    online_score: float | None
    cumulative_regret: float | None
    dropped_episodes: Count = 0
    incidents: tuple[str, ...] = ()


class Throughput(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Speed of the whole seed batch."""

    train_seconds: float
    steps_per_second: float
    seed_steps_per_second: float
    evaluation_seconds: float
    total_seconds: float
    products_per_second: float | None = None


class Git(Part, frozen=True, kw_only=True):
    """The checkout that ran; both `None` outside one."""

    commit: str | None
    dirty: bool | None


class Machine(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The computer, without anything that names its owner."""

    platform: str
    cpu: str
    cores: Count
    device: str
    threads: Count
    gpu: str | None
    memory_gib: float | None
    model: str | None = None


class RecordKey(msgspec.Struct, frozen=True, order=True):
    """What a record is filed under."""

    dataset: str
    algorithm: str
    budget: str
    config_hash: str
    seed: int


class Record(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One seed of one run: every evaluation's episodes, and what is needed to make them again.

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
    earlier_machines: tuple[Machine, ...] = ()
    online: OnlineFacts | None = None
    first_steps: tuple[Mapping[str, int | float | None], ...] = ()
    schema_version: Annotated[int, msgspec.Meta(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)] = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if problem := next(_contradictions(self), None):
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


def _contradictions(record: Record) -> Iterator[str]:
    """A clause for each thing in which parts of a record do not agree."""
    facts, finished, protocol = record.dataset, record.status == "finished", record.protocol
    steps = [evaluation.step for evaluation in record.evaluations]
    known = (facts.content_hash, facts.rows, facts.episodes, record.throughput)
    behaviour = (facts.behaviour_return_mean, facts.behaviour_source)
    explained, evaluated = record.reason is not None, protocol is not None
    wrong = {
        "its config does not hash to its config_hash": config_hash(record.config) != record.config_hash,
        "its seed is not in its seed_batch": record.seed not in record.seed_batch,
        "its reason does not go with its status and protocol": explained == (finished and evaluated),
        "comparable does not go with comparable_reason": record.comparable == bool(record.comparable_reason),
        "its behaviour_return_mean does not go with its behaviour_source": behaviour.count(None) == 1,
        "a row of its diagnostics lacks 'step'": any("step" not in row for row in record.diagnostics),
        "the steps of its evaluations do not ascend": steps != sorted(set(steps)),
        "it is finished, and its throughput or a fact of its dataset is null": finished and None in known,
        "it is finished, and its last evaluation is not at its last step": (
            finished and evaluated and steps[-1:] != [record.budget.steps]
        ),
        "it has evaluations and no protocol": bool(steps) and not evaluated,
    }
    yield from (clause for clause, holds in wrong.items() if holds)
    if protocol is not None:
        for evaluation in record.evaluations:
            yield from _evaluation_contradictions(evaluation, protocol)


def _evaluation_contradictions(evaluation: Evaluation, protocol: EvaluationProtocol) -> Iterator[str]:
    where = f"the evaluation at step {evaluation.step}"
    if {len(evaluation.returns), len(evaluation.lengths), len(evaluation.scores)} != {protocol.episodes}:
        yield f"{where} has not {protocol.episodes} returns, lengths and scores"
        return
    low, high = protocol.score_min, protocol.score_max
    for value, score in zip(evaluation.returns, evaluation.scores, strict=True):
        expected = None
        if value is not None and low is not None and high is not None:
            expected = 100.0 * (value - low) / (high - low)
        if expected is None or score is None:
            agrees = expected is score
        else:
            agrees = math.isclose(score, expected, rel_tol=1e-5, abs_tol=1e-3)
        if not agrees:
            yield f"{where} scores {score} for return {value}, and its endpoints give {expected}"


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
