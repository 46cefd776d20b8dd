"""Fine-tuned runs in tables: numbers by hand, beside what CORL published, and marked in the curve."""

from collections.abc import Callable

import numpy as np
import pytest
from made_records import replace

from cqlbench.records.codec import from_json, to_json
from cqlbench.records.schema import OnlineFacts, Record, config_hash
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.fine_tuning import fine_tuning, run_grid
from cqlbench.reporting.plots.run import curve_figure
from cqlbench.reporting.plots.style import render
from cqlbench.reporting.published import published_path, read_published
from cqlbench.reporting.tables.published import fine_tuning_grid
from cqlbench.reporting.tables.render import markdown
from cqlbench.reporting.tables.run import report

ENDS = {0: (10.0, 30.0, 0.8), 1: (20.0, 60.0, 0.6), 2: (30.0, 60.0, 0.7)}


@pytest.fixture
def tuned(make_record: Callable[..., Record]) -> list[Record]:
    records = []
    for seed, (before, after, regret) in ENDS.items():
        record = make_record(seed, [before, after])
        steps = [evaluation.step for evaluation in record.evaluations]
        facts = OnlineFacts(
            offline_steps=steps[0],
            frames=500,
            evaluated_frames=(0, 500),
            offline_score=before,
            online_score=after,
            cumulative_regret=regret,
            dropped_episodes=1,
            incidents=("At frame 7 of seed 0, 'Toy-v0' raised.",),
        )
        records.append(replace(record, online=facts))
    return records


def test_ends_gain_and_regret_by_hand(tuned: list[Record]) -> None:
    found = fine_tuning(summarise(tuned))
    assert found is not None
    assert (found.before.mean, found.after.mean, found.gain.mean) == (20.0, 50.0, 30.0)
    assert found.gain.std == pytest.approx(np.std([20, 40, 30], ddof=1))
    assert found.regret.mean == pytest.approx(0.7)
    rows = run_grid(found).rows
    assert rows[2][:3] == ("gain, seed by seed", "3", "30.0 ± 10.0")
    assert rows[3][2] == "0.700 ± 0.100"


def test_runs_that_only_trained_offline_have_no_such_table(make_record: Callable[..., Record]) -> None:
    summary = summarise([make_record(seed, [1.0, 2.0]) for seed in range(3)])
    assert fine_tuning(summary) is None


def test_the_runs_document_has_the_table_and_the_incidents(tuned: list[Record]) -> None:
    text = markdown(report(summarise(tuned)))
    assert "50.0 ± 17.3" in text, text
    assert "after 500 frames per seed" in text
    assert "'Toy-v0' raised." in text


def test_published_fine_tuning_stands_beside_the_same_dataset_only(tuned: list[Record]) -> None:
    published = read_published(published_path())
    data = replace(tuned[0].dataset, id="d4rl/antmaze-umaze-v2")
    comparable = [
        replace(r, dataset=data, algorithm="calql", comparable=True, comparable_reason="") for r in tuned
    ]
    grid = fine_tuning_grid([summarise(comparable)], published)
    assert grid.columns[-1] == "CORL-finetune"
    assert grid.rows[0][:4] == ("d4rl/antmaze-umaze-v2", "calql", "500", "20.0 ± 10.0 → 50.0 ± 17.3")
    assert grid.rows[0][-1] == "76.8 ± 7.5 → 99.8 ± 0.4, regret 0.01"
    assert "Cal-QL" not in grid.caption
    settings = tuned[0].config | {"algorithm": tuned[0].config["algorithm"] | {"calibrated": True}}
    calibrated = [replace(r, config=settings, config_hash=config_hash(settings)) for r in comparable]
    assert "Cal-QL" in fine_tuning_grid([summarise(calibrated)], published).caption
    own = [replace(r, comparable=False, comparable_reason="embedded data") for r in comparable]
    alone = fine_tuning_grid([summarise(own)], published)
    assert "CORL-finetune" not in alone.columns


def test_the_first_frame_is_marked_in_the_curve(
    tuned: list[Record], make_record: Callable[..., Record]
) -> None:
    offline = [make_record(seed, list(ends[:2])) for seed, ends in ENDS.items()]
    marked, plain = (render(curve_figure(summarise(records)), "png") for records in (tuned, offline))
    assert marked != plain
    online_only = [replace(r, online=replace(r.online, offline_steps=0)) for r in tuned if r.online]
    assert summarise(online_only).first_frame is None
    assert render(curve_figure(summarise(online_only)), "png") == plain


def test_a_record_keeps_its_online_phase_and_others_are_written_without(
    tuned: list[Record], make_record: Callable[..., Record]
) -> None:
    assert from_json(to_json(tuned[0]), "x") == tuned[0]
    assert '"online"' not in to_json(make_record(0, [1.0]))
