"""A plan -> run records and their report: the whole flow on one screen."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from rich.text import Text

from cqlbench.algorithms import algorithm_of
from cqlbench.algorithms.algorithm import Rows, Spaces
from cqlbench.algorithms.networks import ActionBox
from cqlbench.core.allocator import keep_freed_memory
from cqlbench.core.devices import cap_memory, device_facts, on_threads
from cqlbench.core.errors import UserError
from cqlbench.core.text import counted, duration
from cqlbench.data.buffer import Dataset
from cqlbench.data.load import other_content, provide
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.data.resolve import as_stored
from cqlbench.engine.checkpoint import CheckpointFolder
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import LAUNCH_SECONDS, Engine
from cqlbench.engine.online.mixture import offline_share
from cqlbench.engine.room import check_room, within_memory
from cqlbench.evaluation.environment import playable
from cqlbench.evaluation.evaluator import Clock, Evaluator
from cqlbench.experiments.online import make_collector, online_phase
from cqlbench.experiments.plan import Plan
from cqlbench.experiments.recorded import Stands, finished, standing
from cqlbench.experiments.records import records_of
from cqlbench.experiments.resume import ResumableRun
from cqlbench.experiments.train_outputs import keep_policies, log_evaluations, make_trainer
from cqlbench.records import provenance
from cqlbench.records.provenance import Provenance
from cqlbench.records.schema import Record
from cqlbench.records.store import RecordStore, run_folder
from cqlbench.reporting.run import report_run


def bench(plan: Plan, console: Console, stands: Stands = finished) -> list[Record]:
    """Train, evaluate, record and report a seed batch: what of it is not recorded yet.

    Progress goes to standard error, all else to `console`. What `stands` for its seed is not trained.

    Returns:
        A record per seed, as the plan orders them.

    Raises:
        UserError: anything the user can put right; nothing is half-written then.
    """
    keep_freed_memory()
    if plan.device.type == "cuda":
        torch.set_float32_matmul_precision("high" if plan.config.tf32 else "highest")
        cap_memory(plan.device)
    with on_threads(plan.threads):
        return _records(plan, console, stands)


def _records(plan: Plan, console: Console, stands: Stands) -> list[Record]:
    began = time.perf_counter()
    results = Path(plan.config.results)
    console.print(f"Dataset  {plan.resolution.dataset_id}: {plan.resolution.reason}")
    origin = provenance.collect(*device_facts(str(plan.device)), plan.arguments)
    store = RecordStore(results)
    store.check_writable()
    # What any dataset would need at least is refused before this one is fetched.
    one = torch.ones(1)
    least = algorithm_of(plan.config.algorithm, Spaces(1, ActionBox.from_bounds(-one, one)))
    check_room(least, len(plan.config.seeds), plan.device)
    dataset = provide(plan.resolution, clip_actions=plan.config.clip_actions)
    plan.check_actions(discrete=dataset.discrete_actions)
    other = other_content(plan.resolution.card, dataset.content_hash)
    plan = replace(plan, resolution=as_stored(plan.resolution), other_content=other)
    if plan.other_content:
        console.print(Text(f"Note     {dataset.notes[-1]}"), soft_wrap=True)
    records: dict[int, Record] = {}
    while not records:
        filed = _filed(plan, dataset)
        known = standing(plan, dataset, origin, store, stands)
        known.show(console)
        if known.to_train is None:
            records = dict(known.records)
            break
        checkpoints = CheckpointFolder(known.to_train.place(dataset, "checkpoints"))
        with checkpoints.alone():
            if _filed(plan, dataset) != filed:
                continue  # another process has recorded something of it meanwhile
            origin = replace(origin, command=provenance.command(known.to_train.arguments))
            config = known.to_train.config
            with within_memory(config.algorithm, len(config.seeds), plan.device):
                made = make_records(known.to_train, dataset, origin, store, console, began, checkpoints)
        records = dict(known.records) | {record.seed: record for record in made}
    wanted = [records[seed] for seed in plan.config.seeds]
    console.print(Text(f"Run      {run_folder(wanted[0].key)}"), soft_wrap=True)
    report_run(wanted, results, console)
    return wanted


def status_of(records: Iterable[Record]) -> int:
    """Exit status of the command that made `records`: 1 where a seed did not finish."""
    return int(any(record.status != "finished" for record in records))


def _filed(plan: Plan, dataset: Dataset) -> list[str]:
    """The names of the run's records."""
    folder = Path(plan.config.results) / "runs" / plan.folder(dataset)
    return sorted(path.name for path in folder.glob("seed-*.json"))


def make_records(
    plan: Plan,
    dataset: Dataset,
    origin: Provenance,
    store: RecordStore,
    console: Console,
    began: float,
    checkpoints: CheckpointFolder,
) -> list[Record]:
    """Train and evaluate a seed batch, and file its records and policies; arguments and errors as of `bench`.

    `began` is when the run began, on the clock of `time.perf_counter`; no other process is in `checkpoints`.
    """
    config, card = plan.config, plan.resolution.card
    environment, unplayed_because = playable(card, dataset)
    engine = make_engine(plan, dataset)
    engine.launch_seconds = LAUNCH_SECONDS
    try:
        if plan.start is not None:
            plan.start.load_into(engine)
        collector = make_collector(plan, engine, environment, unplayed_because)
    except UserError:
        if engine.online is not None and engine.online.rows.fresh:
            engine.online.rows.remove()
        raise
    trainer = make_trainer(plan, engine, dataset, console, collector)
    trainer.start_after(0 if plan.start is None else plan.start.steps)
    evaluator = Evaluator(
        trainer,
        environment,
        config.budget.evaluation_episodes,
        config.budget.evaluation_interval,
        card.score_min,
        card.score_max,
        online_interval=config.online.evaluation_interval,
        online_clock=cast("Clock", config.online.evaluation_clock),
        unplayed_because=unplayed_because,
        began=began,
    )
    trainer.register_op("post_steps", evaluator)
    log_evaluations(evaluator)
    run = ResumableRun(plan, dataset, origin, evaluator, checkpoints)
    run.find(console)
    announce(plan, evaluator, dataset, console, run.steps_done)
    run.train()
    records = records_of(evaluator, dataset, plan, run.origin, time.perf_counter() - evaluator.began)
    for record in records:
        if not (record.resumed_at and store.holds(record)):  # it may have been killed between two records
            store.write(record, checkpoints.check)
    checkpoints.check()
    keep_policies(store, records, evaluator)
    run.finish()
    return records


def make_engine(plan: Plan, dataset: Dataset) -> Engine:
    """The dataset, the algorithm and the seeds on their device, preprocessed as the config says."""
    config, seeds = plan.config.algorithm, plan.config.seeds
    normalizer = (
        ObservationNormalizer.from_statistics(dataset.observation_mean, dataset.observation_std)
        if config.normalize_observations
        else ObservationNormalizer.identity(dataset.observation_size)
    )
    rewards = RewardTransform.from_dataset(dataset, config.normalize_rewards)
    rewards = rewards.then(config.reward_scale, config.reward_bias)
    spaces = plan.spaces(dataset)
    algorithm = algorithm_of(config, spaces)
    check_room(algorithm, len(seeds), plan.device)
    columns = Columns.of(dataset.replay_buffer(config.batch_size))
    seen = rewards(columns.rewards.numpy())
    rows = Rows(
        columns.actions.numpy(), seen, columns.terminated.numpy(), dataset.last_rows, float(seen.min())
    )
    own = {name: torch.from_numpy(of(rows)) for name, of in algorithm.columns().items()}
    columns = replace(columns, extra=own)
    chosen = algorithm.rows(rows)
    if chosen is not None and not chosen.all():
        columns = columns.chosen(torch.from_numpy(chosen))
        if config.normalize_observations:
            kept = columns.observations.numpy().astype(np.float64)
            normalizer = ObservationNormalizer.from_statistics(kept.mean(0), kept.std(0))
    online = online_phase(plan, dataset)
    return Engine(config, columns, normalizer, rewards, spaces.actions, seeds, plan.device, online)


def announce(plan: Plan, evaluator: Evaluator, dataset: Dataset, console: Console, done: int = 0) -> None:
    """Say what will be computed and how long the steps not yet `done` will take, from a few measured ones."""
    budget, online, start = plan.config.budget, plan.config.online, plan.start
    engine = evaluator.trainer.engine
    seconds = engine.seconds_per_step() * (plan.budget.steps - max(done, start.steps if start else 0))
    evaluations = 1 if start else -(-budget.steps // budget.evaluation_interval)
    left = evaluations + plan.online_evaluations - len(evaluator.history)
    longest = left * evaluator.seconds_at_most()
    console.print(
        f"Data     {dataset.rows:,} transitions, {dataset.returns.episodes:,} whole episodes,"
        f" in {dataset.path}"
    )
    console.print(
        f"Budget   {budget.name}{plan.budget_note}: {budget.steps:,} gradient steps"
        f"{f' (those of {start.path})' if start else ''} of {counted(len(engine.seeds), 'seed')} on"
        f" {engine.device}, {counted(evaluations, 'evaluation')} of {budget.evaluation_episodes} episodes"
        " per seed"
    )
    if online.frames:
        first, frames = online.offline_fraction, online.frames
        if first is None:
            first, last = 1.0, dataset.rows / (dataset.rows + frames)
        else:
            last = offline_share(first, online.final_offline_fraction, online.anneal_frames, frames)
        shares = " to ".join(dict.fromkeys(f"{100 * share:.3g}" for share in (first, last)))
        console.print(
            f"Online   {frames:,} frames per seed, {counted(online.steps_per_batch, 'gradient step')} after"
            f" every {online.frames_per_batch}, {shares} % of each batch from the dataset,"
            f" {counted(plan.online_evaluations, 'evaluation')}"
        )
    if evaluator.spec is None:
        console.print(f"Scores   {evaluator.unplayed_because}")
    evaluation = f" and at most {duration(longest)} of evaluation" if longest else ""
    more = "; collecting comes on top" if online.frames else ""
    console.print(f"Time     about {duration(seconds)} of gradient steps{evaluation}{more}")
