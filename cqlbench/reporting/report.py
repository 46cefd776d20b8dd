"""Records -> everything a report shows: datasets × algorithms, suite aggregates, published scores.

Nothing is formatted here and nothing is drawn: tables, plots and pages read a `Report`.
"""

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan, nan
from typing import Any, Literal

import numpy as np
import pandas as pd

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.records.schema import Record
from cqlbench.reporting import statistics
from cqlbench.reporting.aggregate import (
    FEWEST_SEEDS,
    Floats,
    PoolingError,
    Spread,
    Summary,
    reference_name,
    summarise_largest,
)
from cqlbench.reporting.published import COLUMNS, compare, others
from cqlbench.reporting.ranks import Ranks, ranked
from cqlbench.reporting.sections import CHOOSE, Section, check_table, columns, sections
from cqlbench.reporting.selection import Choice
from cqlbench.reporting.tuning import Tuning, published_tunings, tunings

Selection = Literal["last", "best", "mean10"]
SELECTIONS: Mapping[Selection, str] = {
    "last": "last evaluation",
    "best": "best evaluation (oracle selection)",
    "mean10": "mean of the last ten evaluations",
}
FIELDS = {"last": "last", "best": "best", "mean10": "late"}
"""Selection -> the field of `SeedResult` that holds its scores."""

Bold = Literal["interval", "95%-of-best"]
BOLDS: Mapping[Bold, str] = {
    "interval": "means inside its 95 % interval",
    "95%-of-best": "means that fall short of it by at most 5 %",
}
_SHORT = 0.05
NAMED = 6
"""More variants are counted, not named; more columns are not all compared with one another."""

AGGREGATES: Mapping[str, statistics.Statistic] = {
    "mean": statistics.mean,
    "median": statistics.median,
    "IQM": statistics.iqm,
    "optimality gap": statistics.optimality_gap,
}


@dataclass(frozen=True, eq=False)
class Report:
    """All that is shown of some runs. What is unknown is NaN in all tables.

    Attributes:
        selection: which evaluations are scored.
        bold: which of a row's means are among the `best`.
        budget: the budget of all of them.
        datasets: full ids, in order; the rows.
        algorithms: in order; the columns. Of an algorithm in several configurations, one for each:
            `cql (conservative_weight=5)`.
        settings: of each column of an algorithm that has several, those in which they differ.
        summaries: the runs by dataset and column, row by row.
        scores: of each column, per dataset `[S]`, as `reporting.statistics` takes it; empty for none.
        cells: a row per `dataset` and `algorithm` (the column), those without a record included. `status`:
            `finished`, `partial`, `no score`, `missing`, or what became of most of the seeds; `count` scored
            of `asked` seeds, the `mean`, `std`, `low` and `high` of their scores; whether it is among the
            `best` of its row; whether it is `comparable`; `run`; what is `differing` between its seeds; the
            algorithm's `name`; with what kind of published scores it is `compared`; the score of the
            dataset's `behaviour`, and the share of seeds `above_behaviour` (ties count half).
        suite: a row per `algorithm` and `aggregate` (see `AGGREGATES`): how many `datasets` have a score, of
            how many `runs`; `value`, NaN unless every dataset has a score, and its stratified bootstrap
            interval, `low` and `high`, NaN unless each has three seeds. The last `algorithm` is `reference`,
            a run of it per dataset.
        reference: what the datasets' means are of: "Behaviour policy" or "Dataset mean".
        improvement: `probability` that a run of `first` beats one of `second`, averaged over the datasets,
            `low` and `high`: of every pair of algorithms that both have a score of every dataset, the
            probably better one first; of more than `NAMED`, of the one of the highest mean and each of the
            others.
        rivals: published scores beside the cells that may stand beside them: see `published.compare`.
        others: published scores of algorithms that were not run: see `published.others`.
        published: every published score.
        tuning: score by tuning budget of the algorithms in several configurations; then, where all may stand
            beside published scores, of published sweeps of the same datasets.
        choices: what was chosen without the environment, of the datasets of which somebody asked.
        section: in what it differs from other reports that were made with it; empty for the only one.
        note: the same in words, but for the budget.
    """

    selection: Selection
    bold: Bold
    budget: str
    datasets: tuple[str, ...]
    algorithms: tuple[str, ...]
    settings: Mapping[str, Mapping[str, str]]
    summaries: Mapping[tuple[str, str], Summary]
    scores: Mapping[str, list[Floats]]
    cells: pd.DataFrame
    suite: pd.DataFrame
    reference: str
    improvement: pd.DataFrame
    rivals: pd.DataFrame
    others: pd.DataFrame
    published: pd.DataFrame
    tuning: tuple[Tuning, ...]
    choices: tuple[Choice, ...]
    section: str
    note: str

    @property
    def behaviour(self) -> float:
        """The data's mean score over the datasets; NaN unless each has one."""
        return float(self.cells.groupby("dataset")["behaviour"].first().mean(skipna=False))

    @cached_property
    def ranks(self) -> Ranks | None:
        """Of the columns that have a score of every dataset."""
        whole = {name: scores for name, scores in self.scores.items() if all(map(len, scores))}
        return ranked({name: [float(each.mean()) for each in scores] for name, scores in whole.items()})

    @property
    def whose(self) -> str:
        """Its algorithms, or how many columns there are of them."""
        names = dict.fromkeys(summary.lead.algorithm for summary in self.summaries.values())
        if len(self.algorithms) <= max(NAMED, len(names)):
            return ", ".join(self.algorithms)
        return f"{len(self.algorithms)} variants of {', '.join(names)}"


def rows_of(table: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table as named tuples."""
    return iter(table.itertuples(index=False))


def build_reports(
    records: Sequence[Record],
    selection: Selection = "last",
    published: pd.DataFrame | None = None,
    samples: int = statistics.SAMPLES,
    choices: Sequence[Choice] = (),
    bold: Bold = "interval",
) -> tuple[Report, ...]:
    """A report of each section (`cqlbench.reporting.sections`), whatever the order of the records.

    Records are one per key, failed and skipped ones included; `published` scores stand beside ours, where
    ours may; the others are as of `Report`.

    Raises:
        PoolingError: there are none, or a cell, a row or a table would pool what must not meet: dataset
            contents, environments, protocols.
    """
    if not records:
        raise PoolingError("There are no records to report.")
    table = pd.DataFrame(columns=[*COLUMNS]) if published is None else published
    return tuple(_report(section, selection, bold, table, samples, choices) for section in sections(records))


def _report(
    section: Section,
    selection: Selection,
    bold: Bold,
    published: pd.DataFrame,
    samples: int,
    choices: Sequence[Choice],
) -> Report:
    named = columns(section.records)
    runs: dict[tuple[str, str], list[Record]] = {}
    for record in section.records:
        column = named[record.algorithm, record.config_hash].name
        runs.setdefault((record.dataset.id, column), []).append(record)
    algorithms = tuple(dict.fromkeys(column.name for column in named.values()))
    datasets = tuple(sorted({dataset for dataset, _ in runs}))
    places = [*itertools.product(datasets, algorithms)]
    summaries = {place: _summary(runs[place], place[1]) for place in places if place in runs}
    check_table([*summaries.values()])
    cells = pd.DataFrame([_cell(*place, summaries.get(place), selection) for place in places])
    cells = cells.assign(selection=selection, budget=section.budget, best=best(cells, bold))
    cells["behaviour"] = cells.groupby("dataset")["behaviour"].transform("first")
    scores = {
        name: [_scores(summaries.get((dataset, name)), selection) for dataset in datasets]
        for name in algorithms
    }
    cells["above_behaviour"] = [
        _above(scores[cell.algorithm][datasets.index(cell.dataset)], cell.behaviour)
        for cell in rows_of(cells)
    ]
    behaviour = [np.array([score]) for score in cells.groupby("dataset")["behaviour"].first().dropna()]
    reference = reference_name(summaries.values())
    suite = _suite(scores | ({reference: behaviour} if len(behaviour) == len(datasets) else {}), samples)
    return Report(
        selection=selection,
        bold=bold,
        budget=section.budget,
        datasets=datasets,
        algorithms=algorithms,
        settings={column.name: column.settings for column in named.values() if column.settings},
        summaries=summaries,
        scores=scores,
        cells=cells,
        suite=suite,
        reference=reference,
        improvement=_improvement(scores, samples),
        rivals=compare(cells, published),
        others=others(cells, published),
        published=published,
        tuning=_tuning(summaries, scores, datasets),
        choices=tuple(each for each in choices if each.dataset in datasets),
        section=section.name,
        note=section.note,
    )


def _summary(records: Sequence[Record], column: str) -> Summary:
    try:
        return replace(summarise_largest(records), variant=column)
    except PoolingError as error:
        raise PoolingError(f"{str(error).rstrip('.')}; {CHOOSE}") from error


def _scores(summary: Summary | None, selection: Selection) -> Floats:
    return np.array(summary.values(FIELDS[selection]) if summary else [], np.float64)


def _cell(dataset: str, algorithm: str, summary: Summary | None, selection: Selection) -> dict[str, Any]:
    cell = {"dataset": dataset, "algorithm": algorithm}
    if summary is None:
        return cell | {"status": "missing", "asked": 0, "compared": "", "behaviour": nan} | vars(Spread(0))
    lead, score = summary.lead, summary.over(FIELDS[selection])
    compared = selection if lead.online is None else {"last": "online"}.get(selection, "")
    return cell | {
        "status": _status(summary, score.count),
        "asked": len(summary.seeds),
        **vars(score),
        "comparable": not summary.incomparable_because,
        "run": f"{lead.budget.name}-{lead.config_hash}",
        "differing": "; ".join(summary.differing),
        "name": lead.algorithm,
        "compared": "" if summary.incomparable_because else compared,
        "behaviour": nan if lead.dataset.behaviour_score is None else lead.dataset.behaviour_score,
    }


def _above(scores: Floats, behaviour: float) -> float:
    if not len(scores) or isnan(behaviour):
        return nan
    return statistics.probability_of_improvement([scores], [np.array([behaviour])])


def _status(summary: Summary, scored: int) -> str:
    if scored:
        return "finished" if scored == len(summary.seeds) else "partial"
    kinds = [line.status for line in summary.seeds if line.status != "finished"]
    return max(sorted(set(kinds)), key=kinds.count) if kinds else "no score"


def best(cells: pd.DataFrame, bold: Bold = "interval") -> "pd.Series[bool]":
    """Which of a row's scores may be the best: their mean lies inside the interval of the highest mean.

    Their own intervals do not count: else the more a score scatters, the sooner it is called the best. None,
    where there is nothing to compare with or the highest mean is of fewer than three seeds.

    Args:
        cells: `dataset`, `mean` and `low` of each.
        bold: by `95%-of-best`, those of three seeds or more that fall short of the highest by at most 5 %.
    """
    rows = cells.dropna(subset="mean").groupby("dataset")["mean"]
    top = cells.loc[rows.idxmax()].set_index("dataset")
    lowest = top["low"] if bold == "interval" else (top["mean"] - _SHORT * top["mean"].abs())
    tops = lowest.where((rows.count() > 1) & top["low"].notna())
    return cells["low"].notna() & (cells["mean"] >= cells["dataset"].map(tops))


def _tuning(
    summaries: Mapping[tuple[str, str], Summary],
    scores: Mapping[str, Sequence[Floats]],
    datasets: Sequence[str],
) -> tuple[Tuning, ...]:
    of_runs = {place: scores[place[1]][datasets.index(place[0])] for place in summaries}
    found = tunings(summaries, of_runs)
    if found and not any(summary.incomparable_because for summary in summaries.values()):
        found += published_tunings(datasets)
    return found


def _suite(scores: Mapping[str, Sequence[Floats]], samples: int) -> pd.DataFrame:
    rows = []
    for algorithm, each in scores.items():
        known = sum(len(seeds) > 0 for seeds in each)
        whole = known == len(each)
        ends: list[tuple[float, float]] = [(nan, nan)] * len(AGGREGATES)
        if _enough(each):
            generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(algorithm.encode()))
            ends = statistics.bootstrap_intervals(each, list(AGGREGATES.values()), generator, samples)
        rows += [
            (algorithm, name, known, sum(map(len, each)), float(aggregate(each)) if whole else nan, *interval)
            for (name, aggregate), interval in zip(AGGREGATES.items(), ends, strict=True)
        ]
    head = ["algorithm", "aggregate", "datasets", "runs", "value", "low", "high"]
    return pd.DataFrame(rows, columns=head)


def _improvement(scores: Mapping[str, Sequence[Floats]], samples: int) -> pd.DataFrame:
    whole = [name for name in scores if all(map(len, scores[name]))]
    pairs = list(itertools.combinations(whole, 2))
    if len(whole) > NAMED:
        top = max(whole, key=lambda name: float(statistics.mean(scores[name])))
        pairs = [(top, name) for name in whole if name != top]
    rows = []
    for first, second in pairs:
        x, y = scores[first], scores[second]
        ends = (nan, nan)
        if _enough(x) and _enough(y):
            names = [zlib.crc32(name.encode()) for name in (first, second)]
            generator = numpy_generator(0, Purpose.BOOTSTRAP, *names)
            ends = statistics.probability_of_improvement_interval(x, y, generator, samples)
        rows.append((first, second, statistics.probability_of_improvement(x, y), *ends))
    found = pd.DataFrame(rows, columns=["first", "second", "probability", "low", "high"])
    # Ties count half for either, so the two probabilities add up to 1.
    turned = found.assign(
        first=found["second"], second=found["first"], probability=1 - found["probability"],
        low=1 - found["high"], high=1 - found["low"],
    )  # fmt: skip
    return found.where(found["probability"] >= 0.5, turned)


def _enough(scores: Sequence[Floats]) -> bool:
    return min(map(len, scores)) >= FEWEST_SEEDS
