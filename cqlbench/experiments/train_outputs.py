"""What a run leaves behind apart from its records: logs while it trains, policies when it has."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from msgspec import structs
from rich.console import Console
from rich.text import Text
from torchrl.record.loggers import Logger
from torchrl.record.loggers.utils import get_logger

from cqlbench.core.errors import ConfigError
from cqlbench.data.buffer import Dataset
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import SeedCollector
from cqlbench.evaluation.evaluator import Evaluator
from cqlbench.experiments.plan import Plan
from cqlbench.records.policy import SavedPolicy
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore, run_folder
from cqlbench.trainer.hydra import make_cql_trainer
from cqlbench.trainer.trainer import CQLTrainer


def make_trainer(
    plan: Plan, engine: Engine, dataset: Dataset, console: Console, collector: SeedCollector | None = None
) -> CQLTrainer:
    """The trainer that the plan's `trainer` settings describe; with a collector, it trains on online.

    Raises:
        ConfigError: an unknown logger, or one whose package is missing.
    """
    settings = asdict(plan.config.trainer)
    logs = Path(plan.config.results) / "logs" / plan.folder(dataset)
    logger = open_logger(settings["logger"], logs)
    if logger is not None:
        console.print(Text(f"Log      {settings['logger']}, in {logger.log_dir}"), soft_wrap=True)
    given = {"engine": engine, "offline_steps": plan.config.budget.steps, "logger": logger}
    if collector is not None:
        online = plan.config.online
        given |= {
            "collector": collector,
            "total_frames": online.frames,
            "online_steps_per_batch": online.steps_per_batch,
        }
    trainer = make_cql_trainer(**settings | given)
    if logger is not None and hasattr(logger.experiment, "flush"):
        trainer.register_op("shutdown", logger.experiment.flush)  # TensorBoard writes every two minutes
    return trainer


def open_logger(name: str | None, folder: Path) -> Logger | None:
    """One of `LOGGERS`, or `None`; it writes to a new folder `run-<n>` under `folder`.

    Raises:
        ConfigError: its package is missing, or the folder cannot be written.
    """
    if name in (None, "none"):
        return None
    try:
        for own in (folder / f"run-{number}" for number in itertools.count(1)):
            with suppress(FileExistsError):  # another run's, perhaps of this very moment
                own.mkdir(parents=True)
                return get_logger(name, logger_name=str(folder), experiment_name=own.name)
    except ImportError as error:
        own.rmdir()
        raise ConfigError(f"Logger '{name}' requires a package: pip install {name}.") from error
    except OSError as error:
        raise ConfigError(f"Logs cannot be written to '{folder}' ({error.strerror or error}).") from error
    raise AssertionError("numbers do not run out")


def log_evaluations(evaluator: Evaluator) -> None:
    """Have the trainer log each evaluation's mean return and score, over seeds and episodes, on its clock.

    A resumed run logs its own ones; those before are in the log of the process that made them.
    """
    logged = 0

    def log() -> None:
        nonlocal logged
        trainer = evaluator.trainer
        if trainer.logger is None:
            return
        for point in evaluator.history[max(logged, evaluator.loaded) :]:
            clock = min(point.step, trainer.offline_steps) + point.frames
            returns = None if point.rollout is None else point.rollout.returns
            for name, values in (("return", returns), ("score", point.scores)):
                if values is not None and np.isfinite(values).any():
                    trainer.logger.log_scalar(f"evaluation/{name}", float(np.nanmean(values)), step=clock)
        logged = len(evaluator.history)

    evaluator.trainer.register_op("setup", log)  # a resumed run may have made its last one already
    evaluator.trainer.register_op("post_steps", log)


def keep_policies(store: RecordStore, records: Sequence[Record], evaluator: Evaluator) -> None:
    """Write the final policy of each finished seed beside its record, which is filed already.

    Raises:
        RecordError: a file cannot be written.
    """
    run, spec = run_folder(records[0].key), evaluator.spec
    for position, record in enumerate(records):
        if record.status != "finished":
            continue
        notes = {
            "run": run,
            "seed": record.seed,
            "step": evaluator.trainer.gradient_steps,
            "dataset": record.dataset.id,
            "config": record.config,
            "environment": None if spec is None else structs.asdict(spec),
            "score_min": evaluator.score_min,
            "score_max": evaluator.score_max,
        }
        arrays, how = evaluator.trainer.engine.policy(position)
        SavedPolicy(arrays, notes | how).save(store.path_of(record).with_suffix(".npz"))
