"""A bench config -> run records and their report: the whole flow on one screen."""

import time
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from cqlbench.compose import as_dict
from cqlbench.config import BenchConfig
from cqlbench.data.buffer import Dataset
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.data.provide import provide
from cqlbench.data.resolve import Resolution, resolve
from cqlbench.errors import ConfigError
from cqlbench.evaluation.evaluator import Evaluator
from cqlbench.records import provenance
from cqlbench.records.from_run import records_of
from cqlbench.records.schema import Budget, Record
from cqlbench.records.store import RecordStore
from cqlbench.reporting.run import report_run
from cqlbench.training.engine import Columns, Engine
from cqlbench.training.trainer import CQLTrainer


def bench(config: BenchConfig, console: Console, budget_note: str = "") -> list[Record]:
    """Train, evaluate, record and report one seed batch.

    Args:
        config: what to run.
        console: where progress and the table go.
        budget_note: said after the budget's name.

    Returns:
        The records written, one per seed.

    Raises:
        UserError: anything the user can put right; nothing is half-written then.
    """
    began = time.perf_counter()
    origin = provenance.collect(config.device)
    resolution = resolve(config.dataset, config.source)
    console.print(f"Dataset  {resolution.dataset_id}: {resolution.reason}")
    store = RecordStore(Path(config.results))
    store.check_writable()
    dataset = provide(resolution)
    engine = make_engine(config, resolution, dataset)
    trainer = CQLTrainer(
        engine=engine,
        offline_steps=config.budget.steps,
        optim_steps_per_batch=config.budget.evaluation_interval,
    )
    card = resolution.card
    evaluator = Evaluator(
        trainer,
        card.environment,
        config.budget.evaluation_episodes,
        config.budget.evaluation_interval,
        card.score_min,
        card.score_max,
    )
    announce(config, evaluator, dataset, budget_note, console)
    trainer.register_op("post_steps", evaluator)
    trainer.train()
    identity = {key: value for key, value in as_dict(config).items() if key in ("algorithm", "budget")}
    records = records_of(
        evaluator,
        dataset,
        resolution,
        identity,
        Budget(**as_dict(config.budget)),
        origin,
        time.perf_counter() - began,
    )
    for record in records:
        store.write(record)
    report_run(records, Path(config.results), console)
    return records


def make_engine(config: BenchConfig, resolution: Resolution, dataset: Dataset) -> Engine:
    """The dataset, the algorithm and the seeds on their device, preprocessed as the config says."""
    algorithm, card = config.algorithm, resolution.card
    size = dataset.observation_size
    normalizer = (
        ObservationNormalizer.from_dataset(dataset)
        if algorithm.normalize_observations
        else ObservationNormalizer.identity(size)
    )
    rewards = RewardTransform.from_dataset(dataset, algorithm.normalize_rewards)
    low = torch.full((dataset.action_size,), card.action_low)
    high = torch.full((dataset.action_size,), card.action_high)
    return Engine(
        algorithm, columns(dataset), normalizer, rewards, low, high, config.seeds, device_of(config.device)
    )


def columns(dataset: Dataset) -> Columns:
    """The memory-mapped columns of a dataset's buffer."""
    storage = dataset.storage

    def column(*key: str) -> Tensor:
        # A plain view of the mapped pages: the tensor subclass costs microseconds at every operation.
        mapped: Tensor = storage.get(key)
        return mapped.as_subclass(Tensor)

    return Columns(
        observations=column("observation"),
        actions=column("action"),
        rewards=column("next", "reward").flatten(),
        next_observations=column("next", "observation"),
        terminated=column("next", "terminated").flatten(),
    )


def device_of(name: str) -> torch.device:
    """`auto` is CUDA where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"There is no device '{name}' here; use device=cpu.") from error
    return device


def announce(
    config: BenchConfig, evaluator: Evaluator, dataset: Dataset, budget_note: str, console: Console
) -> None:
    """Say what will be computed and how long it will take, from a few measured steps."""
    budget, engine = config.budget, evaluator.trainer.engine
    seconds = engine.seconds_per_step() * budget.steps
    evaluations = -(-budget.steps // budget.evaluation_interval)
    console.print(
        f"Data     {dataset.rows:,} transitions, {dataset.returns.episodes:,} episodes, in {dataset.path}"
    )
    console.print(
        f"Budget   {budget.name}{budget_note}: {budget.steps:,} gradient steps of {len(engine.seeds)} seeds"
        f" on {engine.device}, {evaluations} evaluations of {budget.evaluation_episodes} episodes per seed"
    )
    longest = evaluations * evaluator.seconds_at_most()
    played = f" and at most {_duration(longest)} of evaluation" if longest else ""
    console.print(f"Time     about {_duration(seconds)} of training{played}")


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
