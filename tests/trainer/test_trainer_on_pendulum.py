"""torchrl's documentation example of a trainer, with our class, on Pendulum-v1: it runs, and it learns."""

import torch
from tensordict.nn import TensorDictModuleBase
from torch import optim
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import GymEnv, RewardScaling, TransformedEnv
from torchrl.objectives.utils import SoftUpdate

from cqlbench import CQLConfig, CQLLoss, CQLTrainer

CONFIG = CQLConfig(
    actor_hidden=[64, 64],
    critic_hidden=[64, 64],
    batch_size=64,
    discount=0.95,
    conservative_weight=0.0,  # what is collected corrects what is overestimated
    proposals=1,
    entropy_temperature=0.1,
    orthogonal_critics=False,
)


def mean_return(policy: TensorDictModuleBase | None) -> float:
    """Over the same three episodes for every policy; `None` acts at random."""
    env = GymEnv("Pendulum-v1")
    env.set_seed(100)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        episodes = [env.rollout(200, policy)["next", "reward"].sum().item() for _ in range(3)]
    return sum(episodes) / len(episodes)


def test_the_documented_example_learns_pendulum() -> None:
    env = TransformedEnv(GymEnv("Pendulum-v1"), RewardScaling(loc=0.0, scale=0.1))
    loss_module = CQLLoss(CONFIG, 3, torch.tensor([-2.0]), torch.tensor([2.0]))
    actor_network = loss_module.actor_network
    collector = Collector(
        env, actor_network, frames_per_batch=50, total_frames=-1, auto_register_policy_transforms=False
    )
    optimizer = optim.Adam(loss_module.parameters(), lr=3e-3)
    replay_buffer = ReplayBuffer(storage=LazyTensorStorage(100000))
    target_net_updater = SoftUpdate(loss_module, eps=0.98)

    trainer = CQLTrainer(
        collector=collector,
        total_frames=2500,
        frame_skip=1,
        optim_steps_per_batch=25,
        loss_module=loss_module,
        optimizer=optimizer,
        replay_buffer=replay_buffer,
        target_net_updater=target_net_updater,
        seed=0,
    )
    trainer.train()

    assert trainer.collected_frames == 2500
    random, trained = mean_return(None), mean_return(actor_network)
    assert trained > random + 400, (random, trained)
