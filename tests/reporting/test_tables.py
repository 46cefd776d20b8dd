import io
from dataclasses import replace

import pytest
from rich.console import Console

from cqlbench.records.schema import Evaluation
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.tables import markdown, report, show


def _printed(summary, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(summary, console)
    return console.file.getvalue()


@pytest.fixture
def summary(make_record):
    return summarise([make_record(0, [2.0, 40.0]), make_record(1, [3.0, 50.0]), make_record(2, [55.0, 45.0])])


def test_scores_grid(summary):
    # last 40 50 45; last two 21 26.5 50; best 40 50 55
    grid = report(summary).grids[0]
    assert grid.columns == ("Policy", "Seeds", "Score (0-100) ± std", "95 % interval", "Return ± std")
    # mean 45, std 5; half width 4.302653 * 5 / sqrt 3 = 12.42
    assert grid.rows[0] == ("cql, last", "3", "45.0 ± 5.0", "[32.6, 57.4]", "1,444.3 ± 162.7")
    assert grid.rows[1][:3] == ("cql, mean of last 2", "3", "32.5 ± 15.4")
    assert grid.rows[2][:3] == ("cql, best (oracle)", "3", "48.3 ± 7.6")
    assert grid.rows[3] == ("behaviour policy", "–", "44.3", "–", "1,422.1")


def test_everything_a_number_depends_on_is_said(summary):
    for text in (markdown(summary), " ".join(_printed(summary).split())):
        for part in (
            "cql on d4rl/hopper-medium-v2, budget quick: 3,000 steps, 3 of 3 seeds finished",
            "Budget quick: not comparable with published scores.",
            "0 at return -20.272305, 100 at return 3234.3. Source: D4RL infos.py",
            "Hopper-v4 on envpool 1.2.5; 2 episodes per seed and evaluation, deterministic actions, ",
            "at most 1,000 steps.",
            "sample standard deviation (ddof = 1)",
            "Student's t of the mean (95 %",
            "999,906 transitions in 2,186 episodes, 94 rows dropped, content 9f1c2d3e4b5a",
            "'hopper-medium' is d4rl/hopper-medium-v2, found in the cache.",
            "240 gradient steps/s for 3 seeds together (720 seed steps/s) on AMD EPYC, 2 cores",
            "cqlbench 0.1.0, commit 0123456789ab, torch 2.13.0+cpu, config d85c60ab3617",
        ):
            assert part in text


@pytest.mark.parametrize("width", [100, 160])
def test_terminal_output_is_at_most_100_columns_wide(summary, width):
    lines = _printed(summary, width).splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line.startswith("evaluations") for line in lines)


def test_a_narrow_terminal_still_shows_every_number(summary):
    text = _printed(summary, 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "45.0 ±" in text


def test_markdown_columns_line_up_and_pipes_are_escaped(summary, make_record):
    for block in markdown(summary).split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
    odd = summarise([replace(make_record(0, [1.0], batch=(0,)), algorithm="a|b")])
    assert "| a\\|b, last" in markdown(odd)


def test_paper_budget_has_no_warning_and_embedded_data_always_has(make_record):
    record = make_record(0, [1.0], batch=(0,))
    paper = replace(record, budget=replace(record.budget, name="paper", comparable=True))
    assert report(summarise([paper])).warnings == ()
    embedded = replace(paper, dataset=replace(record.dataset, id="embedded/hopper-medium-v0"))
    assert report(summarise([embedded])).warnings == ("Embedded data: never comparable with D4RL.",)


def test_failed_skipped_and_missing_seeds_are_shown(make_record):
    failed = replace(make_record(1, [1.0]), status="failed", reason="it diverged at step 7.")
    content = report(summarise([make_record(0, [5.0]), failed]))
    assert "1 of 3 seeds finished" in content.title
    assert "Seed 1 failed: it diverged at step 7." in content.warnings
    assert "Seed 2 missing: its batch names it, but it left no record" in content.warnings
    assert [row[:2] for row in content.grids[1].rows] == [
        ("0", "finished"),
        ("1", "failed"),
        ("2", "missing"),
    ]
    assert content.grids[0].rows[0][1:4] == ("1", "5.0", "–")
    nothing = report(summarise([failed]))
    assert nothing.grids[0].rows[0][1:] == ("0", "–", "–", "–")


def test_without_endpoints_returns_are_reported(make_record):
    records = []
    for seed, value in enumerate((100.0, 200.0, 300.0)):
        record = make_record(seed, [1.0])
        protocol = replace(record.protocol, score_min=None, score_max=None, endpoints_source="custom file")
        facts = replace(record.dataset, behaviour_score=None)
        evaluation = Evaluation.of(3000, [value, value], [5, 5], None, 0.0)
        records.append(replace(record, protocol=protocol, dataset=facts, evaluations=(evaluation,)))
    content = report(summarise(records))
    assert content.grids[0].title == "Returns"
    assert content.grids[0].rows[0] == ("cql, last", "3", "200.0 ± 100.0", "[-48.4, 448.4]")
    assert any("No score endpoints are known (custom file)" in note for note in content.notes)


def test_a_run_that_could_not_be_evaluated_says_so(make_record):
    record = replace(
        make_record(0, [1.0], batch=(0,)), protocol=None, evaluations=(), reason="no environment"
    )
    content = report(summarise([record]))
    assert "Seed 0 finished: no environment" in content.warnings
    assert content.grids[0].rows[0][1:] == ("0", "–", "–", "–")
    assert content.grids[1].rows == (("0", "finished", *["–"] * 6),)


def test_records_of_two_commits_are_told_apart(make_record):
    other = make_record(1, [1.0])
    other = replace(other, git=replace(other.git, commit="f" * 40, dirty=True))
    notes = "\n".join(report(summarise([make_record(0, [1.0]), other])).notes)
    assert "commit 0123456789ab, torch 2.13.0+cpu, config d85c60ab3617 (seeds 0)" in notes
    assert "commit ffffffffffff with local changes" in notes


def test_brackets_in_a_name_are_not_taken_for_markup(make_record):
    record = make_record(0, [1.0], batch=(0,))
    odd = replace(record, dataset=replace(record.dataset, id="/data/[red]x[/red].hdf5"))
    assert "/data/[red]x[/red].hdf5" in _printed(summarise([odd]))
