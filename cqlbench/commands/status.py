"""`cqlbench status`: how far launched suites are, read from their results folder."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import ConfigError
from cqlbench.core.lease import EXPIRY
from cqlbench.core.text import duration
from cqlbench.experiments.launchers.board import statuses


def status(console: Console, results: Path) -> None:
    """Print a table for each suite.

    Raises:
        ConfigError: none was launched into this folder.
    """
    found = statuses(results)
    if not found:
        raise ConfigError(f"No suite was launched into '{results}'; choose another folder with results=.")
    for each, age in found:
        console.print(each.shown())
        if each.done + len(each.failed) < each.total and age > EXPIRY:
            console.print(
                Text(
                    f"Note     nothing was heard of it for {duration(age)}; the same command goes on with it."
                )
            )
