from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Run = Callable[..., tuple[int, str, str]]


def test_a_sweep_is_run_once_and_reported_with_its_tuning_curve(world: Path, bench: Run) -> None:
    words = ("dataset=tiny-hopper", "algorithm=td3_bc", "draw=2", "seeds=2", "device=cpu", "plots=false")
    status, out, err = bench(*words, verb="sweep")
    assert status == 0, err
    assert "Sweep    2 of 2" in out
    folder = world / "results" / "report" / "sweep"
    assert "Score by tuning budget" in (folder / "report.md").read_text()
    curves = pd.read_csv(folder / "tables" / "tuning.csv")
    tried = curves[curves["kind"] == "configurations"]
    assert tried["budget"].tolist() == [1, 2]
    scores = pd.read_csv(folder / "tables" / "scores.csv")["mean"]
    assert tried["score"].tolist() == pytest.approx([scores.mean(), scores.max()], rel=1e-4)
    # A launcher finds all of it recorded.
    status, out, err = bench(*words, "launcher=local", verb="sweep")
    assert (status, "nothing to run" in out, "Score by tuning budget" in out) == (0, True, True), err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["algorithm=bc"], "'bc'"),
        (["algorithm=iql", "algorithm.expectile=0.7"], "algorithm.expectile=0.7"),
        (["algorithm=iql", "draw=0"], "draw"),
        (["algorithm=iql", "sedes=3"], "sedes"),
    ],
)
def test_a_mistake_is_one_sentence(bench: Run, words: list[str], sentence: str) -> None:
    status, _, err = bench("dataset=tiny-hopper", *words, verb="sweep")
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
