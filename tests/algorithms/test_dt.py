from dataclasses import replace

import numpy as np
import pytest
import torch
from golden.dt_reference import Transformer, filled
from torch.nn import functional
from torch.utils._pytree import tree_map

from cqlbench.algorithms import algorithm_of
from cqlbench.algorithms.algorithm import Batch, History, Networks, Rows, Spaces, warmed_up
from cqlbench.algorithms.dt import DTConfig, kept
from cqlbench.algorithms.networks import ActionBox
from cqlbench.algorithms.step import initial_state, loss_gradients, make_update

S, B, L, O, A = 2, 6, 4, 3, 2  # noqa: E741
BOX = ActionBox.from_bounds(-torch.ones(A, dtype=torch.float64), torch.ones(A, dtype=torch.float64))
SETTINGS = {"embedding_size": 8, "blocks": 2, "heads": 2, "context": L, "episode_length": 9, "batch_size": B}
SHARES = ("attention_dropout", "residual_dropout", "embedding_dropout")


def problem(**changes):
    generator = torch.Generator().manual_seed(5)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    algorithm = algorithm_of(DTConfig(**SETTINGS | dict.fromkeys(SHARES, 0.0) | changes), Spaces(O, BOX))
    state = initial_state(algorithm, range(S))
    for group in state.parameters.values():
        for name in group:
            group[name] = 0.5 * normal(*group[name].shape)
    zeros = tree_map(torch.zeros_like, state.parameters)
    state = replace(state, first_moments=zeros, second_moments=tree_map(torch.clone, zeros))
    left = torch.tensor([[0, 1, 2, 3, 4, 9], [7, 0, 0, 2, 3, 1]])
    begun = torch.tensor([[0, 3, 5, 8, 1, 0], [2, 2, 0, 0, 4, 6]])
    steps = begun.unsqueeze(-1) + torch.arange(L)
    batch = Batch(
        normal(S, B, L, O),
        normal(S, B, L, A).tanh(),
        normal(S, B, L),
        normal(S, B, L, O),
        torch.zeros(S, B, L),
        {
            "returns_to_go": normal(S, B, L),
            "steps": steps.double(),
            "left": (left.unsqueeze(-1) - torch.arange(L)).double(),
        },
    )
    return algorithm, state, batch, left


def test_loss_and_gradients_are_those_of_torchs_modules_on_padded_sequences():
    algorithm, state, batch, left = problem()
    (stage,) = algorithm.stages()
    noise = {"dropout": torch.zeros(S, 7, dtype=torch.float64)}
    loss, _ = stage.loss(Networks(state.parameters, {}, state.steps), batch, noise)
    gradients, _ = loss_gradients(stage, state, batch, noise)
    for seed in range(S):
        module = Transformer((O, A, 8), 2, 2, L, 9 + L).double()
        filled(module, state.parameters["actor"], seed)
        padded = torch.arange(L) > left[seed].unsqueeze(-1)
        zero = lambda each, padded=padded: each.masked_fill(  # noqa: E731
            padded.view(B, L, *[1] * (each.dim() - 2)), 0
        )
        told = module(
            zero(batch.observations[seed]),
            zero(batch.actions[seed]),
            zero(batch.extra["returns_to_go"][seed]),
            batch.extra["steps"][seed].long(),
            padded,
        )
        squares = functional.mse_loss(told, zero(batch.actions[seed]), reduction="none")
        expected = (squares * ~padded.unsqueeze(-1)).mean()
        torch.testing.assert_close(loss[seed], expected, rtol=1e-12, atol=1e-12)
        expected.backward()
        mine = filled(Transformer((O, A, 8), 2, 2, L, 9 + L).double(), gradients["actor"], seed)
        for ours, theirs in zip(mine.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(ours.detach(), theirs.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("token", range(3 * L))
def test_a_token_is_seen_by_those_that_follow_it_alone(token):
    algorithm, state, batch, _ = problem()
    history = History(
        batch.observations, batch.actions, batch.extra["returns_to_go"], batch.extra["steps"].long()
    )
    step, kind = divmod(token, 3)
    changed = [each.clone() for each in history]
    changed[(2, 0, 1)[kind]][:, :, step] += 1.0  # a time step's return, observation, action
    before, after = (
        algorithm._actions(state.parameters["actor"], each) for each in (history, History(*changed))
    )
    moved = (before != after).any(-1)
    first = step + (kind == 2)
    assert not moved[:, :, :first].any()
    assert moved[:, :, first:].all()


def test_columns_by_hand():
    algorithm, *_ = problem()
    rewards = np.array([1, 2, 3, 4, 5], np.float32)
    lasts = np.array([False, False, True, False, True])
    rows = Rows(np.zeros((5, A), np.float32), rewards, lasts, lasts, 1.0)
    found = {name: column(rows).tolist() for name, column in algorithm.columns().items()}
    assert found == {
        "returns_to_go": [6, 5, 3, 9, 5],
        "steps": [0, 1, 2, 0, 1],
        "left": [2, 1, 0, 1, 0],
    }
    columns = {name: torch.tensor(values) for name, values in found.items()}
    assert algorithm.asked_return(columns) == 9
    asked = algorithm_of(DTConfig(target_return=3600.0), Spaces(O, BOX))
    assert asked.asked_return(columns) == pytest.approx(3.6)


def test_dropout_leaves_out_its_share_differently_for_each_key():
    keys = torch.tensor([-0.5, 0.3, 0.3000001])
    factors = kept(keys, (3, 200, 500), 0.1)
    assert factors.unique().tolist() == pytest.approx([0, 1 / 0.9])
    share = (factors == 0).float()
    # Of 100,000 draws the standard error is 0.00095; of rows of 500, 0.0134.
    assert share.mean((1, 2)).numpy() == pytest.approx([0.1] * 3, abs=4e-3)
    assert share.mean(2).std(1).numpy() == pytest.approx([0.0134] * 3, abs=2e-3)
    for one, other in ((share[0], share[1]), (share[1], share[2]), (share[0, :, 1:], share[0, :, :-1])):
        assert float((one * other).mean()) == pytest.approx(0.01, abs=1.3e-3)
    torch.testing.assert_close(kept(keys[1:2], (1, 200, 500), 0.1)[0], factors[1], rtol=0, atol=0)


def test_dropout_is_in_training_alone():
    algorithm, state, batch, _ = problem(residual_dropout=0.5)
    (stage,) = algorithm.stages()
    networks = Networks(state.parameters, {}, state.steps)
    losses = [
        stage.loss(networks, batch, {"dropout": torch.full((S, 7), key, dtype=torch.float64)})[0]
        for key in (0.1, 0.2)
    ]
    assert (losses[0] != losses[1]).all()
    first = batch.observations[:, :, 0]
    assert torch.equal(*(algorithm.act(state.parameters, first) for _ in range(2)))


def test_a_step_is_adamws():
    algorithm, state, batch, _ = problem(learning_rate=0.1, warmup_steps=4, weight_decay=0.3)
    noise = {"dropout": torch.zeros(S, 7, dtype=torch.float64)}
    own = [each[:1].clone().requires_grad_() for each in state.parameters["actor"].values()]
    optimizer = torch.optim.AdamW(own, lr=0.1, weight_decay=0.3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 4, 1))
    update = make_update(algorithm)
    for step in range(6):
        (stage,) = algorithm.stages()
        gradients, _ = loss_gradients(stage, state, batch, noise)
        for parameter, gradient in zip(own, gradients["actor"].values(), strict=True):
            parameter.grad = gradient[:1].clone()
        torch.nn.utils.clip_grad_norm_(own, 0.25)
        optimizer.step()
        schedule.step()
        state, _ = update(state, batch, noise, step)
        for theirs, ours in zip(own, state.parameters["actor"].values(), strict=True):
            torch.testing.assert_close(ours[:1], theirs.detach(), rtol=1e-5, atol=1e-7)
    assert [float(warmed_up(0.1, 4)(torch.tensor(float(done)))) for done in (0, 1, 3, 9)] == pytest.approx(
        [0.025, 0.05, 0.1, 0.1]
    )


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ({"heads": 3}, "heads"),
        ({"context": 0}, "context"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"reward_bias": 1.0}, "reward_bias"),
        ({"target_return": float("nan")}, "target_return"),
    ],
)
def test_settings_that_make_no_sense_are_told(setting, word):
    assert any(word in each for each in DTConfig(**setting).problems())
