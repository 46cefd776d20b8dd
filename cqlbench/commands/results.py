"""`cqlbench results list|show|diff|export`: recorded runs found, shown, compared, handed to other tools."""

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError
from cqlbench.records.filters import counting_lines, read
from cqlbench.records.find import find_run
from cqlbench.records.index import Line, lines_of
from cqlbench.records.pooling import MARK, differing, groups, seeds_text
from cqlbench.records.schema import RecordError
from cqlbench.records.settings import differing_settings
from cqlbench.records.store import RecordStore
from cqlbench.reporting.aggregate import Summary, spread, summarise
from cqlbench.reporting.tables import render
from cqlbench.reporting.tables import run as tables
from cqlbench.reporting.tables.comparison import compared
from cqlbench.reporting.tables.format import spread_text


def list_runs(console: Console, results: Path, **filters: str) -> None:
    """Print a line per run, and what must be said of its seeds."""
    lines = counting_lines(results, filters)
    differences = _settings(lines)
    more = ("Settings",) if any(differences.values()) else ()
    rows: list[tuple[str, ...]] = [("Run", "Seeds", "Score", "Return", "Made (UTC)", *more)]
    notes = []
    for run, group in itertools.groupby(lines, key=lambda line: line.run):
        seeds = list(group)
        apart = groups([line.origin for line in seeds])
        for places in apart:
            row, phrases = _listed(run, [seeds[place] for place in places])
            rows.append((*row, *(differences[run] for _ in more)))
            notes += [f"{MARK} {run}: {phrase}." for phrase in phrases]
        if len(apart) > 1:
            numbers = (seeds_text([seeds[place].key.seed for place in places]) for places in apart)
            notes.append(
                f"{run}: {' and '.join(numbers)} are not pooled: their dataset content or protocol differs."
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print(Text(text.rstrip()), soft_wrap=True)
    for note in notes:
        console.print(Text(note, style="yellow"), soft_wrap=True)


def _settings(lines: Sequence[Line]) -> dict[str, str]:
    """Each run's values of the settings in which it differs from others of its dataset and algorithm."""
    runs = {line.run: line for line in lines}
    named: dict[str, str] = {}
    for _, group in itertools.groupby(runs.values(), key=lambda line: line.key.algorithm):
        some = list(group)
        places = [((line.key.dataset, line.key.budget), line.config) for line in some]
        named |= dict(zip((line.run for line in some), differing_settings(places), strict=True))
    return named


def _listed(run: str, seeds: Sequence[Line]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A line of seeds that may share a mean, and what must be said of them."""
    finished = [line for line in seeds if line.result.status == "finished"]
    phrases = differing({line.key.seed: line.origin for line in finished})
    score, value = (
        spread_text(spread(numbers)) + (f" {MARK}" if phrases else "")
        for numbers in (
            [line.result.last for line in finished],
            [line.result.last_return for line in finished],
        )
    )
    states = [line.result.status for line in seeds]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    made = max(line.created_at for line in seeds)[:16].replace("T", " ")
    return (run, counts, score, value, made), phrases


def show(console: Console, run: str, results: Path) -> None:
    """Print a run's tables again."""
    summary = _summary(results, run)
    render.show(tables.report(summary), console)
    console.print(Text(f"\nAgain    {shlex.join(summary.lead.command)}"), soft_wrap=True)


def diff(console: Console, first: str, second: str, results: Path) -> None:
    """Print two runs' scores, and what differs in how they were made."""
    content = compared(_summary(results, first), _summary(results, second))
    render.show(content, console, widest=160)


def export(console: Console, output: Path, overwrite: bool, results: Path, **filters: str) -> None:
    """Write a row per evaluation.

    Raises:
        UserError: no record, another ending, or a file that exists already or cannot be written.
    """
    # Imported here: the other commands need not wait for pandas.
    from cqlbench.records.frame import evaluations_frame, to_csv, to_parquet

    writers = {".csv": to_csv, ".parquet": to_parquet}
    if output.suffix not in writers:
        raise ConfigError(f"output={output} must end in {' or '.join(writers)}.")
    outputs.check_file(output, overwrite)
    rows = evaluations_frame(read(results, counting_lines(results, filters)))
    outputs.write_file(output, writers[output.suffix](rows), overwrite)
    console.print(Text(f"Export   {output}, {len(rows):,} rows"), soft_wrap=True)


def _summary(folder: Path, run: str) -> Summary:
    store, name = RecordStore(folder), find_run(folder, run)
    key = next((line.key for line in lines_of(store) if line.run == name), None)
    if key is None:
        raise RecordError(f"Run '{name}' has no record that can be used.")
    records = store.find(
        dataset=key.dataset, algorithm=key.algorithm, budget=key.budget, config_hash=key.config_hash
    )
    return summarise(records)
