"""Arguments on the command line -> everything that is decided before the data are touched."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

import cqlbench
from cqlbench.algorithms import class_of
from cqlbench.algorithms.algorithm import Spaces
from cqlbench.algorithms.networks import ActionBox, DiscreteActions
from cqlbench.core.devices import device_of
from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import benchmarks_dir
from cqlbench.core.threads import threads_of
from cqlbench.data.buffer import Dataset
from cqlbench.data.resolve import Resolution, resolve
from cqlbench.engine.online.mixture import evaluations_due, training_batches
from cqlbench.experiments.compose import Composed, compose_bench, value_of
from cqlbench.experiments.config import BenchConfig, BudgetConfig
from cqlbench.records.schema import RecordKey, config_hash
from cqlbench.records.store import run_folder, safe_name
from cqlbench.trainer.initial_checkpoint import SavedStart


@dataclass(frozen=True)
class Plan:
    """One bench run, decided.

    Attributes:
        config: the checked config, the dataset's preset included.
        resolution: how the dataset's name was understood.
        budget_note: why this budget, if it was not named.
        incomparable_because: why its scores may not stand beside published ones; empty if they may.
        arguments: what makes the same run again, whatever the machine's network and devices.
        start: the trainer that fine-tuning begins from; `None` trains offline first.
        threads: CPU threads that compute; `None` leaves their number to torch.
        other_content: the dataset's content hash, if it is not the one that its card expects.
    """

    config: BenchConfig
    resolution: Resolution
    device: torch.device
    budget_note: str
    incomparable_because: str
    arguments: tuple[str, ...]
    start: SavedStart | None = None
    threads: int | None = None
    other_content: str = ""

    @property
    def budget(self) -> BudgetConfig:
        """What is recorded as computed: with fine-tuning, of another name and more steps."""
        budget, online = self.config.budget, self.config.online
        if not online.frames:
            return budget
        steps = budget.steps + self._training_batches * online.steps_per_batch
        return replace(budget, name=f"{budget.name}-finetune", steps=steps)

    @property
    def _training_batches(self) -> int:
        online = self.config.online
        return training_batches(
            online.frames, online.frames_per_batch, online.random_frames + online.warmup_frames
        )

    @property
    def online_evaluations(self) -> int:
        """How often the seeds are evaluated after the first frame."""
        online, offline_steps = self.config.online, self.config.budget.steps
        if online.evaluation_clock == "steps":
            steps = self.budget.steps - offline_steps
            return evaluations_due(steps, online.steps_per_batch, online.evaluation_interval)
        batch, interval = online.frames_per_batch, online.evaluation_interval
        untrained = (online.frames - self._training_batches * batch) // max(interval, batch)
        if not offline_steps:  # an untrained policy is evaluated, but once only
            untrained = max(untrained - 1, 0)
        return evaluations_due(online.frames, batch, interval) - untrained

    def folder(self, dataset: Dataset) -> str:
        """The relative path of the run, as its records have it under `<results>/runs/`."""
        name, algorithm = dataset_id(dataset, self.resolution), self.config.algorithm.name
        return run_folder(RecordKey(name, algorithm, self.budget.name, config_hash(self.identity), seed=0))

    def place(self, dataset: Dataset, kind: str) -> Path:
        """A folder for something of the run (`checkpoints`, `collected`), beside its records."""
        seeds = safe_name(f"{kind}-{','.join(map(str, self.config.seeds))}")
        return Path(self.config.results) / "runs" / self.folder(dataset) / seeds

    def with_seeds(self, seeds: Sequence[int]) -> "Plan":
        """The same run of other seeds."""
        others = [_seeds_argument(seeds) if each.startswith("seeds=") else each for each in self.arguments]
        return replace(self, config=replace(self.config, seeds=list(seeds)), arguments=tuple(others))

    def spaces(self, dataset: Dataset) -> Spaces:
        """What the algorithm sees of `dataset`, the plan's."""
        card, size = self.resolution.card, dataset.action_size
        if dataset.discrete_actions:
            return Spaces(dataset.observation_size, DiscreteActions(size))
        bounds = (torch.tensor(bound, dtype=torch.float32) for bound in (card.action_low, card.action_high))
        low, high = (bound.expand(size) for bound in bounds)
        return Spaces(dataset.observation_size, ActionBox.from_bounds(low, high))

    def check_actions(self, *, discrete: bool) -> None:
        """Refuse a preset or an algorithm that is for other actions than the dataset's.

        Raises:
            ConfigError: it is.
        """
        class_of(self.config.algorithm, discrete=discrete)
        meant, here = self.config.protocol.actions, "discrete" if discrete else "continuous"
        if meant not in ("any", here):
            raise ConfigError(
                f"The preset is for {meant} actions, and those of {self.resolution.dataset_id} are {here}:"
                " leave out preset=, or choose another."
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What a config hash is made of: all that can change a score and that a rerun would share."""
        budget, online = identity_of(self.budget), identity_of(self.config.online)
        del budget["comparable"], online["timeout"], online["start"]  # nothing of a score
        # As it was when the penalty's weight was the only setting that could change.
        online = {"conservative_weight": None} | online.pop("algorithm") | online
        if self.start is not None:
            online["start"] = self.start.digest
        return {
            "algorithm": identity_of(self.config.algorithm),
            "budget": budget,
            "scores_version": cqlbench.SCORES_VERSION,
            "tf32": self.device.type == "cuda" and self.config.tf32,
            **({"clip_actions": True} if self.config.clip_actions else {}),
            **({"dataset_content": self.other_content} if self.other_content else {}),
            **({"online": online} if self.config.online.frames else {}),
        }


def dataset_id(dataset: Dataset, resolution: Resolution) -> str:
    """The id in records: a file's says which file it was, and not where on somebody's disk it lay."""
    if resolution.card.source != "path" or resolution.path is None:
        return dataset.id
    return f"file/{resolution.path.name}-{dataset.content_hash[:8]}"


def identity_of(settings: Any) -> dict[str, Any]:
    """A config dataclass as a dictionary, without those `added` fields that are left at their defaults."""
    everything = asdict(settings)
    for each in fields(settings):
        if each.metadata.get("added") and everything[each.name] == each.default:
            del everything[each.name]
    return everything


def make_plan(arguments: Sequence[str], *, online: bool = False, device: torch.device | None = None) -> Plan:
    """Decide a bench run.

    Args:
        arguments: of the command line, `key=value`.
        online: it fine-tunes, as its budget does where `arguments` do not say how.
        device: where it will train, on another machine; `None`: here, as `arguments` say.

    Raises:
        ConfigError: an argument or value that makes no sense.
        DatasetError: no such dataset, or none that can be had.
    """
    device = device or device_of(value_of(arguments, "device", "auto"))
    threads = threads_of(value_of(arguments, "threads", "auto"))
    budget, note = ("paper", "a GPU trains") if device.type == "cuda" else ("quick", "a CPU trains")
    composed = compose_bench(arguments, budget, online=online)
    named = composed.config
    resolution = resolve(named.dataset, named.source)
    preset = value_of(arguments, "preset", resolution.card.preset)
    name = resolution.dataset_id.partition("/")[2]
    if resolution.card.preset:
        composed = compose_bench(arguments, budget, preset, online=online, name=name)
    start = SavedStart.read(Path(named.online.start)) if named.online.start else None
    if start is not None and composed.config.budget.steps != start.steps:
        asked = value_of(arguments, "steps", value_of(arguments, "budget.steps", ""))
        if asked:
            raise ConfigError(
                f"steps={asked} asks for other offline steps than the {start.steps:,} of online.start."
            )
        counted = [*arguments, f"steps={start.steps}"]  # settings may depend on them, as IQL's schedule does
        composed = compose_bench(counted, budget, preset, online=online, name=name)
    config = composed.config
    reproducing = [
        "finetune" if config.online.frames else "bench",
        f"dataset={named.dataset if resolution.card.source == 'path' else resolution.dataset_id}",
        f"budget={value_of(arguments, 'budget', budget)}",
        _seeds_argument(config.seeds),
        f"device={device}",
        *([f"threads={threads}"] if threads else []),
        *(
            [f"online={composed.online}"]
            if config.online.frames and not value_of(arguments, "online", "")
            else []
        ),
        *([f"preset={preset}"] if value_of(arguments, "preset", "") else []),
        *([] if config.tf32 else ["tf32=false"]),
        *(["clip_actions=true"] if config.clip_actions else []),
        *composed.changes,
    ]
    plan = Plan(
        config=config,
        resolution=resolution,
        device=device,
        budget_note="" if value_of(arguments, "budget", "") else f" (none was named, and {note})",
        incomparable_because=_incomparable(composed, resolution, preset),
        arguments=tuple(reproducing),
        start=start,
        threads=threads,
    )
    own = preset == resolution.card.preset
    actions = resolution.card.actions or (config.protocol.actions if own else "any")
    if actions != "any":  # otherwise the data will say
        plan.check_actions(discrete=actions == "discrete")
    return plan


def _seeds_argument(seeds: Sequence[int]) -> str:
    return f"seeds={list(seeds)}".replace(" ", "")


def _incomparable(composed: Composed, resolution: Resolution, preset: str) -> str:
    config, card, algorithm = composed.config, resolution.card, composed.algorithm
    d4rl, online, protocol = card.source == "d4rl", config.online.frames, config.protocol
    published = (benchmarks_dir() / "preset" / "by_algorithm" / f"{preset}-{algorithm}.yaml").exists()
    published &= not protocol.settings or protocol.dataset in protocol.settings
    settings = [change for change in composed.changes if not change.startswith(("algorithm=", "online="))]
    own = card.source in ("path", "imported")
    reasons = {
        "a dataset of your own" if own else f"{card.source} data, which are not D4RL's": not d4rl,
        "fewer than a million frames of fine-tuning": 0 < online < 1_000_000,
        f"budget {config.budget.name}": not config.budget.comparable,
        "clipped actions": config.clip_actions and "action_clip" not in card.quirks,
        f"fine-tuned by settings of {config.algorithm.name} that are not CORL's for it": (
            online and not protocol.fine_tuning
        ),
        f"settings of {config.algorithm.name} that were published for fine-tuning": (
            not online and protocol.fine_tuning
        ),
        f"changed settings ({', '.join(settings)})": settings,
        f"preset {preset}": d4rl and preset != card.preset,
        f"no settings of {algorithm} were published for it": d4rl and preset == card.preset and not published,
        card.incomparable_because: card.incomparable_because,
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)
