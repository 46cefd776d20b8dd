"""The parts of a fine-tuning run: where collected rows lie, what collects them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.data.buffer import Dataset
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import SeedCollector, collector_of
from cqlbench.engine.online.mixture import OnlinePhase
from cqlbench.engine.online.rows import OnlineRows
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.experiments.plan import Plan
from cqlbench.experiments.train_outputs import future_folder
from cqlbench.records.store import safe_name


def run_place(plan: Plan, dataset: Dataset, kind: str) -> Path:
    """A folder for something of the plan's run (`checkpoints`, `collected`), beside its future records."""
    seeds = safe_name(f"{kind}-" + ",".join(map(str, plan.config.seeds)))
    return Path(plan.config.results) / "runs" / future_folder(plan, dataset) / seeds


def online_phase(plan: Plan, dataset: Dataset) -> OnlinePhase | None:
    """What the plan asks for after the offline steps; `None` if nothing.

    Raises:
        ConfigError: collected rows cannot be kept, or what is asked for needs an algorithm of another kind.
    """
    online = plan.config.online
    if not online.frames:
        return None
    rows = OnlineRows(
        len(plan.config.seeds),
        online.frames,
        dataset.observation_size,
        dataset.action_size,
        online.environments,
        run_place(plan, dataset, "collected"),
    )
    return OnlinePhase(
        rows,
        online.offline_fraction,
        online.final_offline_fraction,
        online.anneal_frames,
        online.algorithm,
    )


@contextmanager
def nothing_left_on_error(engine: Engine) -> Iterator[None]:
    """Remove the files for collected rows, if they were made for this run and it cannot begin."""
    try:
        yield
    except UserError:
        if engine.online is not None and engine.online.rows.fresh:
            engine.online.rows.remove()
        raise


def make_collector(
    plan: Plan, engine: Engine, spec: EnvironmentSpec | None, unplayed_because: str
) -> SeedCollector | None:
    """What collects for the plan; `None` if nothing is asked for.

    Raises:
        ConfigError: there is no environment to collect in, or its spaces are not the dataset's.
    """
    online = plan.config.online
    if not online.frames:
        return None
    if spec is None:
        raise ConfigError(
            f"{plan.resolution.dataset_id} cannot be fine-tuned, which takes its environment."
            f" {unplayed_because}"
        )
    return collector_of(
        engine,
        spec,
        environments=online.environments,
        frames_per_batch=online.frames_per_batch,
        random_frames=online.random_frames,
        backend=online.backend,
        timeout=online.timeout,
    )
