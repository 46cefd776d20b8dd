"""Published scores beside ours, as tables: of the same algorithms, and of those that were not run."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from math import isnan, nan
from typing import Any

import pandas as pd

from cqlbench.reporting.aggregate import Summary
from cqlbench.reporting.fine_tuning import fine_tuning
from cqlbench.reporting.published import compare
from cqlbench.reporting.report import Report, rows_of
from cqlbench.reporting.tables.format import (
    ABSENT,
    deviation_text,
    differing_notes,
    interval_text,
    number_text,
    pooled_text,
    score_text,
    spread_text,
)
from cqlbench.reporting.tables.render import Grid

_SOURCE = ["source", "protocol"]


def published_grids(report: Report) -> Iterator[tuple[str, Grid]]:
    """A table per column of the report that has published scores, then one per source of the others."""
    numbers = _numbers(report)
    rivals = report.rivals.merge(numbers, on=_SOURCE)
    for algorithm in report.algorithms:
        beside = rivals[rivals["algorithm"] == algorithm]
        if len(beside):
            notes = differing_notes(
                report.summaries[dataset, algorithm] for dataset in beside["dataset"].unique()
            )
            yield f"published-{algorithm}", _published(algorithm, beside, notes)
    for source, theirs in report.others.merge(numbers, on=_SOURCE).groupby("source"):
        yield f"published-others-{source}", _others(report, str(source), theirs)


def protocol_notes(report: Report) -> Iterator[str]:
    """What the numbers of protocols mean, a sentence each."""
    for each in rows_of(_numbers(report)):
        yield f"[{each.number}] {each.source}: {each.protocol} ({each.place})"


def _numbers(report: Report) -> pd.DataFrame:
    """The number of each source and protocol, and where it was read."""
    every = pd.concat([table[[*_SOURCE, "place"]] for table in (report.rivals, report.others)])
    places = every.groupby(_SOURCE)[["place"]].last().reset_index()
    return places.assign(number=range(1, len(places) + 1))


def _others(report: Report, source: str, theirs: pd.DataFrame) -> Grid:
    cells = {(cell.dataset, cell.algorithm): cell for cell in rows_of(report.cells) if cell.compared}
    ours = [name for name in report.algorithms if any(name == own for _, own in cells)]
    names = sorted(theirs["rival"].unique())
    rows = []
    for dataset, each in theirs.groupby("dataset"):
        texts = {rival.rival: _rival_text(rival) for rival in rows_of(each)}
        own = (score_text(cells[dataset, name]) if (dataset, name) in cells else ABSENT for name in ours)
        rows.append((str(dataset), *own, *(texts.get(name, ABSENT) for name in names)))
    head = ("Dataset", *(f"{name} (ours)" for name in ours), *names)
    caption = (
        f"Algorithms that {source} has published and that were not run, beside those of ours that may stand "
        "beside published scores. Their ± is as published. Protocols by number: see below."
    )
    own_summaries = [summary for place, summary in report.summaries.items() if place in cells]
    notes = differing_notes(own_summaries)
    return Grid(f"Not run, but published by {source}", head, tuple(rows), caption, notes=notes)


def _published(algorithm: str, rivals: pd.DataFrame, notes: tuple[str, ...]) -> Grid:
    sources = sorted(rivals["source"].unique())
    rows = []
    for dataset, each in rivals.groupby("dataset", sort=False):
        texts = {rival.source: _rival_texts(rival) for rival in rows_of(each)}
        pairs = (texts.get(source, (ABSENT, ABSENT)) for source in sources)
        rows.append((str(dataset), score_text(next(rows_of(each))), *itertools.chain(*pairs)))
    columns = [column for source in sources for column in (source, "Difference")]
    caption = (
        "Ours less theirs ± the combined uncertainty (95 %, Welch's t), and whether it is inside. "
        "Their ± is as published, taken for a population deviation. Protocols by number: see below."
    )
    head = ("Dataset", "Ours", *columns)
    return Grid(f"{algorithm} beside published scores", head, tuple(rows), caption, notes=notes)


def _rival_text(rival: Any) -> str:
    return f"{deviation_text(rival.published, rival.published_std)} [{rival.number}]"


def _rival_texts(rival: Any) -> tuple[str, str]:
    score = _rival_text(rival)
    if isnan(rival.difference):
        return score, ABSENT
    inside = "cannot say" if pd.isna(rival.inside) else "inside" if rival.inside else "outside"
    half = "" if isnan(rival.uncertainty) else f" ± {number_text(rival.uncertainty)}"
    return score, f"{rival.difference:+z.1f}{half}, {inside}"


def fine_tuning_grid(summaries: Iterable[Summary], published: pd.DataFrame) -> Grid:
    """Every fine-tuned run, `before → after`, beside what others published of the same dataset."""
    tuned = [(summary, found) for summary in summaries if (found := fine_tuning(summary)) is not None]
    theirs = _published_fine_tuning([summary for summary, _ in tuned], published)
    sources = sorted({source for _, source in theirs})
    rows = tuple(
        (
            summary.lead.dataset.id,
            summary.label,
            f"{each.facts.frames:,}",
            f"{spread_text(each.before)} → {pooled_text(each.after, summary)}",
            spread_text(each.gain),
            interval_text(each.gain.low, each.gain.high),
            spread_text(each.regret, "z,.3f"),
            *(theirs.get((row, source), ABSENT) for source in sources),
        )
        for row, (summary, each) in enumerate(tuned)
    )
    head = ("Dataset", "Algorithm", "Frames", "Before → after", "Gain", "95 % interval", "Regret", *sources)
    caption = (
        "Score ± std over seeds before the first frame and after the last one; gain: seed by seed, with its "
        "95 % interval. Regret: mean over the evaluations between of 1 − score / 100."
    )
    if sources and any(summary.lead.config["algorithm"].get("calibrated") for summary, _ in tuned):
        caption += " CORL's Cal-QL bounds the penalty offline only, ours in both phases."
    notes = differing_notes(summary for summary, _ in tuned)
    return Grid("Fine-tuning", head, rows, caption, labels=2, notes=notes)


def _published_fine_tuning(
    summaries: Sequence[Summary], published: pd.DataFrame
) -> dict[tuple[int, str], str]:
    """Position of a run and source -> published scores before and after, and the regret between."""
    ours = pd.DataFrame(
        [
            (row, summary.lead.dataset.id, summary.lead.algorithm, kind, 0, nan, nan)
            for row, summary in enumerate(summaries)
            for kind in ("offline", "online", "regret")
            if not summary.incomparable_because
        ],
        columns=["row", "dataset", "name", "compared", "count", "mean", "std"],
    )
    kinds: dict[tuple[int, str], dict[str, Any]] = {}
    for score in rows_of(compare(ours, published)):
        kinds.setdefault((score.row, score.source), {})[score.compared] = score
    texts = {}
    for place, scores in kinds.items():
        if {"offline", "online"} <= scores.keys():
            ends = [scores[kind] for kind in ("offline", "online")]
            text = " → ".join(deviation_text(each.published, each.published_std) for each in ends)
            regret = f", regret {scores['regret'].published:.2f}" if "regret" in scores else ""
            texts[place] = text + regret
    return texts
