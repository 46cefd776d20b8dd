"""Runs -> the units that a launcher is to run; what is recorded already is not run again."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import torch

from cqlbench.core.devices import device_facts
from cqlbench.core.errors import ConfigError
from cqlbench.experiments.compose import value_of
from cqlbench.experiments.launchers.launch import Work
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.unit import Unit
from cqlbench.experiments.plan import Plan
from cqlbench.experiments.recorded import Stands, unfinished_batches, without_dataset
from cqlbench.records import provenance
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore

_DECIDED = ("seeds", "results", "device")
_COMMAND = ("-m", "cqlbench")


@dataclass(frozen=True)
class Job:
    """One run of a suite or sweep.

    Attributes:
        name: for people.
        verb: of the command that makes it.
        plan: what they mean.
    """

    name: str
    verb: str
    words: tuple[str, ...]
    plan: Plan


def device_for(settings: LauncherSettings, words: Sequence[str]) -> torch.device | None:
    """Where units train, for `make_plan`; `None`: as this machine would.

    Raises:
        ConfigError: a device is named that the engine chooses.
    """
    if settings.device == "auto":
        return None
    named = value_of(words, "device", settings.device)
    if named not in ("cpu", "cuda", "auto"):
        raise ConfigError(f"device={named} cannot be set: launcher={settings.name} chooses; say cpu or cuda.")
    return torch.device(settings.device if named == "auto" else named)


def work_of(
    jobs: Sequence[Job], settings: LauncherSettings, title: str, stands: Stands, plans: object = None
) -> Work:
    """What is to be run of some jobs of one results folder; `title` and `plans` as of `Work`.

    Raises:
        ConfigError: seeds would be divided of which a trainer of the whole batch is asked for.
    """
    parts = [(place, plan) for place, job in enumerate(jobs) for plan in _parts(job, settings, stands)]
    numbered = dict(enumerate(parts, 1))
    return Work(
        title=title,
        results=str(Path(jobs[0].plan.config.results).absolute()) if jobs else "",
        jobs=tuple(job.name for job in jobs),
        units=tuple(_unit(number, jobs[place], plan, settings) for number, (place, plan) in numbered.items()),
        job_of={number: place for number, (place, _) in numbered.items()},
        seconds=_seconds({number: plan for number, (_, plan) in numbered.items()}),
        plans=pickle.dumps(plans),
    )


def _parts(job: Job, settings: LauncherSettings, stands: Stands) -> Iterator[Plan]:
    """The parts of a job that are to be run.

    How seeds are divided depends on nothing else, so that what was cut off is found again.

    Raises:
        ConfigError: seeds would be divided of which a trainer of the whole batch is asked for.
    """
    config = job.plan.config
    at_once = settings.seeds_per_run or len(config.seeds)
    if at_once < len(config.seeds) and (config.trainer.save_trainer_file or config.online.start):
        raise ConfigError(
            f"launcher.seeds_per_run={at_once} divides the seeds of a trainer that is one: leave it out."
        )
    done = {} if config.rerun else _recorded(job.plan, stands)
    for start in range(0, len(config.seeds), at_once):
        seeds = config.seeds[start : start + at_once]
        if not all(seed in done for seed in seeds):
            yield job.plan.with_seeds(seeds)


def _unit(number: int, job: Job, plan: Plan, settings: LauncherSettings) -> Unit:
    words = [word for word in job.words if word.partition("=")[0] not in _DECIDED]
    seeds, device = plan.config.seeds, plan.device
    decided = (
        f"seeds=[{','.join(map(str, seeds))}]",
        f"results={Path(plan.config.results).absolute()}",
        f"device={device if settings.device == 'auto' else device.type}",
    )
    return Unit(number, f"{job.name}, seeds {_ranges(seeds)}", (*_COMMAND, job.verb, *words, *decided))


def _recorded(plan: Plan, stands: Stands) -> Mapping[int, Record]:
    """The records of seeds whose run is complete, by seed; none of a file's, whose content is not known here.

    A run that was killed after its last record has left its checkpoints: it is completed by being run again.
    """
    if plan.resolution.card.source == "path":
        return {}
    store = RecordStore(Path(plan.config.results))
    origin = provenance.collect(*device_facts(str(plan.device)), plan.arguments)
    records = without_dataset(plan, origin, store, stands).records
    batches = (unfinished_batches(store.path_of(each).parent) for each in list(records.values())[:1])
    left = {seed for each in batches for batch in each for seed in batch}
    return {seed: record for seed, record in records.items() if seed not in left}


def _seconds(plans: Mapping[int, Plan]) -> dict[int, float]:
    """What each of the plans takes, where runs of its kind are recorded: as long as those on average."""

    @cache
    def known(results: str, algorithm: str, budget: str) -> list[tuple[str, int, int, float]]:
        found = RecordStore(Path(results), lambda _: None).find(algorithm=algorithm, budget=budget)
        return [
            (each.machine.device[:4], len(each.seed_batch), each.budget.steps, each.throughput.total_seconds)
            for each in found
            if each.throughput is not None
        ]

    seconds = {}
    for number, plan in plans.items():
        config, kind = plan.config, (plan.device.type[:4], len(plan.config.seeds), plan.budget.steps)
        runs = known(config.results, config.algorithm.name, plan.budget.name)
        if alike := [each[3] for each in runs if each[:3] == kind]:
            seconds[number] = fmean(alike)
    return seconds


def _ranges(seeds: Sequence[int]) -> str:
    """`0-3,7` of [0, 1, 2, 3, 7]."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
