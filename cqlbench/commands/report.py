"""`cqlbench report`: recorded runs as tables, plots and a page, in files and on the terminal."""

from pathlib import Path

from rich.console import Console

from cqlbench.records.filters import counting_lines, read
from cqlbench.reporting.publish import publish
from cqlbench.reporting.report import Bold, Selection


def report(
    console: Console,
    select: Selection,
    bold: Bold,
    plots: bool,
    output: Path | None,
    results: Path,
    **filters: str,
) -> None:
    """Print the tables of the chosen runs; write tables, plots and an HTML page to the output folder.

    Raises:
        UserError: no record, records that must not meet in one table, or a folder that cannot be written or
            holds files of others under the report's names.
    """
    records = read(results, counting_lines(results, filters))
    publish(records, select, plots, output or results / "report", console, bold=bold)
