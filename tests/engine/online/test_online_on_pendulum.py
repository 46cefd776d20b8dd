"""Soft actor-critic from scratch, as the documentation shows it, swings the pendulum up."""

import re
from pathlib import Path

import torch

from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.rollout import rollout

PAGE = Path(__file__).parents[3] / "docs" / "torchrl.md"


def test_the_documented_programme_learns_pendulum() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    source = next(block for block in blocks if "SeedCollector(" in block)
    names: dict[str, object] = {}
    source = source.replace("5_000", "3_000")
    exec(compile(source, PAGE.name, "exec"), names)
    engine = names["engine"]

    def act(observations):
        return engine.act(torch.from_numpy(observations)).numpy()

    played = rollout(act, EnvironmentSpec("Pendulum-v1", 200), engine.seeds, 10, 0)
    # Uniform actions return about -1,200 here; balanced from the start, about -150.
    assert (played.returns.mean(axis=1) > -500).all(), played.returns.mean(axis=1)
