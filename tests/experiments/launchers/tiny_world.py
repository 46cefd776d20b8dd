"""The real command in the world of the fixture `world`, without most of the time that short runs take.

Gradient steps take `CQLBENCH_TINY_SECONDS` each, so that there is something to kill.
"""

import ast
import copy
import os
import time
from pathlib import Path

import cqlbench.data.cards
import cqlbench.data.embedded.policy
import cqlbench.experiments.suite
import cqlbench.reporting.run
from cqlbench.commands.main import main
from cqlbench.engine.engine import Engine
from cqlbench.experiments import compose, resume
from cqlbench.experiments.config import BenchConfig
from cqlbench.experiments.launchers import work

advance, composed = Engine.advance, compose._compose
configs: dict[tuple[str, ...], BenchConfig] = {}


def slowly(self: Engine, at: int, _at_most: int) -> int:
    time.sleep(float(os.environ.get("CQLBENCH_TINY_SECONDS", "0")))
    return advance(self, at, 1)


def remembered(overrides: list[str]) -> BenchConfig:
    """Composing takes longer than a short run: done once for all seeds, devices and folders."""
    own = [each for each in overrides if each.startswith(("seeds=", "device=", "results="))]
    key = tuple(each for each in overrides if each not in own)
    if key not in configs:
        configs[key] = composed([*key, "seeds=[0]"])
    config = copy.deepcopy(configs[key])
    for each in own:
        name, _, value = each.partition("=")
        setattr(config, name, ast.literal_eval(value))
    return config


def enter(folder: Path, *command: str) -> None:
    """Patch what is imported; `command`: what units are started by."""
    cqlbench.data.cards.cards_dir = lambda: folder / "cards"
    cqlbench.data.embedded.policy.policies_dir = lambda: folder / "policies"
    cqlbench.reporting.run.learning_curve = lambda _summary, _kind: b""
    Engine.seconds_per_step = lambda _self: 0.1
    Engine.advance = slowly
    resume._COST = 0
    compose._compose = remembered
    work._COMMAND = command


def run(folder: Path, words: list[str]) -> int:
    """The command, whose suites are those of the world."""
    if words[0] == "paper":
        cqlbench.experiments.suite.benchmarks_dir = lambda: folder / "tree"
    return main(words)
