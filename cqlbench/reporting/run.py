"""What a reader gets of a run: its tables and its learning curve, as files and on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core import outputs
from cqlbench.records.schema import Record
from cqlbench.records.store import run_folder
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.plots.run import caption, curves_of, learning_curve
from cqlbench.reporting.tables import render
from cqlbench.reporting.tables.run import report

_CURVES = {"learning-curve.png": "png", "learning-curve.pdf": "pdf"}


def report_run(records: Sequence[Record], folder: Path | str, console: Console | None = None) -> list[Path]:
    """Write a run's table and learning curve, in place of those of an earlier report of the same run.

    They go to `<folder>/report/<dataset id>/<algorithm>/<budget>-<config hash>/`, as the records do under
    `runs/`. They are written before anything is printed, and a report that cannot be written is printed
    all the same. Failed and skipped seeds are among the `records`; without a `console` nothing is printed.

    Returns:
        Paths of `table.md` and, if any seed finished, `learning-curve.png` and `.pdf` with the caption beside
        them, `.txt` and `.tex`.

    Raises:
        PoolingError: the records are not of one run.
        ConfigError: the folder cannot be written, or holds files of others under the report's names.
    """
    summary = summarise(records)
    target = Path(folder) / "report" / run_folder(summary.lead.key)
    tables = report(summary)
    files = {"table.md": render.markdown(tables).encode()}
    if curves_of(summary):
        files |= {name: learning_curve(summary, kind) for name, kind in _CURVES.items()}
        files |= {f"learning-curve.{kind}": text.encode() for kind, text in caption(summary).items()}
    try:
        outputs.write_folder(target, files, "run", "results")
    finally:
        if console is not None:
            render.show(tables, console)
            console.print()
    paths = [target / file_name for file_name in files]
    if console is not None:
        for path in paths[: 1 + len(_CURVES)]:  # captions stand beside the curves
            console.print(Text(f"Report   {path}"), soft_wrap=True)
    return paths
