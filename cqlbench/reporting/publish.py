"""A report written and printed: tables, plots and a page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core import outputs
from cqlbench.records.schema import Record
from cqlbench.records.store import safe_name
from cqlbench.reporting.html.page import page
from cqlbench.reporting.plots.plot import files_of
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.published import published_path, read_published
from cqlbench.reporting.report import Bold, Report, Selection, build_reports
from cqlbench.reporting.selection import Choice
from cqlbench.reporting.tables import render
from cqlbench.reporting.tables.report import csv_files, document, grids

_TABLES, _PLOTS, _PAGE = "tables", "plots", "report.html"


def publish(
    records: Sequence[Record],
    select: Selection,
    plots: bool,
    output: Path,
    console: Console,
    key: str = "output",
    choices: Sequence[Choice] = (),
    bold: Bold = "interval",
) -> tuple[Report, ...]:
    """Print the report of these very records and write it, with plots and page or without.

    Records of several sources or budgets (`cqlbench.reporting.sections`) have a section each in `report.md`
    and `report.tex`, and files and a page each, which are named after it.

    `key` is the command's key that chooses another folder; the others are as of `build_reports`.

    Raises:
        UserError: records that must not meet in one table, or a folder that cannot be written or holds files
            of others under the report's names.
    """
    reports = build_reports(records, select, read_published(published_path()), choices=choices, bold=bold)
    files = table_files(reports)
    for made in reports if plots else ():
        drawn = (each for plot in plots_of(made) for each in files_of(plot, made.section))
        files |= {named(f"{_PLOTS}/{name}", made.section): content for name, content in drawn}
        files[named(_PAGE, made.section)] = page(made).encode()
    try:
        outputs.write_folder(output, files, "report", key)
    finally:  # a report that cannot be written is seen at least
        for made in reports:
            render.show(document(made), console, widest=160)
            console.print()
    for name in sorted(files):
        if "/" not in name:
            console.print(Text(f"Report   {output / name}"), soft_wrap=True)
    for folder in (_TABLES, _PLOTS):
        count = sum(name.startswith(f"{folder}/") for name in files)
        if count:
            console.print(Text(f"{folder.capitalize():<9}{output / folder}, {count} files"), soft_wrap=True)
    return reports


def table_files(reports: Sequence[Report]) -> dict[str, bytes]:
    """The tables by their path in the output folder; the same report gives the same bytes.

    `report.md` and `report.tex` hold all that is said; `tables/` has each table for a paper (LaTeX with
    booktabs, no document around it) and the numbers as CSV.
    """
    contents = [document(made) for made in reports]
    files = {"report.md": "\n".join(map(render.markdown, contents)), "report.tex": render.latex(*contents)}
    for made in reports:
        tables = {f"{safe_name(name)}.tex": render.latex_file(grid) for name, grid in grids(made).items()}
        for name, text in (tables | csv_files(made)).items():
            files[named(f"{_TABLES}/{name}", made.section)] = text
    return {name: text.encode() for name, text in files.items()}


def named(file: str, section: str) -> str:
    """The name of a section's file; that of the only section keeps its own."""
    stem, _, ending = file.rpartition(".")
    return f"{stem}-{section}.{ending}" if section else file
