"""`cqlbench paper`, `train` and `sweep` with a launcher: this process places units, and loads no torch.

It lives for days beside the work that it has placed. So what needs torch is done in processes that end: one
says before what the units are, one reports after. A verb's module has both, as `work` and `conclude`.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console

from cqlbench.commands.pages import PAGES
from cqlbench.core.apart import apart, named
from cqlbench.core.errors import UserError
from cqlbench.core.printing import console as console_of
from cqlbench.experiments.launchers.launch import Fate, Work, launch
from cqlbench.experiments.launchers.settings import LauncherSettings, split


def train(console: Console, settings: Sequence[str], print_config: bool, multirun: bool) -> int:
    """A job of every combination of values; status 1 where a seed failed.

    Raises:
        UserError: a mistake in the settings, or a job that failed; the others have run then.
    """
    words, launcher = _split(settings)
    if print_config:
        status: int = named("cqlbench.commands.train:train")(console, words, print_config, multirun)
        return status
    work, fates = _launched("train", console, words, launcher, {"multirun": multirun})
    problems = zip(work.jobs, fates, strict=True)
    refuse([f"{name}: {fate.problem}" for name, fate in problems if fate.problem], len(work.jobs))
    return int(any(outcome.status == 1 for fate in fates for outcome in fate.outcomes))


def refuse(failed: Sequence[str], jobs: int) -> None:
    """End a command of which jobs failed, if any did; `failed`: a sentence for each."""
    if failed:
        raise UserError(f"{len(failed)} of {jobs} jobs failed, first {failed[0]}")


def _reported(verb: str, console: Console, settings: Sequence[str], **keys: Any) -> int:
    """A suite's or sweep's runs, and their report; errors and status as of the verb's `conclude`."""
    words, launcher = _split(settings)
    work, fates = _launched(verb, console, words, launcher, keys)
    if launcher.dry_run:
        return 0
    status: int = _call("cqlbench.commands.launched:conclude", verb, words, keys, fates, work.plans)
    return status


paper, sweep = partial(_reported, "paper"), partial(_reported, "sweep")


def conclude(
    verb: str, words: Sequence[str], keys: Mapping[str, Any], fates: Sequence[Fate], plans: bytes
) -> int:
    """Report what became of a verb's jobs; status and errors are the verb's. For a process of its own."""
    console = console_of(tables=PAGES[verb].tables)
    status: int = named(f"cqlbench.commands.{verb}:conclude")(console, words, keys, fates, plans)
    return status


def _launched(
    verb: str, console: Console, words: Sequence[str], launcher: LauncherSettings, keys: Mapping[str, Any]
) -> tuple[Work, list[Fate]]:
    work: Work = _call(f"cqlbench.commands.{verb}:work", words, launcher, keys)
    return work, launch(work, launcher, console)


def _split(settings: Sequence[str]) -> tuple[list[str], LauncherSettings]:
    words, launcher = split(settings)
    assert launcher is not None  # or it would not be launched
    return words, launcher


def _call(name: str, *arguments: Any) -> Any:
    """Apart, unless this process has loaded torch already and so has nothing to save."""
    return named(name)(*arguments) if "torch" in sys.modules else apart(name, *arguments)
