"""The plots of a report: which there are, what they are drawn from, and what they show in words."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.core.text import counted
from cqlbench.records.pooling import MARK
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import CONFIDENCE, Curve, Floats, Summary, reference_name
from cqlbench.reporting.plots import figures
from cqlbench.reporting.plots.figures import Line, Reference
from cqlbench.reporting.report import SELECTIONS, Estimate, Improvement, Report
from cqlbench.reporting.statistics import performance_profile, performance_profile_interval
from cqlbench.reporting.tables.format import marked

PANELS = 18
"""Datasets on one figure of curves; more of them make more figures."""
_THRESHOLDS = 101
_PROFILE_SAMPLES = 5_000
_TOLD = 12
"""A plot's words name so many numbers; for more of them there are the tables."""
_INTERVAL = f"{CONFIDENCE:.0%}".replace("%", " %")
_BAND = f"The band is the {_INTERVAL} interval of the mean (Student's t), none for fewer than three seeds."
_TITLES = {"IQM": "IQM", "optimality gap": "Optimality gap (less is better)"}


@dataclass(frozen=True)
class Plot:
    """One plot, before it is drawn.

    Attributes:
        name: of its files, without ending.
        title: its heading.
        caption: how to read it.
        alt: what it shows, for those who cannot see it.
        draw: draws it.
    """

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]


def plots_of(report: Report) -> list[Plot]:
    """Every plot that there are numbers for, in the order in which they are shown."""
    shown, explained = _marked(report), ""
    if shown.algorithms != report.algorithms:
        explained = f" {MARK} marks seeds made differently; the notes below the tables say how."
    kinds = (_scores, _aggregates, _profiles, _improvements, _curves, _training)
    return [
        *(
            replace(plot, caption=f"{plot.caption}{explained}")
            for plots_of_kind in kinds
            for plot in plots_of_kind(shown)
        ),
        *_throughput(report),
    ]


def plot_files(report: Report) -> Iterator[tuple[str, bytes]]:
    """Each plot as `<name>.pdf` and `<name>.png` with its content."""
    for plot in plots_of(report):
        figure = plot.draw()
        for kind in ("pdf", "png"):
            yield f"{plot.name}.{kind}", figures.render(figure, kind)


def improvements_of(report: Report) -> list[Improvement]:
    """The report's pairs, each with the probably better algorithm first."""
    return [_better_first(each) for each in report.improvements]


def _better_first(pair: Improvement) -> Improvement:
    value, low, high = pair.probability.value, pair.probability.low, pair.probability.high
    if value is None or value >= 0.5:
        return pair
    # Ties count half for either, so the two probabilities add up to 1.
    ends = (None, None) if low is None or high is None else (1 - high, 1 - low)
    return Improvement(pair.second, pair.first, Estimate(1 - value, *ends))


def _marked(report: Report) -> Report:
    """The same, with a mark on the names of columns that pool seeds made differently."""
    names = {name: name for name in report.algorithms}
    names |= {each.label: marked(each.label, each) for each in report.summaries if each.differing}
    cells = [
        replace(
            cell,
            algorithm=names[cell.algorithm],
            summary=cell.summary and replace(cell.summary, variant=names[cell.algorithm]),
        )
        for cell in report.cells
    ]
    return replace(
        report,
        algorithms=tuple(names[name] for name in report.algorithms),
        cells=tuple(cells),
        suites=tuple(replace(suite, algorithm=names[suite.algorithm]) for suite in report.suites),
        improvements=tuple(
            replace(each, first=names[each.first], second=names[each.second]) for each in report.improvements
        ),
    )


def _scores(report: Report) -> Iterator[Plot]:
    cells = {
        dataset: {
            cell.algorithm: figures.Estimate(cell.score.mean, cell.score.low, cell.score.high)
            for cell in report.row(dataset)
            if cell.score.mean is not None
        }
        for dataset in report.datasets
    }
    shown = {dataset: row for dataset, row in cells.items() if row}
    if not shown:
        return
    reference = _reference(report.summaries, normalised=True)
    best = [
        f"{max(row, key=lambda name, row=row: row[name].value)} on {dataset} "  # type: ignore[misc]
        f"({max(each.value for each in row.values()):.1f})"
        for dataset, row in shown.items()
    ]
    yield Plot(
        "scores",
        "Scores",
        f"Mean over seeds of the {SELECTIONS[report.selection]}; the bar is the {_INTERVAL} interval of the "
        f"mean (Student's t), none for fewer than three seeds.{_dashed(reference)}",
        f"Scores of {report.whose} on {counted(len(shown), 'dataset')}. Highest means: {_list(best)}.",
        lambda: figures.score_intervals(shown, reference=reference, order=report.algorithms),
    )


def _aggregates(report: Report) -> Iterator[Plot]:
    names = dict.fromkeys(name for suite in report.suites for name in suite.estimates)
    statistics = {
        _TITLES.get(name, name.capitalize()): {
            suite.algorithm: found
            for suite in report.suites
            if (found := _estimate(suite.estimates[name])) is not None
        }
        for name in names
    }
    known = {name: row for name, row in statistics.items() if row}
    if known and len(report.datasets) > 1:
        told = [
            f"{name}: "
            + ", ".join(f"{algorithm} {estimate.value:.1f}" for algorithm, estimate in row.items())
            for name, row in known.items()
        ]
        yield Plot(
            "aggregates",
            "Aggregates over the datasets",
            f"Over all datasets; the bar is the {_INTERVAL} stratified bootstrap interval.",
            f"{'; '.join(told)}.",
            lambda: figures.aggregate_intervals(known, order=report.algorithms),
        )


def _profiles(report: Report) -> Iterator[Plot]:
    whole = [name for name in report.algorithms if all(len(each) for each in report.scores(name))]
    if not whole:
        return
    every = np.concatenate([each for name in whole for each in report.scores(name)])
    low, high = 5 * np.floor(min(0.0, every.min()) / 5), 5 * np.ceil(max(5.0, every.max()) / 5)
    thresholds = np.linspace(low, high, _THRESHOLDS)

    def draw() -> Figure:
        lines = {name: _profile(report.scores(name), thresholds, name) for name in whole}
        return figures.performance_profiles(thresholds, lines, order=report.algorithms)

    half = [
        f"{name} {float(performance_profile(report.scores(name), [50.0])[0]):.0%}".replace("%", " %")
        for name in whole
    ]
    yield Plot(
        "performance-profiles",
        "Performance profiles",
        f"Share of runs that score more than τ, datasets counting alike, with pointwise {_INTERVAL} "
        "stratified bootstrap intervals. Higher is better.",
        f"Share of runs that score more than 50: {_list(half)}.",
        draw,
    )


def _profile(scores: Sequence[Floats], thresholds: Floats, name: str) -> Line:
    mean = performance_profile(scores, thresholds)
    low = high = np.full(len(mean), np.nan)
    if all(len(each) >= 3 for each in scores):
        generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(name.encode()), 1)
        low, high = performance_profile_interval(scores, thresholds, generator, _PROFILE_SAMPLES)
    return Line(thresholds, mean, low, high)


def _improvements(report: Report) -> Iterator[Plot]:
    pairs = {
        (each.first, each.second): found
        for each in improvements_of(report)
        if (found := _estimate(each.probability)) is not None
    }
    if pairs:
        told = [f"{x} over {y} {estimate.value:.2f}" for (x, y), estimate in pairs.items()]
        yield Plot(
            "probability-of-improvement",
            "Probability of improvement",
            "How probably a run of X scores more than one of Y on the same dataset, averaged over datasets; "
            f"the bar is the {_INTERVAL} stratified bootstrap interval. 0.5 is a tie.",
            f"Probability of improvement of {_list(told)}.",
            lambda: figures.improvement_intervals(pairs),
        )


def _curves(report: Report) -> Iterator[Plot]:
    for normalised, unit in ((True, figures.SCORE), (False, "Return per episode")):
        runs: dict[str, list[Summary]] = {}
        for summary in report.summaries:
            if summary.curve is not None and summary.curve.normalised is normalised:
                runs.setdefault(summary.lead.dataset.id, []).append(summary)
        names = list(runs)
        for part, start in enumerate(range(0, len(names), PANELS)):
            chosen = {name: runs[name] for name in names[start : start + PANELS]}
            ending = ("" if normalised else "-returns") + (f"-{part + 1}" if len(names) > PANELS else "")
            yield from _curve_plots(report, chosen, unit, ending)


def _curve_plots(report: Report, runs: dict[str, list[Summary]], unit: str, ending: str) -> Iterator[Plot]:
    what = "score" if unit == figures.SCORE else "return"
    where = counted(len(runs), "dataset")
    normalised = unit == figures.SCORE
    reference = _reference([summary for each in runs.values() for summary in each], normalised)
    yield Plot(
        f"learning-curves{ending}",
        "Learning curves",
        f"Mean {what} over the finished seeds at each evaluation. "
        f"{_BAND}{_dashed(reference)}{_first_frames(runs)}",
        f"Mean {what} over gradient steps on {where}. {_ends(runs)}",
        lambda: figures.learning_curves(_panels(runs, _over_steps), unit, report.algorithms, reference),
    )
    machines = dict.fromkeys(_machine(summary) for each in runs.values() for summary in each)
    yield Plot(
        f"wall-clock{ending}",
        f"{what.capitalize()} against wall-clock time",
        f"The same against the time since the run began, loading and evaluation included, all its "
        f"seeds together. Measured on {_list(list(machines))}.",
        f"Mean {what} over wall-clock time on {where}. {_ends(runs)}",
        lambda: figures.wall_clock_curves(_panels(runs, _over_seconds), unit, report.algorithms, reference),
    )


def _dashed(reference: Reference | None) -> str:
    return f" Dashed: {reference.label.lower()}." if reference else ""


def _reference(summaries: Sequence[Summary], normalised: bool) -> Reference | None:
    """The datasets' means, where any is known."""
    datasets = [summary.lead.dataset for summary in summaries]
    means = {data.id: data.behaviour_score if normalised else data.behaviour_return_mean for data in datasets}
    known = {dataset: mean for dataset, mean in means.items() if mean is not None}
    return Reference(reference_name(summaries), known) if known else None


def _training(report: Report) -> Iterator[Plot]:
    """Losses and Q values of the runs that were not evaluated."""
    drawn = [
        (summary, training.curves(summary)) for summary in report.summaries if training.unevaluated(summary)
    ]
    for name, title in training.SHOWN.items():
        panels: dict[str, dict[str, Line]] = {}
        for summary, curves in drawn:
            if title in curves:
                line = _line(curves[title], None)
                panels.setdefault(summary.lead.dataset.id, {})[summary.label] = line
        names = list(panels)
        for part, start in enumerate(range(0, len(names), PANELS)):
            chosen = {dataset: panels[dataset] for dataset in names[start : start + PANELS]}
            ends = [
                f"{dataset} {algorithm} {line.mean[-1]:.4g}"
                for dataset, lines in chosen.items()
                for algorithm, line in lines.items()
            ]
            yield Plot(
                f"training-{name.replace('_', '-')}" + (f"-{part + 1}" if len(names) > PANELS else ""),
                f"{title} of runs that were not evaluated",
                f"Mean over the finished seeds. {_BAND}",
                f"{title} over gradient steps. At the end, {_list(ends)}.",
                partial(figures.learning_curves, chosen, title, report.algorithms),
            )


def _first_frames(runs: dict[str, list[Summary]]) -> str:
    tuned = any(summary.first_frame is not None for each in runs.values() for summary in each)
    return " Dotted: where offline training ended and fine-tuning began." if tuned else ""


def _panels(runs: dict[str, list[Summary]], line_of: Callable[[Summary], Line]) -> dict[str, dict[str, Line]]:
    return {dataset: {summary.label: line_of(summary) for summary in each} for dataset, each in runs.items()}


def _over_steps(summary: Summary) -> Line:
    assert summary.curve is not None
    curve = summary.curve
    return _line(curve, summary.first_frame)


def _line(curve: Curve, first_frame: int | None) -> Line:
    return Line(curve.steps.astype(np.float64), curve.mean, curve.low, curve.high, first_frame)


def _over_seconds(summary: Summary) -> Line:
    line = _over_steps(summary)
    per_seed = [
        {evaluation.step: evaluation.wall_seconds for evaluation in record.evaluations}
        for record in summary.evaluated
    ]
    seconds = [np.mean([seen[int(step)] for seen in per_seed]) for step in line.x]
    return Line(np.array(seconds), line.mean, line.low, line.high)


def _ends(runs: dict[str, list[Summary]]) -> str:
    told = [
        f"{dataset}: " + ", ".join(
            f"{summary.label} {summary.curve.mean[-1]:.1f}" for summary in each if summary.curve
        )
        for dataset, each in runs.items()
    ]  # fmt: skip
    return f"At the end, {_list(told, '; ')}."


def _throughput(report: Report) -> Iterator[Plot]:
    rates: dict[str, dict[str, dict[tuple[object, ...], float]]] = {}
    for summary in report.summaries:
        for record in summary.records:
            speed = record.throughput
            if speed is not None and speed.seed_steps_per_second > 0:
                row = f"{_machine(summary)}, {counted(len(record.seed_batch), 'seed')}"
                runs = rates.setdefault(row, {}).setdefault(summary.label, {})
                # The seeds of a batch share one measurement.
                runs[record.dataset.id, record.seed_batch, speed.steps_per_second] = (
                    speed.seed_steps_per_second
                )
    if rates:
        shown = {
            row: {name: list(runs.values()) for name, runs in cells.items()} for row, cells in rates.items()
        }
        told = [
            f"{name} {min(runs):,.0f} to {max(runs):,.0f} on {row}"
            for row, cells in shown.items()
            for name, runs in cells.items()
        ]
        yield Plot(
            "throughput",
            "Throughput",
            "Seed steps per second while training: gradient steps times the seeds trained together. "
            "A mark per run.",
            f"Seed steps per second: {_list(told)}.",
            lambda: figures.throughput(shown, report.algorithms),
        )


def _machine(summary: Summary) -> str:
    machine = summary.lead.machine
    return machine.gpu or f"{machine.cpu}, {counted(machine.cores, 'core')}"


def _estimate(estimate: Estimate) -> figures.Estimate | None:
    if estimate.value is None:
        return None
    return figures.Estimate(estimate.value, estimate.low, estimate.high)


def _list(words: Sequence[str], between: str = ", ") -> str:
    more = len(words) - _TOLD
    return between.join(words[:_TOLD]) + (f"{between}and {more} more" if more > 0 else "")
