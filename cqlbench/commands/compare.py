"""`cqlbench compare`: recorded algorithms, or configurations of one, held against one another."""

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError
from cqlbench.records.filters import counting_lines, read
from cqlbench.records.index import lines_of
from cqlbench.records.store import RecordStore
from cqlbench.reporting.comparison import compare_columns
from cqlbench.reporting.plots.plot import files_of, sample_text
from cqlbench.reporting.plots.ranks import ranks_plot
from cqlbench.reporting.publish import named
from cqlbench.reporting.report import Report, Selection, build_reports
from cqlbench.reporting.tables import render
from cqlbench.reporting.tables.comparison import document


def compare(console: Console, select: Selection, results: Path, output: Path | None, **filters: str) -> None:
    """Print what can be said of every two columns that a report of the chosen runs would have.

    With an output folder it is written there too, and the diagram of mean ranks.

    Raises:
        UserError: no record, an algorithm without any, records that must not meet in one table, nothing to
            compare, or a folder that cannot be written or holds files of others under these names.
    """
    order = filters["algorithm"].split(",") if "algorithm" in filters else []
    _check_names(order, results)
    records = read(results, counting_lines(results, filters))
    reports = build_reports(records, select, samples=1)  # the suite's own intervals are not shown
    found = {report: pairs for report in reports if (pairs := compare_columns(report, order))}
    if not found:
        names = ", ".join(dict.fromkeys(name for report in reports for name in report.algorithms))
        raise ConfigError(
            f"There is nothing to compare: no two of {names} have three scored seeds of one dataset and "
            "budget."
        )
    documents = {report: document(report, pairs) for report, pairs in found.items()}
    if output is not None:
        outputs.write_folder(output, _files(documents), "compare", "output")
    for each in documents.values():
        render.show(each, console, widest=160)
        console.print()
    if output is not None:
        console.print(Text(f"Comparison {output}"), soft_wrap=True)


def _files(documents: Mapping[Report, render.Document]) -> dict[str, bytes]:
    files = {
        "comparison.md": "\n".join(map(render.markdown, documents.values())).encode(),
        "comparison.tex": render.latex(*documents.values()).encode(),
    }
    for report in documents:
        if report.ranks is not None:
            plot = ranks_plot(report.ranks)
            sample = sample_text(report.budget, report.summaries.values())
            plot = replace(plot, caption=f"{plot.caption} {sample}")
            drawn = files_of(plot, report.section)
            files |= {named(name, report.section): content for name, content in drawn}
    return files


def _check_names(names: list[str], results: Path) -> None:
    recorded = sorted({line.key.algorithm for line in lines_of(RecordStore(results))})
    for name in names if recorded else ():
        if name not in recorded:
            near = difflib.get_close_matches(name, recorded, n=3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            known = f"choose from {', '.join(recorded)}"
            raise ConfigError(f"No record in '{results}' is of algorithm '{name}'{hint} ({known}).")
