"""A program: the same short run again and again, each killed at some moment of it and gone on with.

    python killed_runs.py FOLDER TRIALS KINDS SAVE_EVERY [WORDS]

WORDS are those of the run, in place of an offline run's. Every run is a process of its own, forked from this
one, which has paid for the imports. KINDS are what a run may be killed in, with commas: `step` (between
gradient steps), `play` (at a step of an evaluation's environments), `save` (in the middle of a file that is
made durable). Each trial draws one of so many moments as the undisturbed run has of a kind, and a short time
after it; so a loaded machine's runs are killed where a quick one's are. A checkpoint is saved between
gradient steps, at every SAVE_EVERY-th time. Prints, as JSON, what each trial's last checkpoint and records
have in common with the run that was never killed.
"""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import cqlbench.data.cards
import cqlbench.data.embedded.policy
import cqlbench.engine.product_rate
import cqlbench.experiments.run
import cqlbench.reporting.run
from cqlbench.engine import checkpoint
from cqlbench.engine.engine import Engine
from cqlbench.evaluation.evaluator import Evaluator
from cqlbench.experiments import resume
from cqlbench.experiments.plan import Plan, make_plan
from cqlbench.experiments.run import bench

FINAL = "final.checkpoint"
SECONDS_PER_SYNC = 0.004
WORDS = ["dataset=tiny-hopper", "budget=smoke", "steps=24", "budget.evaluation_interval=8", "seeds=2"]


@dataclass
class Moments:
    """Those that this process's run has passed, by kind, and what happens at one of them."""

    passed: Counter[str] = field(default_factory=Counter)
    fatal: tuple[str, int] = ("", 0)
    then: Callable[[], object] = lambda: None

    def arrive(self, kind: str) -> None:
        self.passed[kind] += 1
        if (kind, self.passed[kind]) == self.fatal:
            self.then()


moments = Moments()


def patch(folder: Path, save_every: int = 1) -> None:
    """Datasets of the test's world; nothing drawn or timed; moments are counted, and saves take their time;
    the last checkpoint is kept."""
    cqlbench.data.cards.cards_dir = lambda: folder / "cards"
    cqlbench.data.embedded.policy.policies_dir = lambda: folder / "policies"
    cqlbench.reporting.run.learning_curve = lambda _summary, _kind: b""
    cqlbench.engine.product_rate._SECONDS = 0.0
    Engine.seconds_per_step = lambda _self: 0.1
    Evaluator.seconds_at_most = lambda _self: 0.1
    cqlbench.experiments.run.LAUNCH_SECONDS = 0.0  # every step is asked for
    resume._COST = 0
    sync, clear, player = os.fsync, checkpoint.CheckpointFolder.clear, Evaluator._player
    between = resume.ResumableRun._between_steps

    def slow_sync(handle: int) -> None:
        moments.arrive("save")
        time.sleep(SECONDS_PER_SYNC)
        sync(handle)

    def between_steps(self: resume.ResumableRun) -> None:
        moments.arrive("step")
        if moments.passed["step"] % save_every == 0:
            between(self)

    def counted(self: Evaluator) -> object:
        act, rewarded = player(self)

        def counting(observations: object) -> object:
            moments.arrive("play")
            return act(observations)

        return counting, rewarded

    def keep_last(self: checkpoint.CheckpointFolder) -> None:
        shutil.copy(self.paths()[-1], self.folder.parent / FINAL)
        clear(self)

    os.fsync = slow_sync
    resume.ResumableRun._between_steps = between_steps
    Evaluator._player = counted
    checkpoint.CheckpointFolder.clear = keep_last


def run(plan: Plan, results: Path) -> None:
    """One run, or what is left of it."""
    console = Console(file=(results.with_suffix(".out")).open("a"), soft_wrap=True)
    bench(replace(plan, config=replace(plan.config, results=str(results))), console)


def start(plan: Plan, results: Path, fatal: tuple[str, int] = ("", 0), seconds: float = 0.0) -> int:
    """The same in a process of its own, which is killed some seconds after a moment; returns its id."""
    if child := os.fork():
        return child
    moments.passed.clear()
    # The kernel ends the process then, wherever it is, and nothing is tidied up: SIGALRM is nobody's here.
    moments.fatal, moments.then = fatal, lambda: signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        run(plan, results)
        passed_in(results).write_text(json.dumps(moments.passed))
    except BaseException:  # noqa: BLE001 (a child of fork must not go on in the parent's code)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def passed_in(results: Path) -> Path:
    """The moments that a run has passed."""
    return results.with_suffix(".json")


def outcome(results: Path) -> tuple[list[torch.Tensor], list[dict]]:
    """Every tensor of the final state, and the records without what clocks and kills decide."""
    state, _ = checkpoint.load(next(results.rglob(FINAL)))
    tensors: list[torch.Tensor] = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                collect(inner)
        elif isinstance(value, torch.Tensor):
            tensors.append(value)

    collect(state)
    records = [json.loads(path.read_text()) for path in sorted(results.rglob("seed-*.json"))]
    for record in records:
        for name in ("throughput", "created_at", "resumed_at"):
            record.pop(name, None)
        for evaluation in record["evaluations"]:
            del evaluation["wall_seconds"]
    return tensors, records


def trial(plan: Plan, results: Path, deaths: list[tuple[str, int, float]]) -> dict:
    """Kill a run some seconds after each of several moments, and go on with it to its end."""
    mid_write, killed = False, 0
    for kind, number, seconds in deaths:
        killed += os.WIFSIGNALED(os.waitpid(start(plan, results, (kind, number), seconds), 0)[1])
        mid_write |= any(results.rglob(".step-*.tmp"))
    _, status = os.waitpid(start(plan, results), 0)
    written = [json.loads(path.read_text()) for path in results.rglob("seed-*.json")]
    tensors, records = outcome(results)
    return {
        "deaths": deaths,
        "killed": killed,
        "status": status,
        "mid_write": mid_write,
        "resumed_at": max(record.get("resumed_at", []) for record in written),
        "left": [
            path.name
            for kind in ("*checkpoint*", "collected*", "*.memmap")
            for path in results.rglob(kind)
            if path.name != FINAL
        ],
        "tensors": tensors,
        "records": records,
    }


def main(folder: Path, trials: int, kinds: list[str], save_every: int, words: list[str]) -> None:
    """Run it all and print the report."""
    patch(folder, save_every)
    plan = make_plan(["algorithm.batch_size=8", "checkpoint_interval=1e-9", "device=cpu", *words])
    run(plan, folder / "warm")  # imports what is imported late, and collects the dataset
    if (threads := Path("/proc/self/task")).is_dir():  # where there is Linux
        names = [(thread / "comm").read_text().strip() for thread in threads.iterdir()]
        names = [name for name in names if name != "jemalloc_bg_thd"]  # pyarrow's, which it starts again
        assert len(names) == 1, f"threads do not survive a fork: {names}"
    _, status = os.waitpid(start(plan, folder / "whole"), 0)
    tensors, records = outcome(folder / "whole")
    passed = json.loads(passed_in(folder / "whole").read_text())
    generator = np.random.default_rng(0)
    reports: list[dict] = []
    for number in range(trials):
        kind = kinds[number % len(kinds)]
        twice = number % 5 == 0  # what is left of the run has its second moment too
        deaths = [
            (kind, int(generator.integers(passed[kind] // 3 if twice else passed[kind])) + 1, seconds)
            for seconds in generator.uniform(1e-4, 2 * SECONDS_PER_SYNC, 2 if twice else 1).tolist()
        ]
        found = trial(plan, folder / f"trial-{number}", deaths)
        theirs = found.pop("tensors")
        found["same_tensors"] = len(theirs) == len(tensors) and all(map(torch.equal, theirs, tensors))
        found["same_records"] = found.pop("records") == records
        reports.append(found)
    evaluations = [len(record["evaluations"]) for record in records]
    whole = {"status": status, "tensors": len(tensors), "evaluations": evaluations, "passed": passed}
    print(json.dumps({"whole": whole, "trials": reports}))  # noqa: T201 (what the program is for)


if __name__ == "__main__":
    folder, trials, kinds, save_every, *words = sys.argv[1:]
    main(Path(folder), int(trials), kinds.split(","), int(save_every), words or WORDS)
