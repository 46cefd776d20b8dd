"""`cqlbench report`: recorded runs as tables, in files and on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench import atomic
from cqlbench.errors import ConfigError
from cqlbench.records.schema import RecordError
from cqlbench.records.store import safe_name
from cqlbench.reporting import render
from cqlbench.reporting.published import published_path, read_published
from cqlbench.reporting.report import SELECTIONS, Report, build_report
from cqlbench.reporting.report_tables import csv_files, document, grids
from cqlbench.run_filters import FILTERS, counting_lines, read, values_of

_TABLES = "tables"


def report(words: Sequence[str], console: Console) -> Report:
    """Print the tables of the chosen runs and write them to the output folder.

    Args:
        words: `results=`, `select=`, `output=`, and the filters of `cqlbench.run_filters`.
        console: where the tables go, and then the files' places.

    Raises:
        UserError: a mistake in the words, no record, records that must not meet in one table, or a folder
            that cannot be written.
    """
    values = values_of(words, "report", ("results", "select", "output", *FILTERS))
    select = values.get("select", "last")
    chosen = next((name for name in SELECTIONS if name == select), None)
    if chosen is None:
        raise ConfigError(f"select={select} is not one of {', '.join(SELECTIONS)}.")
    results = Path(values.get("results", "results"))
    output = Path(values.get("output", results / "report"))
    records = read(results, counting_lines(results, values))
    made = build_report(records, chosen, read_published(published_path()))
    render.show(document(made), console, widest=160)
    console.print()
    # Whatever a report consists of is a file of this dictionary: plots and pages join it here.
    files = table_files(made)
    _write(output, files)
    for name in files:
        if not name.startswith(f"{_TABLES}/"):
            console.print(Text(f"Report   {output / name}"), soft_wrap=True)
    console.print(Text(f"Tables   {output / _TABLES}, {len(files) - 2} files"), soft_wrap=True)
    return made


def table_files(made: Report) -> dict[str, bytes]:
    """The tables by their path in the output folder; the same report gives the same bytes.

    `report.md` and `report.tex` hold all that is said; `tables/` has each table for a paper (LaTeX with
    booktabs, no document around it) and the numbers as CSV.
    """
    content = document(made)
    files = {"report.md": render.markdown(content), "report.tex": render.latex(content)}
    for name, grid in grids(made).items():
        files[f"{_TABLES}/{safe_name(name)}.tex"] = render.latex_table(grid)
    files |= {f"{_TABLES}/{name}": text for name, text in csv_files(made).items()}
    return {name: text.encode() for name, text in files.items()}


def _write(output: Path, files: dict[str, bytes]) -> None:
    try:
        for name, content in files.items():
            atomic.replace(output / name, content)
        for stale in (output / _TABLES).glob("*.[ct][se][vx]"):
            if f"{_TABLES}/{stale.name}" not in files:
                stale.unlink()
    except OSError as error:
        raise RecordError(
            f"The report cannot be written to '{output}' ({error.strerror or error}); "
            "choose another folder with output=."
        ) from error
