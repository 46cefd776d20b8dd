import json

import numpy as np
import pytest
from made_records import replace
from reporting.samples import sample_records

from cqlbench.records.store import run_folder
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.html import runs
from cqlbench.reporting.html.runs import run_id, runs_json


@pytest.fixture
def records():
    return sample_records(["d4rl/hopper-medium-v2"], ("cql",), seeds=3, evaluations=6, episodes=2)


def _content(*groups):
    return json.loads(runs_json([summarise(group) for group in groups]))


def test_curves_are_the_records_own(records):
    content = _content(records)
    (run,) = content["runs"]
    for seed, record in zip(run["seeds"], records, strict=True):
        assert content["shared"][seed["steps"]] == [e.step for e in record.evaluations]
        returns = [np.mean(e.returns) for e in record.evaluations]
        assert seed["return"] == pytest.approx(returns, abs=np.ptp(returns) / 1000)
        assert set(seed["curves"]) == {*record.diagnostics[0]} - {"step"}
        for name, curve in seed["curves"].items():
            values = [row[name] for row in record.diagnostics]
            assert curve == pytest.approx(values, abs=np.ptp(values) / 1000)


def test_everything_that_makes_the_number_again_is_there(records):
    content = _content(records)
    (run,) = content["runs"]
    shared = content["shared"]
    assert run["commands"] == ["cqlbench bench dataset=d4rl/hopper-medium-v2 budget=paper 'seeds=[0, 1, 2]'"]
    assert shared[run["config"]] == records[0].config
    (origin,) = (shared[n] for n in run["provenance"])
    assert origin["Commit"] == records[0].git.commit
    assert origin["Dataset content hash"] == records[0].dataset.content_hash
    assert "torch 2.13.0+cpu" in origin["Versions"]


def test_a_run_that_moved_shows_its_machines_and_how_often_it_was_resumed(records):
    first = replace(records[0].machine, cpu="Another CPU")
    moved = [replace(each, resumed_at=(100, 200), earlier_machines=(first,)) for each in records]
    content = _content(moved)
    (origin,) = (content["shared"][n] for n in content["runs"][0]["provenance"])
    assert origin["Resumed"] == "2 times"
    assert "Another CPU" in origin["Began on"]


def test_seeds_made_by_different_commands_show_each(records):
    other = replace(records[2], command=("cqlbench", "bench", "seeds=[2]"), seed_batch=(2,))
    content = _content([*records[:2], other])
    assert len(content["runs"][0]["commands"]) == 2


def test_what_is_not_finite_is_a_gap_and_a_failed_seed_keeps_its_curves(records):
    rows = tuple(
        {**row, "conservative_gap": None if i < 2 else 1.5} for i, row in enumerate(records[0].diagnostics)
    )
    nothing = tuple({"step": row["step"], "td_loss": None} for row in rows)
    failed = replace(records[1], diagnostics=nothing, status="failed", reason="Diverged.")
    content = _content([replace(records[0], diagnostics=rows), failed])
    first, second, *_ = content["runs"][0]["seeds"]
    assert first["curves"]["conservative_gap"] == [None, None] + [1.5] * 4
    assert second["curves"] == {"td_loss": [None] * 6}
    assert second["status"] == "failed"


def test_long_curves_are_thinned_to_what_there_is_room_for(records, monkeypatch):
    monkeypatch.setattr(runs, "CURVE_BYTES", 3 * 12 * 4 * 7)
    content = _content(records)
    (run,) = content["runs"]
    assert run["seeds"][0]["kept"] == [4, 6]
    steps = content["shared"][run["seeds"][0]["steps"]]
    assert len(steps) == 4
    assert {steps[0], steps[-1]} == {records[0].evaluations[0].step, records[0].evaluations[-1].step}


def test_a_run_keeps_its_name_and_no_other_has_it(records):
    other = replace(records[0], dataset=replace(records[0].dataset, id="d4rl/hopper-medium-v0"))
    (alone,), (beside, _) = (_content(*groups)["runs"] for groups in ([records[:1]], [records, [other]]))
    assert alone["id"] == beside["id"] == run_id(run_folder(records[0].key))
    assert beside["id"] != run_id(run_folder(other.key))


def test_no_text_of_a_record_ends_the_script(records):
    odd = [replace(r, dataset=replace(r.dataset, id="x/</script><b>-v0")) for r in records]
    text = runs_json([summarise(odd)])
    assert "<" not in text
    assert json.loads(text)["runs"][0]["dataset"] == "x/</script><b>-v0"
