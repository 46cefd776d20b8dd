"""The baselines' losses and every gradient against float64 arithmetic written from the equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import baselines_reference as reference
from torch import Tensor
from torch.utils._pytree import tree_map

from cqlbench.algorithms import ALGORITHMS, algorithm_of
from cqlbench.algorithms.algorithm import Batch, Networks, Rows, Spaces, cosine
from cqlbench.algorithms.bc import best_episodes
from cqlbench.algorithms.iql import DiscreteIQL, IQLConfig
from cqlbench.algorithms.networks import ActionBox, DiscreteActions
from cqlbench.algorithms.step import initial_state, loss_gradients, make_update

S, B, O, A = 2, 5, 3, 2  # noqa: E741
BOX = ActionBox.from_bounds(*(torch.from_numpy(each) for each in (reference.LOW, reference.HIGH)))
CASES = [
    ("bc", {}),
    ("td3_bc", {}),
    ("rebrac", {"critic_cloning_weight": 0.3}),
    ("rebrac", {"layer_norm": False, "normalize_values": False}),
    ("iql", {}),
    ("iql", {"dropout": 0.3, "expectile": 0.9}),
    ("iql", {"deterministic": True, "inverse_temperature": 10.0}),
    ("awac", {"temperature": 0.5}),
    ("sac_n", {"critics": 3}),
    ("edac", {"critics": 3}),
]


def problem(name, changes):
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    config = ALGORITHMS[name][0](hidden=[4, 3], batch_size=B, **changes)
    algorithm = algorithm_of(config, Spaces(O, BOX))
    state = initial_state(algorithm, range(S))
    for group in (*state.parameters.values(), *state.targets.values()):
        for key in group:
            group[key] = 0.6 * normal(*group[key].shape)
    state = replace(
        state,
        **{
            name: tree_map(torch.zeros_like, state.parameters) for name in ("first_moments", "second_moments")
        },
    )
    batch = Batch(
        observations=normal(S, B, O),
        actions=BOX.from_unit(normal(S, B, A).tanh()),
        rewards=normal(S, B),
        next_observations=normal(S, B, O),
        terminated=torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]], dtype=torch.float64),
        extra={key: BOX.from_unit(normal(S, B, A).tanh()) for key in algorithm.columns()},
    )
    noise = {
        key: normal(S, *draw.shape) if draw.kind == "normal" else normal(S, *draw.shape).tanh()
        for key, draw in algorithm.draws().items()
    }
    return algorithm, state, batch, noise


def arrays(groups, s):
    return {
        group: {name: each[s].numpy().copy() for name, each in params.items()}
        for group, params in groups.items()
    }


@pytest.mark.parametrize(("name", "changes"), CASES, ids=lambda case: str(case))
def test_losses_and_gradients_are_the_equations(name, changes):
    algorithm, state, batch, noise = problem(name, changes)
    for stage, written in zip(algorithm.stages(), reference.STAGES[name], strict=True):
        losses, _ = stage.loss(Networks(state.parameters, state.targets, state.steps), batch, noise)
        gradients, _ = loss_gradients(stage, state, batch, noise)
        for s in range(S):
            p = {
                "s": batch.observations, "a": batch.actions, "r": batch.rewards, "d": batch.terminated,
                "s2": batch.next_observations, **noise, **batch.extra,
            }  # fmt: skip
            p = {key: each[s].numpy() for key, each in p.items()}
            fixed, moving, targets = (
                arrays(each, s) for each in (state.parameters, state.parameters, state.targets)
            )
            found = written(moving, fixed, targets, p, algorithm.config)
            assert losses[s].item() == pytest.approx(sum(float(each) for each in found.values()), rel=1e-9)
            for group in stage.rates:
                for key, tensor in moving[group].items():
                    expected = np.zeros_like(tensor)
                    for index in np.ndindex(tensor.shape):
                        kept = tensor[index]
                        ends = []
                        for end in (kept + 1e-6, kept - 1e-6):
                            tensor[index] = end
                            ends.append(float(written(moving, fixed, targets, p, algorithm.config)[group]))
                        tensor[index] = kept
                        expected[index] = (ends[0] - ends[1]) / 2e-6
                    np.testing.assert_allclose(
                        gradients[group][key][s].numpy(),
                        expected,
                        rtol=2e-6,
                        atol=2e-8,
                        err_msg=f"{group} {key}",
                    )


def test_td3s_actor_and_targets_move_with_every_second_step_of_the_critics():
    algorithm, state, batch, noise = problem("td3_bc", {})
    update, before = make_update(algorithm), state.clone()
    state, _ = update(state.clone(), batch, noise, 0)
    assert torch.equal(state.parameters["actor"]["0.weight"], before.parameters["actor"]["0.weight"])
    assert torch.equal(state.targets["critics"]["0.weight"], before.targets["critics"]["0.weight"])
    assert not torch.equal(state.parameters["critics"]["0.weight"], before.parameters["critics"]["0.weight"])
    state, _ = update(state, batch, noise, 1)
    # Adam's first step is the rate times the gradient's sign: its count is the actor's own.
    moved = (state.parameters["actor"]["0.bias"] - before.parameters["actor"]["0.bias"]).abs()
    assert moved.max().item() == pytest.approx(algorithm.config.learning_rate, rel=1e-3)
    for group in ("actor", "critics"):
        expected = torch.lerp(before.targets[group]["0.weight"], state.parameters[group]["0.weight"], 0.005)
        torch.testing.assert_close(state.targets[group]["0.weight"], expected)


def test_the_cosine_is_torchs():
    parameter = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for step in range(50):
        assert cosine(3e-4, 50)(torch.tensor(float(step))).item() == pytest.approx(
            schedule.get_last_lr()[0], abs=1e-10
        )
        optimizer.step()
        schedule.step()


def test_the_best_episodes_are_those_of_the_highest_returns():
    rewards = np.array([1, 1, 5, 0, 0, 0, 2, 2], np.float32)
    lasts = np.array([0, 1, 1, 0, 0, 1, 0, 1], bool)
    rows = Rows(np.zeros((8, 1), np.float32), rewards, lasts, lasts, 0.0)
    assert best_episodes(rows, 1.0) is None
    assert best_episodes(rows, 0.1).tolist() == [False, False, True] + [False] * 5
    assert best_episodes(rows, 0.5).tolist() == [False, False, True, False, False, False, True, True]


def test_rebrac_learns_from_rows_whose_next_action_is_known():
    algorithm = algorithm_of(ALGORITHMS["rebrac"][0](), Spaces(O, BOX))
    actions = np.arange(6, dtype=np.float32)[:, None]
    lasts, terminated = np.array([0, 0, 1, 0, 0, 1], bool), np.array([0, 0, 1, 0, 0, 0], bool)
    rows = Rows(actions, actions[:, 0], terminated, lasts, 0.0)
    chosen = algorithm.rows(rows)
    assert chosen.tolist() == [True, True, True, True, True, False]
    following = algorithm.columns()["next_actions"](rows)[:, 0]
    assert following[chosen & ~lasts].tolist() == [1, 2, 4, 5]
    assert following[~chosen].tolist() == [-np.inf]


def test_rebrac_takes_no_penalty_for_an_action_that_is_not_known_yet():
    losses = []
    for weight, unknown in ((0.3, True), (0.0, False)):
        algorithm, state, batch, noise = problem("rebrac", {"critic_cloning_weight": weight})
        if unknown:
            batch.extra["next_actions"].fill_(-torch.inf)
        networks = Networks(state.parameters, state.targets, state.steps)
        losses.append(algorithm.stages()[0].loss(networks, batch, noise)[0])
    assert losses[0].isfinite().all()
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    ("step", "share"), [(1, 1.0), (101, 1.0), (111, 0.9), (121, 0.8), (151, 0.5), (181, 0.5)]
)
def test_rebracs_penalty_of_the_actor_falls_to_its_floor(step, share):
    decay = {"cloning_floor": 0.5, "decay_start": 100, "decay_steps": 100}
    losses = []
    for changes in (decay | {"actor_cloning_weight": 0.2}, {"actor_cloning_weight": 0.2 * share}):
        algorithm, state, batch, noise = problem("rebrac", changes)
        taken = torch.tensor(float(step))  # this gradient step included
        networks = Networks(state.parameters, state.targets, taken)
        losses.append(algorithm.stages()[1].loss(networks, batch, noise)[0])
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def test_discrete_iql_learns_a_chain():
    """Right leads to the reward at the end; the data are uniform."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 4, (1, 256), generator=generator)
    actions = torch.randint(0, 2, (1, 256), generator=generator)
    after = torch.where(actions == 1, cells + 1, (cells - 1).clamp(min=0))
    eye, done = torch.eye(5), (after == 4).float()
    batch = Batch(eye[cells], torch.eye(2)[actions], done, eye[after], done)
    config = IQLConfig(hidden=[32], batch_size=256, discount=0.9, polyak_rate=0.05)
    config = replace(config, actor_learning_rate=3e-3, critic_learning_rate=3e-3, value_learning_rate=3e-3)
    algorithm = DiscreteIQL(config, Spaces(5, DiscreteActions(2)))
    state, update = initial_state(algorithm, [0]), make_update(algorithm)
    for step in range(500):
        state, _ = update(state, batch, {}, step)
    assert algorithm.act(state.parameters, eye[None, :4])[0].argmax(-1).tolist() == [1, 1, 1, 1]
