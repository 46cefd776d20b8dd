"""A script for torchrl's trainer; `test_drop_in.py` runs it with that one and with ours."""

from pathlib import Path
from typing import Any

import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.checkpoint import Checkpoint, CheckpointRotation
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import Compose, GymEnv, RewardSum, StepCounter, TransformedEnv
from torchrl.modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import CQLLoss, SoftUpdate
from torchrl.record import CSVLogger
from torchrl.trainers.algorithms import CQLTrainer


def make_loss(env: Any) -> CQLLoss:
    body = nn.Sequential(MLP(in_features=3, out_features=2, num_cells=[32]), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(body, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.action_spec,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": env.action_spec.space.low, "high": env.action_spec.space.high},
    )
    critic = ValueOperator(
        MLP(in_features=4, out_features=1, num_cells=[32]), in_keys=["observation", "action"]
    )
    loss = CQLLoss(actor, critic, action_spec=env.action_spec)
    loss.make_value_estimator(gamma=0.99)
    return loss


def run(folder: Path, frame_skip: int, async_collection: bool) -> Any:
    torch.manual_seed(0)
    transforms = Compose(StepCounter(max_steps=30), RewardSum(["reward"], ["reward_sum"]))
    env = TransformedEnv(GymEnv("Pendulum-v1"), transforms)
    loss = make_loss(env)
    buffer = ReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=16, shared=async_collection)
    collector = Collector(
        env,
        loss.actor_network,
        frames_per_batch=20,
        total_frames=-1,
        init_random_frames=0 if async_collection else 40,
        replay_buffer=buffer if async_collection else None,
        auto_register_policy_transforms=False,
    )
    trainer = CQLTrainer(
        collector=collector,
        total_frames=400,
        frame_skip=frame_skip,
        optim_steps_per_batch=2,
        loss_module=loss,
        optimizer=torch.optim.Adam(loss.parameters(), lr=3e-4),
        target_net_updater=SoftUpdate(loss, tau=0.005),
        replay_buffer=buffer,
        logger=CSVLogger("log", log_dir=str(folder)),
        log_interval=20,
        log_observations=True,
        save_trainer_interval=80,
        checkpoint=Checkpoint(),
        checkpoint_rotation=CheckpointRotation(folder / "checkpoints", keep_last=100),
        async_collection=async_collection,
        progress_bar=False,
        seed=0,
    )
    trainer.train()
    return trainer
