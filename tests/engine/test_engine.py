"""Batches are the dataset's rows, preprocessed; nothing but steps moves the state."""

import copy
import dataclasses

import pytest
import torch

from cqlbench.algorithms import networks
from cqlbench.algorithms.networks import DiscreteActions
from cqlbench.core.errors import ConfigError
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.diagnostics import Reader


def test_a_batch_holds_whole_rows_preprocessed(make_engine, columns) -> None:
    batch = make_engine(0, 1).batch(step=3)
    table = {
        tuple(((row - 3) / 2).tolist()): index for index, row in enumerate(columns.observations.unbind())
    }
    for seed in range(2):
        for b in range(8):
            index = table[tuple(batch.observations[seed, b].tolist())]
            assert torch.equal(batch.actions[seed, b], columns.actions[index])
            assert batch.rewards[seed, b] == 2 * columns.rewards[index] + 1
            assert torch.equal(batch.next_observations[seed, b], (columns.next_observations[index] - 3) / 2)
            assert batch.terminated[seed, b] == columns.terminated[index].float()


def test_returns_to_go_come_with_their_rows(make_engine, columns) -> None:
    returns = torch.arange(len(columns.rewards), dtype=torch.float32)
    with_returns = dataclasses.replace(columns, extra={"returns_to_go": returns})
    batch = make_engine(0, 1, columns=with_returns, calibrated=True).batch(step=3)
    rows = batch.extra["returns_to_go"].long()
    assert torch.equal(batch.actions, columns.actions[rows])
    assert make_engine(0, 1, columns=with_returns).batch(step=3).extra == {}


def test_returns_to_go_change_nothing_where_they_are_not_asked_for(make_engine, columns) -> None:
    with_returns = dataclasses.replace(columns, extra={"returns_to_go": torch.zeros(len(columns.rewards))})
    engines = [make_engine(columns=each) for each in (columns, with_returns)]
    engines.append(make_engine(columns=with_returns, calibrated=True))
    for step in range(3):
        for engine in engines:
            engine.step(step)
    plain, unread, calibrated = (engine.state.parameters["critics"]["0.weight"] for engine in engines)
    assert torch.equal(plain, unread)
    assert not torch.equal(plain, calibrated)


def test_cal_ql_without_returns_to_go_is_one_sentence(make_engine) -> None:
    with pytest.raises(ConfigError, match="needs 'returns_to_go'"):
        make_engine(calibrated=True).step(0)


@pytest.mark.parametrize("shape", [(200,), (200, 1)])
def test_a_replay_buffers_rows_may_have_returns_to_go(make_buffer, shape) -> None:
    buffer = make_buffer()
    assert Columns.of(buffer, ["returns_to_go"]).extra == {}
    rows = buffer[:].set("returns_to_go", torch.arange(200.0).view(shape))
    buffer = make_buffer(rows=0)
    buffer.extend(rows)
    assert Columns.of(buffer, ["returns_to_go"]).extra["returns_to_go"].tolist() == list(range(200))
    assert Columns.of(buffer).extra == {}


def test_timing_steps_does_not_advance_training(make_engine) -> None:
    engine, other = make_engine(), make_engine()
    assert engine.seconds_per_step() > 0
    for step in range(3):
        engine.step(step)
        other.step(step)
    for name, tensor in other.state.parameters["critics"].items():
        assert torch.equal(tensor, engine.state.parameters["critics"][name])
    assert engine.drain_diagnostics() == other.drain_diagnostics()


def test_diagnostics_are_means_since_the_last_call(make_engine) -> None:
    engine = make_engine()
    seen = [{k: v.clone() for k, v in engine.step(step).items()} for step in range(4)]
    means = engine.drain_diagnostics()
    expected = torch.stack([d["td_loss"] for d in seen]).mean(0)
    assert torch.allclose(torch.tensor(means["td_loss"]), expected)
    assert engine.drain_diagnostics() == {}


def test_each_reader_of_diagnostics_has_its_own_sums(make_engine) -> None:
    engine = make_engine()
    seen = [engine.step(step)["td_loss"].clone() for step in range(2)]
    engine.drain_diagnostics(Reader.LOG)
    other = make_engine()
    other.load_state_dict(copy.deepcopy(engine.state_dict()))
    seen += [engine.step(step)["td_loss"].clone() for step in range(2, 5)]
    for step in range(2, 5):
        other.step(step)
    for reader, since in ((Reader.LOG, 2), (Reader.EVALUATION, 0)):
        means = engine.drain_diagnostics(reader)
        assert means["td_loss"] == pytest.approx(torch.stack(seen[since:]).mean(0).tolist())
        assert other.drain_diagnostics(reader) == means
        assert engine.drain_diagnostics(reader) == {}


def test_means_after_a_step_that_was_no_number_are_numbers(make_engine) -> None:
    engine = make_engine()
    engine.step(0)
    engine._diagnostics.sums.fill_(torch.nan)
    for reader in Reader:
        assert torch.tensor(engine.drain_diagnostics(reader)["td_loss"]).isnan().all()
    engine.step(1)
    for reader in Reader:
        assert torch.tensor(engine.drain_diagnostics(reader)["td_loss"]).isfinite().all()


def test_a_loaded_state_goes_on_exactly(make_engine) -> None:
    engine, other = make_engine(), make_engine()
    for step in range(3):
        engine.step(step)
    other.load_state_dict(copy.deepcopy(engine.state_dict()))
    for step in range(3, 6):
        engine.step(step)
        other.step(step)
    for mine, theirs in zip(engine.state.tensors(), other.state.tensors(), strict=True):
        assert torch.equal(mine, theirs)
    assert engine.drain_diagnostics() == other.drain_diagnostics()


def test_discrete_actions_train_act_and_go_on_from_a_state(make_engine, columns) -> None:
    one_hot = torch.eye(3)[torch.arange(len(columns.actions)) % 3]
    columns = dataclasses.replace(columns, actions=one_hot)
    engine, other, box = (
        make_engine(columns=columns, actions=actions)
        for actions in (DiscreteActions(3), DiscreteActions(3), None)
    )
    for step in range(3):
        engine.step(step)
    other.load_state_dict(copy.deepcopy(engine.state_dict()))
    for training in (engine, other):
        training.step(3)
    for mine, theirs in zip(engine.state.tensors(), other.state.tensors(), strict=True):
        assert torch.equal(mine, theirs)
    assert engine.drain_diagnostics() == other.drain_diagnostics()
    actions = engine.act(torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)))
    assert actions.shape == (2, 5, 3)
    assert torch.equal(actions.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand(2, 5, 3))
    with pytest.raises(ConfigError, match="does not fit"):
        box.load_state_dict(engine.state_dict())


def test_the_state_of_other_networks_is_refused(make_engine) -> None:
    for seeds in ((0,), (0, 1, 2)):
        with pytest.raises(ConfigError, match="does not fit"):
            make_engine(0, 1).load_state_dict(make_engine(*seeds).state_dict())


def test_acting_is_deterministic_bounded_and_normalises_as_training_does(make_engine) -> None:
    engine = make_engine()
    observations = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    actions = engine.act(observations)
    assert torch.equal(actions, engine.act(observations))
    assert actions.abs().max() <= 1
    other = make_engine()
    other._mean, other._inverse_std = torch.zeros(4), torch.ones(4)
    assert torch.allclose(other.act((observations.float() - 3) / 2), actions, atol=1e-6)


def test_sampled_actions_are_the_policys_at_raw_observations(make_engine) -> None:
    engine = make_engine(0, 1)
    generator = torch.Generator().manual_seed(0)
    observations = 3 + 2 * torch.randn(2, 1, 4, generator=generator).expand(2, 4_000, 4)
    normals = torch.randn(2, 4_000, 2, generator=generator)
    sampled = engine.sample_actions(observations, normals)
    policy = networks.actor_distribution(
        engine.state.parameters["actor"], (observations - 3) / 2, engine.actions
    )
    expected, _ = policy.sample(normals)
    assert torch.allclose(sampled, expected, atol=1e-6)
    zeros = torch.zeros_like(normals)
    assert torch.allclose(engine.sample_actions(observations, zeros), engine.act(observations), atol=1e-6)
    assert sampled[0].std(0).min() > 0.1


def test_sampled_discrete_actions_are_greedy(make_engine, columns) -> None:
    one_hot = torch.nn.functional.one_hot(torch.arange(200) % 2, 2).float()
    engine = make_engine(
        0, 1, columns=dataclasses.replace(columns, actions=one_hot), actions=DiscreteActions(2)
    )
    observations = columns.observations[:10].view(2, 5, 4)
    assert torch.equal(engine.sample_actions(observations, torch.ones(2, 5, 2)), engine.act(observations))


def test_no_bit_of_a_single_seed_depends_on_the_number_of_threads(make_engine) -> None:
    before = torch.get_num_threads()
    large = {"actor_hidden": [64, 64], "critic_hidden": [64, 64], "batch_size": 256, "proposals": 8}
    engines = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            engine = make_engine(0, **large)
            for step in range(4):
                engine.step(step)
            engines.append(engine)
        finally:
            torch.set_num_threads(before)
    for other in engines[1:]:
        assert all(map(torch.equal, engines[0].state.tensors(), other.state.tensors()))
        assert all(map(torch.equal, *(each.latest_diagnostics().values() for each in (engines[0], other))))
