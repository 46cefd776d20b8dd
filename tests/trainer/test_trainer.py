"""CQLTrainer: every argument means something, offline and with a collector."""

import csv
import io
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.data import ImmutableDatasetWriter, LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement
from torchrl.envs import GymEnv
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import CQLLoss as TorchrlCQLLoss
from torchrl.objectives import HardUpdate, SoftUpdate
from torchrl.record import CSVLogger, TensorboardLogger
from torchrl.trainers import LogScalar, SelectKeys, Trainer

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.trainer import CQLTrainer


class ListLogger:
    def __init__(self) -> None:
        self.rows = []

    def log_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((step, name, value))

    def steps(self, name: str) -> list[int]:
        return [step for step, logged, _ in self.rows if logged == name]

    def values(self, name: str) -> list[float]:
        return [value for _, logged, value in self.rows if logged == name]


def offline(loss, buffer, **arguments) -> CQLTrainer:
    defaults = {"offline_steps": 6, "optim_steps_per_batch": 2, "progress_bar": False}
    return CQLTrainer(loss_module=loss, replay_buffer=buffer, **(defaults | arguments))


def pendulum(policy=None, frames: int = 60, **arguments) -> Collector:
    return Collector(
        GymEnv("Pendulum-v1"),
        policy,
        frames_per_batch=20,
        total_frames=frames,
        auto_register_policy_transforms=False,
        **arguments,
    )


def online(make_loss, **arguments) -> CQLTrainer:
    loss = make_loss(observation_size=3, action_size=1)
    defaults = {
        "collector": pendulum(loss.actor_network),
        "total_frames": 60,
        "optim_steps_per_batch": 3,
        "loss_module": loss,
        "replay_buffer": ReplayBuffer(storage=LazyTensorStorage(100), batch_size=8),
        "progress_bar": False,
    }
    return CQLTrainer(**(defaults | arguments))


def parameters(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


def torchrl_loss() -> TorchrlCQLLoss:
    """torchrl's own CQL loss, as its documentation builds it."""
    actor_net = nn.Sequential(MLP(in_features=4, out_features=4, num_cells=[8]), Halves())
    actor = ProbabilisticActor(
        module=TensorDictModule(actor_net, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=None,
        distribution_class=TanhNormal,
    )
    critic = ValueOperator(
        MLP(in_features=6, out_features=1, num_cells=[8]), in_keys=["observation", "action"]
    )
    return TorchrlCQLLoss(actor, critic, target_entropy=-2.0, action_spec=None)


class Halves(nn.Module):
    def forward(self, both: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loc, scale = both.chunk(2, -1)
        return loc, nn.functional.softplus(scale) + 0.1


# Offline, the fused step.


def test_it_is_a_torchrl_trainer_without_a_collector(make_engine) -> None:
    trainer = CQLTrainer(engine=make_engine(), offline_steps=25, optim_steps_per_batch=10, progress_bar=False)
    boundaries = []
    trainer.register_op("post_steps", lambda: boundaries.append(trainer.gradient_steps))
    trainer.train()
    assert isinstance(trainer, Trainer)
    assert boundaries == [10, 20, 25]
    assert trainer.gradient_steps == trainer.engine.state.steps == 25


def test_training_fits_the_data(make_engine) -> None:
    engine = make_engine(
        critic_hidden=[64, 64], conservative_weight=0.01, discount=0.0, critic_learning_rate=5e-3
    )
    trainer = CQLTrainer(engine=engine, offline_steps=900, optim_steps_per_batch=150, progress_bar=False)
    losses = []
    trainer.register_op("post_steps", lambda: losses.append(engine.drain_diagnostics()["td_loss"]))
    trainer.train()
    for seed in range(2):
        assert losses[-1][seed] < 0.5 * losses[0][seed]


def test_a_logger_gets_gradient_steps(make_engine) -> None:
    logger = ListLogger()
    CQLTrainer(
        engine=make_engine(), offline_steps=20, logger=logger, log_interval=10, progress_bar=False
    ).train()
    assert logger.steps("td_loss") == [10, 20]
    assert logger.steps("batch/reward_mean") == [10, 20]


def test_a_seed_batchs_logged_losses_are_means_since_the_last_time(make_engine) -> None:
    other, logger = make_engine(), ListLogger()
    taken = torch.stack([other.step(step)["td_loss"].mean() for step in range(6)]).reshape(2, 3)
    trainer = CQLTrainer(
        engine=make_engine(), offline_steps=6, logger=logger, log_interval=3, progress_bar=False
    )
    trainer.register_op("post_optim", trainer.engine.drain_diagnostics)  # as evaluations do meanwhile
    trainer.train()
    assert logger.values("td_loss") == pytest.approx(taken.mean(1).tolist())


def test_a_diverged_seed_does_not_hide_the_others_losses(make_engine) -> None:
    engine, logger = make_engine(), ListLogger()
    engine.state.parameters["critics"]["0.weight"][0] = torch.nan
    CQLTrainer(engine=engine, offline_steps=2, logger=logger, log_interval=1, progress_bar=False).train()
    assert torch.tensor(logger.values("td_loss")).isfinite().all()


# seed


def test_a_sequence_of_seeds_is_a_seed_batch_in_the_fused_step(make_loss, make_buffer) -> None:
    both = offline(make_loss(), make_buffer(None), seed=[3, 5])
    both.train()
    alone = offline(make_loss(seed=9), make_buffer(None), seed=(5,))
    alone.train()
    assert both.engine.seeds == (3, 5)
    ours, theirs = both.engine.state.parameters["actor"], alone.engine.state.parameters["actor"]
    for name, parameter in theirs.items():
        torch.testing.assert_close(ours[name][1], parameter[0], rtol=1e-4, atol=1e-5)
        assert not torch.equal(ours[name][0], ours[name][1])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"seed": []}, "list each seed once"),
        ({"seed": [1, 1]}, "list each seed once"),
        ({"seed": "12"}, "'seed' makes no sense"),
        ({"seed": [1.5]}, "'seed' makes no sense"),
        ({"seed": [0], "optimizer": torch.optim.SGD([torch.zeros(1)])}, "without 'optimizer'"),
        ({"seed": [0], "clip_grad_norm": False, "clip_norm": 1.0}, "for one seed"),
    ],
)
def test_a_senseless_seed_is_one_sentence(make_loss, make_buffer, arguments, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        offline(make_loss(), make_buffer(), **arguments)


def test_an_int_seeds_noise_and_batches_whatever_was_drawn_before(make_loss, make_buffer) -> None:
    results = []
    for noise_seed, drawn, seed in ((0, 0, 7), (1, 100, 7), (0, 0, 8)):
        loss = make_loss()
        loss.set_seed(noise_seed)
        torch.rand(drawn)
        offline(loss, make_buffer(), seed=seed).train()
        results.append(parameters(loss))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_training_with_a_seed_leaves_torchs_global_stream_alone(make_loss, make_buffer) -> None:
    trainer = offline(make_loss(), make_buffer(), seed=7)
    before = torch.get_rng_state()
    trainer.train()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_reaches_numpys_global_stream_and_leaves_it_alone(make_loss, make_buffer) -> None:
    trainer, drawn = offline(make_loss(), make_buffer(), seed=7), []
    trainer.register_op("post_steps", lambda: drawn.append(np.random.rand()))  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    trainer.train()
    assert drawn == np.random.RandomState(7).rand(3).tolist()
    assert np.random.rand() == np.random.RandomState(1).rand()  # noqa: NPY002


def test_without_a_seed_the_global_stream_decides(make_loss, make_buffer) -> None:
    results = []
    for seed in (0, 0, 1):
        loss = make_loss()
        torch.manual_seed(seed)
        offline(loss, make_buffer()).train()
        results.append(parameters(loss))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_seed_reaches_the_environments(make_loss) -> None:
    seen = []
    for seed in (1, 1, 2):
        trainer = online(make_loss, seed=seed)
        trainer.train()
        seen.append(trainer.replay_buffer[:]["observation"].clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


# two trainers, no warning


def test_two_trainers_do_not_disturb_each_other(make_engine, make_loss, make_buffer) -> None:
    first = CQLTrainer(engine=make_engine(), offline_steps=20, optim_steps_per_batch=10, progress_bar=False)
    first.train()
    second = CQLTrainer(engine=make_engine(), offline_steps=7, optim_steps_per_batch=10, progress_bar=False)
    assert (first.gradient_steps, second.gradient_steps) == (20, 0)
    assert first._last_log is not second._last_log


def test_a_trainer_gives_the_same_with_another_one_training_in_between(make_loss, make_buffer) -> None:
    def train(disturbed: bool) -> tuple[torch.Tensor, list]:
        loss, logger, shared = make_loss(), ListLogger(), make_buffer()
        trainer = offline(loss, shared, seed=1, logger=logger, log_interval=2)
        other = offline(make_loss(seed=4), shared, seed=2, logger=ListLogger(), log_interval=2)
        if disturbed:
            trainer.register_op("post_steps", other.train)
        trainer.train()
        return parameters(loss), logger.rows

    alone, beside = train(disturbed=False), train(disturbed=True)
    assert torch.equal(alone[0], beside[0])
    assert alone[1] == beside[1]


def test_constructing_it_warns_of_nothing(make_loss, make_buffer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offline(make_loss(), make_buffer())


# collector, total_frames, frame_skip, optim_steps_per_batch, offline_steps


def test_with_a_collector_it_collects_and_trains(make_loss) -> None:
    trainer = online(make_loss)
    before = parameters(trainer.loss_module)
    trainer.train()
    assert (trainer.collected_frames, trainer.gradient_steps) == (60, 9)
    assert len(trainer.replay_buffer) == 60
    assert not torch.equal(parameters(trainer.loss_module), before)


def test_total_frames_end_the_collection(make_loss) -> None:
    trainer = online(make_loss, total_frames=40)
    trainer.train()
    assert trainer.collected_frames == 40


def test_frame_skip_is_a_factor_of_the_frame_count(make_loss) -> None:
    trainer = online(make_loss, total_frames=80, frame_skip=2)
    trainer.train()
    assert (trainer.collected_frames, len(trainer.replay_buffer)) == (80, 40)


@pytest.mark.parametrize("per_batch", [1, 4])
def test_optim_steps_per_batch_counts_gradient_steps_per_collected_batch(make_loss, per_batch) -> None:
    trainer = online(make_loss, optim_steps_per_batch=per_batch)
    trainer.train()
    assert trainer.gradient_steps == 3 * per_batch


def test_none_as_optim_steps_per_batch_is_a_pass_over_the_buffer(make_loss) -> None:
    buffer = ReplayBuffer(storage=LazyTensorStorage(100), sampler=SamplerWithoutReplacement(), batch_size=8)
    trainer, steps = online(make_loss, replay_buffer=buffer, optim_steps_per_batch=None), []
    trainer.register_op("post_steps", lambda: steps.append(trainer.gradient_steps))
    trainer.train()
    assert steps == [3, 3 + 5, 3 + 5 + 8]  # 20, 40 and 60 rows


def test_offline_steps_come_before_collection_and_write_nothing(make_loss) -> None:
    buffer = ReplayBuffer(storage=LazyTensorStorage(200), batch_size=8)
    for batch in pendulum(frames=20):
        buffer.extend(batch)
    logger = ListLogger()
    trainer = online(
        make_loss,
        offline_steps=4,
        optim_steps_per_batch=2,
        replay_buffer=buffer,
        logger=logger,
        log_interval=1,
    )
    sizes = []
    trainer.register_op("post_steps", lambda: sizes.append((trainer.gradient_steps, len(buffer))))
    trainer.train()
    assert sizes == [(2, 20), (4, 20), (6, 40), (8, 60), (10, 80)]
    # One axis, which never runs back: gradient steps, and frames on from there; and both by name.
    assert logger.steps("loss_qvalue") == [1, 2, 3, 4, 24, 44, 64]
    assert logger.values("collected_frames") == [0, 0, 0, 0, 20, 40, 60]
    assert logger.values("gradient_steps") == [1, 2, 3, 4, 6, 8, 10]
    assert logger.values("utd_ratio") == [8 * 2 / 20, 8 * 4 / 40, 8 * 6 / 60]


def test_initial_random_frames_are_collected_before_training(make_loss) -> None:
    loss = make_loss(observation_size=3, action_size=1)
    collector = pendulum(loss.actor_network, init_random_frames=40)
    trainer = online(make_loss, loss_module=loss, collector=collector)
    trainer.train()
    assert (trainer.gradient_steps, len(trainer.replay_buffer)) == (6, 60)


def test_the_collectors_policy_is_the_trained_one(make_loss) -> None:
    loss = make_loss(observation_size=3, action_size=1)
    copied = make_loss(observation_size=3, action_size=1, seed=1)
    collector = pendulum(copied.actor_network)
    online(make_loss, loss_module=loss, collector=collector).train()
    assert torch.equal(parameters(copied.actor_network), parameters(loss.actor_network))


def test_async_collection_fills_the_buffer_meanwhile(make_loss) -> None:
    loss = make_loss(observation_size=3, action_size=1)
    buffer = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=8, shared=True)
    collector = pendulum(loss.actor_network, frames=-1, replay_buffer=buffer)
    logger = ListLogger()
    trainer = online(
        make_loss,
        loss_module=loss,
        collector=collector,
        replay_buffer=buffer,
        async_collection=True,
        logger=logger,
        log_interval=1,
    )
    trainer.train()
    assert trainer.collected_frames >= 60
    assert trainer.gradient_steps > 0
    for ratio, steps, frames in zip(
        logger.values("utd_ratio"),
        logger.values("gradient_steps"),
        logger.values("collected_frames"),
        strict=True,
    ):
        assert ratio == 8 * steps / frames


class Breaks(nn.Module):
    """A policy that fails at its `limit`-th call."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.left = limit

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("a broken policy")
        return observation[..., :1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("limit", "frames", "random"), [(5, -1, 0), (25, -1, 0), (99, 40, 0), (99, 20, 40)])
def test_an_asynchronous_collector_that_stops_is_one_sentence(make_loss, limit, frames, random) -> None:
    buffer = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=8, shared=True)
    policy = TensorDictModule(Breaks(limit), in_keys=["observation"], out_keys=["action"])
    collector = pendulum(policy, frames=frames, replay_buffer=buffer, init_random_frames=random)
    trainer = online(make_loss, collector=collector, replay_buffer=buffer, async_collection=True)
    collector.update_policy_weights_ = lambda *weights, **named: None  # the policy is not the loss's
    with pytest.raises(ConfigError, match=r"The collector has stopped after \d+ of 60 frames"):
        trainer.train()


# loss_module, optimizer, clip_grad_norm, clip_norm, target_net_updater: also in test_steppers.py


def test_torchrls_own_loss_trains(make_buffer) -> None:
    loss = torchrl_loss()
    critics = loss._modules[
        "target_qvalue_network_params"
    ]  # without torchrl's warning: the trainer updates it
    before, target = parameters(loss), critics.data.clone()
    logger = ListLogger()
    offline(loss, make_buffer(), logger=logger, log_interval=1).train()
    assert not torch.equal(parameters(loss), before)
    assert (critics.data != target).any()
    assert {"loss_actor", "loss_qvalue", "loss_cql", "loss_alpha"} <= {name for _, name, _ in logger.rows}


@pytest.mark.parametrize("updater", [SoftUpdate, HardUpdate])
def test_torchrls_updaters_take_the_place_of_polyak_averaging(make_loss, make_buffer, updater) -> None:
    loss = make_loss()
    start = {name: target.clone() for name, target in loss._targets().items()}
    arguments = {"tau": 0.5} if updater is SoftUpdate else {"value_network_update_interval": 2}
    made = updater(loss, **arguments)
    offline(loss, make_buffer(), target_net_updater=made, offline_steps=1).train()
    critics = {name.replace("_", "."): p for name, p in loss.critics.items()}
    for name, target in loss._targets().items():
        expected = start[name].lerp(critics[name], 0.5) if updater is SoftUpdate else start[name]
        torch.testing.assert_close(target, expected)
    offline(loss, make_buffer(), target_net_updater=made, offline_steps=2).train()
    if updater is HardUpdate:  # the third call is the first that finds its counter at 2
        for name, target in loss._targets().items():
            assert torch.equal(target, critics[name])
    assert loss.steps == 3


# replay_buffer


@pytest.mark.parametrize("writer", [None, ImmutableDatasetWriter])
def test_offline_training_never_writes_to_the_buffer(make_loss, make_buffer, writer) -> None:
    buffer = make_buffer()
    if writer is not None:
        buffer = ReplayBuffer(storage=buffer.storage, writer=writer(), batch_size=8)
    rows = buffer[:].clone()
    offline(make_loss(), buffer).train()
    assert (buffer[:].select(*rows.keys(True, True)) == rows).all()


def test_batches_come_from_the_buffer_in_its_size(make_loss, make_buffer) -> None:
    for buffer, size in ((make_buffer(5), 5), (make_buffer(None), 8)):
        trainer = offline(make_loss(), buffer)
        sizes = []
        trainer.register_op("post_loss", lambda batch, sizes=sizes: sizes.append(len(batch)))
        trainer.train()
        assert sizes == [size] * 6


def test_a_sampler_without_replacement_goes_on_into_the_next_epoch(make_loss, make_buffer) -> None:
    trainer = offline(make_loss(), make_buffer(rows=20, sampler=SamplerWithoutReplacement()))
    trainer.train()
    assert trainer.gradient_steps == 6


# hooks


def test_torchrls_hooks_run_at_their_places(make_loss, make_buffer) -> None:
    trainer, places = offline(make_loss(), make_buffer(), offline_steps=2), []

    def at(place: str):
        return lambda *batch: places.append(place)

    step = ["process_optim_batch", "post_loss", "process_loss", "post_optim", "post_optim_log"]
    after = ["post_epoch", "post_optim_complete_log", "post_steps", "post_steps_log"]
    for place in ["setup", "pre_optim_steps", *step, *after, "shutdown"]:
        trainer.register_op(place, at(place))
    trainer.train()
    assert places == ["setup", "pre_optim_steps", *step, *step, *after, "shutdown"]


def test_torchrls_own_hooks_work(make_loss, make_buffer) -> None:
    logger = ListLogger()
    trainer = offline(make_loss(), make_buffer(), logger=logger, log_interval=1)
    SelectKeys(["observation", "action", "next"]).register(trainer)
    trainer.register_op("post_optim_log", LogScalar(("next", "reward"), "mine"))
    trainer.train()
    assert logger.steps("mine") == [1, 2, 3, 4, 5, 6]
    assert logger.steps("mine_std") == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("place", ["process_optim_batch", "post_loss", "optimizer", "post_optim_log"])
def test_a_hook_that_needs_batches_is_refused_by_the_fused_step(make_engine, place) -> None:
    trainer = CQLTrainer(engine=make_engine(), offline_steps=1, progress_bar=False)
    with pytest.raises(ConfigError, match=f"'{place}' hook"):
        trainer.register_op(place, lambda batch: batch)


# request_stop


def test_request_stop_is_honoured_at_the_next_boundary(make_engine) -> None:
    trainer = CQLTrainer(
        engine=make_engine(), offline_steps=100, optim_steps_per_batch=10, progress_bar=False
    )
    trainer.register_op("post_steps", lambda: trainer.request_stop("enough"))
    trainer.train()
    assert trainer.gradient_steps == 10
    assert trainer._stop_reason == "enough"


def test_a_trainer_goes_on_from_the_middle_of_an_iteration(make_engine) -> None:
    boundaries: list[int] = []

    def trainer() -> CQLTrainer:
        made = CQLTrainer(
            engine=make_engine(), offline_steps=25, optim_steps_per_batch=10, progress_bar=False
        )
        made.register_op("post_steps", lambda: boundaries.append(made.gradient_steps))
        return made

    def stop_at_13() -> None:
        if first.gradient_steps == 13:
            raise KeyboardInterrupt

    whole, first, second = trainer(), trainer(), trainer()
    whole.train()
    boundaries.clear()
    first.register_op("post_optim", stop_at_13)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    state = first.state_dict()
    assert state["state"]["train_seconds"] == first.train_seconds > 0
    second.load_state_dict(state)
    second.train()
    assert boundaries == [10, 20, 25]
    assert second.gradient_steps == 25
    assert second.train_seconds > state["state"]["train_seconds"]
    assert all(map(torch.equal, whole.engine.state.tensors(), second.engine.state.tensors()))


def test_hooks_between_steps_are_not_in_train_seconds(make_engine) -> None:
    trainer = CQLTrainer(engine=make_engine(), offline_steps=4, optim_steps_per_batch=2, progress_bar=False)
    seen: list[float] = []

    def slow() -> None:
        time.sleep(0.5)
        seen.append(trainer.state_dict()["state"]["train_seconds"])

    trainer.register_op("post_optim", slow)
    began = time.perf_counter()
    trainer.train()
    assert 0 < seen[0] < seen[-1] <= trainer.train_seconds <= time.perf_counter() - began - 4 * 0.5


@pytest.mark.parametrize("place", ["pre_optim_steps", "post_optim", "post_epoch"])
def test_the_clock_stops_at_an_error(make_engine, place) -> None:
    trainer = CQLTrainer(engine=make_engine(), offline_steps=4, progress_bar=False)
    trainer.register_op(place, lambda *batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    seconds = trainer.state_dict()["state"]["train_seconds"]
    time.sleep(0.01)
    assert trainer.state_dict()["state"]["train_seconds"] == trainer.train_seconds == seconds


def test_request_stop_saves_and_the_reason_is_in_the_file(make_loss, make_buffer, tmp_path) -> None:
    trainer = offline(make_loss(), make_buffer(), save_trainer_file=tmp_path / "t.pt")
    trainer.register_op("post_optim", lambda: trainer.request_stop("enough") if trainer.clock == 3 else None)
    trainer.train()
    again = offline(make_loss(), make_buffer()).load_from_file(tmp_path / "t.pt")
    assert (again.gradient_steps, again._stop_reason) == (3, "enough")
    again.train()
    assert again.gradient_steps == again.offline_steps
    assert again._stop_reason is None


def test_the_fused_step_makes_diagnostics_for_hooks_only(make_engine) -> None:
    seen: list[float] = []
    for watched in (False, True):
        trainer = CQLTrainer(engine=make_engine(), offline_steps=4, progress_bar=False)
        made: list[int] = []
        latest = trainer.engine.latest_diagnostics
        trainer.engine.latest_diagnostics = lambda latest=latest, made=made: made.append(1) or latest()
        if watched:
            trainer.register_op(
                "post_optim_complete_log", lambda _, losses: seen.append(float(losses["td_loss"]))
            )
        trainer.train()
        assert len(made) == 4 * watched
    assert len(seen) == 1


def test_request_stop_ends_collection_too(make_loss) -> None:
    trainer = online(make_loss)
    trainer.register_op("post_steps", lambda: trainer.request_stop("enough"))
    trainer.train()
    assert trainer.collected_frames == 20


# logger, log_interval, enable_logging, log_*, log_timings, auto_log_optim_steps


def test_log_interval_counts_gradient_steps_offline(make_loss, make_buffer) -> None:
    logger = ListLogger()
    offline(make_loss(), make_buffer(), offline_steps=7, logger=logger, log_interval=3).train()
    assert logger.steps("loss_qvalue") == [3, 6, 7]


def test_log_interval_counts_frames_online(make_loss) -> None:
    logger = ListLogger()
    online(make_loss, logger=logger, log_interval=40).train()
    assert logger.steps("loss_qvalue") == [40, 60]


def test_logged_losses_are_means_since_the_last_time(make_buffer) -> None:
    weight, logger, given = nn.Parameter(torch.zeros(())), ListLogger(), iter(range(1, 7))

    def loss(batch: TensorDict) -> TensorDict:
        return TensorDict({"loss_it": weight * 0 + next(given)})

    optimizer = torch.optim.SGD([weight], lr=0.1)
    offline(loss, make_buffer(), optimizer=optimizer, logger=logger, log_interval=3).train()
    assert logger.values("loss_it") == [2.0, 5.0]


def test_auto_log_optim_steps_logs_them_and_the_losses(make_loss, make_buffer) -> None:
    names = {}
    for auto in (True, False):
        logger = ListLogger()
        trainer = offline(
            make_loss(), make_buffer(), logger=logger, log_interval=2, auto_log_optim_steps=auto
        )
        trainer.register_op("post_optim_complete_log", lambda steps, means: {"mine": means["loss_actor"]})
        trainer.train()
        names[auto] = {name for _, name, _ in logger.rows}
    assert {"optim_steps", "loss_qvalue", "grad_norm"} <= names[True]
    assert not {"optim_steps", "loss_qvalue", "grad_norm"} & names[False]
    assert "mine" in names[False]


ALL = {"log_rewards": True, "log_actions": True, "log_observations": True}
COLUMNS = {"log_rewards": "reward", "log_actions": "action", "log_observations": "observation"}


@pytest.mark.parametrize("left_out", [*ALL, None])
def test_each_columns_statistics_are_logged_if_wanted(make_loss, make_buffer, left_out) -> None:
    logger = ListLogger()
    wanted = {name: name != left_out for name in ALL}
    offline(make_loss(), make_buffer(), logger=logger, log_interval=1, **wanted).train()
    for name, column in COLUMNS.items():
        assert bool(logger.values(f"batch/{column}_mean")) is (name != left_out)


def test_rewards_and_actions_are_logged_by_default_and_observations_are_not(make_loss) -> None:
    logger = ListLogger()
    online(make_loss, logger=logger, log_interval=1).train()
    names = {name for _, name, _ in logger.rows}
    for prefix in ("batch", "collected"):
        assert {f"{prefix}/reward_mean", f"{prefix}/action_mean"} <= names
        assert f"{prefix}/observation_mean" not in names


def test_enable_logging_false_logs_no_statistics(make_loss) -> None:
    logger = ListLogger()
    online(make_loss, logger=logger, log_interval=1, enable_logging=False).train()
    names = {name for _, name, _ in logger.rows}
    assert "loss_qvalue" in names
    assert not {name for name in names if name.startswith(("batch/", "collected/"))}


def test_log_timings_logs_seconds_per_hook(make_loss, make_buffer) -> None:
    def slow() -> None:
        time.sleep(0.01)

    logger = ListLogger()
    trainer = offline(make_loss(), make_buffer(), logger=logger, log_interval=1, log_timings=True)
    trainer.register_op("post_optim", slow)
    trainer.train()
    assert min(logger.values("time/hook/slow")) >= 0.01
    assert "time/hook/sample" in {name for _, name, _ in logger.rows}


def test_a_csv_log_is_read_back(make_loss, make_buffer, tmp_path) -> None:
    logger = CSVLogger("run", log_dir=str(tmp_path))
    offline(make_loss(), make_buffer(), logger=logger, log_interval=2).train()
    with (tmp_path / "run" / "scalars" / "loss_qvalue.csv").open() as file:
        rows = [(int(step), float(value)) for step, value in csv.reader(file)]
    assert [step for step, _ in rows] == [2, 4, 6]
    assert all(value > 0 for _, value in rows)
    frames = (tmp_path / "run" / "scalars" / "collected_frames.csv").read_text()
    assert frames == "2,0.0\n4,0.0\n6,0.0\n"


def test_a_tensorboard_log_is_read_back(make_loss, make_buffer, tmp_path) -> None:
    logger, seen = TensorboardLogger("run", log_dir=str(tmp_path)), ListLogger()
    trainer = offline(make_loss(), make_buffer(), logger=logger, log_interval=2)
    trainer.register_op(
        "post_optim_complete_log", lambda steps, means: seen.rows.append(means["loss_qvalue"])
    )
    trainer.train()
    logger.experiment.close()
    read = EventAccumulator(str(tmp_path / "run"))
    read.Reload()
    events = read.Scalars("loss_qvalue")
    assert [event.step for event in events] == [2, 4, 6]
    assert [event.value for event in events] == pytest.approx([float(mean) for mean in seen.rows])
    assert [event.value for event in read.Scalars("gradient_steps")] == [2, 4, 6]


# progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_has_rate_time_left_and_score(make_loss, make_buffer, monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    trainer = offline(make_loss(), make_buffer(), progress_bar=True)
    trainer.register_op("post_steps", lambda: trainer.show(f"score {trainer.gradient_steps}.0"))
    trainer.train()
    last = terminal.getvalue().strip().split("\r")[-1]
    for part in ("training", "100 %", "6/6 steps", "steps/s", "0 s left", "score 6.0"):
        assert part in last


def test_progress_elsewhere_is_plain_lines(make_loss, monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    online(make_loss, progress_bar=True).train()
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"collecting: {n}/60 frames" for n in (20, 40, 60)]
    assert "frames/s" in lines[0]
    assert "reward -" in lines[0]


def test_no_progress_bar_says_nothing(make_loss, make_buffer, monkeypatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    offline(make_loss(), make_buffer(), progress_bar=False).train()
    assert stream.getvalue() == ""
