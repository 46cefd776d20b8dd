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
import time
from pathlib import Path

import numpy as np
from killed_runs import WORDS, outcome, patch, run

from cqlbench.core import lease
from cqlbench.experiments.plan import Plan, make_plan


def start(plan: Plan, results: Path, host: str) -> int:
    """The run in a process of its own, on `host`; returns its id. Its status is 2 after an error sentence."""
    if child := os.fork():
        return child
    lease._machine = lambda: host
    status = 0
    try:
        run(plan, results)
    except lease.LeaseLostError:
        status = 3
    except BaseException as error:  # noqa: BLE001 (a child of fork must not go on in the parent's code)
        print(repr(error), file=sys.stderr)  # noqa: T201
        status = 1
    os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trial(plan: Plan, results: Path, seconds: float) -> dict | None:
    """Stop the first host's process after `seconds` until the second has ended; `None`: it was too late."""
    first = start(plan, results, "one")
    time.sleep(seconds)
    os.kill(first, signal.SIGSTOP)
    if os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        status_of(first)
        return None
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
    began = time.perf_counter()
    status_of(start(plan, folder / "whole", "one"))
    whole_seconds = time.perf_counter() - began
    records = outcome(folder / "whole")[1]
    generator, reports = np.random.default_rng(0), []
    for number in range(50):
        if len(reports) < trials and (
            found := trial(plan, folder / f"trial-{number}", generator.uniform(0, whole_seconds))
        ):
            found["same_records"] = found.pop("records") == records
            reports.append(found)
    print(json.dumps(reports))  # noqa: T201 (what the program is for)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
