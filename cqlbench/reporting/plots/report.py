"""The plots of a report: which there are, what they are drawn from, and what they show in words."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from math import nan
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.core.text import counted
from cqlbench.records.pooling import MARK
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import FEWEST_SEEDS, Curve, Floats, Summary, reference_name
from cqlbench.reporting.plots import figures
from cqlbench.reporting.plots.figures import Line
from cqlbench.reporting.plots.plot import Part, Plot, sample_text
from cqlbench.reporting.plots.ranks import ranks_plot
from cqlbench.reporting.plots.selection import selection_plots
from cqlbench.reporting.plots.style import SCORE, Reference
from cqlbench.reporting.plots.tuning import tuning_plot
from cqlbench.reporting.report import SELECTIONS, Report, rows_of
from cqlbench.reporting.statistics import (
    bootstrap_intervals,
    iqm,
    performance_profile,
    performance_profile_interval,
)
from cqlbench.reporting.tables.format import marked, some

_T = TypeVar("_T")
PANELS = 18
"""Datasets on one figure of curves; more of them make more figures."""
_THRESHOLDS = 101
_PROFILE_SAMPLES = 5_000
_CURVE_SAMPLES = 1_000
"""Of each step of a curve: there are hundreds."""
_ONE_LINE = 28
"""Pairs of longer names have a line for each."""
_RANKED = 24
"""More columns make no diagram of ranks."""
_IQM = "IQM of scores (0-100)"
_BAND = "The band is the 95 % interval of the mean (Student's t), none for fewer than three seeds."
_TITLES = {"IQM": "IQM", "optimality gap": "Optimality gap (less is better)"}


def plots_of(report: Report) -> list[Plot]:
    """Every plot that there are numbers for, in the order in which they are shown."""
    # Those with the most datasets come first, so that they have the looks that differ most.
    scored = {name: sum(len(each) > 0 for each in scores) for name, scores in report.scores.items()}
    report = replace(report, algorithms=tuple(sorted(report.algorithms, key=lambda name: -scored[name])))
    shown, explained = _marked(report), f" {sample_text(report.budget, report.summaries.values())}"
    if shown.algorithms != report.algorithms:
        explained += f" {MARK} marks seeds made differently; the notes below the tables say how."
    found = [
        replace(plot, caption=f"{plot.caption}{explained}", part=part)
        for part, kinds in _PARTS.items()
        for plots_of_kind in kinds
        for plot in plots_of_kind(shown)
    ]
    return [*found, *_throughput(report)]


def _marked(report: Report) -> Report:
    """The same, with a mark on the names of columns that pool seeds made differently."""
    names = {each.label: marked(each.label, each) for each in report.summaries.values() if each.differing}
    return replace(
        report,
        algorithms=tuple(names.get(name, name) for name in report.algorithms),
        summaries={
            (dataset, names.get(name, name)): replace(summary, variant=names.get(name, name))
            for (dataset, name), summary in report.summaries.items()
        },
        scores={names.get(name, name): scores for name, scores in report.scores.items()},
        cells=report.cells.replace({"algorithm": names}),
        suite=report.suite.replace({"algorithm": names}),
        improvement=report.improvement.replace({"first": names, "second": names}),
    )


def _scores(report: Report) -> Iterator[Plot]:
    known = report.cells.dropna(subset="mean").rename(
        columns={"dataset": "row", "algorithm": "series", "mean": "value"}
    )
    if known.empty:
        return
    reference = _reference(report.summaries.values(), normalised=True)
    tops = known.loc[known.groupby("row")["value"].idxmax()]
    highest = [f"{each.series} on {each.row} ({each.value:.1f})" for each in rows_of(tops)]
    yield Plot(
        "scores",
        "Scores",
        f"Mean over seeds of the {SELECTIONS[report.selection]}; the bar is the 95 % interval of the "
        f"mean (Student's t), none for fewer than three seeds.{_dashed(reference)}",
        f"Scores of {report.whose} on {counted(len(highest), 'dataset')}. "
        f"Highest means: {some(highest, between=', ')}.",
        lambda: figures.intervals(known, order=report.algorithms, reference=reference),
    )


def _answers(report: Report) -> Iterator[Plot]:
    if report.ranks is not None and len(report.ranks.names) <= _RANKED:
        yield ranks_plot(report.ranks)
    if report.tuning:
        yield tuning_plot(report.tuning, report.reference, report.behaviour)
    yield from selection_plots(report.choices)


def _aggregates(report: Report) -> Iterator[Plot]:
    every = report.suite.dropna(subset="value").rename(columns={"algorithm": "series"})
    every = every.assign(row=[_TITLES.get(name, name.capitalize()) for name in every["aggregate"]])
    data = every[every["series"] == report.reference]
    known = every.drop(data.index)
    if known.empty or len(report.datasets) < 2:
        return
    texts = [
        f"{name}: " + ", ".join(f"{mark.series} {mark.value:.1f}" for mark in rows_of(marks))
        for name, marks in every.groupby("row", sort=False)
    ]
    means = {mark.row: mark.value for mark in rows_of(data)}
    reference = Reference(report.reference, means) if means else None
    yield Plot(
        "aggregates",
        "Aggregates over the datasets",
        f"Over all datasets; the bar is the 95 % stratified bootstrap interval.{_dashed(reference)}",
        f"{'; '.join(texts)}.",
        lambda: figures.aggregate_intervals(known, report.algorithms, reference),
    )


def _iqm_curves(report: Report) -> Iterator[Plot]:
    """Over gradient steps, of the algorithms that were evaluated on every dataset."""
    where = counted(len(report.datasets), "dataset")
    found = {
        name: [
            curve
            for dataset in report.datasets
            if (dataset, name) in report.summaries
            and (curve := report.summaries[dataset, name].curve) is not None
            and curve.normalised
        ]
        for name in report.algorithms
    }
    scores = {name: _common(curves) for name, curves in found.items() if len(curves) == len(report.datasets)}
    scores = {name: known for name, known in scores.items() if len(known[0])}
    if not scores or len(report.datasets) < 2:
        return
    suite = report.suite.set_index(["aggregate", "algorithm"])["value"]
    mean = suite.get(("IQM", report.reference))
    reference = None if mean is None else Reference(report.reference, {where: mean})

    def draw() -> Figure:
        lines = {(where, name): _iqm_line(*known, name) for name, known in scores.items()}
        return figures.learning_curves(lines, _IQM, report.algorithms, reference)

    ends = [f"{name} {iqm([each[-1] for each in known]):.1f}" for name, (_, known) in scores.items()]
    yield Plot(
        "iqm-curves",
        "IQM over training",
        "Interquartile mean over the runs of all datasets at each evaluation, with pointwise 95 % "
        f"stratified bootstrap intervals, none for fewer than three seeds.{_dashed(reference)}",
        f"IQM over gradient steps on {where}. At the end, {some(ends, between=', ')}.",
        draw,
    )


def _common(curves: Sequence[Curve]) -> tuple[Floats, list[Floats]]:
    """Steps `[P]` at which every seed has a score, and per dataset the scores `[P, S]`."""
    whole = [curve.steps[np.isfinite(curve.values).all(0)] for curve in curves]
    steps = reduce(np.intersect1d, whole)
    return steps.astype(np.float64), [each.values[:, np.isin(each.steps, steps)].T for each in curves]


def _iqm_line(steps: Floats, scores: Sequence[Floats], name: str) -> Line:
    ends = np.full((len(steps), 2), nan)
    if min(each.shape[1] for each in scores) >= FEWEST_SEEDS:
        for place in range(len(steps)):
            # The same draws at each step: the band is as smooth as the curves.
            generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(name.encode()), 2)
            at = [each[place] for each in scores]
            ends[place] = bootstrap_intervals(at, [iqm], generator, _CURVE_SAMPLES)[0]
    return Line(steps, iqm(scores), *ends.T)


def _profiles(report: Report) -> Iterator[Plot]:
    whole = {name: scores for name, scores in report.scores.items() if all(map(len, scores))}
    if not whole:
        return
    every = np.concatenate([each for scores in whole.values() for each in scores])
    low, high = 5 * np.floor(min(0.0, every.min()) / 5), 5 * np.ceil(max(5.0, every.max()) / 5)
    thresholds = np.linspace(low, high, _THRESHOLDS)

    def draw() -> Figure:
        lines = {name: _profile(scores, thresholds, name) for name, scores in whole.items()}
        return figures.performance_profiles(lines, order=report.algorithms)

    half = [f"{name} {100 * performance_profile(scores, [50.0])[0]:.0f} %" for name, scores in whole.items()]
    yield Plot(
        "performance-profiles",
        "Performance profiles",
        "Share of runs that score more than τ, datasets counting alike, with pointwise 95 % "
        "stratified bootstrap intervals. Higher is better.",
        f"Share of runs that score more than 50: {some(half, between=', ')}.",
        draw,
    )


def _profile(scores: Sequence[Floats], thresholds: Floats, name: str) -> Line:
    mean = performance_profile(scores, thresholds)
    low = high = np.full(len(mean), nan)
    if min(map(len, scores)) >= FEWEST_SEEDS:
        generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(name.encode()), 1)
        low, high = performance_profile_interval(scores, thresholds, generator, _PROFILE_SAMPLES)
    return Line(thresholds, mean, low, high)


def _improvements(report: Report) -> Iterator[Plot]:
    if report.improvement.empty:
        return
    pairs = report.improvement
    texts = [f"{each.first} over {each.second} {each.probability:.2f}" for each in rows_of(pairs)]
    names = [f"{each.first} > {each.second}" for each in rows_of(pairs)]
    if max(map(len, names)) > _ONE_LINE:
        names = [f"{each.first} >\n{each.second}" for each in rows_of(pairs)]
    marks = pairs.assign(row=names, series="", value=pairs["probability"])
    yield Plot(
        "probability-of-improvement",
        "Probability of improvement",
        "How probably a run of X scores more than one of Y on the same dataset, averaged over datasets; "
        "the bar is the 95 % stratified bootstrap interval. 0.5 is a tie.",
        f"Probability of improvement of {some(texts, between=', ')}.",
        lambda: figures.improvement_intervals(marks),
    )


def _curves(report: Report) -> Iterator[Plot]:
    for normalised, unit in ((True, SCORE), (False, "Return per episode")):
        runs = {
            place: summary
            for place, summary in report.summaries.items()
            if summary.curve is not None and summary.curve.normalised is normalised
        }
        for part, ending in _parts(runs):
            yield from _curve_plots(report, part, unit, ("" if normalised else "-returns") + ending)


def _parts(runs: Mapping[tuple[str, str], _T]) -> Iterator[tuple[dict[tuple[str, str], _T], str]]:
    """The runs of `PANELS` datasets each, and the ending of their files' names."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in runs))
    for start in range(0, len(datasets), PANELS):
        names = datasets[start : start + PANELS]
        ending = f"-{start // PANELS + 1}" if len(datasets) > PANELS else ""
        yield {place: run for place, run in runs.items() if place[0] in names}, ending


def _curve_plots(
    report: Report, runs: dict[tuple[str, str], Summary], unit: str, ending: str
) -> Iterator[Plot]:
    what = "score" if unit == SCORE else "return"
    where = counted(len({dataset for dataset, _ in runs}), "dataset")
    reference = _reference(runs.values(), normalised=unit == SCORE)
    tuned = any(summary.first_frame is not None for summary in runs.values())
    dotted = " Dotted: where offline training ended and fine-tuning began." if tuned else ""
    lines = {place: _line(run.curve, run.first_frame) for place, run in runs.items() if run.curve}
    ends = _ends(lines, ".1f")
    yield Plot(
        f"learning-curves{ending}",
        "Learning curves",
        f"Mean {what} over the finished seeds at each evaluation. {_BAND}{_dashed(reference)}{dotted}",
        f"Mean {what} over gradient steps on {where}. {ends}",
        partial(figures.learning_curves, lines, unit, report.algorithms, reference),
    )
    machines = list(dict.fromkeys(map(_machine, runs.values())))
    seconds = {place: line._replace(x=_seconds(runs[place], line)) for place, line in lines.items()}
    yield Plot(
        f"wall-clock{ending}",
        f"{what.capitalize()} against wall-clock time",
        f"Mean {what} over the finished seeds against the time since the run began, loading and evaluation "
        f"included, all its seeds together. {_BAND}{_dashed(reference)} "
        f"Measured on {some(machines, between=', ')}.",
        f"Mean {what} over wall-clock time on {where}. {ends}",
        partial(figures.wall_clock_curves, seconds, unit, report.algorithms, reference),
    )


def _line(curve: Curve, first_frame: int | None) -> Line:
    return Line(curve.steps.astype(np.float64), curve.mean, curve.low, curve.high, first_frame)


def _seconds(summary: Summary, line: Line) -> Floats:
    """Since the run began, of each point of the line, mean over seeds."""
    per_seed = [{each.step: each.wall_seconds for each in record.evaluations} for record in summary.evaluated]
    return np.array([np.mean([seen[int(step)] for seen in per_seed]) for step in line.x])


def _ends(lines: Mapping[tuple[str, str], Line], form: str) -> str:
    texts: dict[str, list[str]] = {}
    for (dataset, algorithm), line in lines.items():
        texts.setdefault(dataset, []).append(f"{algorithm} {line.mean[-1]:{form}}")
    ends = [f"{dataset}: {', '.join(each)}" for dataset, each in texts.items()]
    return f"At the end, {some(ends)}."


def _dashed(reference: Reference | None) -> str:
    return f" Dashed: {reference.label.lower()}." if reference else ""


def _reference(summaries: Iterable[Summary], normalised: bool) -> Reference | None:
    """The datasets' means, where any is known."""
    field = "behaviour_score" if normalised else "behaviour_return_mean"
    means = {each.lead.dataset.id: getattr(each.lead.dataset, field) for each in summaries}
    known = {dataset: mean for dataset, mean in means.items() if mean is not None}
    return Reference(reference_name(summaries), known) if known else None


def _training(report: Report) -> Iterator[Plot]:
    """Losses and Q values while training."""
    drawn = {place: training.curves(summary) for place, summary in report.summaries.items()}
    for name, title in training.SHOWN.items():
        lines = {place: _line(curves[title], None) for place, curves in drawn.items() if title in curves}
        for part, ending in _parts(lines):
            yield Plot(
                f"training-{name.replace('_', '-')}{ending}",
                title,
                f"Mean over the finished seeds of what training recorded. {_BAND}",
                f"{title} over gradient steps. {_ends(part, '.4g')}",
                partial(figures.learning_curves, part, title, report.algorithms),
            )


def _throughput(report: Report) -> Iterator[Plot]:
    # The seeds of a batch share one measurement.
    rows = dict.fromkeys(
        (
            f"{_machine(summary)}, {counted(len(record.seed_batch), 'seed')}",
            summary.label,
            record.throughput.seed_steps_per_second,
            (record.dataset.id, record.seed_batch, record.throughput.steps_per_second),
        )
        for summary in report.summaries.values()
        for record in summary.records
        if record.throughput is not None and record.throughput.seed_steps_per_second > 0
    )
    if not rows:
        return
    marks = pd.DataFrame([*rows], columns=["row", "series", "value", "run"]).assign(low=nan, high=nan)
    texts = [
        f"{name} {rates.min():,.0f} to {rates.max():,.0f} on {row}"
        for (row, name), rates in marks.groupby(["row", "series"], sort=False)["value"]
    ]
    yield Plot(
        "throughput",
        "Throughput",
        "Seed steps per second while training: gradient steps times the seeds trained together. "
        "A mark per run.",
        f"Seed steps per second: {some(texts, between=', ')}.",
        partial(figures.throughput, marks, report.algorithms),
        "diagnostics",
    )


def _machine(summary: Summary) -> str:
    machine = summary.lead.machine
    return machine.gpu or f"{machine.cpu}, {counted(machine.cores, 'core')}"


_PARTS: Mapping[Part, tuple[Callable[[Report], Iterator[Plot]], ...]] = {
    "answers": (_scores, _improvements, _aggregates, _profiles, _answers),
    "curves": (_iqm_curves, _curves),
    "diagnostics": (_training,),
}
