"""Units as SLURM jobs, a job array for all: one that runs out of time saves, is queued again, and resumes.

submitit writes the batch scripts, carries units and outcomes, and queues again. Jobs outlive this process:
one that is started again finds them, and follows them.
"""

import getpass
import inspect
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
from submitit.helpers import DelayedSubmission

from cqlbench.core import atomic
from cqlbench.core.errors import ConfigError
from cqlbench.experiments.launchers.probe import Seen, check_workers, looker
from cqlbench.experiments.launchers.settings import SlurmSettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit, run_unit

_ASK = 15.0
"""Seconds between two questions to SLURM, which answers for everybody."""
_AGES = 1_000_000
"""How often a job may run out of time."""
_ARRAY = 1_000
"""Jobs of an array: SLURM takes no more, unless it is told to."""
_POLL = 0.5
_PROBE = 10
"""Minutes of the job that looks around; it takes seconds."""
_SILENCE = 3.0
"""Seconds of waiting for it of which nothing is said."""
_KILL = 300.0
"""Longer than SLURM waits between SIGTERM and SIGKILL."""


class SlurmLauncher:
    """See `Launcher`."""

    def __init__(self, settings: SlurmSettings, results: Path) -> None:
        self._settings, self._results = settings, results
        for program in ("sbatch", "squeue", "scancel", "srun"):
            if shutil.which(program) is None:
                raise ConfigError(
                    f"There is no SLURM here: '{program}' is not found. Start the suite on a login node, or"
                    " choose another launcher."
                )
        self.slots = settings.at_once
        self.where = f"SLURM{f', partition {settings.partition}' if settings.partition else ''}"
        self._jobs: dict[int, Any] = {}
        self._units: dict[int, Unit] = {}
        self._starts: dict[int, int] = {}
        self._asked = 0.0
        self._book = Path()

    def submit(self, units: Sequence[Unit], surroundings: Surroundings) -> None:
        """See `Launcher`. Those whose jobs an earlier driver has submitted, and that go on, are followed.

        Raises:
            ConfigError: a machine of SLURM's does not see the results folder, or has other packages; or it
                takes no jobs.
        """
        folder = Path(surroundings.folder) / "slurm"
        self._surroundings, self._book = surroundings, folder / "jobs.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._units = {unit.number: unit for unit in units}
        known: dict[str, str] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self._book.read_bytes())
        alive = _queued() if known else set()
        if alive.isdisjoint(known.values()):  # otherwise a probe might wait for the suite's own jobs
            check_workers(self._results, self._look)
        for unit in units:
            job = known.get(unit.key)
            if job in alive:
                self._jobs[unit.number] = submitit.SlurmJob(folder=folder, job_id=job)
        self._start([unit for unit in units if unit.number not in self._jobs])

    def wait(self, seconds: float) -> Mapping[int, Outcome]:
        """See `Launcher`."""
        ended = {number for number, job in self._jobs.items() if job.paths.result_pickle.exists()}
        if not ended:
            time.sleep(seconds)
            if time.monotonic() - self._asked > _ASK:
                self._asked = time.monotonic()
                return self._gone()
        return {number: _outcome(self._jobs.pop(number)) for number in ended}

    def cancel(self) -> None:
        """See `Launcher`."""
        ids = sorted({job.job_id for job in self._jobs.values()})
        if ids:
            subprocess.run(["scancel", *ids], check=False)  # noqa: S603, S607

    def close(self) -> None:
        """See `Launcher`."""

    def _gone(self) -> dict[int, Outcome]:
        """Those whose job is no more and has left no outcome: started again, or given up."""
        before = dict(self._jobs)
        alive = _queued()
        gone = [number for number, job in before.items() if job.job_id not in alive]
        gone = [number for number in gone if not before[number].paths.result_pickle.exists()]
        again = [number for number in gone if self._starts.get(number, 1) <= self._settings.retries]
        self._start([self._units[number] for number in again])
        message = "Its job ended without an outcome (cancelled, or out of memory?); see {}."
        return {
            number: Outcome(2, message.format(self._jobs.pop(number).paths.folder))
            for number in gone
            if number not in again
        }

    def _look(self, probe: Path) -> list[Seen]:
        """What one machine sees on which a unit could run; it is waited for as jobs are."""
        options = [f"--{key.replace('_', '-')}={value}" for key, value in self._place().items()]
        program = f"from __future__ import annotations\nimport json, sys\n{inspect.getsource(looker)}"
        program += "print(json.dumps(looker()(sys.argv[1])))"
        command = ["srun", "--ntasks=1", f"--time={_PROBE}", *options]
        command += [sys.executable, "-c", program, str(probe.absolute())]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **streams, stderr=subprocess.PIPE, text=True) as asked:  # noqa: S603
            try:
                try:
                    said, error = asked.communicate(timeout=_SILENCE)
                except subprocess.TimeoutExpired:
                    sys.stderr.write("cqlbench: waiting for SLURM to run a probe on one of its machines.\n")
                    said, error = asked.communicate()
            except BaseException:
                asked.terminate()
                raise
        try:
            seen: Seen = json.loads(said.splitlines()[-1])
        except (IndexError, ValueError) as problem:
            last = (error.strip().splitlines() or [f"status {asked.returncode}"])[-1]
            raise ConfigError(f"SLURM could not run a probe on one of its machines ({last}).") from problem
        return [seen]

    def _place(self) -> dict[str, Any]:
        """Where jobs go, as SLURM's programs and submitit take it."""
        settings = self._settings
        wanted = {
            "partition": settings.partition,
            "account": settings.account,
            "qos": settings.qos,
            "gpus_per_node": settings.gpus_per_run,
        }
        return {key: value for key, value in wanted.items() if value}

    def _start(self, units: Sequence[Unit]) -> None:
        if not units:
            return
        settings = self._settings
        executor = submitit.SlurmExecutor(self._book.parent, max_num_timeout=_AGES)
        wanted = {
            "job_name": f"cqlbench-{Path(self._surroundings.folder).name}",
            "time": settings.time,
            "cpus_per_task": settings.cpus,
            "mem": f"{settings.memory:g}GB" if settings.memory else None,
            "array_parallelism": settings.at_once,
            "signal_delay_s": settings.notice,
        }
        others = {key: value for key, value in wanted.items() if value is not None}
        executor.update_parameters(**self._place(), **others)
        jobs: list[Any] = []
        try:
            for start in range(0, len(units), _ARRAY):
                part = units[start : start + _ARRAY]
                jobs += executor.map_array(_Task(), part, [self._surroundings] * len(part))
        except (FailedSubmissionError, FailedJobError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"SLURM takes no jobs ({' '.join(str(error).split())}).") from error
        for unit, job in zip(units, jobs, strict=True):
            self._jobs[unit.number] = job
            self._starts[unit.number] = self._starts.get(unit.number, 0) + 1
        book = {self._units[number].key: job.job_id for number, job in self._jobs.items()}
        atomic.replace(self._book, json.dumps(book).encode())


class _Task:
    """Runs a unit within a job, where submitit tells it that its time is over."""

    def __call__(self, unit: Unit, surroundings: Surroundings) -> Outcome:
        outcomes: list[Outcome] = []
        self._cancelled = threading.Event()
        # In a thread: signals interrupt this one, which then can wait for the other.
        self._runs = threading.Thread(
            target=lambda: outcomes.append(run_unit(unit, surroundings, self._cancelled))
        )
        signal.signal(signal.SIGTERM, lambda *_: self._cancelled.set())  # cancelled, or preempted
        self._runs.start()
        while self._runs.is_alive():
            self._runs.join(timeout=_POLL)
        if self._cancelled.is_set():
            time.sleep(_KILL)  # what comes next is SLURM's to say: an outcome would end a preempted job
        return outcomes[0]

    def checkpoint(self, unit: Unit, surroundings: Surroundings) -> DelayedSubmission:
        """The job's time is over: have the command save, and be called again."""
        self._cancelled.set()
        self._runs.join()
        return DelayedSubmission(_Task(), unit, surroundings)


def _outcome(job: Any) -> Outcome:
    try:
        outcome: Outcome = job.result()
    except (FailedJobError, UncompletedJobError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Outcome(2, f"Its job failed: {lines[-1]} ({job.paths.stderr})")
    return outcome


def _queued() -> set[str]:
    """Those of the user's jobs that wait or run: `17`, or `17_3` of an array."""
    asked = subprocess.run(  # noqa: S603
        ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise ConfigError(f"SLURM does not say what is queued ({' '.join(asked.stderr.split())}).")
    return set(asked.stdout.split())
