"""antmaze, state by state against what Farama-Foundation/D4RL@89141a6:d4rl/locomotion says."""

import gymnasium
import mujoco
import numpy as np
import pytest

import cqlbench.environments.d4rl  # noqa: F401 registers them

pytestmark = pytest.mark.filterwarnings("ignore:.*(is out of date|is probably too)")

CENTRES = {"umaze": (0, 8), "medium": (20, 20), "large": (32, 24)}
BLOCKS = {"umaze": 18, "medium": 38, "large": 62}
LIMITS = {"umaze": 700, "medium": 1000, "large": 1000}


@pytest.fixture(params=CENTRES)
def maze(request):
    return request.param


def made(maze="umaze", version=2):
    return gymnasium.make(f"cqlbench/antmaze-{maze}-v{version}").unwrapped


def test_time_limits(maze):
    for version in (0, 2):
        assert gymnasium.spec(f"cqlbench/antmaze-{maze}-v{version}").max_episode_steps == LIMITS[maze]


def test_the_ant_is_gymnasiums_but_for_time_step_motors_and_contacts():
    ours = made().model
    theirs = gymnasium.make("Ant-v5").unwrapped.model
    assert (ours.opt.timestep, ours.opt.integrator) == (0.02, mujoco.mjtIntegrator.mjINT_RK4.value)
    np.testing.assert_array_equal(ours.actuator_ctrlrange, [[-30, 30]] * 8)
    np.testing.assert_array_equal(ours.actuator_gear[:, 0], np.ones(8))
    geoms = theirs.ngeom
    ant = slice(1, geoms)  # after the floor
    np.testing.assert_array_equal(ours.geom_solimp[:geoms, :3], [[0.8, 0.8, 0.01]] * geoms)
    names = [name for name in dir(theirs) if name.startswith(("body_", "jnt_", "dof_"))]
    names += ["actuator_trnid", "actuator_gainprm", "actuator_biasprm", "qpos0"]
    for name in names:
        if not name.endswith(("num", "adr", "user")) and isinstance(getattr(theirs, name), np.ndarray):
            expected = getattr(theirs, name)
            if name.startswith("body_"):  # but for the world's, which holds the blocks
                np.testing.assert_array_equal(getattr(ours, name)[1:], expected[1:], err_msg=name)
            elif "invweight" not in name:
                np.testing.assert_array_equal(getattr(ours, name), expected, err_msg=name)
    for name in ("geom_pos", "geom_quat", "geom_size", "geom_friction", "geom_margin", "geom_solref"):
        theirs_of_ant = [mujoco.mj_id2name(theirs, mujoco.mjtObj.mjOBJ_GEOM, i) for i in range(geoms)][ant]
        for geom in theirs_of_ant:
            one, other = ours.geom(geom), theirs.geom(geom)
            field = name.removeprefix("geom_")
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=name)


def test_blocks_stand_where_d4rl_puts_them(maze):
    env = made(maze)
    blocks = env.model.geom_type == mujoco.mjtGeom.mjGEOM_BOX.value
    expected = [
        (4 * character - 4, 4 * line - 4, 1)
        for line, text in enumerate(env.maze.lines)
        for character, mark in enumerate(text)
        if mark == "#"
    ]
    assert len(expected) == BLOCKS[maze]
    np.testing.assert_array_equal(env.model.geom_pos[blocks], expected)
    assert (env.model.geom_size[blocks] == (2, 2, 1)).all()
    assert (env.model.geom_contype[blocks] == 1).all()
    assert (env.model.geom_conaffinity[blocks] == 1).all()


def test_it_moves_as_gymnasium_robotics_ant_does_in_the_mapped_maze(maze, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where it leaves its model
    robotics = pytest.importorskip("gymnasium_robotics.envs.maze.ant_maze_v5")
    import xml.etree.ElementTree as ET

    from cqlbench.environments.d4rl.antmaze import _model
    from cqlbench.environments.d4rl.maze import Maze

    env = made(maze)
    file = tmp_path / "ant.xml"
    file.write_bytes(ET.tostring(_model("ant.xml", Maze((".",)))))
    mapped = [[int(mark == "#") for mark in line] for line in reversed(env.maze.lines)]
    other = robotics.AntMazeEnv(maze_map=mapped, xml_file=str(file), include_cfrc_ext_in_observation=False)
    offset = np.array([4 * (len(mapped[0]) / 2 - 1.5), 4 * (len(mapped) / 2 - 1.5)])
    env.reset(seed=0)
    other.reset(seed=0)
    position = env.data.qpos.copy()
    position[:2] = 1.2, -1.2  # on its way into a wall
    env.set_state(position, env.data.qvel)
    other.ant_env.set_state(position - [*offset, *[0] * 13], env.data.qvel)
    for action in np.random.default_rng(0).uniform(-1.2, 1.2, (60, 8)):
        ours = env.step(action)[0]
        theirs = other.ant_env
        theirs.do_simulation(30 * np.clip(action, -1, 1), 5)
        expected = np.concatenate([theirs.data.qpos, theirs.data.qvel])
        expected[:2] += offset
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_starts_and_goals(maze):
    env = made(maze)
    starts, goals = [], []
    for n in range(10_000):
        starts.append(env.reset(seed=0 if n == 0 else None)[0])
        goals.append(env.goal.copy())
    starts, goals = np.array(starts), np.array(goals)
    rest = [0, 0, 0.75, 1, *[0] * 11]
    noise = starts[:, :15] - rest
    assert np.abs(noise).max() <= 0.1
    assert (np.abs(noise).max(axis=0) > 0.0999).all()  # the quaternion, too
    np.testing.assert_allclose(starts[:, 15:].std(axis=0), 0.1, rtol=0.04)
    offsets = goals - CENTRES[maze]
    assert (offsets >= 0).all()
    assert (offsets <= 1.5).all()
    np.testing.assert_allclose(offsets.mean(axis=0), 0.75, atol=0.02)
    # The sum of U(0, 1) and U(0, 1/2).
    np.testing.assert_allclose(offsets.var(axis=0), (1 + 1 / 4) / 12, rtol=0.05)


def test_a_goal_for_each_episode_or_for_each_seed():
    for version, few in ((2, 3), (0, 1)):
        env = made(version=version)
        goals = []
        for seed in (3, None, None):
            env.reset(seed=seed)
            goals.append(tuple(env.goal))
        assert len(set(goals)) == few
        env.reset(seed=4)
        assert tuple(env.goal) not in goals
        env.reset(seed=3)
        assert tuple(env.goal) == goals[0]


@pytest.mark.parametrize(("distance", "there"), [(0.0, 1), (0.499, 1), (0.501, 0)])
def test_reward_and_end_at_the_goal(maze, distance, there):
    env = made(maze)
    env.reset(seed=0)
    env.step(np.zeros(8))
    env.goal[:] = 0.0
    position, velocity = env.init_qpos.copy(), np.zeros(14)
    position[0] = distance
    env.set_state(position, velocity)
    observation, reward, terminated, truncated, _ = env.step(np.zeros(8))
    assert np.linalg.norm(observation[:2]) == pytest.approx(distance, abs=5e-4)
    assert (reward, terminated, truncated) == (there, bool(there), False)


def test_falling_ends_nothing():
    env = made()
    env.reset(seed=0)
    position = env.init_qpos.copy()
    position[2:7] = 0.15, 0, 1, 0, 0  # on its back
    env.set_state(position, np.zeros(14))
    for _ in range(20):
        observation, reward, terminated, _, _ = env.step(np.zeros(8))
        assert (reward, terminated) == (0, False)
    assert observation.shape == (29,)


def test_actions_are_thirtieths_of_the_torques_and_clipped():
    env = made()
    env.reset(seed=0)
    env.step(np.array([0.5, -0.25, 1, -1, 2, -3, 0, 0.1]))
    np.testing.assert_allclose(env.data.ctrl, [15, -7.5, 30, -30, 30, -30, 0, 3])
