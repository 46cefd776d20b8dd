"""One gradient step of any loss: what is summed, clipped, updated, and let go."""

import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.data import LazyTensorStorage, RandomSampler, SamplerWithoutReplacement, TensorDictReplayBuffer
from torchrl.modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import CQLLoss as TorchrlCQLLoss
from torchrl.objectives import LossModule, SACLoss, SoftUpdate
from torchrl.trainers.algorithms import CQLTrainer as TorchrlCQLTrainer

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.core.errors import ConfigError
from cqlbench.trainer.cql_loss import CQLLoss
from cqlbench.trainer.steppers import default_optimizer
from cqlbench.trainer.trainer import CQLTrainer


class Line(nn.Module):
    """Losses `3·a + b²·4 + c` of three numbers, all 1, and one that is no component."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.ones(())) for name in "abc"})
        self.other = nn.Linear(1, 1)

    def forward(self, batch: TensorDict) -> TensorDict:
        a, b, c = (self.weights[name] for name in "abc")
        return TensorDict({"loss_first": 3 * a, "loss_second": 4 * b**2, "loss": c, "lossless": 100 * a})


class ListLogger:
    def __init__(self) -> None:
        self.rows = {}

    def log_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.setdefault(name, []).append(value)


def train(loss, buffer, steps: int = 1, **arguments) -> CQLTrainer:
    trainer = CQLTrainer(
        loss_module=loss, replay_buffer=buffer, offline_steps=steps, progress_bar=False, **arguments
    )
    trainer.train()
    return trainer


def moved(loss: Line, buffer, **arguments) -> list[float]:
    """By how much a step of plain gradient descent at rate 1 moves a, b and c."""
    train(loss, buffer, optimizer=torch.optim.SGD(loss.parameters(), lr=1.0), **arguments)
    return [1 - loss.weights[name].item() for name in "abc"]


def test_every_component_is_summed_and_nothing_else(make_buffer) -> None:
    assert moved(Line(), make_buffer()) == [3, 8, 1]


def test_a_plain_function_is_a_loss(make_buffer) -> None:
    module = Line()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    train(lambda batch: module(batch), make_buffer(), optimizer=optimizer)
    assert module.weights["b"].item() == -7


def test_no_component_is_one_sentence(make_buffer) -> None:
    module = Line()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    with pytest.raises(ConfigError, match=r"name starts with 'loss_': it returned lossless\."):
        train(lambda batch: module(batch).select("lossless"), make_buffer(), optimizer=optimizer)


def test_a_function_needs_an_optimizer(make_buffer) -> None:
    with pytest.raises(ConfigError, match="pass an 'optimizer'"):
        train(lambda batch: TensorDict({}), make_buffer())


def test_a_given_optimizer_is_the_one_that_steps(make_buffer) -> None:
    loss = Line()
    trainer = train(loss, make_buffer(), optimizer=torch.optim.SGD([loss.weights["a"]], lr=2.0))
    assert [loss.weights[name].item() for name in "abc"] == [-5, 1, 1]
    assert isinstance(trainer.optimizer, torch.optim.SGD)


def test_no_graph_is_kept(make_buffer) -> None:
    loss = Line()
    trainer = CQLTrainer(
        loss_module=loss,
        replay_buffer=make_buffer(),
        offline_steps=3,
        logger=ListLogger(),
        progress_bar=False,
    )
    kept = []
    step = trainer.optimization_stepper.step
    trainer.optimization_stepper.step = lambda *given: kept.append(step(*given)) or kept[-1]
    trainer.register_op("post_optim_complete_log", lambda steps, means: kept.append(means))
    trainer.train()
    assert {"loss_first", "loss_second", "loss", "lossless"} <= set(kept[0].keys())
    assert len(kept) == 4
    for values in kept:
        assert [value.grad_fn for value in values.values()] == [None] * len(values.keys())


# torchrl's own losses


class Batches(SimpleNamespace):
    """A collector whose batches are known beforehand."""

    init_random_frames = 0

    def __iter__(self) -> Iterator[TensorDict]:
        return iter([batch.clone() for batch in self.batches])

    def update_policy_weights_(self, *weights, **named) -> None: ...

    def shutdown(self, *arguments, **named) -> None: ...


def torchrl_module(kind: type[LossModule], **arguments) -> LossModule:
    torch.manual_seed(3)
    body = nn.Sequential(MLP(in_features=4, out_features=4, num_cells=[16]), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(body, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
    )
    critic = ValueOperator(
        MLP(in_features=6, out_features=1, num_cells=[16]), in_keys=["observation", "action"]
    )
    loss = kind(actor, critic, target_entropy=-2.0, **arguments)
    loss.make_value_estimator(gamma=0.99)
    return loss.double()


@pytest.mark.filterwarnings("ignore:CQLTrainer is an experimental", "ignore:The 'post_loss' hook stage")
@pytest.mark.parametrize(
    ("kind", "arguments", "changes"),
    [
        (TorchrlCQLLoss, {}, {}),
        (TorchrlCQLLoss, {"with_lagrange": True}, {"clip_norm": 0.5}),
        (SACLoss, {}, {"clip_norm": 0.1, "clip_grad_norm": False}),
        (SACLoss, {}, {"optim_steps_per_batch": None}),
    ],
)
def test_torchrls_losses_train_as_in_torchrls_trainer(make_buffer, kind, arguments, changes) -> None:
    data = make_buffer()[:].select("observation", "action", "next").double()
    data["next"].update({name: data["next", name].bool() for name in ("terminated", "done")})
    trained = []
    for trainer_class in (TorchrlCQLTrainer, CQLTrainer):
        loss = torchrl_module(kind, **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchrl's, of an updater that is not there yet
            updater = SoftUpdate(loss, tau=0.01)
        torch.manual_seed(4)
        sampler = RandomSampler() if "optim_steps_per_batch" not in changes else SamplerWithoutReplacement()
        defaults = {"optim_steps_per_batch": 10, "log_rewards": False}  # torchrl's needs sums of rewards
        trainer_class(
            collector=Batches(batches=data.split(10)),
            total_frames=60,
            frame_skip=1,
            loss_module=loss,
            optimizer=torch.optim.Adam(loss.parameters(), lr=3e-3),
            replay_buffer=TensorDictReplayBuffer(
                storage=LazyTensorStorage(200), sampler=sampler, batch_size=8
            ),
            target_net_updater=updater,
            progress_bar=False,
            **(defaults | changes),
        ).train()
        trained.append({name: value.clone() for name, value in loss.state_dict().items()})
    theirs, ours = trained
    start = torchrl_module(kind, **arguments).state_dict()
    assert any(not torch.equal(theirs[name], value) for name, value in start.items())
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


# clip_grad_norm, clip_norm


NORM = (9 + 64 + 1) ** 0.5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"clip_norm": None}, [3, 8, 1]),
        ({"clip_norm": None, "clip_grad_norm": False}, [3, 8, 1]),
        ({"clip_norm": 1.0}, [3 / NORM, 8 / NORM, 1 / NORM]),
        ({"clip_norm": 100.0}, [3, 8, 1]),
        ({"clip_norm": 2.0, "clip_grad_norm": False}, [2, 2, 1]),
    ],
)
def test_gradients_are_clipped_as_asked_and_norms_are_logged(make_buffer, arguments, expected) -> None:
    logger = ListLogger()
    assert moved(Line(), make_buffer(), logger=logger, log_interval=1, **arguments) == pytest.approx(expected)
    assert logger.rows["grad_norm"] == pytest.approx([NORM])


def test_clip_norm_clips_each_seed_of_a_seed_batch(make_loss, make_buffer) -> None:
    def first_moments(clip_norm: float | None) -> list[torch.Tensor]:
        trainer = train(make_loss(), make_buffer(None), seed=[1, 2], clip_norm=clip_norm)
        moments = trainer.engine.state.first_moments["critics"].values()
        return [torch.cat([moment[seed].flatten() for moment in moments]) for seed in range(2)]

    for free, clipped in zip(first_moments(None), first_moments(0.5), strict=True):
        assert free.norm() > 0.1  # a moment is a tenth of the gradient
        torch.testing.assert_close(clipped, free / free.norm() * 0.05)


def test_a_cql_losss_own_clipping_is_per_network(make_loss, make_buffer) -> None:
    bound = 0.05
    loss = make_loss(max_gradient_norm=bound)
    trainer = train(loss, make_buffer(), optimizer=torch.optim.SGD(loss.parameter_groups()))
    networks = {"actor": loss.actor_network, "critics": loss.critics}
    start = make_loss()
    for group in trainer.optimizer.param_groups:
        if group["name"] in networks:
            fresh = start.actor_network if group["name"] == "actor" else start.critics
            pairs = zip(group["params"], fresh.parameters(), strict=True)
            steps = torch.cat([(before - after).detach().flatten() for after, before in pairs])
            assert steps.norm().item() == pytest.approx(bound * group["lr"], rel=1e-2)


# the default optimiser and target update


def test_the_default_optimizer_has_a_group_and_a_rate_per_network(make_loss) -> None:
    loss = make_loss(lagrange=True, actor_learning_rate=1e-3, critic_learning_rate=2e-3)
    groups = default_optimizer(loss).param_groups
    assert {group["name"]: group["lr"] for group in groups} == {
        "actor": 1e-3,
        "critics": 2e-3,
        "temperature": CQLConfig.temperature_learning_rate,
        "multiplier": CQLConfig.multiplier_learning_rate,
    }
    held = {parameter for group in groups for parameter in group["params"]}
    assert held == set(loss.parameters())
    assert "multiplier" not in {group["name"] for group in default_optimizer(make_loss()).param_groups}


def test_the_default_optimizer_of_another_module_has_a_group_per_child() -> None:
    groups = {group["name"]: group for group in default_optimizer(Line()).param_groups}
    assert groups.keys() == {"weights", "other"}
    assert {group["lr"] for group in groups.values()} == {3e-4}


def test_targets_follow_at_the_configs_rate(make_loss, make_buffer) -> None:
    loss: CQLLoss = make_loss(polyak_rate=0.25)
    start = {name: target.clone() for name, target in loss._targets().items()}
    train(loss, make_buffer())
    for name, target in loss._targets().items():
        torch.testing.assert_close(target, start[name].lerp(loss.critics[name.replace(".", "_")], 0.25))
    assert loss.steps == 1


def test_one_seed_in_the_loss_and_in_the_fused_step_both_lower_the_loss(make_loss, make_buffer) -> None:
    arguments = {"critic_hidden": [64], "batch_size": 100, "conservative_weight": 0.01, "discount": 0.0}
    arguments["critic_learning_rate"] = 1e-2
    for seed in (1, [1]):
        logger = ListLogger()
        train(make_loss(**arguments), make_buffer(100), 200, seed=seed, logger=logger, log_interval=20)
        assert logger.rows["td_loss"][-1] < 0.7 * logger.rows["td_loss"][0]


# hooks within a step


def test_process_loss_hooks_change_what_is_minimised(make_buffer) -> None:
    loss = Line()
    trainer = CQLTrainer(
        loss_module=loss,
        replay_buffer=make_buffer(),
        optimizer=torch.optim.SGD(loss.parameters(), lr=1.0),
        offline_steps=1,
        progress_bar=False,
    )
    trainer.register_op("process_loss", lambda batch, losses: losses.select("loss"))
    trainer.train()
    assert [loss.weights[name].item() for name in "abc"] == [1, 1, 0]


def test_an_optimizer_hook_takes_the_step_itself(make_buffer) -> None:
    loss = Line()
    trainer = CQLTrainer(loss_module=loss, replay_buffer=make_buffer(), offline_steps=1, progress_bar=False)
    mine = torch.optim.SGD(loss.parameters(), lr=1.0)

    def step(losses: TensorDict, clip_grad_norm: bool, clip_norm: float | None, index: int) -> TensorDict:
        losses["loss_second"].backward()
        mine.step()
        return losses

    trainer.register_op("optimizer", step)
    trainer.train()
    assert [loss.weights[name].item() for name in "abc"] == [1, -7, 1]
