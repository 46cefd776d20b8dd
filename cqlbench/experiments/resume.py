"""A run that may be killed: where its checkpoints lie, what they hold, when they are saved."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs
from rich.console import Console

from cqlbench.core import signals
from cqlbench.core.lease import BEAT
from cqlbench.data.buffer import Dataset
from cqlbench.engine.checkpoint import (
    CheckpointError,
    CheckpointFolder,
    Found,
    OtherRunError,
    load,
    load_fitting,
)
from cqlbench.evaluation.evaluator import Evaluator
from cqlbench.experiments.plan import Plan, dataset_id
from cqlbench.records.provenance import Provenance
from cqlbench.records.schema import Git, Machine

_COST = 50
"""However slow the disk, a save is followed by so many times its duration of training: less than 2 %."""
COMPUTING = ("torch", "numpy", "mujoco", "envpool", "gymnasium")
"""Packages whose code makes a run's numbers. torchrl and tensordict carry and call, h5py reads what the
dataset's content hash covers, and Python computes in IEEE doubles whatever its version."""


class ResumableRun:
    """Saves the progress of one bench run, and resumes what an earlier process has saved.

    No other process is in its folder of checkpoints.

    Attributes:
        facts: what a checkpoint must agree in; they decide every number.
        origin: as given, with what is known of the processes before: when the run began, where it was
            resumed, and whose code and machines took part.
    """

    def __init__(
        self,
        plan: Plan,
        dataset: Dataset,
        origin: Provenance,
        evaluator: Evaluator,
        folder: CheckpointFolder,
    ) -> None:
        self.folder = folder
        self.facts = facts_of(plan, dataset, origin)
        self.origin = origin
        self._plan = plan
        self._evaluator = evaluator
        self._trainer = evaluator.trainer
        self._interval = plan.config.checkpoint_interval
        self._found = Found()
        self._check: Callable[[], None] = lambda: None
        self._next_save = 0.0

    @property
    def steps_done(self) -> int:
        """Gradient steps that need not be taken again."""
        steps: int = self._found.state["gradient_steps"] if self._found.path else 0
        return steps

    def find(self, console: Console) -> None:
        """Look for where to resume, and say what was found.

        Raises:
            CheckpointError: there is a checkpoint of this run, and it was made with other settings, data,
                packages or another kind of device.
        """
        config = self._plan.config
        other = (
            config.rerun and config.resume == "auto" and self.folder.paths() and not _of_rerun(self.folder)
        )
        if other:
            console.print(
                "Note     checkpoints of a run without rerun=true are removed; this one starts from scratch."
            )
        if other or config.resume == "never":
            self.folder.clear()
            return
        try:
            self._found = self._search(config.resume)
        except OtherRunError as error:
            raise OtherRunError(
                f"{error} Resume with what it was made with, or start from scratch with resume=never."
            ) from error
        for sentence in self._found.refused:
            console.print(f"Refused  {sentence}")
        if self._found.path is None:
            return
        console.print(
            f"Resumed  after {self.steps_done:,} of {self._plan.budget.steps:,} gradient steps, from"
            f" {self._found.path}"
        )
        before, now = self._found.state["machine"], structs.asdict(self.origin.machine)
        same = {"threads"} if self._trainer.engine.shares_work else set()
        if changed := [name for name in now if name not in same and now[name] != before.get(name)]:
            console.print(
                f"Note     the run began with other {', '.join(changed)}: the last digits of its numbers may"
                " differ from those of a run that was not interrupted."
            )
        if change := _code_change(Git(**self._found.state["git"]), self.origin.git):
            console.print(f"Note     {change}; the scores version is the same.")

    def train(self) -> None:
        """Train from where the run stands to its end, saving on the way and after it.

        Raises:
            Paused: a signal came, and what was done has been saved.
            CheckpointError: a checkpoint cannot be written, for instance because the disk is full, or the
                one that was found cannot be loaded.
        """
        online = self._trainer.engine.online
        if self._found.path is not None:
            self._load(self._found.path, self._found.state)
        elif online is not None:
            online.rows.forget()  # of a process that was killed before it could save
        self._found = Found()  # its memory is not needed any more
        self._next_save = time.perf_counter() + self._interval
        self._trainer.register_op("post_optim", self._between_steps)
        self._trainer.register_op("pre_steps_log", lambda _batch: self._between_steps())  # after collecting
        with signals.deferred() as stopped:

            def check() -> None:
                stopped()
                self.folder.check(within=BEAT)

            self._check = self._evaluator.check = check
            try:
                self._evaluator()  # the one that a kill came before
                self._trainer.train()
                self._save()
                stopped()  # a signal during that save
            except signals.Paused as paused:
                raise signals.Paused(paused.number, self._last_words()) from None

    def finish(self) -> None:
        """Remove the checkpoints: everything is recorded."""
        self.folder.clear()
        if self._trainer.engine.online is not None:
            self._trainer.engine.online.rows.remove()

    def _search(self, resume: str) -> Found:
        if resume == "auto":
            return self.folder.newest(self.facts)
        path = Path(resume)
        if not path.is_dir():
            return Found(path, load_fitting(path, self.facts))
        found = CheckpointFolder(path).newest(self.facts)
        if found.path is None:
            raise CheckpointError(
                " ".join([*found.refused, f"Folder '{path}' holds no checkpoint to resume."])
            )
        return found

    def _load(self, path: Path, state: Mapping[str, Any]) -> None:
        try:
            self._trainer.load_state_dict(state["trainer"])
            self._evaluator.load_state_dict(state["evaluator"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"Checkpoint '{path}' is of another version of cqlbench, and this one cannot load it"
                f" ({type(error).__name__}: {' '.join(str(error).split())}). Resume with the version that"
                " wrote it, or start from scratch with resume=never."
            ) from error
        before, here = Git(**state["git"]), self.origin.git
        dirty = (before.dirty, here.dirty)
        others = dict.fromkeys([*state["earlier_commits"], before.commit])
        machines = [Machine(**each) for each in [*state.get("earlier_machines", []), state["machine"]]]
        self.origin = replace(
            self.origin,
            created_at=state["created_at"],
            resumed_at=(*state["resumed_at"], self._trainer.gradient_steps),
            git=Git(commit=here.commit, dirty=any(dirty) or (None if None in dirty else False)),
            earlier_commits=tuple(each for each in others if each not in (None, here.commit)),
            earlier_machines=tuple(
                each for at, each in enumerate(machines) if each not in (self.origin.machine, *machines[:at])
            ),
        )

    def _between_steps(self) -> None:
        self._check()
        if self._interval and time.perf_counter() >= self._next_save:
            self._save()

    def _save(self) -> None:
        if not self._interval:
            return
        start = time.perf_counter()
        state = {
            "gradient_steps": self._trainer.gradient_steps,
            "trainer": self._trainer.state_dict(),
            "evaluator": self._evaluator.state_dict(),
            "resumed_at": list(self.origin.resumed_at),
            "created_at": self.origin.created_at,
            "rerun": self._plan.config.rerun,
            "machine": structs.asdict(self.origin.machine),
            "git": structs.asdict(self.origin.git),
            "earlier_commits": list(self.origin.earlier_commits),
            "earlier_machines": [structs.asdict(each) for each in self.origin.earlier_machines],
        }
        try:
            self.folder.save(self._trainer.gradient_steps, state, self.facts)
        except CheckpointError as error:
            kept = self.folder.paths()
            advice = (
                f"The last good one, '{kept[-1].name}', is kept, and the same command resumes from it."
                if kept
                else "None was saved before it; make room, or choose another folder with results=<folder>."
            )
            raise CheckpointError(f"{error} {advice}") from error
        end = time.perf_counter()
        self._next_save = end + max(self._interval, _COST * (end - start))

    def _last_words(self) -> str:
        if not self._interval:
            return "nothing was saved, as checkpoint_interval=0 says"
        self._save()
        done, total = self._trainer.gradient_steps, self._plan.budget.steps
        return f"saved after {done:,} of {total:,} gradient steps, and the same command resumes from there"


def _of_rerun(folder: CheckpointFolder) -> bool:
    """Whether the newest whole checkpoint is of a run with rerun=true."""
    for path in reversed(folder.paths()):
        with suppress(CheckpointError):
            return bool(load(path)[0].get("rerun"))
    return False


def facts_of(plan: Plan, dataset: Dataset, origin: Provenance) -> dict[str, Any]:
    """All that decides a run's numbers, but for last digits in which machines of one kind may differ."""
    return {
        **plan.identity,
        "dataset": {"id": dataset_id(dataset, plan.resolution), "content_hash": dataset.content_hash},
        "seeds": list(plan.config.seeds),
        **computing(origin.versions, plan.device.type),
    }


def computing(versions: Mapping[str, str], device: str) -> dict[str, str]:
    """What computes: the kind of device, and the versions of the packages that do."""
    packages = {name: versions[name] for name in COMPUTING if name in versions}
    return {"device": device.partition(":")[0], **packages}


def _code_change(before: Git, here: Git) -> str:
    """How the code may differ from that of the process before, a clause; empty if it does not."""
    if before.commit and here.commit and before.commit != here.commit:
        return f"the code has changed since (commit {before.commit[:7]} to {here.commit[:7]})"
    if before.dirty or here.dirty:
        return f"the code may have changed since (uncommitted changes {'here' if here.dirty else 'then'})"
    return ""
