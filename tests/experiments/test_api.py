"""cqlbench from Python, as a notebook uses it."""

import logging
import re
import types
import warnings
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
import torch

import cqlbench
from cqlbench.core.errors import ConfigError
from cqlbench.records.schema import RecordError
from cqlbench.records.store import RecordStore

SMALL = {
    "algorithm.batch_size": 8,
    "algorithm.critic_hidden": [8],
    "steps": 6,
    "budget.evaluation_interval": 3,
}


@pytest.fixture
def run(world, capfd):
    named = {"seeds": [3, 1], "budget": "smoke", "results": world / "results", "verbose": False}
    return cqlbench.run("tiny-hopper", **named, **SMALL)


def test_a_run_is_its_records_scores_frames_policies_and_figure(run, world, capfd):
    assert [record.seed for record in run.records] == [3, 1]
    assert run.name.startswith("embedded/tiny-hopper-v0/cql/smoke-")
    assert run.scores.shape == (2,)
    assert np.isfinite(run.scores).all()
    assert run.frame["score"].tolist() == run.scores.tolist()
    assert run.curves.groupby("seed")["step"].apply(list).to_dict() == {1: [3, 6], 3: [3, 6]}
    assert repr(run) == f"<Run {run.name}, seeds [3, 1], scores {run.scores.round(1).tolist()}>"
    actions = run.policy(seed=1)(torch.zeros(5, 11, dtype=torch.float64))  # as MuJoCo's environments give
    assert actions.shape == (5, 3)
    assert (actions.abs() <= 1).all()
    assert isinstance(run.figure(), matplotlib.figure.Figure)
    assert cqlbench.load_results(world / "results")["score"].tolist() == run.frame["score"].tolist()[::-1]
    assert capfd.readouterr() == ("", "")


def test_notebooks_complete_its_names_and_are_not_asked_for_rays_widgets(monkeypatch, caplog):
    assert set(cqlbench._PUBLIC) <= set(dir(cqlbench))
    stub = Path(cqlbench.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    found = re.findall(r"from (\S+) import (\w+) as \2\n", stub)
    assert {name: module for module, name in found} == cqlbench._PUBLIC

    def imported(name):  # as Ray and tqdm say it
        logging.getLogger("ray.widgets.util").info("Missing packages: ['ipywidgets']")
        warnings.warn("IProgress not found. Please update jupyter and ipywidgets", stacklevel=1)
        return types.SimpleNamespace(run=name)

    monkeypatch.setattr(cqlbench.importlib, "import_module", imported)
    with caplog.at_level("INFO"):
        assert cqlbench.run == "cqlbench.experiments.api"
    assert not caplog.records


def test_the_same_call_reads_what_is_recorded(run, world, capfd):
    again = cqlbench.run(
        "tiny-hopper", seeds=[3, 1], budget="smoke", results=world / "results", verbose=True, **SMALL
    )
    assert "Recorded already" in capfd.readouterr().out
    assert again.scores.tolist() == run.scores.tolist()
    assert len(RecordStore(world / "results").find()) == 2


def test_what_there_is_is_listed(world):
    assert cqlbench.list_datasets().loc["embedded/tiny-hopper-v0", "rows"] == 600
    assert set(cqlbench.list_algorithms()) == set(cqlbench.ALGORITHMS)
    dataset = cqlbench.load_dataset("tiny-hopper")
    assert (dataset.rows, dataset.observation_size, dataset.action_size) == (600, 11, 3)


def test_mistakes_are_errors_with_a_sentence(world):
    with pytest.raises(ConfigError, match="batch_sise"):
        cqlbench.run("tiny-hopper", **{"algorithm.batch_sise": 3})
    with pytest.raises(RecordError, match="no run"):
        cqlbench.load_policy("nothing", results=world / "results")
    with pytest.raises(AttributeError, match="walk"):
        cqlbench.walk  # noqa: B018
