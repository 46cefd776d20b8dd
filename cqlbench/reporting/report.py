"""A run's files for a reader: its table and its learning curve."""

from collections.abc import Sequence
from pathlib import Path

from cqlbench.records import atomic
from cqlbench.records.schema import Record, RecordError
from cqlbench.records.store import safe_name
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.plots import learning_curve
from cqlbench.reporting.tables import markdown


def report_run(records: Sequence[Record], folder: Path | str) -> list[Path]:
    """Write a run's table and learning curve, in place of those of an earlier report of the same run.

    They go to `<folder>/report/<dataset>-<algorithm>-<budget>-<config hash>/`.

    Args:
        records: the seeds of one run, failed and skipped ones included.
        folder: the results folder.

    Returns:
        `table.md` and, if any seed finished, `learning-curve.png` and `learning-curve.pdf`.

    Raises:
        PoolingError: the records are not of one run.
        RecordError: the folder cannot be written.
    """
    summary = summarise(records)
    key = summary.lead.key
    name = "-".join((key.dataset.replace("/", "_"), key.algorithm, key.budget, key.config_hash))
    target = Path(folder) / "report" / safe_name(name)
    files = {"table.md": markdown(summary).encode()}
    if summary.curve is not None:
        files |= {f"learning-curve.{kind}": learning_curve(summary, kind) for kind in ("png", "pdf")}
    try:
        for file_name, content in files.items():
            atomic.replace(target / file_name, content)
    except OSError as error:
        raise RecordError(
            f"The report cannot be written to '{target}' ({error.strerror or error})."
        ) from error
    return [target / file_name for file_name in files]
