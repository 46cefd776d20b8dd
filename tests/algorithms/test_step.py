"""Adam and polyak against torch's own; seeds that share a step share nothing else."""

from collections.abc import Sequence

import pytest
import torch

from cqlbench.algorithms.algorithm import Batch, Spaces
from cqlbench.algorithms.cql import CQL, CQLConfig
from cqlbench.algorithms.networks import ActionBox
from cqlbench.algorithms.step import (
    TrainState,
    clip_by_seed,
    initial_state,
    loss_gradients,
    make_update,
    norms_by_seed,
)
from cqlbench.engine.streams import NoiseStream

O, A, B = 5, 2, 16  # noqa: E741
BOX = ActionBox.from_bounds(-torch.ones(A), torch.ones(A))
CONFIG = CQLConfig(actor_hidden=[16, 16], critic_hidden=[16, 16], proposals=3, batch_size=B)


def cql(config: CQLConfig = CONFIG) -> CQL:
    return CQL(config, Spaces(O, BOX))


def noise_of(seeds: Sequence[int], config: CQLConfig = CONFIG) -> NoiseStream:
    return NoiseStream(seeds, cql(config).draws(), torch.device("cpu"))


def batch_for(seeds: Sequence[int], step: int) -> Batch:
    def draw(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1000 * seed + step)
        normal = [torch.randn(B, n, generator=generator) for n in (O, A, 1, O)]
        ended = (torch.rand(B, generator=generator) < 0.1).float()
        return [normal[0], normal[1].tanh(), normal[2].squeeze(1), normal[3], ended]

    columns = [torch.stack(column) for column in zip(*map(draw, seeds), strict=True)]
    return Batch(*columns)


def train(seeds: Sequence[int], steps: int, config: CQLConfig = CONFIG) -> tuple[TrainState, list[dict]]:
    state = initial_state(cql(config), seeds)
    update = make_update(cql(config))
    noise = noise_of(seeds, config)
    history = []
    for step in range(steps):
        state, diagnostics = update(state, batch_for(seeds, step), noise(step), step)
        history.append(diagnostics)
    return state, history


def test_the_step_is_adam_then_polyak() -> None:
    state = initial_state(cql(), [0])
    moving = ("actor", "critics", "temperature")
    names = [(group, name) for group in moving for name in state.parameters[group]]
    copies = {key: state.parameters[key[0]][key[1]].clone() for key in names}
    rates = {
        "actor": CONFIG.actor_learning_rate,
        "critics": CONFIG.critic_learning_rate,
        "temperature": CONFIG.temperature_learning_rate,
    }
    adam = torch.optim.Adam([{"params": [copies[key]], "lr": rates[key[0]]} for key in names])
    targets = {name: tensor.clone() for name, tensor in state.targets["critics"].items()}
    update = make_update(cql())
    noise = noise_of([0])
    for step in range(5):
        [stage] = cql().stages()
        gradients, _ = loss_gradients(stage, state, batch_for([0], step), noise(step))
        for group, name in names:
            copies[group, name].grad = gradients[group][name].clone()
        adam.step()
        for name, target in targets.items():
            target.mul_(1 - CONFIG.polyak_rate).add_(copies["critics", name], alpha=CONFIG.polyak_rate)
        state, _ = update(state, batch_for([0], step), noise(step), step)
    for group, name in names:
        assert torch.allclose(state.parameters[group][name], copies[group, name], rtol=1e-5, atol=1e-7)
    for name, target in targets.items():
        assert torch.allclose(state.targets["critics"][name], target, rtol=1e-5, atol=1e-7)


def test_the_step_depends_on_its_arguments_alone() -> None:
    state = initial_state(cql(), [0])
    update = make_update(cql())
    noise = noise_of([0])
    first, _ = update(state.clone(), batch_for([0], 0), noise(0), 0)
    torch.rand(7)
    second, _ = update(state.clone(), batch_for([0], 0), noise(0), 0)
    for name, tensor in first.parameters["actor"].items():
        assert torch.equal(tensor, second.parameters["actor"][name])


def test_a_fixed_entropy_temperature_stays() -> None:
    config = CQLConfig(**(vars(CONFIG) | {"learn_entropy_temperature": False, "entropy_temperature": 0.2}))
    state, _ = train([0], steps=3, config=config)
    assert state.parameters["temperature"]["log"].exp().item() == pytest.approx(0.2)


def test_gradients_are_clipped_seed_by_seed() -> None:
    gradients = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([[[4.0]], [[0.4]]])}
    norms = norms_by_seed(gradients)
    assert torch.allclose(norms, torch.tensor([5.0, 0.5]))
    clip_by_seed(gradients, norms, 1.0)
    assert torch.allclose(gradients["a"], torch.tensor([[0.6, 0.0], [0.3, 0.0]]))
    assert torch.allclose(gradients["b"], torch.tensor([[[0.8]], [[0.4]]]))


def test_targets_move_every_period_only() -> None:
    config = CQLConfig(**(vars(CONFIG) | {"target_update_period": 3}))
    state = initial_state(cql(config), [0])
    update = make_update(cql(config))
    noise = noise_of([0], config)
    moved = []
    for step in range(6):
        before = {name: tensor.clone() for name, tensor in state.targets["critics"].items()}
        state, _ = update(state, batch_for([0], step), noise(step), step)
        moved.append(any(not torch.equal(before[n], t) for n, t in state.targets["critics"].items()))
    assert moved == [False, False, True, False, False, True]


def test_the_multiplier_grows_while_the_gap_is_above_its_target() -> None:
    config = CQLConfig(**(vars(CONFIG) | {"lagrange": True, "target_action_gap": -100.0}))
    state, _ = train([0, 1], steps=5, config=config)
    assert (state.parameters["multiplier"]["log"] > config.initial_log_multiplier).all()
    fixed, _ = train([0, 1], steps=5)
    assert torch.equal(fixed.parameters["multiplier"]["log"], torch.ones(2))


@pytest.mark.parametrize("norm", [None, 1e9])
def test_a_seed_whose_gradients_are_not_finite_is_frozen_where_it_was(norm: float | None) -> None:
    algorithm = cql(CQLConfig(**(vars(CONFIG) | {"max_gradient_norm": norm})))
    state = initial_state(algorithm, [0, 1])
    update = make_update(algorithm)
    noise = noise_of([0, 1])
    for step in range(6):
        batch = batch_for([0, 1], step)
        if step == 3:
            batch.rewards[0, 0] = float("inf")
            before = state.clone()
        state, _ = update(state, batch, noise(step), step)
    assert state.finite().tolist() == [False, True]
    for group, params in before.parameters.items():
        for name, tensor in params.items():
            assert torch.equal(state.parameters[group][name][0], tensor[0]), (group, name)
    healthy, _ = train([1], steps=6)
    for name, tensor in healthy.parameters["critics"].items():
        assert torch.allclose(state.parameters["critics"][name][1], tensor[0], rtol=1e-4, atol=1e-6), name
