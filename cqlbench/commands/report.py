"""`cqlbench report`: recorded runs as tables, plots and a page, in files and on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cqlbench.commands.arguments import truth, values_of
from cqlbench.core.errors import ConfigError
from cqlbench.records.filters import FILTERS, counting_lines, read
from cqlbench.reporting.publish import publish
from cqlbench.reporting.report import SELECTIONS, Report, Selection


def report(words: Sequence[str], console: Console) -> tuple[Report, ...]:
    """Print the tables of the chosen runs; write tables, plots and an HTML page to the output folder.

    Args:
        words: `results=`, `select=`, `output=`, `plots=false` (tables only), and the filters of
            `cqlbench.records.filters`.
        console: where the tables go, and then the files' places.

    Raises:
        UserError: a mistake in the words, no record, records that must not meet in one table, or a folder
            that cannot be written or holds files of others under the report's names.
    """
    values = values_of(words, "report", ("results", "select", "output", "plots", *FILTERS))
    chosen, plots = selection(values.get("select", "last")), truth(values, "plots", default=True)
    results = Path(values.get("results", "results"))
    records = read(results, counting_lines(results, values))
    return publish(records, chosen, plots, Path(values.get("output", results / "report")), console)


def selection(select: str) -> Selection:
    """The selection of that name.

    Raises:
        ConfigError: there is none.
    """
    chosen = next((name for name in SELECTIONS if name == select), None)
    if chosen is None:
        raise ConfigError(f"select={select} is not one of {', '.join(SELECTIONS)}.")
    return chosen
