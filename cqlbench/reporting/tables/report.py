"""A `Report` as tables: datasets × algorithms, the suite, published scores, and every run."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from math import isnan, nan
from typing import Any

import pandas as pd

from cqlbench.core.text import counted
from cqlbench.records.store import run_folder
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import FEWEST_SEEDS
from cqlbench.reporting.fine_tuning import fine_tuning
from cqlbench.reporting.report import BOLDS, SELECTIONS, Report, rows_of
from cqlbench.reporting.tables.best import best_grid, sentences
from cqlbench.reporting.tables.format import (
    ABSENT,
    differing_notes,
    interval_text,
    number_text,
    score_text,
    some,
    spread_text,
)
from cqlbench.reporting.tables.published import fine_tuning_grid, protocol_notes, published_grids
from cqlbench.reporting.tables.ranks import ranks_frame, ranks_grid
from cqlbench.reporting.tables.render import Document, Grid
from cqlbench.reporting.tables.run import environment_text
from cqlbench.reporting.tables.selection import selection_csv, selection_grids
from cqlbench.reporting.tables.settings import settings_grids
from cqlbench.reporting.tables.tuning import tuning_frame, tuning_grid

_WIDEST = 170
"""Characters of the scores' columns, beside the dataset's: a dozen algorithms by name."""
_FOOT = {"mean": "Mean", "IQM": "IQM"}
"""The suite's numbers below the scores; the others have a table of their own."""
_SOME = ("tuning", "published-others", "ranks")
"""Written only where they have a row."""
_CSV = {
    "scores": "dataset algorithm selection budget status finished asked "
    "mean std low high best comparable run differing behaviour above_behaviour",
    "suite": "algorithm aggregate datasets runs value low high",
    "improvement": "first second probability low high",
    "tuning": "algorithm published kind budget score low high",
    "published": "dataset algorithm ours source published std seeds "
    "difference uncertainty inside protocol place",
    "published-others": "dataset algorithm source published std seeds protocol place",
    "ranks": "algorithm mean_rank datasets p critical_difference",
}


def document(report: Report) -> Document:
    """The whole report in words and tables."""
    note = f" ({report.note})" if report.note else ""
    title = (
        f"{report.whose} on {counted(len(report.datasets), 'dataset')}, budget {report.budget}{note}: "
        f"{SELECTIONS[report.selection]} of {counted(int(report.cells['count'].sum()), 'seed')}"
    )
    return Document(
        title,
        tuple(_warnings(report)),
        tuple(grids(report).values()),
        tuple(_notes(report)),
        answers=sentences(report),
    )


def grids(report: Report) -> dict[str, Grid]:
    """The report's tables by a name fit for a file; those that would say nothing are left out."""
    summaries = [*report.summaries.values()]
    unevaluated = [summary for summary in summaries if training.unevaluated(summary)]
    found = {}
    if (best := best_grid(report)) is not None:
        found["best"] = best
    if len(unevaluated) < len(summaries):
        found["scores"] = _scores(report)
        if len(report.datasets) > 1:
            found["suite"] = _suite(report)
        if report.cells["above_behaviour"].notna().any():
            found["behaviour"] = _behaviour(report)
    texts = {(cell.algorithm, cell.dataset): cell_text(cell) for cell in rows_of(report.cells)}
    found |= {f"settings-{name}": grid for name, grid in settings_grids(report, texts)}
    if report.tuning:
        found["tuning"] = tuning_grid(report.tuning, report.reference, report.behaviour)
    found |= selection_grids(report.choices)
    if unevaluated:
        found["training"] = training.suite_grid(unevaluated)
    if report.ranks is not None:
        found["ranks"] = ranks_grid(report.ranks)
    if len(report.improvement):
        found["improvement"] = _improvement(report)
    if any(map(fine_tuning, summaries)):
        found["fine-tuning"] = fine_tuning_grid(summaries, report.published)
    found |= dict(published_grids(report))
    found["runs"] = _runs(report)
    return found


def csv_files(report: Report) -> dict[str, str]:
    """The report's numbers as tidy tables by file name, one value per column, empty where there is none."""
    rivals = report.rivals.drop(columns="std").rename(columns={"mean": "ours", "published_std": "std"})
    tables = {
        "scores": report.cells.rename(columns={"count": "finished"}),
        "suite": report.suite,
        "improvement": report.improvement,
        "published": rivals,
        "published-others": report.others.rename(columns={"rival": "algorithm", "published_std": "std"}),
        "tuning": tuning_frame(report.tuning),
        "ranks": ranks_frame(report.ranks),
    }
    return selection_csv(report.choices) | {
        f"{name}.csv": tables[name][names.split()].to_csv(
            index=False, lineterminator="\n", float_format="%.6g"
        )
        for name, names in _CSV.items()
        if name not in _SOME or len(tables[name])
    }


def is_long(report: Report) -> bool:
    """Whether the scores have a row per cell, since their columns would not fit a page."""
    return sum(max(len(name), 12) + 2 for name in report.algorithms) > _WIDEST


def _scores(report: Report) -> Grid:
    cells = _known(report)
    head, rows, places = _laid_out(report, cells, "Score ± std", [cell_text(cell) for cell in rows_of(cells)])
    foot: list[tuple[str, ...]] = []
    suite = report.suite.set_index(["aggregate", "algorithm"])["value"]
    if len(report.datasets) > 1 and not is_long(report):
        for name, title in _FOOT.items():
            values = (suite.get((name, each), nan) for each in (report.reference, *report.algorithms))
            foot.append((title, *map(number_text, values)))
    caption = (
        f"Mean ± std over seeds of the {SELECTIONS[report.selection]}, 0-100 scale; in brackets, "
        "scored of asked seeds where some are missing. Bold: the highest mean, and "
        f"{BOLDS[report.bold]}."
    )
    return Grid(
        "Scores", head, (*rows, *foot), caption,
        bold=frozenset(itertools.compress(places, cells["best"])),
        foot=len(foot),
        labels=3 if is_long(report) else 1,
        notes=differing_notes(report.summaries.values()),
        runs=_run_names(report, cells, places),
    )  # fmt: skip


def _behaviour(report: Report) -> Grid:
    cells = _known(report)
    texts = [number_text(cell.above_behaviour, ".2f") for cell in rows_of(cells)]
    title = f"P(score > {report.reference.lower()})"
    head, rows, _ = _laid_out(report, cells, title, texts)
    caption = (
        "Share of seeds whose score is above the mean score of the data, ties counting half: how probably a "
        "run beats its data. A rough estimate where seeds are few."
    )
    return Grid(title, head, rows, caption, labels=3 if is_long(report) else 1)


def _laid_out(
    report: Report, cells: pd.DataFrame, heading: str, texts: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], list[tuple[int, int]]]:
    """Columns, rows and the places of `texts`, one per cell.

    A row per dataset and a column per algorithm; where the columns are too many, a row per cell.
    """
    behaviour = dict(zip(cells["dataset"], map(number_text, cells["behaviour"]), strict=True))
    if is_long(report):
        labels = zip(cells["dataset"], cells["algorithm"], texts, strict=True)
        long_rows = tuple((dataset, behaviour[dataset], *others) for dataset, *others in labels)
        head = ("Dataset", report.reference, "Algorithm", heading)
        return head, long_rows, [(row, 3) for row in range(len(cells))]
    width = len(report.algorithms)
    rows = tuple(
        (dataset, behaviour[dataset], *texts[row * width : (row + 1) * width])
        for row, dataset in enumerate(report.datasets)
    )
    places = [(place // width, 2 + place % width) for place in range(len(cells))]
    return ("Dataset", report.reference, *report.algorithms), rows, places


def _known(report: Report) -> pd.DataFrame:
    """The cells; without those that are missing where each has a row of its own."""
    return report.cells[report.cells["status"] != "missing"] if is_long(report) else report.cells


def _run_names(
    report: Report, cells: pd.DataFrame, places: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], str]:
    keys = zip(cells["dataset"], cells["algorithm"], strict=True)
    summaries = (report.summaries.get(key) for key in keys)
    pairs = zip(places, summaries, strict=True)
    return {place: run_folder(summary.lead.key) for place, summary in pairs if summary}


def cell_text(cell: Any) -> str:
    """A cell of the scores, a row of `Report.cells`: the score, or why there is none."""
    if cell.status in ("missing", "no score"):
        return str(cell.status)
    share = f" ({cell.count}/{cell.asked})" if cell.count < cell.asked else ""
    return f"{score_text(cell) if cell.count else cell.status}{share}"


def _suite(report: Report) -> Grid:
    texts = report.suite.assign(text=[_estimate(each) for each in rows_of(report.suite)])
    rows = tuple(
        (
            str(algorithm),
            f"{each['datasets'].iloc[0]}/{len(report.datasets)}",
            ABSENT if algorithm == report.reference else str(each["runs"].iloc[0]),
            *each["text"],
        )
        for algorithm, each in texts.groupby("algorithm", sort=False)
    )
    caption = (
        "In brackets the 95 % interval of the stratified bootstrap. Nothing is "
        "said of an algorithm that lacks a score of a dataset. Optimality gap: how far runs fall "
        "short of 100; lower is better."
    )
    columns = ("Algorithm", "Datasets", "Runs", "Mean", "Median", "IQM", "Optimality gap")
    return Grid("Suite", columns, rows, caption)


def _improvement(report: Report) -> Grid:
    rows = tuple(
        (pair.first, pair.second, _estimate(pair, ".2f"))
        for pair in rows_of(report.improvement.rename(columns={"probability": "value"}))
    )
    caption = (
        "Probability that a run of the first beats one of the second, averaged over datasets; 0.5 is a tie. "
        "The probably better one stands first."
    )
    columns = ("First", "Second", "P(first > second)")
    return Grid("Probability of improvement", columns, rows, caption, labels=2)


def _runs(report: Report) -> Grid:
    cells = _known(report)
    rows = []
    for cell in rows_of(cells):
        summary = report.summaries.get((cell.dataset, cell.algorithm))
        scores = (score_text(cell), interval_text(cell.low, cell.high))
        beside = (spread_text(summary.over("last_return")), cell.run) if summary else (ABSENT, ABSENT)
        rows.append(
            (cell.dataset, cell.algorithm, cell.status, f"{cell.count}/{cell.asked}", *scores, *beside)
        )
    caption = (
        f"95 % Student's t interval of the mean over seeds; none for fewer than {FEWEST_SEEDS} seeds. "
        "Return: of the last evaluation."
    )
    columns = (
        "Dataset", "Algorithm", "Status", "Seeds", "Score ± std", "95 % interval", "Return ± std", "Run",
    )  # fmt: skip
    names = _run_names(report, cells, ((row, 0) for row in range(len(cells))))
    notes = differing_notes(report.summaries.values())
    return Grid("Runs", columns, tuple(rows), caption, labels=3, notes=notes, runs=names)


def _warnings(report: Report) -> Iterator[str]:
    if report.selection == "best":
        yield "Best evaluations: oracle selection, which nobody can do without the environment."
    reasons: dict[str, list[str]] = {}
    for (dataset, algorithm), summary in report.summaries.items():
        if summary.incomparable_because:
            reasons.setdefault(summary.incomparable_because, []).append(f"{algorithm} on {dataset}")
    for reason, runs in reasons.items():
        whose = "" if len(runs) == len(report.summaries) else f" ({'; '.join(runs)})"
        yield f"Not comparable with published scores{whose}: {reason.rstrip('.')}."
    missing = report.cells[report.cells["status"] == "missing"]
    for name, cells in missing.groupby("dataset"):
        yield f"{some([*cells['algorithm']], 3)} on {name}: no record."
    for (dataset, algorithm), summary in report.summaries.items():
        run = f"{algorithm} on {dataset}"
        for line in summary.seeds:
            if line.status != "finished":
                yield f"{run}, seed {line.seed} {line.status}: {line.reason}"
        if training.unevaluated(summary):
            yield f"{run}: {summary.lead.reason}"
        else:
            yield from (f"{run}, seed {each.seed}: {each.reason}" for each in summary.finished if each.reason)


def _notes(report: Report) -> Iterator[str]:
    yield (
        "± is the sample standard deviation over finished seeds (ddof = 1). Intervals of one dataset are "
        "Student's t; those over datasets are percentiles of the stratified bootstrap, which draws seeds "
        f"again within each dataset. Fewer than {FEWEST_SEEDS} seeds have no interval."
    )
    yield (
        "In simulation 95 % intervals of three seeds hold the true mean of normal scores in 95 % of cases, "
        "and that over nine datasets in 93 %; of skewed ones in 86 % and 89 %, of such that fail one time in "
        "five in 91 % and 91 %."
    )
    protocols = (summary.lead.protocol for summary in report.summaries.values())
    yield from sorted({f"{environment_text(each, ':', kwargs=False)}." for each in protocols if each})
    yield from protocol_notes(report)


def _estimate(row: Any, form: str = "z,.1f") -> str:
    text = number_text(row.value, form)
    return text if isnan(row.low) else f"{text} {interval_text(row.low, row.high, form)}"
