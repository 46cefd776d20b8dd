"""A run that is asked for again: which of its seeds are recorded, and what is left to train."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from cqlbench.algorithms import algorithm_of
from cqlbench.core.errors import UserError
from cqlbench.data.buffer import Dataset
from cqlbench.data.load import other_content
from cqlbench.engine.checkpoint import CheckpointError, CheckpointFolder, differences
from cqlbench.experiments.plan import Plan, dataset_id
from cqlbench.experiments.resume import computing, facts_of
from cqlbench.records.policy import SavedPolicy
from cqlbench.records.provenance import Provenance
from cqlbench.records.schema import Record, config_hash
from cqlbench.records.store import RecordStore
from cqlbench.trainer.state_files import read_state, refuse_strangers

Stands = Callable[[Record], bool]
"""Whether a record stands for its seed, which then is not trained."""


def finished(record: Record) -> bool:
    """What `bench` lets stand: a seed that failed or was skipped is tried again."""
    return record.status == "finished"


@dataclass(frozen=True)
class Standing:
    """How far a run has come.

    Attributes:
        to_train: the run of the seeds that are trained, or whose run is completed; `None` if there are none.
        records: seed to record, of the others.
        notes: what a reader should know of the records, one sentence each.
    """

    to_train: Plan | None
    records: Mapping[int, Record] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def show(self, console: Console) -> None:
        """Say what is recorded, and what that means for this run."""
        lines = [f"Note     {note}" for note in self.notes]
        if self.records:
            dates = sorted({record.created_at[:10] for record in self.records.values()})
            made = " to ".join(dict.fromkeys((dates[0], dates[-1])))
            then = "nothing is trained; rerun=true trains them again"
            if self.to_train is not None:
                then = f"training seeds {_listed(self.to_train.config.seeds)}"
            lines.insert(0, f"Recorded already: seeds {_listed(self.records)} ({made}); {then}")
        for line in lines:
            console.print(Text(line), soft_wrap=True)


def standing(
    plan: Plan, dataset: Dataset, origin: Provenance, store: RecordStore, stands: Stands = finished
) -> Standing:
    """What is recorded of a run, and what is left of it.

    A checkpoint of the missing seeds, or of more that are asked for, is resumed; a run that was killed after
    its last record is completed.

    Records of seeds that are added to must be made by the packages of `origin`, this process.

    Raises:
        RecordError: a record cannot be read.
    """
    config, saved = plan.config, plan.config.trainer.save_trainer_file
    if config.rerun or config.resume not in ("auto", "never"):
        return Standing(plan)
    recorded = {
        record.seed: record
        for record in _counting(plan, store, dataset_id(dataset, plan.resolution))
        if record.dataset.content_hash == dataset.content_hash and stands(record)
    }
    if len(recorded) == len(config.seeds):
        if saved and not _trainer_of(list(recorded.values()), Path(saved), store, plan, dataset):
            return Standing(plan, notes=(f"trained again for '{saved}', which no record can give",))
        return _complete(plan, dataset, origin, recorded)
    if saved or plan.start is not None:  # a saved trainer holds the whole batch
        return Standing(plan, notes=_again(recorded, plan, "a trainer of the whole batch is asked for"))
    alike = {seed: record for seed, record in recorded.items() if not differing([record], origin, code=False)}
    notes = differing(recorded.values(), origin)
    if apart := _without(recorded, alike):
        notes += (f"seeds {_listed(apart)} are trained again, to be made by the same packages as the others",)
    missing = [seed for seed in config.seeds if seed not in alike]
    to_train = plan.with_seeds(missing)
    for each in _parts(plan, dataset) if config.resume != "never" else ():
        if _checkpoints(each, dataset).paths() and set(missing) <= set(each.config.seeds):
            to_train = each
            break
    notes += _again(alike, to_train, "the interrupted run that holds them is resumed")
    return Standing(to_train, _without(alike, to_train.config.seeds), notes)


def _complete(plan: Plan, dataset: Dataset, origin: Provenance, recorded: Mapping[int, Record]) -> Standing:
    """Of a run whose seeds are all recorded."""
    notes, logger = differing(recorded.values(), origin), plan.config.trainer.logger
    unfinished = _cut_off(plan, dataset, origin, recorded.values())
    if unfinished is not None:
        return Standing(unfinished, _without(recorded, unfinished.config.seeds), notes)
    if logger not in (None, "none"):
        notes += (f"nothing is logged, as nothing is trained; logger={logger} needs rerun=true",)
    return Standing(None, recorded, notes)


def without_dataset(plan: Plan, origin: Provenance, store: RecordStore, stands: Stands) -> Standing:
    """What is recorded of a run that is not made, whose dataset has a card and need not be here.

    All records are of the same rows: those of the newest record, where there are several. Arguments and
    errors as of `standing`.
    """
    card, name = plan.resolution.card, plan.resolution.dataset_id
    recorded = [
        record
        for content in {record.dataset.content_hash or "" for record in store.find(dataset=name)}
        for record in _counting(replace(plan, other_content=other_content(card, content)), store, name)
        if record.dataset.content_hash == content and stands(record)
    ]
    if not recorded:
        return Standing(None)
    newest = max((record.created_at, record.dataset.content_hash or "") for record in recorded)[1]
    records = {record.seed: record for record in recorded if record.dataset.content_hash == newest}
    notes = differing(records.values(), origin)
    if other_content(card, newest) or len(records) < len(recorded):
        notes += (f"the records are of the dataset with content {newest[:12]}",)
    return Standing(None, records, notes)


def _counting(plan: Plan, store: RecordStore, dataset: str) -> list[Record]:
    """The records of the plan's seeds that count, whatever became of them; `dataset`: the id in them."""
    recorded = store.find(
        dataset=dataset,
        algorithm=plan.config.algorithm.name,
        budget=plan.budget.name,
        config_hash=config_hash(plan.identity),
    )
    return [record for record in recorded if record.seed in plan.config.seeds]


def _again(records: Mapping[int, Record], to_train: Plan, reason: str) -> tuple[str, ...]:
    """A note that names the seeds of `to_train` that another batch has recorded, if there are any."""
    batch = tuple(to_train.config.seeds)
    twice = [seed for seed in batch if seed in records and records[seed].seed_batch != batch]
    return (f"seeds {_listed(twice)} are trained again: {reason}",) if twice else ()


def _trainer_of(
    records: Sequence[Record], saved: Path, store: RecordStore, plan: Plan, dataset: Dataset
) -> bool:
    """Whether the trainer saved at `saved` has made `records`: its policies are theirs."""
    refuse_strangers(saved)
    seeds = plan.config.seeds
    try:
        engine = read_state(saved)["engine"]
        algorithm = algorithm_of(plan.config.algorithm, plan.spaces(dataset))
        layers = algorithm.policy(engine["train_state"]["parameters"]).layers
        kept = {r.seed: SavedPolicy.load(store.path_of(r).with_suffix(".npz")).arrays for r in records}
        return bool(engine["of"]["seeds"] == list(seeds)) and all(
            np.array_equal(tensor[seeds.index(seed)].numpy().ravel(), arrays[name].ravel())
            for seed, arrays in kept.items()
            for name, tensor in layers.items()
        )
    except (UserError, LookupError, ValueError):  # another kind of trainer, or a seed that kept no policy
        return False


def _parts(plan: Plan, dataset: Dataset) -> list[Plan]:
    """Runs of the plan's seeds, or of some of them, that have left a folder; the plan itself first."""
    batches, wanted = unfinished_batches(plan.place(dataset, "").parent), plan.config.seeds
    return [plan, *(plan.with_seeds(each) for each in sorted(batches) if set(each) < set(wanted))]


def unfinished_batches(folder: Path) -> set[tuple[int, ...]]:
    """The seed batches that have left checkpoints or collected rows in a run's folder."""
    pattern = re.compile(r"(?:checkpoints|collected)-(\d+(?:,\d+)*)")
    names = [pattern.fullmatch(path.name) for path in folder.glob("c*-*")]
    return {tuple(map(int, name[1].split(","))) for name in names if name}


def _cut_off(plan: Plan, dataset: Dataset, origin: Provenance, records: Iterable[Record]) -> Plan | None:
    """The run, of those whose records there are, that was killed after the last of them.

    What other runs have left, which nothing would complete, is removed, but for those of rerun=true.
    """
    known = {(record.created_at, record.seed_batch) for record in records}
    for part in _parts(plan, dataset):
        folder, collected = _checkpoints(part, dataset), part.place(dataset, "collected")
        with suppress(CheckpointError):  # a rerun by other packages, or another process's, for instance
            state = folder.newest(facts_of(part, dataset, origin)).state if folder.paths() else {}
            if state and (state.get("created_at"), tuple(part.config.seeds)) in known:
                if part.config.resume != "never":
                    return part
            elif not state.get("rerun") and (folder.folder.exists() or collected.exists()):
                with folder.alone(wait=False):
                    folder.clear()
                    shutil.rmtree(collected, ignore_errors=True)
    return None


def _checkpoints(plan: Plan, dataset: Dataset) -> CheckpointFolder:
    return CheckpointFolder(plan.place(dataset, "checkpoints"))


def differing(records: Iterable[Record], origin: Provenance, *, code: bool = True) -> tuple[str, ...]:
    """How records were made otherwise than this process would make them, one sentence each.

    With `code` the code counts too, and not the packages and the kind of device only.
    """
    here = computing(origin.versions, origin.machine.device)
    seeds: dict[str, list[int]] = {}
    for record in records:
        phrases = differences(computing(record.versions, record.machine.device), here)
        if code and (record.git.dirty or record.git.commit != origin.git.commit):
            changes = " with uncommitted changes" if record.git.dirty else ""
            phrases.append(f"made by commit {(record.git.commit or 'unknown')[:7]}{changes}")
        if phrases:
            seeds.setdefault("; ".join(phrases), []).append(record.seed)
    return tuple(f"seeds {_listed(each)}: {phrases}" for phrases, each in seeds.items())


def _without(records: Mapping[int, Record], seeds: Iterable[int]) -> dict[int, Record]:
    return {seed: records[seed] for seed in records if seed not in set(seeds)}


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
