"""A program: the same short run again and again, each killed at a random moment and gone on with.

    python killed_runs.py FOLDER TRIALS [WORDS]

WORDS are those of the run, in place of an offline run's. Every run is a process of its own, forked from this
one, which has paid for the imports. A checkpoint is saved after every gradient step, or as WORDS say, and
each save is slowed down, so that many kills hit the middle of one. Prints, as JSON, what each trial's last
checkpoint and records have in common with the run that was never killed.
"""

import itertools
import json
import os
import shutil
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import cqlbench.data.cards
import cqlbench.data.embedded.policy
import cqlbench.reporting.run
from cqlbench.engine import checkpoint
from cqlbench.experiments import resume
from cqlbench.experiments.plan import Plan, make_plan
from cqlbench.experiments.run import bench

FINAL = "final.checkpoint"
SECONDS_PER_SYNC = 0.004
WORDS = ["dataset=tiny-hopper", "budget=smoke", "steps=24", "budget.evaluation_interval=8", "seeds=2"]


def patch(folder: Path) -> None:
    """Datasets of the test's world, saves after every step and slow ones, the last checkpoint kept."""
    cqlbench.data.cards.cards_dir = lambda: folder / "cards"
    cqlbench.data.embedded.policy.policies_dir = lambda: folder / "policies"
    cqlbench.reporting.run.learning_curve = lambda _summary, _kind: b""  # most of a short run's time
    resume._COST = 0
    sync, clear = os.fsync, checkpoint.CheckpointFolder.clear

    def slow_sync(handle: int) -> None:
        time.sleep(SECONDS_PER_SYNC)
        sync(handle)

    def keep_last(self: checkpoint.CheckpointFolder) -> None:
        shutil.copy(self.paths()[-1], self.folder.parent / FINAL)
        clear(self)

    os.fsync = slow_sync
    checkpoint.CheckpointFolder.clear = keep_last


def run(plan: Plan, results: Path) -> None:
    """One run, or what is left of it."""
    console = Console(file=(results.with_suffix(".out")).open("a"), soft_wrap=True)
    bench(replace(plan, config=replace(plan.config, results=str(results))), console)


def start(plan: Plan, results: Path) -> int:
    """The same in a process of its own; returns its id."""
    if child := os.fork():
        return child
    try:
        run(plan, results)
    except BaseException:  # noqa: BLE001 (a child of fork must not go on in the parent's code)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


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


def killed(plan: Plan, results: Path, seconds: float, *, saving: bool) -> bool:
    """Kill a run after `seconds`, and if `saving` when it next saves; whether it had not ended before."""
    child = start(plan, results)
    time.sleep(seconds)
    while saving and not half_written(results):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def half_written(results: Path) -> bool:
    """Whether there is a checkpoint that is being saved, or was when its process was killed."""
    try:
        return any(results.rglob(".step-*.tmp"))
    except FileNotFoundError:  # a run that ended meanwhile has removed its checkpoints
        return False


def trial(plan: Plan, results: Path, moments: list[float], *, saving: bool) -> dict | None:
    """Kill a run at each of `moments`, or if `saving` at the save that follows, and go on with it to its end.

    Returns:
        The report, or `None` if the run was faster than a kill.
    """
    mid_write = False
    for seconds in moments:
        if not killed(plan, results, seconds, saving=saving):
            return None
        mid_write |= half_written(results)
    _, status = os.waitpid(start(plan, results), 0)
    written = [json.loads(path.read_text()) for path in results.rglob("seed-*.json")]
    tensors, records = outcome(results)
    return {
        "moments": moments,
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


def main(folder: Path, trials: int, words: list[str]) -> None:
    """Run it all and print the report."""
    patch(folder)
    plan = make_plan(["algorithm.batch_size=8", "checkpoint_interval=1e-9", "device=cpu", *words])
    run(plan, folder / "warm")  # imports what is imported late, and collects the dataset
    if (threads := Path("/proc/self/task")).is_dir():  # where there is Linux
        names = [(thread / "comm").read_text().strip() for thread in threads.iterdir()]
        names = [name for name in names if name != "jemalloc_bg_thd"]  # pyarrow's, which it starts again
        assert len(names) == 1, f"threads do not survive a fork: {names}"
    began = time.perf_counter()
    _, status = os.waitpid(start(plan, folder / "whole"), 0)
    whole_seconds = time.perf_counter() - began
    tensors, records = outcome(folder / "whole")
    generator = np.random.default_rng(0)
    reports: list[dict] = []
    for number in itertools.count():
        if len(reports) == trials:
            break
        moments = generator.uniform(0, whole_seconds, 2 if number % 5 == 0 else 1).tolist()
        # Random moments may all miss the saves; every fifth trial waits for one.
        found = trial(plan, folder / f"trial-{number}", moments, saving=number % 5 == 1)
        if found is None:
            continue
        theirs = found.pop("tensors")
        found["same_tensors"] = len(theirs) == len(tensors) and all(map(torch.equal, theirs, tensors))
        found["same_records"] = found.pop("records") == records
        reports.append(found)
    evaluations = [len(record["evaluations"]) for record in records]
    whole = {"status": status, "tensors": len(tensors), "evaluations": evaluations, "seconds": whole_seconds}
    print(json.dumps({"whole": whole, "trials": reports}))  # noqa: T201 (what the program is for)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or WORDS)
