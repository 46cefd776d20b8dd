"""Soft actor-critic from nothing, as the README shows it, swings the pendulum up."""

import re
from pathlib import Path

import torch

from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.rollout import rollout

README = Path(__file__).parents[3] / "README.md"


def test_the_readmes_programme_learns_pendulum() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    source = next(block for block in blocks if "SeedCollector(" in block)
    names: dict[str, object] = {}
    source = source.replace("5_000", "3_000")
    exec(compile(source, "README.md", "exec"), names)
    engine = names["engine"]

    def act(observations):
        return engine.act(torch.from_numpy(observations)).numpy()

    played = rollout(act, EnvironmentSpec("Pendulum-v1", 200), engine.seeds, 10, 0)
    # Uniform actions return about -1,200 here; balanced from the start, about -150.
    assert (played.returns.mean(axis=1) > -500).all(), played.returns.mean(axis=1)
