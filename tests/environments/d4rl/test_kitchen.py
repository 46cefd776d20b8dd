"""kitchen against what Farama-Foundation/D4RL@89141a6:d4rl/kitchen says."""

import gymnasium
import numpy as np
import pytest

import cqlbench.environments.d4rl  # noqa: F401 registers them

pytest.importorskip("gymnasium_robotics")
pytestmark = pytest.mark.filterwarnings("ignore:.*is probably too")

BOTH = {22: -0.75, 23: -0.23, 24: 0.75, 25: 1.62, 26: 0.99, 29: -0.06, 17: -0.69, 18: -0.05}
TASKS = {"complete": BOTH | {19: 0.37}, "mixed": BOTH | {11: -0.88, 12: -0.01}}
NOISE = {range(9): 0.01, range(9, 11): 5e-4, range(11, 17): 5e-5, range(17, 20): 5e-4, range(20, 23): 0.01,
         range(23, 26): 5e-4, range(26, 29): 0.01, range(29, 30): 5e-4}  # fmt: skip


def made(kind="complete", still=False):
    env = gymnasium.make(f"cqlbench/kitchen-{kind}-v0").unwrapped
    env.reset(seed=0)
    if still:  # so that a step leaves positions where they are
        env.model.opt.timestep = 1e-9
    return env


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_observed(kind):
    env = made(kind)
    expected = np.zeros(30)
    expected[list(TASKS[kind])] = list(TASKS[kind].values())
    observations = np.array([env.reset()[0] for _ in range(10_000)])
    assert observations.shape == (10_000, 60)
    np.testing.assert_array_equal(observations[:, 30:], np.tile(expected, (10_000, 1)))
    apart = np.abs(observations[:, :30] - env.data.qpos)
    for columns, most in NOISE.items():
        assert (apart[:, columns] <= most * (1 + 1e-9)).all()
        assert (apart[:, columns].max(axis=0) > 0.998 * most).all()
    np.testing.assert_allclose(
        env.data.qpos[[0, 6, 23, 29]], [0.148388, 1.595154, -0.269397, -2.68e-4], atol=1e-6
    )
    np.testing.assert_array_equal(env.data.qvel, np.zeros(29))
    assert gymnasium.spec(f"cqlbench/kitchen-{kind}-v0").max_episode_steps == 280


def test_time_step_and_actions():
    env = made()
    assert env.dt == pytest.approx(0.08)
    noise = np.random.default_rng(0)
    low, high = env.model.actuator_ctrlrange[0]
    assert low <= -2.9 < 2.9 <= high
    observation, _ = env.reset(seed=0)
    for action in noise.uniform(-1.5, 1.5, (20, 9)):
        aim = observation[:9] + 0.08 * 2 * np.clip(action, -1, 1)
        observation = env.step(action)[0]
        bounded = np.clip(aim, [-2.9, -1.8, -2.9, -3.1, -2.9, 0, -2.9, 0, 0],
                          [2.9, 1.8, 2.9, 0, 2.9, 3.8, 2.9, 0.04, 0.04])  # fmt: skip
        np.testing.assert_allclose(env.data.ctrl, bounded, atol=1e-12)


def test_the_pedestal_touches_nothing():
    env = made()
    pedestal = env.model.geom(1)
    np.testing.assert_array_equal(pedestal.size[:2], [0.12, 0.9])
    assert (pedestal.contype[0], pedestal.conaffinity[0]) == (0, 0)


def test_a_task_is_done_by_what_is_observed_and_counts_once():
    env = made(still=True)
    outcomes = set()
    for _ in range(60):
        env.reset()
        position = env.data.qpos.copy()
        position[22] = -0.45  # 0.3 from where the microwave is to be; noise decides
        env.set_state(position, env.data.qvel)
        observation, reward, terminated, _, _ = env.step(np.zeros(9))
        there = abs(observation[22] + 0.75) < 0.3
        assert (reward, terminated) == (there, False)
        outcomes.add(bool(there))
        if there:
            assert env.step(np.zeros(9))[1] == 0
    assert outcomes == {True, False}


@pytest.mark.parametrize("kind", TASKS)
def test_the_episode_ends_when_all_four_are_done(kind):
    env = made(kind, still=True)
    position = env.data.qpos.copy()
    total, ends = 0, []
    groups = ([22], range(23, 30), [17, 18], [19] if kind == "complete" else [11, 12])
    for group in groups:
        for column in group:
            position[column] = TASKS[kind].get(column, 0.0)
        env.set_state(position, np.zeros(29))
        _, reward, terminated, truncated, _ = env.step(np.zeros(9))
        total += reward
        ends.append(terminated)
        assert reward == 1
        assert not truncated
    assert (total, ends) == (4, [False, False, False, True])
    env.reset()
    assert not env.step(np.zeros(9))[2]


def test_other_objects_count_nothing():
    env = made(still=True)
    position = env.data.qpos.copy()
    position[[11, 12, 15, 16, 20, 21]] = -0.88, -0.01, -0.92, -0.01, 0, 1.45
    env.set_state(position, np.zeros(29))
    assert env.step(np.zeros(9))[1] == 0
