"""The parts of a fine-tuning run: where collected rows lie, what collects them."""

from cqlbench.core.errors import ConfigError
from cqlbench.data.buffer import Dataset
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import SeedCollector, collector_of
from cqlbench.engine.online.mixture import OnlinePhase
from cqlbench.engine.online.rows import OnlineRows
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.experiments.plan import Plan


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
        plan.place(dataset, "collected"),
    )
    fractions = online.offline_fraction, online.final_offline_fraction
    return OnlinePhase(rows, *fractions, online.anneal_frames, online.algorithm)


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
            f"{plan.resolution.dataset_id} cannot be fine-tuned, which requires its environment."
            f" {unplayed_because}"
        )
    return collector_of(
        engine,
        spec,
        environments=online.environments,
        frames_per_batch=online.frames_per_batch,
        random_frames=online.random_frames,
        warmup_frames=online.warmup_frames,
        backend=online.backend,
        timeout=online.timeout,
    )
