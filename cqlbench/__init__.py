"""Conservative Q-Learning and its baselines on D4RL and Minari datasets, all seeds at once."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__version__ = "0.2.0"

SCORES_VERSION = 2
"""Raised by every change that changes scores, so that scores from before and after never share a cell."""

_PUBLIC = {
    "ALGORITHMS": "cqlbench.algorithms",
    "list_algorithms": "cqlbench.experiments.api",
    "list_datasets": "cqlbench.experiments.api",
    "load_dataset": "cqlbench.experiments.api",
    "load_policy": "cqlbench.experiments.api",
    "load_results": "cqlbench.records.frame",
    "run": "cqlbench.experiments.api",
    "run_suite": "cqlbench.experiments.api",
    "CQLConfig": "cqlbench.algorithms.cql",
    "CQLLoss": "cqlbench.trainer.cql_loss",
    "CQLTrainer": "cqlbench.trainer.trainer",
    "CQLTrainerConfig": "cqlbench.trainer.config",
}


@contextmanager
def _widgets_unmentioned() -> Iterator[None]:
    """Ray, which torchrl imports where there is one, says twice in notebooks that widgets are missing."""
    ray = logging.getLogger("ray.widgets.util")
    level = ray.level
    ray.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")
            yield
    finally:
        ray.setLevel(level)


def __getattr__(name: str) -> Any:
    # On first use: importing torchrl takes seconds, which `cqlbench --help` need not wait for.
    if name in _PUBLIC:
        with _widgets_unmentioned():
            return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'cqlbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(["SCORES_VERSION", "__version__", *_PUBLIC])  # what notebooks complete
