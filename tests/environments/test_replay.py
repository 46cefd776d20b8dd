"""A state that is set from what was observed of it leads where the simulator went."""

import gymnasium
import numpy as np
import pytest

from cqlbench.environments.make import EnvironmentSpec, make_environments
from cqlbench.environments.replay import replay

D4RL = "cqlbench.environments.d4rl"
SPECS = [
    (EnvironmentSpec("HalfCheetah-v4"), 17),
    (EnvironmentSpec("Ant-v4", kwargs={"use_contact_forces": True}), 27),
    (EnvironmentSpec("InvertedPendulum-v5"), 4),
    (EnvironmentSpec("Pendulum-v1"), 3),
    (EnvironmentSpec("Acrobot-v1"), 6),
    (EnvironmentSpec("CartPole-v1"), 4),
    (EnvironmentSpec("cqlbench/maze2d-umaze-v1", module=D4RL), 4),
]
DISCRETE = {"Acrobot-v1": 3, "CartPole-v1": 2}


@pytest.mark.parametrize(("spec", "seen"), SPECS, ids=[spec.id for spec, _ in SPECS])
def test_replay_is_what_happened(spec, seen):
    environment = make_environments(spec, [0], "gymnasium", discrete=spec.id in DISCRETE)
    low, high = environment.action_low, environment.action_high
    random = np.random.default_rng(0)
    rows = []
    state = environment.reset()
    for _ in range(60):
        action = random.uniform(low, high, (1, len(low))).astype(np.float32)
        step = environment.step(action)
        rows.append((state[0], action[0], step.observations[0], step.rewards[0], step.terminated[0]))
        ended = step.terminated | step.truncated
        state = environment.reset_some(ended) if ended.any() else step.observations
    environment.close()
    before, actions, after, rewards, ends = map(np.array, zip(*rows, strict=True))
    played = replay(spec, before, actions)
    assert played.seen == seen
    np.testing.assert_allclose(played.observations[:, : played.seen], after[:, : played.seen], atol=1e-4)
    np.testing.assert_allclose(played.rewards, rewards, atol=0.05)  # Ant's contacts start from an estimate
    assert (played.terminated == ends).all()
    assert not np.allclose(replay(spec, before, np.roll(actions, 1, axis=0)).observations, after, atol=1e-3)


@pytest.mark.parametrize("name", ["Pusher-v5", "Reacher-v5"])
def test_states_that_are_not_observed_are_not_guessed(name):
    environment = gymnasium.make(name)
    size, width = environment.observation_space.shape[0], environment.action_space.shape[0]
    environment.close()
    assert replay(EnvironmentSpec(name), np.zeros((2, size)), np.zeros((2, width), np.float32)) is None


def test_observations_of_another_size_are_not_replayed():
    assert replay(EnvironmentSpec("Pendulum-v1"), np.zeros((2, 5)), np.zeros((2, 1), np.float32)) is None
