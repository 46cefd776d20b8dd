from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cqlbench.commands.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def runs(world: Path, bench: Run) -> Path:
    """Two configurations of two seeds."""
    for steps in (5, 6):  # of which a report's columns say nothing
        status, _, err = bench("dataset=tiny-hopper", "algorithm=td3_bc", "seeds=2", f"steps={steps}")
        assert status == 0, err
    return world / "results"


def test_the_choice_is_said_and_reported(runs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = ["steps=20", "plots=false", f"results={runs}"]
    assert main(["select", *small, "play=2"]) == 0
    out = capfd.readouterr().out
    assert "Choosing without the environment: embedded/tiny-hopper-v0" in out
    tables = runs / "report" / "selection" / "tables"
    # Two budgets are two sections of the report, and the choice is among both.
    policies = pd.read_csv(next(tables.glob("policies*.csv")))
    assert policies["label"].value_counts().tolist() == [2, 2]
    assert np.isfinite(policies[["fqe", "critic_value", "td_error", "cloning_distance"]]).all(axis=None)
    # Hopper's rewards are positive: what is discounted is less.
    assert (policies["discounted_return"] < policies["return"].max()).all()
    best = policies.groupby("run")["fqe"].mean().idxmax()
    assert f"Chosen   {best}" in out
    signals = set(pd.read_csv(next(tables.glob("selection*.csv")))["signal"])
    assert signals == {"fqe", "critic_value", "td_error", "cloning_distance", "random choice"}
    for path in runs.rglob("seed-1.npz"):
        path.unlink()
    assert main(["select", *small, *policies["run"].unique()]) == 0
    assert capfd.readouterr().out.count("is left out") == 2
    assert main(["select", *small, policies["run"][0]]) == 2
    assert "nothing to choose from" in capfd.readouterr().err
