"""The JAX step that ours is timed against has our losses' gradients, and takes steps."""

from functools import partial

import numpy as np
import pytest
import torch
from speed.jax_step import jax_step, make_loss
from speed.remote import Remote
from speed.workload import Workload

from cqlbench.algorithms.algorithm import Networks
from cqlbench.algorithms.cql.losses import losses

jax = pytest.importorskip("jax")

TINY = Workload(seeds=1, hidden=(8, 6), batch_size=4, proposals=3)


def test_its_gradients_are_ours() -> None:
    engine, batch = TINY.engine(torch.device("cpu"), rows=50), TINY.batch(torch.device("cpu"))
    state, noise = engine.state, engine._noise(0)
    leaves = {
        group: {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
        for group, params in state.parameters.items()
    }
    total = losses(Networks(leaves, state.targets, state.steps), batch, noise, engine.config, engine.actions)
    total.total().sum().backward()

    def layers(params, at):
        return [
            tuple(params[f"{layer}.{part}"][0].detach().numpy() for part in ("weight", "bias"))
            for layer in range(at)
        ]

    theirs = {
        "actor": layers(leaves["actor"], 3),
        "critics": layers(leaves["critics"], 3),
        "temperature": leaves["temperature"]["log"][0].detach().numpy(),
    }
    rows = [each[0].numpy() for each in vars(batch).values() if isinstance(each, torch.Tensor)]
    numbers = {name: each[0].numpy() for name, each in noise.items()}
    numbers["target"] = numbers["target"][:, 0]
    found = jax.grad(make_loss(TINY))(theirs, layers(state.targets["critics"], 3), rows, numbers)
    for group in ("actor", "critics"):
        for layer, (weight, bias) in enumerate(found[group]):
            for part, value in (("weight", weight), ("bias", bias)):
                ours = leaves[group][f"{layer}.{part}"].grad[0].numpy()
                np.testing.assert_allclose(np.asarray(value), ours, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(found["temperature"], leaves["temperature"]["log"].grad[0].numpy(), rtol=1e-4)


def test_it_takes_steps() -> None:
    tiny = Workload(seeds=2, hidden=(8, 8), batch_size=4, proposals=3)
    with Remote(partial(jax_step, tiny), torch.device("cpu")) as there:
        assert there.steps(3) > 0
