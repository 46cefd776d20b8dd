"""maze2d, state by state against what Farama-Foundation/D4RL@89141a6:d4rl/pointmaze/maze_model.py says."""

import gymnasium
import mujoco
import numpy as np
import pytest

import cqlbench.environments.d4rl  # noqa: F401 registers them
from cqlbench.environments.d4rl.maze2d import Maze2d

pytestmark = pytest.mark.filterwarnings("ignore:.*(is out of date|is probably too)")

GOALS = {"open": (2, 3), "umaze": (1, 1), "medium": (6, 6), "large": (7, 9)}
FREE = {"open": 15, "umaze": 7, "medium": 26, "large": 46}
LIMITS = {
    "v0": {"open": 150, "umaze": 150, "medium": 250, "large": 600},
    "v1": {"umaze": 300, "medium": 600, "large": 800},
}


@pytest.fixture(params=GOALS)
def maze(request):
    return request.param


def made(maze, dense=""):
    return gymnasium.make(f"cqlbench/maze2d-{maze}{dense}-v0").unwrapped


def test_time_limits():
    registered = {name: spec for name, spec in gymnasium.registry.items() if spec.namespace == "cqlbench"}
    for version, limits in LIMITS.items():
        for maze, limit in limits.items():
            for dense in ("", "-dense"):
                name = f"cqlbench/maze2d-{maze}{dense}-{version}"
                assert registered[name].max_episode_steps == limit


def test_walls_stand_where_d4rl_puts_them(maze):
    env = made(maze)
    blocks = env.model.geom_type == mujoco.mjtGeom.mjGEOM_BOX.value
    expected = [
        (line + 1, character + 1, 0)
        for line, text in enumerate(env.maze.lines)
        for character, mark in enumerate(text)
        if mark == "#"
    ]
    np.testing.assert_array_equal(env.model.geom_pos[blocks], expected)
    assert (env.model.geom_size[blocks] == (0.5, 0.5, 0.2)).all()
    np.testing.assert_array_equal(env.model.body("particle").pos, (1.2, 1.2, 0))
    assert len(env.maze.free) == FREE[maze]


def test_it_moves_as_gymnasium_robotics_point_does_in_the_mapped_maze(maze, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where it leaves its model
    point = pytest.importorskip("gymnasium_robotics.envs.maze.point")
    from gymnasium_robotics.envs.maze.maze_v4 import Maze

    env = made(maze)
    lines = env.maze.lines
    width, height = len(lines), len(lines[0])
    mapped = [[int(lines[j][height - 1 - i] == "#") for j in range(width)] for i in range(height)]
    _, file = Maze.make_maze(
        point.__file__.replace("maze/point.py", "assets/point/point.xml"), mapped, 1, 0.4
    )
    other = point.PointEnv(xml_file=file)
    offset = np.array([width / 2 - 0.7, height / 2 - 0.7])
    for name in ("body_mass", "dof_damping", "actuator_gear", "actuator_ctrlrange"):
        np.testing.assert_array_equal(getattr(env.model, name), getattr(other.model, name))
    observation, _ = env.reset(seed=0)
    other.reset(seed=0)
    other.set_state(observation[:2] - offset, observation[2:])
    actions = np.random.default_rng(0).uniform(-1.5, 1.5, (30, 2)).repeat(10, axis=0)
    for action in actions:
        ours, theirs = env.step(action)[0], other.step(action)[0]
        np.testing.assert_allclose(ours, theirs + np.array([*offset, 0, 0]), atol=1e-10)


def test_episodes_start_around_every_free_cell_and_the_goal(maze):
    env = made(maze)
    starts = np.array([env.reset(seed=0 if n == 0 else None)[0] for n in range(10_000)])
    cells = starts[:, :2].round()
    assert np.abs(starts[:, :2] - cells).max() <= 0.1
    assert np.abs(starts[:, :2] - cells).max() > 0.0999
    found, counts = np.unique(cells, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, sorted(env.maze.free))
    assert GOALS[maze] in set(map(tuple, found))
    share = 1 / FREE[maze]
    assert np.abs(counts / 10_000 - share).max() < 5 * np.sqrt(share / 10_000)
    assert starts[:, 2:].std() == pytest.approx(0.1, rel=0.03)
    assert abs(starts[:, 2:].mean()) < 0.005


@pytest.mark.parametrize("distance", [0.0, 0.2, 0.499999, 0.500001, 2.0])
def test_reward_at_the_goal_and_no_end(maze, distance):
    for dense in ("", "-dense"):
        env = made(maze, dense)
        env.reset(seed=0)
        np.testing.assert_array_equal(env.goal, GOALS[maze])
        towards = env.maze.neighbours(GOALS[maze])[0]
        direction = np.subtract(towards, GOALS[maze])
        env.set_state(env.goal + distance * direction, np.zeros(2))
        observation, reward, terminated, truncated, _ = env.step(np.zeros(2))
        np.testing.assert_allclose(observation, [*(env.goal + distance * direction), 0, 0], atol=1e-9)
        expected = np.exp(-distance) if dense else float(distance <= 0.5)
        assert reward == pytest.approx(expected, abs=1e-9)
        assert not terminated
        assert not truncated


def test_an_end_at_the_goal_if_asked_for():
    env = Maze2d(["####", "#..#", "####"], (1, 1), ends=True)
    env.reset(seed=0)
    for distance, ends in ((0.4999, True), (0.5001, False)):
        env.set_state(np.array([1.0, 1.0 + distance]), np.zeros(2))
        assert env.step(np.zeros(2))[1:3] == (float(ends), ends)


def test_the_speed_is_clipped_before_the_step_and_the_action_at_one():
    env = made("open")
    env.reset(seed=0)
    outcomes = []
    for speed, force in ((5.0, 1.0), (9.0, 1.0), (5.0, 7.0)):
        env.set_state(np.array([2.0, 2.0]), np.array([0.0, speed]))
        outcomes.append(env.step(np.array([0.0, force]))[0])
    np.testing.assert_allclose(outcomes[1], outcomes[0], atol=1e-12)
    np.testing.assert_allclose(outcomes[2], outcomes[0], atol=1e-12)
    # One implicit step of 0.01 s of m dv/dt = 100 a - v, where the ball weighs 4/3 π 0.1³ · 1000.
    mass = 4 / 3 * np.pi * 0.1**3 * 1000
    speed = (mass * 5.0 + 0.01 * 100) / (mass + 0.01)
    np.testing.assert_allclose(outcomes[0], [2.0, 2.0 + 0.01 * speed, 0.0, speed], atol=1e-9)


def test_a_repeated_step_is_as_many_of_d4rls():
    once, five = (Maze2d(["####", "#..#", "####"], (1, 1), repeat=repeat) for repeat in (1, 5))
    for env in (once, five):
        env.reset(seed=0)
        env.set_state(np.array([1.0, 1.6]), np.array([0.0, 7.0]))
    outcomes = [once.step(np.array([0.3, -1.0])) for _ in range(5)]
    np.testing.assert_array_equal(five.step(np.array([0.3, -1.0]))[0], outcomes[-1][0])
