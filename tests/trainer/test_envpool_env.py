"""Envpool as a torchrl environment: torchrl's own checks, and envpool stepped by hand."""

import builtins

import numpy as np
import pytest
import torch
from torchrl.collectors import Collector
from torchrl.envs.utils import check_env_specs, step_mdp

from cqlbench.core.errors import UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.trainer.envpool_env import EnvpoolEnv

envpool = pytest.importorskip("envpool")

HOPPER = EnvironmentSpec("Hopper-v4", 25)


@pytest.fixture
def make():
    made = []

    def make(*arguments, **keywords):
        made.append(EnvpoolEnv(*arguments, **keywords))
        return made[-1]

    yield make
    for each in made:
        each.close(raise_if_closed=False)


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("Hopper-v4",), {}),
        (("Hopper-v4", 3, 4), {}),
        ((HOPPER, [1, 2, 3], 2), {}),
        (("Pendulum-v1", [1, 2]), {}),
        (("CartPole-v1", [1, 2], 3), {"discrete": True}),
    ],
    ids=str,
)
def test_torchrl_finds_its_specs_in_order(make, arguments, keywords):
    environment = make(*arguments, **keywords)
    check_env_specs(environment, seed=0)
    assert environment.rollout(5).batch_size[:-1] == environment.batch_size


def test_it_is_envpool_step_by_step(make):
    seeds = [each for seed in (5, 6) for each in environment_seeds(seed, Purpose.ENVIRONMENT, 2)]
    pool = envpool.make(
        "Hopper-v4", env_type="gymnasium", num_envs=4, num_threads=1, seed=seeds, max_episode_steps=25
    )
    environment = make(HOPPER, [5, 6], 2, threads=1)
    assert environment.batch_size == (2, 2)
    expected, _ = pool.reset()
    current = environment.reset()
    generator = np.random.default_rng(0)
    ends = 0
    for _ in range(80):
        np.testing.assert_array_equal(
            current["observation"].flatten(0, 1).numpy(), expected.astype(np.float32)
        )
        assert not current["done"].any()
        actions = generator.uniform(-1, 1, (4, 3)).astype(np.float32)
        current["action"] = torch.from_numpy(actions).view(2, 2, 3)
        stepped, current = environment.step_and_maybe_reset(current)
        expected, rewards, terminated, truncated, _ = pool.step(actions.astype(np.float64))
        following = stepped["next"].flatten(0, 1)
        np.testing.assert_array_equal(following["observation"].numpy(), expected.astype(np.float32))
        np.testing.assert_array_equal(following["reward"][:, 0].numpy(), np.float32(rewards))
        np.testing.assert_array_equal(following["terminated"][:, 0].numpy(), terminated)
        np.testing.assert_array_equal(following["truncated"][:, 0].numpy(), truncated)
        ended = terminated | truncated
        np.testing.assert_array_equal(following["done"][:, 0].numpy(), ended)
        if 0 < ended.sum() < 4:
            ends += 1
        if ended.any():
            expected = expected.copy()
            expected[ended], _ = pool.reset(np.flatnonzero(ended).astype(np.int32))
    assert ends > 2
    pool.close()


def test_a_masked_reset_leaves_the_others_where_they_are(make):
    environment = make(HOPPER, [1, 2], 2)
    current = environment.rand_step(environment.reset())
    current = step_mdp(current)
    mask = torch.tensor([[[True], [False]], [[False], [False]]])
    reset = environment.reset(current.clone().set("_reset", mask))
    changed = (reset["observation"] != current["observation"]).any(-1, keepdim=True)
    assert torch.equal(changed, mask)
    nothing = environment.reset(reset.clone().set("_reset", torch.zeros_like(mask)))
    assert torch.equal(nothing["observation"], reset["observation"])


def test_seeds_are_the_rows_own_and_begin_anew(make):
    def policy(observation):
        return torch.tanh(observation[..., :3])

    together, alone = make(HOPPER, [7, 8], 2), make(HOPPER, [8], 2)
    both, one = (each.rollout(40, policy, break_when_any_done=False) for each in (together, alone))
    assert torch.equal(both["next", "observation"][1:], one["next", "observation"])
    assert not torch.equal(both["observation"][0], both["observation"][1])
    together.set_seed(7)
    again = together.rollout(40, policy, break_when_any_done=False)
    assert torch.equal(again["next", "observation"], both["next", "observation"])
    single = make(HOPPER, 0, 2)
    single.set_seed(8)
    assert torch.equal(single.rollout(3, policy)["observation"], one["observation"][0, :, :3])


@pytest.mark.parametrize("seeds", [0, [0, 1]], ids=str)
def test_a_collector_takes_all_its_frames(make, seeds):
    environment = make(HOPPER, seeds, 3)
    numel = environment.numel()
    collector = Collector(environment, None, frames_per_batch=10 * numel, total_frames=50 * numel)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # by which an episode lasts until its limit
        batches = list(collector)
    collector.shutdown()
    assert sum(batch.numel() for batch in batches) == 50 * numel
    data = torch.cat(batches, dim=-1)
    dones = data["next", "done"][..., 0]
    assert dones.any()
    # After an end the next row begins an episode; elsewhere it goes on.
    goes_on = (data["next", "observation"][..., :-1, :] == data["observation"][..., 1:, :]).all(-1)
    assert torch.equal(goes_on, ~dones[..., :-1])
    assert data["next", "truncated"].any()


def test_a_box_and_terminations_are_read(make):
    pusher = make("Pusher-v5")
    assert pusher.action_spec.space.low.tolist() == [[-2.0] * 7]
    assert pusher.action_spec.space.high.tolist() == [[2.0] * 7]
    falls = make(EnvironmentSpec("Hopper-v4", 500), 0, 4).rollout(300)
    assert falls["next", "terminated"].any()
    assert not falls["next", "truncated"].any()


def test_mistakes_are_one_sentence(monkeypatch):
    with pytest.raises(UserError, match="envpool cannot make 'NoSuchRobot-v0'"):
        EnvpoolEnv("NoSuchRobot-v0")
    with pytest.raises(UserError, match="at least one each is needed"):
        EnvpoolEnv("Hopper-v4", [])
    with pytest.raises(UserError, match="at least one each is needed"):
        EnvpoolEnv("Hopper-v4", 0, 0)
    imported = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "envpool":
            raise ImportError(name)
        return imported(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs envpool, which cannot be imported here"):
        EnvpoolEnv("Hopper-v4")
