"""What the gate compares with: a suite's accepted scores and training, and how they came about.

One JSON file per suite, `results/baselines/<suite>.json`; `results/README.md` explains its fields.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cqlbench.core import atomic
from cqlbench.records.pooling import seeds_text
from cqlbench.records.provenance import code_digest
from cqlbench.records.schema import (
    UNCOMMITTED,
    Budget,
    EvaluationProtocol,
    Git,
    Machine,
    Part,
    Record,
    RecordError,
)
from cqlbench.records.seed_result import seed_result
from cqlbench.reporting.aggregate import FEWEST_SEEDS, PoolingError, check_poolable
from cqlbench.reporting.gate.training import Snapshot, first_digests, snapshots
from cqlbench.reporting.report import FIELDS, Selection

BASELINE_VERSION = 2
"""Version 1 had neither diagnostics nor first steps, which then are not compared."""


@dataclass(frozen=True)
class SuiteRun:
    """What came of one dataset of a suite, with one algorithm.

    Attributes:
        dataset: full id.
        seeds: those asked for.
        records: one per seed that left one, in order of seed.
        problem: why the run could not be made, a sentence; empty if it was made or had been.
        crashed: whether that was an error of our own.
    """

    dataset: str
    seeds: tuple[int, ...]
    records: tuple[Record, ...]
    problem: str = ""
    crashed: bool = False
    algorithm: str = ""


class Entry(Part, frozen=True, kw_only=True):
    """One dataset's accepted run.

    Attributes:
        dataset: full id.
        content_hash: of its transitions.
        config: everything that identifies the run and can change its numbers.
        scores: seed to score, 0-100 scale.
        steps_per_second: gradient steps of the batch per second; `None` where seeds were made apart.
        products_per_second: matrix products that the device computed per second meanwhile.
        batch: how many seeds trained together.
        code: digest of its code; `None` where nobody knows it, or it was not one clean commit's.
        created_at: UTC, ISO 8601.
        command: arguments that make the run again.
        diagnostics: training's, at fixed steps, one per seed of `scores`.
        first_steps: seed to digests of each of its first steps' diagnostics.
    """

    dataset: str
    content_hash: str | None
    algorithm: str
    config: Mapping[str, Any]
    budget: Budget
    protocol: EvaluationProtocol
    scores: Mapping[str, float]
    steps_per_second: float | None
    batch: int
    machine: Machine
    versions: Mapping[str, str]
    git: Git
    created_at: str
    command: tuple[str, ...]
    products_per_second: float | None = None
    code: str | None = None
    diagnostics: tuple[Snapshot, ...] = ()
    first_steps: Mapping[str, str] = {}


class Baseline(Part, frozen=True, kw_only=True):
    """A suite's accepted runs.

    Attributes:
        selection: which evaluations are scored.
        accepted_at: UTC, ISO 8601.
        entries: one per dataset, in the suite's order.
    """

    schema_version: Annotated[int, msgspec.Meta(ge=1, le=BASELINE_VERSION)] = BASELINE_VERSION
    suite: str
    selection: Selection
    accepted_at: str
    entries: tuple[Entry, ...]


def names_of(runs: Sequence[SuiteRun | Entry]) -> list[str]:
    """What each is called: by its dataset, and by its algorithm where a dataset has several."""
    several = len({run.dataset for run in runs}) < len(runs)
    return [f"{run.dataset}, {run.algorithm}" if several else run.dataset for run in runs]


def entry_of(run: SuiteRun, selection: Selection) -> Entry | str:
    """A run as a baseline holds it, or why it says too little: a sentence."""
    results = {record.seed: seed_result(record) for record in run.records}
    scores = {seed: getattr(result, FIELDS[selection]) for seed, result in results.items()}
    missing = [seed for seed in run.seeds if seed not in results]
    failed = [result for result in results.values() if result.status != "finished"]
    if run.problem or not run.records:
        return run.problem or "No run of it is recorded."
    if missing:
        return f"No run of seed {missing[0]} is recorded."
    if failed:
        return f"Seed {failed[0].seed} {failed[0].status}: {failed[0].reason}"
    if len(scores) < FEWEST_SEEDS:
        return f"It has {len(scores)} seeds, and at least {FEWEST_SEEDS} are needed."
    lead = run.records[0]
    if lead.protocol is None or None in scores.values():
        return "It has no scores: it was not evaluated, or nobody knows its endpoints."
    try:
        check_poolable(run.records)
    except PoolingError as error:
        return str(error)
    together = {(record.created_at, record.seed_batch) for record in run.records}
    speed = lead.throughput if len(together) == 1 else None
    one_commit = len({record.git for record in run.records}) == 1 and lead.git.dirty is False
    clean = one_commit and not any(record.earlier_commits for record in run.records)
    ordered = sorted(run.records, key=lambda record: record.seed)
    return Entry(
        dataset=lead.dataset.id,
        content_hash=lead.dataset.content_hash,
        algorithm=lead.algorithm,
        config=lead.config,
        budget=lead.budget,
        protocol=lead.protocol,
        scores={str(seed): scores[seed] for seed in sorted(scores)},
        steps_per_second=speed.steps_per_second if speed else None,
        products_per_second=speed.products_per_second if speed else None,
        batch=len(lead.seed_batch),
        machine=lead.machine,
        versions=lead.versions,
        git=lead.git,
        code=code_digest(lead.git.commit) if lead.git.commit and clean else None,
        created_at=lead.created_at,
        command=lead.command,
        diagnostics=snapshots(ordered),
        first_steps={str(record.seed): first_digests(record) for record in ordered},
    )


def accept(suite: str, selection: Selection, runs: Sequence[SuiteRun], now: str) -> Baseline:
    """The baseline of these runs.

    Raises:
        RecordError: one of them says too little, or was made by code with uncommitted changes.
    """
    entries = []
    for name, run in zip(names_of(runs), runs, strict=True):
        entry = entry_of(run, selection)
        dirty = [record.seed for record in run.records if record.git.dirty]
        if dirty:
            entry = f"{seeds_text(dirty).capitalize()}: {UNCOMMITTED}; commit them and run it again."
        if isinstance(entry, str):
            raise RecordError(f"{name} cannot be accepted. {entry}")
        entries.append(entry)
    return Baseline(suite=suite, selection=selection, accepted_at=now, entries=tuple(entries))


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Put a baseline in place of one that may be there, whole.

    Raises:
        RecordError: the file cannot be written.
    """
    content = {"schema_version": baseline.schema_version} | msgspec.to_builtins(baseline)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    text = re.sub(r"\[[^][{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text)  # on one line
    try:
        atomic.replace(path, text.encode())
    except OSError as error:
        raise RecordError(
            f"The baseline '{path}' cannot be written ({error.strerror or error}); name another by baseline=."
        ) from error


def read_baseline(path: Path) -> Baseline:
    """The baseline at `path`.

    Raises:
        RecordError: there is none, it is of a newer cqlbench, or no baseline.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Baseline)
    except FileNotFoundError as error:
        raise RecordError(
            f"There is no accepted baseline '{path}'; accept=true makes one of the runs of this checkout."
        ) from error
    except OSError as error:
        raise RecordError(f"Baseline '{path}' cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise RecordError(f"Baseline '{path}' cannot be used: {error}.") from error
