"""`CQLLoss` is the project's loss, in a plain torchrl loop."""

import copy
import pickle
from functools import partial

import pytest
import torch
from tensordict import TensorDict
from torchrl.collectors import MultiSyncCollector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymEnv
from torchrl.envs.utils import ExplorationType, exploration_type, set_exploration_type
from torchrl.objectives import HardUpdate, LossModule, SoftUpdate

from cqlbench.algorithms.algorithm import Spaces
from cqlbench.algorithms.cql import CQL, CQLConfig
from cqlbench.algorithms.cql.losses import Batch
from cqlbench.algorithms.networks import ActionBox, mlp
from cqlbench.algorithms.step import initial_state, loss_gradients
from cqlbench.core.errors import ConfigError
from cqlbench.trainer.cql_loss import CQLLoss

O, A, B = 4, 2, 32  # noqa: E741
LOW, HIGH = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.5])
CONFIG = CQLConfig(actor_hidden=[16], critic_hidden=[16, 16], batch_size=B, proposals=3, lagrange=True)


def rows(count: int) -> TensorDict:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    observation = normal(count, O)
    return TensorDict(
        {
            "observation": observation,
            "action": ActionBox.from_bounds(LOW, HIGH).from_unit(normal(count, A).tanh()),
            "next": {
                "observation": observation + 0.1 * normal(count, O),
                "reward": observation[:, :1],
                "terminated": torch.rand(count, 1, generator=generator) < 0.1,
            },
        },
        [count],
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_its_gradients_are_the_fused_steps(calibrated: bool) -> None:
    config = CQLConfig(**(vars(CONFIG) | {"calibrated": calibrated}))
    loss = CQLLoss(config, O, LOW, HIGH, seed=3)
    batch = rows(B)
    if calibrated:
        batch["returns_to_go"] = batch["next", "reward"] * 2
    state = loss._generator.get_state()
    values = loss(batch)
    sum(values[name] for name in loss.out_keys).backward()
    loss._generator.set_state(state)
    as_batch = Batch(
        batch["observation"][None],
        batch["action"][None],
        batch["next", "reward"].view(1, -1),
        batch["next", "observation"][None],
        batch["next", "terminated"].view(1, -1).float(),
        {"returns_to_go": batch["returns_to_go"].view(1, -1)} if calibrated else {},
    )
    algorithm = CQL(config, Spaces(O, ActionBox.from_bounds(LOW, HIGH)))
    [stage] = algorithm.stages()
    state = initial_state(algorithm, [3])
    gradients, diagnostics = loss_gradients(stage, state, as_batch, loss._noise(as_batch))
    for name, gradient in gradients["critics"].items():
        assert torch.allclose(loss.critics[name.replace(".", "_")].grad, gradient, atol=1e-6), name
    for name, gradient in gradients["actor"].items():
        ours = loss.actor_network.params[name.replace(".", "_")].grad
        assert torch.allclose(ours, gradient, atol=1e-6), name
    assert torch.allclose(loss.log_multiplier.grad, gradients["multiplier"]["log"])
    assert torch.allclose(values["td_loss"], diagnostics["td_loss"][0])
    assert ("calibrated_fraction" in values.keys()) is calibrated  # noqa: SIM118  # a TensorDict


def test_a_calibrated_one_says_that_returns_are_missing() -> None:
    loss = CQLLoss(CQLConfig(**(vars(CONFIG) | {"calibrated": True})), O, LOW, HIGH)
    assert "returns_to_go" in loss.in_keys
    with pytest.raises(ConfigError, match="needs 'returns_to_go' beside every row"):
        loss(rows(B))


def test_it_trains_in_a_plain_torchrl_loop() -> None:
    config = CQLConfig(**(vars(CONFIG) | {"lagrange": False, "conservative_weight": 0.1}))
    loss = CQLLoss(config, O, LOW, HIGH)
    assert isinstance(loss, LossModule)
    data = rows(256)
    draws = torch.Generator().manual_seed(0)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(256), batch_size=B, generator=draws)
    buffer.extend(data)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    seen = []
    for _ in range(300):
        values = loss(buffer.sample())
        sum(values[name] for name in loss.out_keys).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.update_targets()
        seen.append(values["td_loss"].item())
    assert sum(seen[-20:]) < 0.5 * sum(seen[:20])
    assert int(loss.steps) == 300


def act(actor: torch.nn.Module, *shape: int) -> torch.Tensor:
    return actor(TensorDict({"observation": torch.zeros(*shape, O)}, shape))["action"]


def test_its_actor_is_a_policy_for_collectors() -> None:
    actor = CQLLoss(CONFIG, O, LOW, HIGH).actor_network
    with set_exploration_type(ExplorationType.RANDOM):
        actions = act(actor, 3, 5)
    assert actions.shape == (3, 5, A)
    assert (actions >= LOW).all()
    assert (actions <= HIGH).all()
    assert not torch.equal(actions[0, 0], actions[0, 1])


@pytest.mark.parametrize("kind", [None, *(kind for kind in ExplorationType if kind != "random")])
def test_its_actor_is_deterministic_unless_it_explores(kind: ExplorationType | None) -> None:
    loss = CQLLoss(CONFIG, O, LOW, HIGH)
    params = {name.replace("_", "."): value for name, value in loss.actor_network.params.items()}
    mean = mlp(params, torch.zeros(1, 2, O)).chunk(2, -1)[0][0]
    expected = ActionBox.from_bounds(LOW, HIGH).from_unit(mean.tanh())
    with set_exploration_type(kind):
        torch.testing.assert_close(act(loss.actor_network, 2), expected)


def test_its_actor_draws_from_torchs_stream_as_torchrls_actors_do() -> None:
    seen = []
    with set_exploration_type(ExplorationType.RANDOM), torch.random.fork_rng():
        for seed in (5, 5, 6):
            torch.manual_seed(seed)
            seen.append(act(CQLLoss(CONFIG, O, LOW, HIGH).actor_network, 3))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda actor: pickle.loads(pickle.dumps(actor))])
def test_copies_of_its_actor_explore_differently(copied) -> None:
    actor = CQLLoss(CONFIG, O, LOW, HIGH).actor_network
    other = copied(actor)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert torch.equal(act(actor, 3), act(other, 3))
    with set_exploration_type(ExplorationType.RANDOM):
        assert not torch.equal(act(actor, 3), act(other, 3))


def test_it_leaves_the_exploration_type_to_a_collectors_thread(monkeypatch) -> None:
    loss, seen = CQLLoss(CONFIG, O, LOW, HIGH), []
    noise = loss._noise
    monkeypatch.setattr(loss, "_noise", lambda batch: seen.append(exploration_type()) or noise(batch))
    with set_exploration_type(ExplorationType.RANDOM):
        loss(rows(B))
    assert seen == [ExplorationType.RANDOM]


def test_workers_of_a_collector_explore_differently_and_again_alike() -> None:
    loss = CQLLoss(CONFIG, 3, torch.tensor([-2.0]), torch.tensor([2.0]))
    for parameter in loss.actor_network.parameters():
        torch.nn.init.zeros_(parameter)  # so that actions depend on the noise alone
    collector = MultiSyncCollector(
        [partial(GymEnv, "Pendulum-v1")] * 2,
        loss.actor_network,
        frames_per_batch=16,
        total_frames=-1,
        cat_results="stack",
        auto_register_policy_transforms=False,
    )
    seen = []
    try:
        batches = iter(collector)
        for seed in (5, 5, 6):
            collector.set_seed(seed)
            seen.append(next(batches)["action"].clone())
    finally:
        collector.shutdown()
    assert seen[0].shape == (2, 8, 1)
    assert not (seen[0][0] == seen[0][1]).any()
    assert torch.equal(seen[0], seen[1])
    assert not (seen[0] == seen[2]).any()


@pytest.mark.parametrize("learn", [True, False])
def test_only_what_is_learned_needs_a_gradient(learn: bool) -> None:
    config = CQLConfig(**(vars(CONFIG) | {"learn_entropy_temperature": learn, "lagrange": learn}))
    loss = CQLLoss(config, O, LOW, HIGH)
    assert loss.log_temperature.requires_grad is learn
    assert loss.log_multiplier.requires_grad is learn


def test_it_moves_to_another_dtype() -> None:
    loss = CQLLoss(CONFIG, O, LOW, HIGH).double()
    values = loss(rows(B).double())
    assert values["loss_qvalue"].dtype == torch.float64
    assert loss.actor_network(TensorDict({"observation": torch.zeros(2, O).double()}, [2]))[
        "action"
    ].dtype == (torch.float64)


@pytest.mark.parametrize("updater", [SoftUpdate, HardUpdate])
def test_torchrls_updaters_move_its_targets(updater) -> None:
    loss = CQLLoss(CONFIG, O, LOW, HIGH)
    made = SoftUpdate(loss, tau=0.25) if updater is SoftUpdate else HardUpdate(loss)
    start = {name: target.clone() for name, target in loss.target_critics_params.items()}
    with torch.no_grad():
        for parameter in loss.critics.values():
            parameter.add_(1.0)
    for _ in range(1 if updater is SoftUpdate else 1001):
        made.step()
    for name, target in loss.target_critics_params.items():
        torch.testing.assert_close(target, start[name] + (0.25 if updater is SoftUpdate else 1.0))


def test_its_state_holds_its_noise() -> None:
    loss, other = CQLLoss(CONFIG, O, LOW, HIGH), CQLLoss(CONFIG, O, LOW, HIGH, seed=1)
    loss(rows(B))
    other.load_state_dict(loss.state_dict())
    expected, found = loss(rows(B)), other(rows(B))
    for name in expected.keys():  # noqa: SIM118  # a TensorDict iterates over its rows
        assert torch.equal(expected[name], found[name]), name


def test_set_seed_starts_the_noise_anew() -> None:
    loss = CQLLoss(CONFIG, O, LOW, HIGH)
    seen = []
    for seed in (5, 5, 6):
        loss.set_seed(seed)
        seen.append(loss(rows(B))["loss_actor"].item())
    assert seen[0] == seen[1] != seen[2]
