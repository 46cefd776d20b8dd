"""`cqlbench data check` and `show`."""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from cqlbench.core import outputs
from cqlbench.core.errors import DatasetError, UserError
from cqlbench.data import validate
from cqlbench.data.cards import Card
from cqlbench.data.findings import Finding
from cqlbench.data.load import expected, provide, read
from cqlbench.data.replayed import examine_replay
from cqlbench.data.resolve import resolve
from cqlbench.data.transitions import Transitions
from cqlbench.environments.rendering import Picture, picture
from cqlbench.reporting.plots.dataset import facts, figure, typical_row


def check(console: Console, name: str, source: str, clip_actions: bool, rows: str | None) -> None:
    """Read a dataset's file anew and print what the checks find, one line per check.

    Raises:
        DatasetError: the dataset cannot be had or read, or a check failed.
    """
    resolution = resolve(name, source)
    card = resolution.card
    if rows == "trusted":
        card = replace(card, quirks=(*card.quirks, "rows_are_right"))
    console.out(f"{resolution.dataset_id}: {resolution.reason}")
    if card.source == "embedded":  # collecting takes long, and would give the same rows
        transitions = provide(resolution).transitions()
    else:
        transitions = read(resolution, clip_actions=clip_actions)
    findings = validate.examine(transitions, expected(card))
    if "rows_are_right" not in card.quirks and all(finding.severity != "error" for finding in findings):
        findings += examine_replay(transitions, card)
    for line in table(findings):
        console.out(line)
    for note in transitions.notes:
        console.out(f"note     {note}")
    failed = [finding.check for finding in findings if finding.severity in ("doubt", "error")]
    if failed:
        raise DatasetError(f"{resolution.dataset_id} fails {len(failed)} of its checks: {', '.join(failed)}.")


def table(findings: Sequence[Finding]) -> list[str]:
    """One line per finding: severity, check, sentence, and the first rows concerned."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        more = ", …" if finding.count > len(finding.rows) else ""
        rows = f" Rows: {', '.join(map(str, finding.rows))}{more}." if finding.rows else ""
        line = f"{finding.severity:<7}  {finding.check:<{width}}  {finding.message}{rows}"
        lines.append(line.rstrip())
    return lines


def show(console: Console, name: str, source: str, clip_actions: bool, results: Path) -> None:
    """Print a dataset's facts, and draw them.

    Raises:
        ConfigError: the results folder cannot be written, or has another's file under the figure's name.
        DatasetError: the dataset cannot be had.
    """
    resolution = resolve(name, source)
    dataset = provide(resolution, clip_actions=clip_actions)
    console.out(f"{resolution.dataset_id}: {resolution.reason}")
    rows, whole = dataset.transitions(), dataset.whole_episodes
    for name, text in facts(rows, whole, resolution.card):
        console.out(f"{name:<12} {text}")
    file = Path(dataset.path).name.rpartition("-")[0] + ".png"
    place = results / "datasets" / file
    frame = _frame(console, resolution.card, rows, typical_row(rows, whole))
    drawn = {file: figure(dataset.id, rows, whole, resolution.card, frame)}
    outputs.write_folder(place.parent, drawn, "show", "results", complete=False)
    console.out(f"{'Figure':<12} {place}")


def _frame(console: Console, card: Card, rows: Transitions, row: int) -> Picture | None:
    """A picture of the environment at a row, where there is one and it can be drawn here."""
    if card.environment is None:
        return None
    try:
        return picture(card.environment, rows.observations[row])
    except UserError as error:
        console.out(f"{'No frame':<12} {error}")
        return None
