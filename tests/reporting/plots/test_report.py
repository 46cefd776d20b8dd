import re
from functools import partial

import numpy as np
import pytest
from made_records import replace
from reporting.samples import build_report, sample_records

from cqlbench.reporting.plots.plot import files_of
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.plots.style import render

DATASETS = ["d4rl/hopper-medium-v2", "d4rl/walker2d-medium-v2"]


@pytest.fixture(scope="module")
def records():
    return sample_records(DATASETS, ("cql", "bc"), seeds=3, evaluations=4, episodes=2)


@pytest.fixture(scope="module")
def plots(records):
    return {plot.name: plot for plot in plots_of(build_report(records, samples=200))}


def test_every_plot_is_there(plots):
    assert list(plots) == [
        "scores",
        "probability-of-improvement",
        "aggregates",
        "performance-profiles",
        "iqm-curves",
        "learning-curves",
        "wall-clock",
        "training-critic-loss",
        "training-conservative-gap",
        "training-data-value",
        "throughput",
    ]
    for plot in plots.values():
        assert plot.caption.endswith(".")
        assert ("n = 3 seeds, 2 episodes" in plot.caption) == (plot.name != "throughput")
        assert "95 %" in plot.caption or plot.name == "throughput"
        assert re.search(r"\d", plot.alt), "the words name no number"


def _files(report):
    return dict(each for plot in plots_of(report) for each in files_of(plot, ""))


def test_plots_are_files_of_the_same_bytes_again(records, monkeypatch):
    monkeypatch.setattr("cqlbench.reporting.plots.plot.render", partial(render, dpi=40))
    report = build_report(records[:6], samples=100)
    files = _files(report)
    assert {name.rpartition(".")[2] for name in files} == {"pdf", "png", "txt", "tex"}
    assert files["scores.txt"].startswith(b"Scores. Mean over seeds")
    assert rb"\includegraphics{scores}" in files["scores.tex"]
    assert rb"95 \% interval" in files["scores.tex"]
    assert files["scores.tex"].startswith(rb"\begin{figure}")
    assert _files(build_report(records[5::-1], samples=100)) == files


def test_curves_are_the_means_over_seeds(records, plots):
    axes = plots["learning-curves"].draw().axes
    assert [each.get_title(loc="left").replace("\n", "") for each in axes] == DATASETS
    ours = [r for r in records if r.algorithm == "bc" and r.dataset.id == DATASETS[0]]
    expected = np.mean([[np.mean(e.scores) for e in r.evaluations] for r in ours], axis=0)
    assert axes[0].lines[0].get_ydata() == pytest.approx(expected)
    assert list(axes[0].lines[-1].get_ydata()) == [ours[0].dataset.behaviour_score] * 2
    seconds = np.mean([[e.wall_seconds for e in r.evaluations] for r in ours], axis=0)
    clock = plots["wall-clock"].draw()
    unit = {"hours": 3600, "minutes": 60}[re.search(r"\((\w+)\)", clock._supxlabel.get_text())[1]]
    assert clock.axes[0].lines[0].get_xdata() * unit == pytest.approx(seconds)
    assert clock.axes[0].lines[0].get_ydata() == pytest.approx(expected)


def test_the_iqm_over_training_is_of_all_datasets_runs(records, plots):
    axes = plots["iqm-curves"].draw().axes[0]
    ours = [r for r in records if r.algorithm == "bc"]
    # Six runs: a quarter is rounded down to one at each end.
    expected = [np.mean(sorted(np.mean(r.evaluations[at].scores) for r in ours)[1:5]) for at in range(4)]
    assert axes.lines[0].get_ydata() == pytest.approx(expected)
    assert axes.lines[-1].get_ydata()[0] == records[0].dataset.behaviour_score
    low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    assert low < expected[0]
    assert high > expected[-1]


def test_algorithms_without_all_datasets_have_no_iqm(records):
    some = [r for r in records if r.algorithm == "cql" or r.dataset.id == DATASETS[0]]
    plots = {plot.name: plot for plot in plots_of(build_report(some, samples=100))}
    assert "bc" not in plots["iqm-curves"].alt
    few = [r for r in some if r.algorithm == "bc" or r.dataset.id == DATASETS[1]]
    assert not {"iqm-curves", "aggregates"} & {plot.name for plot in plots_of(build_report(few, samples=10))}


def test_algorithms_with_most_datasets_have_the_first_looks_in_every_plot(records):
    some = [r for r in records if r.algorithm == "cql" or r.dataset.id == DATASETS[0]]
    plots = {plot.name: plot for plot in plots_of(build_report(some, samples=10))}
    for name in ("scores", "throughput"):
        labels = [each.get_text() for each in plots[name].draw().legends[0].get_texts()]
        assert labels[:2] == ["cql", "bc"]


def test_a_batch_of_seeds_is_one_mark_of_throughput(records, plots):
    marks = np.concatenate([line.get_xdata() for line in plots["throughput"].draw().axes[0].lines])
    rates = {record.throughput.seed_steps_per_second for record in records}
    assert sorted(marks) == pytest.approx(sorted(rates))


def test_the_profile_is_the_share_of_runs_above(records, plots):
    line = plots["performance-profiles"].draw().axes[0].lines[0]
    scores = [np.mean(r.evaluations[-1].scores) for r in records if r.algorithm == "bc"]
    expected = [np.mean(np.array(scores) > threshold) for threshold in line.get_xdata()]
    assert line.get_ydata() == pytest.approx(expected)


def test_runs_without_scores_have_curves_of_returns(records):
    bare = [
        replace(
            record,
            protocol=replace(record.protocol, score_min=None, score_max=None),
            dataset=replace(record.dataset, behaviour_score=None),
            evaluations=tuple(replace(e, scores=(None,) * len(e.scores)) for e in record.evaluations),
        )
        for record in records[:3]
    ]
    plots = {plot.name: plot for plot in plots_of(build_report(bare, samples=100))}
    assert [*plots][:2] == ["learning-curves-returns", "wall-clock-returns"]
    assert "scores" not in plots
    assert plots["learning-curves-returns"].draw()._supylabel.get_text() == "Return per episode"


def test_of_runs_that_never_began_there_is_nothing_to_draw(records):
    skipped = [
        replace(r, status="skipped", reason="no", evaluations=(), diagnostics=(), throughput=None)
        for r in records
    ]
    assert plots_of(build_report(skipped, samples=100)) == []


def test_many_datasets_make_several_figures_and_short_words():
    records = sample_records([f"x/{n}-v0" for n in range(20)], ("a",), seeds=1, evaluations=1, episodes=1)
    plots = {plot.name: plot for plot in plots_of(build_report(records, samples=10))}
    assert {"learning-curves-1", "learning-curves-2", "wall-clock-1", "wall-clock-2"} < set(plots)
    assert "and 8 more" in plots["scores"].alt
    assert all(len(plot.alt) < 800 for plot in plots.values())


def test_a_series_of_seeds_made_differently_is_marked_wherever_it_is_named(records, plots):
    dirty = replace(records[0], git=replace(records[0].git, dirty=True))
    marked = {plot.name: plot for plot in plots_of(build_report([dirty, *records[1:]], samples=100))}
    assert list(marked) == list(plots)
    for name in ("scores", "performance-profiles", "learning-curves"):
        labels = [text.get_text() for text in marked[name].draw().legends[0].get_texts()]
        assert f"{dirty.algorithm} †" in labels
        assert sum("†" in label for label in labels) == 1
        assert "†" in marked[name].caption
        assert "†" not in plots[name].caption
