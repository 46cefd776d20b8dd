import io

import pytest
from made_records import replace
from rich.console import Console

from cqlbench.records.schema import Evaluation, Git
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.tables.render import markdown, show
from cqlbench.reporting.tables.run import report


def _printed(summary, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(report(summary), console)
    return console.file.getvalue()


@pytest.fixture
def summary(make_record):
    return summarise([make_record(0, [2.0, 40.0]), make_record(1, [3.0, 50.0]), make_record(2, [55.0, 45.0])])


def test_scores_grid(summary):
    # last 40 50 45; last two 21 26.5 50; best 40 50 55
    grid = report(summary).grids[0]
    assert grid.columns == ("Policy", "Seeds", "Score ± std", "95 % interval", "Return ± std")
    assert grid.caption == "Scores are normalised to 0-100: 0 is a return of -20.3, 100 one of 3,234.3."
    # mean 45, std 5; half width 4.302653 * 5 / sqrt 3 = 12.42
    assert grid.rows[0] == ("cql, last", "3", "45.0 ± 5.0", "[32.6, 57.4]", "1,444.3 ± 162.7")
    assert grid.rows[1][:3] == ("cql, last 2 mean", "3", "32.5 ± 15.4")
    assert grid.rows[2][:3] == ("cql, best (oracle)", "3", "48.3 ± 7.6")
    assert grid.rows[3] == ("dataset episodes", "–", "44.3", "–", "1,422.1")


def test_everything_a_number_depends_on_is_said(summary):
    for text in (markdown(report(summary)), " ".join(_printed(summary).split())):
        for part in (
            "cql on d4rl/hopper-medium-v2, budget quick: 3,000 steps, 3 of 3 seeds finished",
            "Not comparable with published scores: the budget is quick.",
            "Compared with dataset episodes, mean of 2,186 whole ones: return 1,422.1, score 44.3.",
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


@pytest.mark.parametrize("soft_wrap", [True, False])
def test_80_columns_hold_the_longest_rows_on_one_line_each(make_record, soft_wrap):
    batch = (0, 1, 2**32 - 1)
    records = []
    for seed in batch:
        record = make_record(seed, [float(90 + n + seed % 7) for n in range(12)], batch)
        protocol = replace(record.protocol, score_max=12135.0)
        spread = 12135.0 + 20.272305
        evaluations = tuple(
            Evaluation.of(
                e.step * 1000, [-20.272305 + s * spread / 100 for s in e.scores], [1000] * 2, e.scores, 1
            )
            for e in record.evaluations
        )
        budget = replace(record.budget, steps=3_000_000)
        records.append(replace(record, protocol=protocol, evaluations=evaluations, budget=budget))
    summary = summarise(records)
    console = Console(file=io.StringIO(), width=80, soft_wrap=soft_wrap)
    show(report(summary), console)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    for grid in report(summary).grids:
        for row in (grid.columns, *grid.rows):
            assert " ".join(" ".join(row).split()) in lines
    grids = console.file.getvalue().split("\n\n")[1:3]
    assert max(len(line) for grid in grids for line in grid.splitlines()) <= 80


def test_a_narrow_terminal_still_shows_every_number(summary):
    text = _printed(summary, 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "45.0 ±" in text


def test_markdown_columns_line_up_and_pipes_are_escaped(summary, make_record):
    for block in markdown(report(summary)).split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
    odd = summarise([replace(make_record(0, [1.0], batch=(0,)), algorithm="a|b")])
    assert "| a\\|b, last" in markdown(report(odd))


def test_the_warning_follows_from_the_records_own_reason_and_nothing_else(make_record):
    record = make_record(0, [1.0], batch=(0,))
    published = replace(record, comparable=True, comparable_reason="")
    assert report(summarise([published])).warnings == ()
    renamed = replace(published, dataset=replace(record.dataset, id="embedded/hopper-medium-v0"))
    assert report(summarise([renamed])).warnings == ()
    embedded = replace(record, comparable_reason="the data are embedded.")
    warnings = report(summarise([embedded])).warnings
    assert warnings == ("Not comparable with published scores: the data are embedded.",)


def test_one_seed_that_may_not_be_compared_is_enough(make_record):
    published = replace(make_record(0, [1.0]), comparable=True, comparable_reason="")
    for pair in ([published, make_record(1, [1.0])], [make_record(1, [1.0]), published]):
        assert report(summarise(pair)).warnings[0] == (
            "Not comparable with published scores: the budget is quick."
        )


def test_the_row_of_the_data_is_called_what_its_source_says(make_record):
    record = make_record(0, [1.0], batch=(0,))
    facts = replace(record.dataset, behaviour_source="behaviour policy, 200 evaluated episodes")
    summary = summarise([replace(record, dataset=facts)])
    assert report(summary).grids[0].rows[-1][0] == "behaviour policy"
    assert "Compared with behaviour policy, 200 evaluated episodes: return 1,422.1" in markdown(
        report(summary)
    )
    facts = replace(facts, behaviour_source=None, behaviour_return_mean=None, behaviour_score=None)
    rows = report(summarise([replace(record, dataset=facts)])).grids[0].rows
    assert rows[-1] == ("dataset episodes", "–", "–", "–", "–")


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
    bare = [replace(each, protocol=replace(each.protocol, endpoints_source="")) for each in records]
    notes = report(summarise(bare)).notes
    assert "No score endpoints are known: returns are not normalised." in notes


def test_a_run_that_could_not_be_evaluated_says_so(make_record):
    record = replace(
        make_record(0, [1.0], batch=(0,)), protocol=None, evaluations=(), reason="no environment"
    )
    content = report(summarise([record]))
    assert "no environment" in content.warnings
    assert [grid.title for grid in content.grids] == ["Training"]


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


def test_a_run_whose_seeds_are_of_different_code_is_marked(make_record):
    dirty = replace(make_record(1, [1.0]), git=Git(commit="f" * 40, dirty=True))
    text = markdown(report(summarise([make_record(0, [1.0]), dirty])))
    assert "1.0 ± 0.0 †" in text
    assert "† Code with uncommitted changes: seed 1 of cql" in text
