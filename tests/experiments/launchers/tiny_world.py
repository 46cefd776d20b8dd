"""A program: the real command, in the world of the fixture `world`: `python tiny_world.py FOLDER VERB …`.

It is what launchers' units are in the tests, and the driver of suites that are killed. Most of a short
run's time is left out; gradient steps take `CQLBENCH_TINY_SECONDS` each, so that there is something to kill.
"""

import os
import sys
import time
from pathlib import Path

import cqlbench.data.cards
import cqlbench.data.embedded.policy
import cqlbench.experiments.suite
import cqlbench.reporting.run
from cqlbench.commands.main import main
from cqlbench.engine.engine import Engine
from cqlbench.experiments import resume
from cqlbench.experiments.launchers import work

advance = Engine.advance


def slowly(self: Engine, at: int, _at_most: int) -> int:
    time.sleep(float(os.environ.get("CQLBENCH_TINY_SECONDS", "0")))
    return advance(self, at, 1)


def enter(folder: Path, *command: str) -> None:
    """Patch what is imported; `command`: what units are started by."""
    cqlbench.data.cards.cards_dir = lambda: folder / "cards"
    cqlbench.data.embedded.policy.policies_dir = lambda: folder / "policies"
    cqlbench.reporting.run.learning_curve = lambda _summary, _kind: b""
    Engine.seconds_per_step = lambda _self: 0.1
    Engine.advance = slowly
    resume._COST = 0
    work._COMMAND = command


def run(folder: Path, words: list[str]) -> int:
    """The command, whose suites are those of the world."""
    if words[0] == "paper":
        cqlbench.experiments.suite.benchmarks_dir = lambda: folder / "tree"
    return main(words)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    enter(place, __file__, sys.argv[1])
    sys.exit(run(place, sys.argv[2:]))
