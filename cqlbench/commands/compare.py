"""`cqlbench compare`: recorded algorithms, or configurations of one, held against one another."""

from pathlib import Path

from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.records.filters import counting_lines, read
from cqlbench.reporting.comparison import compare_columns
from cqlbench.reporting.report import Selection, build_reports
from cqlbench.reporting.tables import render
from cqlbench.reporting.tables.comparison import document


def compare(console: Console, select: Selection, results: Path, **filters: str) -> None:
    """Print what can be said of every two columns that a report of the chosen runs would have.

    Raises:
        UserError: no record, records that must not meet in one table, or nothing to compare.
    """
    order = filters.get("algorithm", "").split(",")
    records = read(results, counting_lines(results, filters))
    reports = build_reports(records, select, samples=1)  # the suite's own intervals are not shown
    found = {report: pairs for report in reports if (pairs := compare_columns(report, order))}
    if not found:
        names = ", ".join(dict.fromkeys(name for report in reports for name in report.algorithms))
        raise ConfigError(
            f"There is nothing to compare: no two of {names} have three scored seeds of one dataset and "
            "budget."
        )
    for report, pairs in found.items():
        render.show(document(report, pairs), console, widest=160)
        console.print()
