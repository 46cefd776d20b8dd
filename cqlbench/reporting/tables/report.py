"""A `Report` as tables: datasets × algorithms, the suite, published scores, and every run."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cqlbench.core.text import counted
from cqlbench.records.schema import EvaluationProtocol
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import FEWEST_SEEDS, Spread, reference_name
from cqlbench.reporting.fine_tuning import suite_grid
from cqlbench.reporting.published import Comparison, Published
from cqlbench.reporting.report import AGGREGATES, SELECTIONS, Cell, Estimate, Report
from cqlbench.reporting.tables.format import (
    ABSENT,
    differing_notes,
    interval_text,
    number_text,
    pooled_text,
    published_text,
    some,
    spread_text,
)
from cqlbench.reporting.tables.render import Document, Grid

_WIDEST = 110
"""Characters of the scores' columns, beside the dataset's, that a terminal and a page have room for."""
_FOOT = ("mean", "IQM")
"""The suite's numbers below the scores; the others have a table of their own."""


def document(report: Report) -> Document:
    """The whole report in words and tables."""
    finished = sum(cell.score.count for cell in report.cells)
    note = f" ({report.note})" if report.note else ""
    title = (
        f"{report.whose} on {counted(len(report.datasets), 'dataset')}, "
        f"budget {report.budget}{note}: {SELECTIONS[report.selection]} of {counted(finished, 'seed')}"
    )
    return Document(title, tuple(_warnings(report)), tuple(grids(report).values()), tuple(_notes(report)))


def grids(report: Report) -> dict[str, Grid]:
    """The report's tables by a name fit for a file; those that would say nothing are left out."""
    unevaluated = [summary for summary in report.summaries if training.unevaluated(summary)]
    found = {}
    if len(unevaluated) < len(report.summaries):
        found["scores"] = _scores(report)
        if len(report.datasets) > 1:
            found["suite"] = _suite(report)
    if unevaluated:
        found["training"] = training.suite_grid(unevaluated)
    if report.improvements:
        found["improvement"] = _improvement(report)
    tuned = suite_grid(report.summaries, report.published)
    if tuned is not None:
        found["fine-tuning"] = tuned
    sources = _sources(report)
    for algorithm in report.algorithms:
        cells = [cell for cell in report.cells if cell.algorithm == algorithm and cell.published]
        if cells:
            found[f"published-{algorithm}"] = _published(algorithm, cells, sources)
    found["runs"] = _runs(report)
    return found


def csv_files(report: Report) -> dict[str, str]:
    """The report's numbers as tidy tables by file name, one value per column, empty where there is none."""
    return {
        "scores.csv": _csv(
            "dataset algorithm selection budget status finished asked mean std low high best comparable run "
            "differing",
            (_cell_line(report, cell) for cell in report.cells),
        ),
        "suite.csv": _csv(
            "algorithm aggregate datasets runs value low high",
            (
                (suite.algorithm, name, suite.datasets, suite.runs, each.value, each.low, each.high)
                for suite in report.suites
                for name, each in suite.estimates.items()
            ),
        ),
        "improvement.csv": _csv(
            "first second probability low high",
            (
                (each.first, each.second, each.probability.value, each.probability.low, each.probability.high)
                for each in report.improvements
            ),
        ),
        "published.csv": _csv(
            "dataset algorithm ours source published std seeds difference uncertainty inside protocol place",
            (
                _comparison_line(cell, comparison)
                for cell in report.cells
                for comparison in cell.published
            ),
        ),
    }  # fmt: skip


def _scores(report: Report) -> Grid:
    """A row per dataset and a column per algorithm; where the columns are too many, a row per cell."""
    reference = reference_name(report.summaries)
    caption = (
        f"Mean ± std over seeds of the {SELECTIONS[report.selection]}, 0-100 scale; in brackets, "
        "scored of asked seeds where some are missing. Bold: the highest mean, and means inside its 95 % "
        "interval."
    )
    notes = differing_notes(report.summaries)
    places = score_places(report)
    bold = frozenset(place for place, cell in places.items() if cell.best)
    if is_long(report):
        lines = [(cell.dataset, _behaviour(report, cell.dataset), cell.algorithm) for cell in places.values()]
        rows = [(*line, cell_text(cell)) for line, cell in zip(lines, places.values(), strict=True)]
        head: tuple[str, ...] = ("Dataset", reference, "Algorithm", "Score ± std")
        return Grid("Scores", head, tuple(rows), caption, bold, labels=3, notes=notes)
    table = [
        (dataset, _behaviour(report, dataset), *map(cell_text, report.row(dataset)))
        for dataset in report.datasets
    ]
    foot = _FOOT if len(report.datasets) > 1 else ()
    for name in foot:
        values = (suite.estimates[name].value for suite in report.suites)
        table.append((name.capitalize() if name.islower() else name, "", *map(number_text, values)))
    head = ("Dataset", reference, *report.algorithms)
    return Grid("Scores", head, tuple(table), caption, bold, len(foot), notes=notes)


def score_places(report: Report) -> dict[tuple[int, int], Cell]:
    """Row and column of the scores table -> the cell that stands there."""
    if is_long(report):
        known = [cell for cell in report.cells if cell.summary is not None]
        return {(row, 3): cell for row, cell in enumerate(known)}
    return {
        (row, column): cell
        for row, dataset in enumerate(report.datasets)
        for column, cell in enumerate(report.row(dataset), start=2)
    }


def run_cells(report: Report) -> list[Cell]:
    """The rows of the table of runs."""
    return [cell for cell in report.cells if cell.summary is not None or not is_long(report)]


def is_long(report: Report) -> bool:
    """Whether the scores have a row per cell, since their columns would not fit a page."""
    return sum(max(len(name), 12) + 2 for name in report.algorithms) > _WIDEST


def _behaviour(report: Report, dataset: str) -> str:
    data = next(cell.summary.lead.dataset for cell in report.row(dataset) if cell.summary)
    return number_text(data.behaviour_score)


def cell_text(cell: Cell) -> str:
    """A cell of the scores: the score, or why there is none."""
    if cell.summary is None:
        return "missing"
    if cell_status(cell) == "no score":
        return "no score"
    share = f" ({cell.score.count}/{cell.asked})" if cell.score.count < cell.asked else ""
    if cell.score.mean is None:
        return f"{cell_status(cell)}{share}"
    return f"{pooled_text(cell.score, cell.summary)}{share}"


def cell_status(cell: Cell) -> str:
    """`finished`, `partial`, `no score`, or what became of most of the seeds that did not finish."""
    if cell.summary is None:
        return "missing"
    if cell.score.count:
        return "finished" if cell.score.count == cell.asked else "partial"
    kinds = [line.status for line in cell.unfinished]
    return max(sorted(set(kinds)), key=kinds.count) if kinds else "no score"


def _suite(report: Report) -> Grid:
    rows = tuple(
        (
            suite.algorithm,
            f"{suite.datasets}/{len(report.datasets)}",
            str(suite.runs),
            *(_estimate(suite.estimates[name]) for name in AGGREGATES),
        )
        for suite in report.suites
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
        (each.first, each.second, _estimate(each.probability, ".2f")) for each in report.improvements
    )
    caption = "Probability that a run of the first beats one of the second, averaged over datasets."
    return Grid(
        "Probability of improvement", ("First", "Second", "P(first > second)"), rows, caption, labels=2
    )


def _published(algorithm: str, cells: Sequence[Cell], labels: dict[tuple[str, str], int]) -> Grid:
    sources = sorted({each.published.source for cell in cells for each in cell.published})
    rows = []
    for cell in cells:
        by_source = {each.published.source: each for each in cell.published}
        texts = (_comparison(by_source.get(source), labels) for source in sources)
        ours = pooled_text(cell.score, cell.summary)
        rows.append((cell.dataset, ours, *(text for pair in texts for text in pair)))
    columns = [column for source in sources for column in (source, "Difference")]
    caption = (
        "Ours less theirs ± the combined uncertainty (95 %, Welch's t), and whether it is inside. "
        "Their ± is as published, taken for a population deviation. Protocols by number: see below."
    )
    notes = differing_notes(cell.summary for cell in cells if cell.summary)
    head = ("Dataset", "Ours", *columns)
    return Grid(f"{algorithm} beside published scores", head, tuple(rows), caption, notes=notes)


def _comparison(comparison: Comparison | None, labels: dict[tuple[str, str], int]) -> tuple[str, str]:
    if comparison is None:
        return ABSENT, ABSENT
    theirs = comparison.published
    score = f"{published_text(theirs)} [{labels[_label(theirs)]}]"
    if comparison.difference is None:
        return score, ABSENT
    verdict = {True: "inside", False: "outside", None: "cannot say"}[comparison.inside]
    half = "" if comparison.uncertainty is None else f" ± {number_text(comparison.uncertainty)}"
    return score, f"{comparison.difference:+z.1f}{half}, {verdict}"


def _label(published: Published) -> tuple[str, str]:
    return published.source, published.protocol


def _sources(report: Report) -> dict[tuple[str, str], int]:
    """(source, protocol) -> its number."""
    found = {_label(each.published) for cell in report.cells for each in cell.published}
    return {label: number for number, label in enumerate(sorted(found), start=1)}


def _runs(report: Report) -> Grid:
    rows = tuple(
        (
            cell.dataset,
            cell.algorithm,
            cell_status(cell),
            f"{cell.score.count}/{cell.asked}",
            pooled_text(cell.score, cell.summary),
            interval_text(cell.score.low, cell.score.high),
            spread_text(cell.summary.last_return) if cell.summary else ABSENT,
            f"{cell.summary.lead.budget.name}-{cell.summary.lead.config_hash}" if cell.summary else ABSENT,
        )
        for cell in run_cells(report)
    )
    caption = (
        f"95 % Student's t interval of the mean over seeds; none for fewer than {FEWEST_SEEDS} seeds. "
        "Return: of the last evaluation."
    )
    columns = (
        "Dataset",
        "Algorithm",
        "Status",
        "Seeds",
        "Score ± std",
        "95 % interval",
        "Return ± std",
        "Run",
    )
    return Grid("Runs", columns, rows, caption, labels=3, notes=differing_notes(report.summaries))


def _warnings(report: Report) -> Iterator[str]:
    if report.selection == "best":
        yield "Best evaluations: oracle selection, which nobody can do without the environment."
    reasons: dict[str, list[str]] = {}
    for summary in report.summaries:
        if summary.incomparable_because:
            run = f"{summary.label} on {summary.lead.dataset.id}"
            reasons.setdefault(summary.incomparable_because, []).append(run)
    for reason, runs in reasons.items():
        whose = "" if len(runs) == len(report.summaries) else f" ({'; '.join(runs)})"
        yield f"Not comparable with published scores{whose}: {reason.rstrip('.')}."
    for dataset in report.datasets:
        missing = [cell.algorithm for cell in report.row(dataset) if cell.summary is None]
        if missing:
            yield f"{some(missing, 3)} on {dataset}: no record."
    for cell in report.cells:
        for line in cell.unfinished:
            yield f"{cell.algorithm} on {cell.dataset}, seed {line.seed} {line.status}: {line.reason}"
        if cell.summary is not None and training.unevaluated(cell.summary):
            yield f"{cell.algorithm} on {cell.dataset}: {cell.summary.lead.reason}"
        elif cell.summary is not None:
            for record in cell.summary.finished:
                if record.reason is not None:
                    yield f"{cell.algorithm} on {cell.dataset}, seed {record.seed}: {record.reason}"


def _notes(report: Report) -> Iterator[str]:
    yield (
        "± is the sample standard deviation over finished seeds (ddof = 1). Intervals of one dataset are "
        "Student's t; those over datasets are percentiles of the stratified bootstrap, which draws seeds "
        f"again within each dataset. Fewer than {FEWEST_SEEDS} seeds have no interval."
    )
    protocols = {_environment(summary.lead.protocol) for summary in report.summaries if summary.lead.protocol}
    yield from sorted(protocols)
    places = {
        _label(each.published): each.published.place for cell in report.cells for each in cell.published
    }
    for (source, protocol), number in _sources(report).items():
        yield f"[{number}] {source}: {protocol} ({places[source, protocol]})"


def _environment(protocol: EvaluationProtocol) -> str:
    place = protocol.environment
    simulator = f", MuJoCo {place.mujoco_version}" if place.mujoco_version else ""
    return (
        f"{place.id} on {place.backend} {place.backend_version}{simulator}: "
        f"{counted(protocol.episodes, 'episode')} per seed and evaluation, "
        f"{'deterministic' if protocol.deterministic else 'sampled'} actions."
    )


def _cell_line(report: Report, cell: Cell) -> tuple[Any, ...]:
    score: Spread = cell.score
    lead = cell.summary.lead if cell.summary else None
    return (
        cell.dataset, cell.algorithm, report.selection, report.budget, cell_status(cell),
        score.count, cell.asked, score.mean, score.std, score.low, score.high, cell.best,
        None if cell.summary is None else not cell.summary.incomparable_because,
        lead and f"{lead.budget.name}-{lead.config_hash}",
        "; ".join(cell.summary.differing) if cell.summary else None,
    )  # fmt: skip


def _comparison_line(cell: Cell, comparison: Comparison) -> tuple[Any, ...]:
    theirs = comparison.published
    return (
        cell.dataset, cell.algorithm, cell.score.mean, theirs.source, theirs.mean, theirs.std, theirs.seeds,
        comparison.difference, comparison.uncertainty, comparison.inside, theirs.protocol, theirs.place,
    )  # fmt: skip


def _csv(columns: str, lines: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns.split())
    for line in lines:
        writer.writerow([format(value, ".6g") if isinstance(value, float) else value for value in line])
    return file.getvalue()


def _estimate(estimate: Estimate, form: str = "z,.1f") -> str:
    if estimate.value is None:
        return ABSENT
    if estimate.low is None or estimate.high is None:
        return format(estimate.value, form)
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
