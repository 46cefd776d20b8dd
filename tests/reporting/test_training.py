"""Runs that were not evaluated: losses and Q values instead of scores, and what would bring scores."""

import numpy as np
import pytest
from made_records import replace
from reporting.samples import build_report, sample_records

from cqlbench.reporting import training
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.html.page import page
from cqlbench.reporting.plots.report import plots_of
from cqlbench.reporting.plots.run import curve_figure
from cqlbench.reporting.plots.style import render
from cqlbench.reporting.run import report_run
from cqlbench.reporting.tables import run as tables
from cqlbench.reporting.tables.render import markdown
from cqlbench.reporting.tables.report import document, grids

REASON = "Not evaluated: nobody knows its environment."


@pytest.fixture
def records():
    """Three seeds of a run, evaluated nowhere."""
    made = sample_records(["my/robot-v0"], ("cql",), seeds=3, evaluations=4)
    return [replace(record, evaluations=(), protocol=None, reason=REASON) for record in made]


def test_the_table_has_losses_and_q_of_each_seed(records):
    said = tables.report(summarise(records))
    (grid,) = said.grids
    assert grid.columns == ("Seed", "Status", "Step", "Critic loss", "CQL penalty", "Q of the data")
    assert [row[:3] for row in grid.rows] == [(str(seed), "finished", "1,000,000") for seed in range(3)]
    assert float(grid.rows[1][5]) == pytest.approx(records[1].diagnostics[-1]["data_value"], rel=1e-3)
    assert said.warnings.count(REASON) == 1
    everything = markdown(tables.report(summarise(records)))
    assert "normalised" not in everything
    assert "oracle" not in everything


def test_a_seed_that_failed_has_a_line_without_numbers(records):
    failed = replace(records[2], status="failed", reason="Diverged.")
    (grid,) = tables.report(summarise([*records[:2], failed])).grids
    assert grid.rows[2] == ("2", "failed", "–", "–", "–", "–")
    said = tables.report(summarise([*records[:2], failed])).warnings
    assert f"Seeds 0, 1 finished: {REASON}" in said
    assert "Seed 2 failed: Diverged." in said


def test_seeds_of_uncommitted_code_are_marked_in_tables_and_plots(records):
    records[2] = replace(records[2], git=replace(records[2].git, dirty=True))
    summary = summarise(records)
    (grid,) = tables.report(summary).grids
    report = build_report(records, samples=10)
    for said in (grid, grids(report)["training"]):
        assert any("†" in text for text in said.rows[0])
        assert any("uncommitted" in note and "seed 2" in note for note in said.notes)
    assert "†" in _legend(curve_figure(summary))
    plots = {plot.name: plot for plot in plots_of(report)}
    assert "†" in _legend(plots["training-critic-loss"].draw())
    assert "†" not in _legend(plots["throughput"].draw())


def _legend(figure):
    return "".join(text.get_text() for text in figure.legends[0].get_texts())


def test_the_picture_shows_them_over_the_steps(records):
    figure = curve_figure(summarise(records))
    assert [axes.get_ylabel() for axes in figure.axes] == list(training.SHOWN.values())
    mean = figure.axes[2].lines[-1]
    expected = np.mean([[row["data_value"] for row in record.diagnostics] for record in records], axis=0)
    assert mean.get_ydata() == pytest.approx(expected)
    assert figure.axes[2].get_xlim()[1] == 1000
    assert render(curve_figure(summarise(records)), "png").startswith(b"\x89PNG")


def test_the_files_of_a_run_without_evaluation(records, tmp_path):
    assert [path.name for path in report_run(records, tmp_path)] == [
        "table.md", "learning-curve.png", "learning-curve.pdf", "learning-curve.txt", "learning-curve.tex",
    ]  # fmt: skip
    bare = [replace(record, diagnostics=()) for record in records]
    assert [path.name for path in report_run(bare, tmp_path)] == ["table.md"]
    unknown = [replace(r, diagnostics=({"step": 5, "data_value": None},)) for r in records]
    assert [path.name for path in report_run(unknown, tmp_path)] == ["table.md"]


def test_a_report_of_such_runs_alone(records):
    report = build_report(records, samples=10)
    names = grids(report)
    assert list(names) == ["training", "runs"]
    ends = [record.diagnostics[-1]["critic_loss"] for record in records]
    assert names["training"].rows[0][3].startswith(f"{np.mean(ends):.4g} ± ")
    assert f"cql on my/robot-v0: {REASON}" in document(report).warnings
    assert [plot.name for plot in plots_of(report)] == [
        "training-critic-loss", "training-conservative-gap", "training-data-value", "throughput",
    ]  # fmt: skip
    assert "<h3>CQL penalty</h3>" in page(report)


def test_a_report_of_such_runs_beside_evaluated_ones(records):
    evaluated = sample_records(["my/other-v0"], ("cql",), seeds=3, evaluations=4)
    report = build_report([*evaluated, *records], samples=10)
    assert list(grids(report)) == ["scores", "suite", "behaviour", "training", "runs"]
    assert {"learning-curves", "training-data-value"} <= {plot.name for plot in plots_of(report)}
