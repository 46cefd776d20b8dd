"""Which column is best where, and how sure: a sentence, and a table the best first."""

from collections.abc import Sequence
from math import isnan

from cqlbench.core.text import counted
from cqlbench.records.store import run_folder
from cqlbench.reporting.report import Report
from cqlbench.reporting.standings import Place, Standing, standings
from cqlbench.reporting.tables.format import ABSENT, interval_text, number_text, some
from cqlbench.reporting.tables.render import Grid

_NAMED = 4
"""So many that may be best are named; of more, how many they are is said."""
_CAPTION = (
    "P: how probably a run of it scores more than one of the next, and than the {data}. With 95 % confidence "
    "the best is one of {those}: all others are below the highest mean by Welch's one-sided t, corrected for "
    "their number (Bonferroni)."
)


def sentences(report: Report) -> tuple[str, ...]:
    """What can be said of all datasets together, or of the only one; empty where there is no score."""
    found = standings(report)
    return (_sentence(found[0], report),) if found and (len(found) == 1 or not found[0].where) else ()


def best_grid(report: Report) -> Grid | None:
    """A row per dataset, and one of all; of a single dataset, one per column. `None` for a single column."""
    found = standings(report)
    if max((len(each.places) for each in found), default=0) < 2:
        return None
    return _ranking(found[0], report) if len(report.datasets) == 1 else _winners(found, report)


def _sentence(standing: Standing, report: Report) -> str:
    first, *others = standing.places
    where = standing.where or f"{counted(len(report.datasets), 'dataset')} on average"
    score = number_text(first.mean)
    if not isnan(first.low):
        score += f" {interval_text(first.low, first.high)}"
    others_that_may = [name for name in standing.candidates if name != first.name]
    if not others:
        text = f"{first.name} scores {score} on {where}."
    elif not others_that_may:
        text = f"{first.name} is best on {where}, with {score}."
    else:
        text = (
            f"{first.name} is ahead on {where}, with {score}; whether it is the best is open: with 95 % "
            f"confidence the best is it or {_either(others_that_may)}."
        )
    if others:
        text += (
            f" A run of it beats one of the second, {others[0].name} ({number_text(others[0].mean)}), with "
            f"probability {number_text(standing.beats_next[0], '.2f')}"
        )
    beside = f"{report.reference.lower()} ({number_text(standing.behaviour)})"
    if isnan(first.above_behaviour):
        return text if not others else f"{text}."
    above = f"scores more than the {beside} with probability {number_text(first.above_behaviour, '.2f')}."
    return f"{text}, and {above}" if others else f"{text} A run of it {above}"


def _either(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return f"one of {len(names)} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _texts(place: Place) -> tuple[str, str]:
    return number_text(place.mean), interval_text(place.low, place.high)


def _winners(found: Sequence[Standing], report: Report) -> Grid:
    rows = []
    for each in sorted(found, key=lambda standing: not standing.where):  # that of all is the last
        first, *others = each.places
        rows.append(
            (
                each.where or "All datasets",
                first.name,
                *_texts(first),
                f"{others[0].name} ({number_text(others[0].mean)})" if others else ABSENT,
                number_text(each.beats_next[0], ".2f"),
                number_text(first.above_behaviour, ".2f"),
                some(each.candidates, _NAMED, ", ") if others else ABSENT,
            )
        )
    columns = (
        "Dataset", "Best", "Score", "95 % interval", "Second", "P(> second)", "P(> data)",
        "The best is one of",
    )  # fmt: skip
    runs = {
        (number, 1): run_folder(report.summaries[row[0], row[1]].lead.key)
        for number, row in enumerate(rows)
        if row[0] in report.datasets
    }
    caption = _CAPTION.format(data=report.reference.lower(), those="the last column's")
    if any(len(each.places) < len(report.algorithms) for each in found[:1] if not each.where):
        caption += f" All datasets: of the {len(found[0].places)} algorithms that have a score of each."
    return Grid(
        "Best by dataset", columns, tuple(rows), caption, foot=int(not found[0].where), labels=2,
        runs=runs,
    )  # fmt: skip


def _ranking(standing: Standing, report: Report) -> Grid:
    rows = tuple(
        (
            each.name,
            *_texts(each),
            number_text(beats, ".2f"),
            number_text(each.above_behaviour, ".2f"),
            "yes" if each.name in standing.candidates else "no",
        )
        for each, beats in zip(standing.places, standing.beats_next, strict=True)
    )
    columns = (
        "Algorithm", "Score", "95 % interval", "P(> next)", "P(> data)", "May be best",
    )  # fmt: skip
    caption = _CAPTION.format(data=report.reference.lower(), those="those that may be")
    return Grid("Best first", columns, rows, caption)
