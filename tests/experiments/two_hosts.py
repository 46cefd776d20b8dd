"""A program: one run made by two hosts that share a folder, the first stopped for too long and then woken.

    python two_hosts.py FOLDER TRIALS

File locks exclude nobody here, and no host knows the other's processes. Prints, as JSON, what became of each
trial, next to the run that one host made undisturbed. Runs are processes forked from this one, as in
`killed_runs.py`.
"""

import fcntl
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from killed_runs import WORDS, moments, outcome, passed_in, patch, run

from cqlbench.core import lease
from cqlbench.experiments.plan import Plan, make_plan


def start(plan: Plan, results: Path, host: str, asleep_at: tuple[str, int] = ("", 0)) -> int:
    """The run in a process of its own, on `host`, which may fall asleep at a moment; returns its id.

    Its status is 3 where it was taken over.
    """
    if child := os.fork():
        return child
    lease._machine = lambda: host
    moments.passed.clear()
    moments.fatal, moments.then = asleep_at, lambda: os.kill(os.getpid(), signal.SIGSTOP)
    status = 0
    try:
        run(plan, results)
        passed_in(results).write_text(json.dumps(moments.passed))
    except lease.LeaseLostError:
        status = 3
    except BaseException as error:  # noqa: BLE001 (a child of fork must not go on in the parent's code)
        print(repr(error), file=sys.stderr)  # noqa: T201
        status = 1
    os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trial(plan: Plan, results: Path, asleep_at: tuple[str, int]) -> dict:
    """The first host sleeps from a moment on until the second has ended."""
    first = start(plan, results, "one", asleep_at)
    assert os.WIFSTOPPED(os.waitpid(first, os.WUNTRACED)[1])
    second = status_of(start(plan, results, "two"))
    os.kill(first, signal.SIGCONT)
    _, records = outcome(results)
    left = [path.name for path in results.rglob("*") if "lease" in path.name or path.name == ".lock"]
    return {"statuses": [status_of(first), second], "records": records, "left": left}


def main(folder: Path, trials: int) -> None:
    """Run it all and print the report."""
    patch(folder)
    fcntl.flock = fcntl.lockf = lambda *_: None
    lease.BEAT, lease.EXPIRY = 0.05, 0.5
    os.environ["CQLBENCH_PATIENCE"] = "60"
    plan = make_plan(["algorithm.batch_size=8", "checkpoint_interval=1e-9", "device=cpu", *WORDS])
    run(plan, folder / "warm")
    status_of(start(plan, folder / "whole", "one"))
    records = outcome(folder / "whole")[1]
    passed = json.loads(passed_in(folder / "whole").read_text())
    generator, reports = np.random.default_rng(0), []
    for number in range(trials):
        kind = ("step", "save", "play")[number % 3]
        asleep_at = (kind, int(generator.integers(passed[kind])) + 1)
        found = trial(plan, folder / f"trial-{number}", asleep_at)
        found["same_records"] = found.pop("records") == records
        reports.append(found)
    print(json.dumps(reports))  # noqa: T201 (what the program is for)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
