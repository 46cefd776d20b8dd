"""Records that look like those of real runs, made up from a seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made_records import replace

from cqlbench.records.codec import from_json
from cqlbench.records.schema import Evaluation, Record, Throughput, config_hash
from cqlbench.reporting.report import Report, build_reports

GOLDEN = Path(__file__).parents[1] / "golden" / "record_v1.json"


def build_report(records: Sequence[Record], *args: Any, **kwargs: Any) -> Report:
    """The only report of these records."""
    (report,) = build_reports(records, *args, **kwargs)
    return report


def cell(report: Report, dataset: str, algorithm: str) -> Any:
    """A row of `Report.cells` as a named tuple."""
    (found,) = report.cells.query("dataset == @dataset and algorithm == @algorithm").itertuples()
    return found


_QUALITY = {"cql": 0.9, "td3_bc": 0.75, "bc": 0.55, "behaviour": 0.5}


def sample_records(
    datasets: Sequence[str],
    algorithms: Sequence[str] = ("cql", "bc"),
    seeds: int = 5,
    evaluations: int = 20,
    episodes: int = 10,
    steps: int = 1_000_000,
) -> list[Record]:
    """A record per dataset, algorithm and seed, with scores that rise and diagnostics of CQL's names."""
    base = from_json(GOLDEN.read_text(encoding="utf-8"), GOLDEN)
    generator = np.random.default_rng(0)
    records = []
    for dataset in datasets:
        top = generator.uniform(40, 100)
        for algorithm in algorithms:
            quality = top * _QUALITY.get(algorithm, 0.6)
            speed = generator.uniform(200, 900)
            shape = {"seeds": seeds, "evaluations": evaluations, "episodes": episodes, "steps": steps}
            records += [
                _record(base, dataset, algorithm, seed, quality, speed, generator, **shape)
                for seed in range(seeds)
            ]
    return records


def _record(
    base: Record, dataset: str, algorithm: str, seed: int, quality: float, speed: float,
    generator: np.random.Generator, *, seeds: int, evaluations: int, episodes: int, steps: int,
) -> Record:  # fmt: skip
    assert base.protocol is not None
    low, high = base.protocol.score_min, base.protocol.score_max
    assert low is not None
    assert high is not None
    at = np.linspace(steps / evaluations, steps, evaluations).astype(int)
    rise = 1 - np.exp(-4 * at / steps)
    means = quality * rise + generator.normal(0, 3) + generator.normal(0, 2, evaluations)
    scores = means[:, None] + generator.normal(0, 5, (evaluations, episodes))
    returns = low + scores * (high - low) / 100
    values = 250 * rise + generator.normal(0, 5, evaluations)
    config = json.loads(json.dumps(base.config))
    config["algorithm"]["name"] = algorithm
    config["budget"] |= {"name": "paper", "steps": steps}
    return replace(
        base,
        dataset=replace(base.dataset, id=dataset),
        algorithm=algorithm,
        config=config,
        config_hash=config_hash(config),
        budget=replace(
            base.budget,
            name="paper",
            steps=steps,
            evaluation_interval=steps // evaluations,
            evaluation_episodes=episodes,
        ),
        seed=seed,
        seed_batch=tuple(range(seeds)),
        protocol=replace(base.protocol, episodes=episodes),
        evaluations=tuple(
            Evaluation.of(step, returns[i], np.full(episodes, 500), scores[i], step / speed)
            for i, step in enumerate(at)
        ),
        diagnostics=tuple(
            {
                "step": int(step),
                "data_value": float(values[i]),
                "target_value": float(values[i] + 3),
                "td_loss": float(8 + rise[i]),
                "critic_loss": float(40 - 10 * rise[i]),
                "actor_loss": float(-values[i]),
                "conservative_gap": float(4 - 6 * rise[i] + generator.normal(0, 0.2)),
                "entropy": float(-3 * rise[i]),
                "entropy_temperature": float(np.exp(-3 * rise[i])),
                "actor_gradient_norm": float(np.exp(generator.normal(0, 0.3))),
                "critics_gradient_norm": float(10 * np.exp(generator.normal(0, 0.3))),
                "temperature_gradient_norm": float(np.exp(generator.normal(-1, 0.3))),
            }
            for i, step in enumerate(at)
        ),
        throughput=Throughput(
            train_seconds=steps / speed,
            steps_per_second=speed,
            seed_steps_per_second=speed * seeds,
            evaluation_seconds=60.0,
            total_seconds=steps / speed + 75,
        ),
        command=("cqlbench", "bench", f"dataset={dataset}", "budget=paper", f"seeds={[*range(seeds)]}"),
    )
