import gymnasium
import numpy as np
import pytest

import cqlbench.environments.d4rl  # noqa: F401 registers the mazes
from cqlbench.data.embedded.waypoint import MazePlay, WaypointController, shortest_way
from cqlbench.environments.d4rl.maze import Maze

HOOK = Maze(("#####", "#...#", "###.#", "#...#", "#####"))


def test_the_shortest_way():
    assert shortest_way(HOOK, (1, 1), (3, 1)) == [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
    assert shortest_way(HOOK, (1, 1), (1, 1)) == [(1, 1)]
    with pytest.raises(ValueError, match="no way"):
        shortest_way(Maze(("#.#.#",)), (0, 1), (0, 3))


def test_force_is_that_of_a_spring_and_a_damper():
    controller = WaypointController(HOOK, np.random.default_rng(0), offset=0.0)
    still, goal = np.zeros(2), np.array([3.0, 1.0])
    # For (1, 2), the first cell on the way: 10 · 0.05 − 0.2, and 10 · 0.6 − 5.5.
    force = controller(np.array([0.95, 1.4]), np.array([0.2, 5.5]), goal)
    np.testing.assert_allclose(force, [0.3, 0.5])
    np.testing.assert_allclose(controller(np.array([1.0, 1.1]), still, goal), [0.0, 1.0])
    controller(np.array([1.0, 1.95]), still, goal)  # there: the next one is (1, 3)
    np.testing.assert_allclose(controller(np.array([1.0, 1.95]), still, goal), [0.0, 1.0])
    np.testing.assert_allclose(controller(np.array([1.0, 2.98]), still, goal), [0.0, 0.2])


def test_it_plans_again_for_another_goal_or_after_a_reset():
    controller = WaypointController(HOOK, np.random.default_rng(0), offset=0.0)
    still = np.zeros(2)
    controller(np.array([1.0, 1.0]), still, np.array([3.0, 1.0]))
    np.testing.assert_allclose(controller(np.array([3.0, 3.0]), still, np.array([3.0, 1.0])), [-1.0, -1.0])
    controller.reset()
    np.testing.assert_allclose(controller(np.array([3.0, 3.0]), still, np.array([3.0, 1.0])), [0.0, -1.0])
    np.testing.assert_allclose(controller(np.array([3.0, 3.0]), still, np.array([2.0, 3.0])), [-1.0, 0.0])


@pytest.mark.parametrize("maze", ["umaze", "medium", "large", "open"])
def test_it_reaches_the_goal_and_stays(maze):
    env = gymnasium.make(f"cqlbench/maze2d-{maze}{'-v0' if maze == 'open' else '-v1'}", max_episode_steps=700)
    controller = WaypointController(env.unwrapped.maze, np.random.default_rng(0))
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        controller.reset()
        rewards = []
        truncated = False
        while not truncated:
            force = controller(observation[:2], observation[2:], env.unwrapped.goal)
            observation, reward, _, truncated, _ = env.step(force)
            rewards.append(reward)
        assert all(rewards[-10:])


ENDPOINTS = [
    ("umaze", 40, 23.85, 161.86),
    pytest.param("medium", 100, 13.13, 277.39, marks=pytest.mark.slow),
    pytest.param("large", 100, 6.7, 273.99, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("maze", "episodes", "lowest", "highest"), ENDPOINTS)
def test_d4rls_reference_scores(maze, episodes, lowest, highest):
    """D4RL's 0 is a random policy's return, its 100 that of a controller that is never reset."""
    env = gymnasium.make(f"cqlbench/maze2d-{maze}-v1")
    noise = np.random.default_rng(0)
    controller = WaypointController(env.unwrapped.maze, noise)

    def returns(act):
        for seed in range(episodes):
            observation, _ = env.reset(seed=seed)
            total, truncated = 0.0, False
            while not truncated:
                observation, reward, _, truncated, _ = env.step(act(observation))
                total += reward
            yield total

    for act, published in (
        (lambda _: noise.uniform(-1, 1, 2), lowest),
        (lambda s: controller(s[:2], s[2:], env.unwrapped.goal), highest),
    ):
        sample = np.array(list(returns(act)))
        error = sample.std(ddof=1) / np.sqrt(episodes)
        assert abs(sample.mean() - published) < 3 * error
        assert error < 0.25 * highest


def test_played_balls_head_for_cell_after_cell_each_by_numbers_of_its_own():
    env = gymnasium.make("cqlbench/pointmaze-umaze-v0", max_episode_steps=400).unwrapped

    def played(balls, starts):
        play, noise = MazePlay(HOOK, 3), np.zeros((balls, 2))
        seen = np.tile([1.0, 1.0, 0.0, 0.0], (balls, 1))
        visited, forces = set(), []
        for step in range(400):
            starting = np.full(balls, step in starts)
            forces.append(play.sample(seen, noise, starting))
            env.set_state(seen[0, :2], seen[0, 2:])
            seen[0] = env.step(forces[-1][0])[0]
            visited.add(tuple(seen[0, :2].round()))
        return visited, np.array(forces)

    visited, forces = played(1, {0})
    assert len(visited) == len(HOOK.free)
    assert forces.dtype == np.float32
    # Another ball beside it changes nothing, and goes another way.
    _, both = played(2, {0})
    np.testing.assert_array_equal(both[:, 0], forces[:, 0])
    assert (both[:, 0] != both[:, 1]).any()
    # An episode's beginning brings another goal.
    assert (played(1, {0, 1})[1] != forces).any()


def test_noise_is_added_to_the_force_within_its_bounds():
    seen, starting = np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([True])
    still, pushed, thrown = (
        MazePlay(HOOK, 0).sample(seen, np.array([[push, 0.0]]), starting)[0] for push in (0.0, 0.4, 9.0)
    )
    assert pushed[0] == pytest.approx(min(still[0] + 0.2, 1.0))
    assert thrown[0] == 1.0
