"""D4RL's Adroit tasks on both backends, against rewards and ends computed from the simulator's quantities."""

import gymnasium
import numpy as np
import pytest

from cqlbench.environments import d4rl
from cqlbench.environments.make import (
    EnvironmentSpec,
    choose_backend,
    environment_versions,
    make_environments,
)

pytest.importorskip("gymnasium_robotics")
pytestmark = pytest.mark.filterwarnings("ignore:.*(is out of date|is probably too|reward functions were)")

NAMES = ("pen", "door", "hammer", "relocate")
OBJECTS = {"door": "S_handle", "hammer": "Object", "relocate": "Object"}
ZEROS = {"pen": 96.262799, "door": -56.512833, "hammer": -274.856578, "relocate": -6.425911}


DRAWN = {  # of each reset, relocate_v0.py and its neighbours
    "door": [("body", "frame", range(3), (-0.3, 0.25, 0.252), (-0.2, 0.35, 0.35))],
    "hammer": [("body", "nail_board", [2], (0.1,), (0.25,))],
    "relocate": [
        ("body", "Object", [0, 1], (-0.15, -0.15), (0.15, 0.3)),
        ("site", "target", range(3), (-0.2, -0.2, 0.15), (0.2, 0.2, 0.35)),
    ],
}


@pytest.fixture(params=("gymnasium", "envpool"))
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def spec(name, limit=None):
    return EnvironmentSpec(f"cqlbench/{name}-v0", limit, module="cqlbench.environments.d4rl")


def played(name, backend, steps, seeds=(1, 2, 3), limit=None):
    environments = make_environments(spec(name, limit), seeds, backend)
    noise = np.random.default_rng(0)
    size = len(environments.action_low)
    actions = noise.uniform(-1, 1, (steps, len(seeds), size)).astype(np.float32)
    taken = [environments.reset(), *(environments.step(each) for each in actions)]
    environments.close()
    return taken


def assert_uniform(drawn, lowest, highest):
    low, high = np.array(lowest), np.array(highest)
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    share = (drawn - low) / (high - low)
    np.testing.assert_allclose(share.mean(axis=0), 0.5, atol=5 * (12 * len(drawn)) ** -0.5)
    np.testing.assert_allclose(
        [share.min(axis=0), share.max(axis=0)], [[0] * len(low), [1] * len(low)], atol=0.01
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_resets_draw(name):
    env = gymnasium.make(spec(name).id).unwrapped
    drawn, first = [], []
    for n in range(2000):
        first.append(env.reset(seed=0 if n == 0 else None)[0])
        if name == "pen":  # turned about two axes
            quaternion = env.model.body("target").quat
            drawn.append([2 * np.arctan2(quaternion[1:3], quaternion[0])])
        else:
            places = (getattr(env.model, kind)(thing).pos[axes] for kind, thing, axes, *_ in DRAWN[name])
            drawn.append([place.copy() for place in places])
    bounds = [((-1, -1), (1, 1))] if name == "pen" else [each[3:] for each in DRAWN[name]]
    for values, (lowest, highest) in zip(zip(*drawn, strict=True), bounds, strict=True):
        assert_uniform(np.array(values), lowest, highest)
    pytest.importorskip("envpool")
    environments = make_environments(spec(name), range(5), "envpool")
    theirs = np.concatenate([environments.reset() for _ in range(200)])
    environments.close()
    ours = np.array(first)
    tolerance = 1e-6 + 0.07 * np.ptp(ours, axis=0)
    for summary in (np.min, np.mean, np.max):
        assert (np.abs(summary(theirs, axis=0) - summary(ours, axis=0)) < tolerance).all()


@pytest.mark.parametrize("name", OBJECTS)
def test_the_hands_distance_costs_reward(name):
    env = gymnasium.make(spec(name).id).unwrapped
    env.reset(seed=0)
    noise = np.random.default_rng(0)
    for _ in range(30):
        action = noise.uniform(-1, 1, env.action_space.shape)
        state = env.get_env_state()
        _, reward, terminated, _, _ = env.step(action)
        hand, thing = env.data.site("S_grasp").xpos, OBJECTS[name]
        other = env.data.site(thing).xpos if thing.startswith("S_") else env.data.body(thing).xpos
        distance = np.linalg.norm(hand - other)
        if name == "door":
            angle = env.data.joint("door_hinge").qpos[0]
            rest = -0.1 * (angle - 1.57) ** 2 - 1e-5 * np.sum(env.data.qvel**2)
        elif name == "hammer":
            head, nail, end = (env.data.site(each).xpos for each in ("tool", "S_target", "nail_goal"))
            rest = -np.linalg.norm(head - nail) - 10 * np.linalg.norm(nail - end)
            rest -= 0.01 * np.linalg.norm(env.data.qvel)
            rest += 2 * (other[2] > 0.04 and head[2] > 0.04)
        else:
            rest = 0.0
            assert other[2] < 0.04
        assert reward == pytest.approx(rest - 0.1 * distance, abs=1e-12)
        assert not terminated
        assert state


def test_the_pens_episode_ends_at_the_drop():
    env = gymnasium.make(spec("pen").id).unwrapped
    env.reset(seed=0)
    env.step(np.zeros(24))
    joints = env.data.qpos.copy()
    for height, drops in ((0.0751, False), (0.0749, True)):
        for _ in range(3):  # the object's first slide points down but for the tilt of a body around it
            joints[-6] -= height - env.data.body("Object").xpos[2]
            env.set_state(joints, np.zeros_like(env.data.qvel))
        assert env.data.body("Object").xpos[2] == pytest.approx(height, abs=1e-6)
        env.model.opt.timestep = 1e-9  # so that it stays there
        _, reward, terminated, _, _ = env.step(np.zeros(24))
        assert terminated == drops
        assert (reward < -3) == drops  # the 5 of a drop
        joints = env.data.qpos.copy()


@pytest.mark.parametrize("name", NAMES)
def test_envpools_steps_are_corrected_like_gymnasiums(name, backend):
    raw = make_environments(
        EnvironmentSpec(f"AdroitHand{name.title()}-v1", 60, module="gymnasium_robotics"), (1, 2, 3), backend
    )
    observations = raw.reset()
    noise = np.random.default_rng(0)
    size = len(raw.action_low)
    first, *steps = played(name, backend, 60, limit=60)
    np.testing.assert_array_equal(first, observations)
    going = np.ones(3, bool)
    rule = d4rl.correction(spec(name).id)
    for step in steps:
        expected = raw.step(noise.uniform(-1, 1, (3, size)).astype(np.float32))
        np.testing.assert_array_equal(step.observations[going], expected.observations[going])
        np.testing.assert_allclose(
            step.rewards[going], rule.rewards(expected.observations, expected.rewards)[going]
        )
        low = expected.observations[:, 26] < 0.075 if name == "pen" else np.zeros(3, bool)
        np.testing.assert_array_equal(step.terminated[going], low[going])
        going &= ~low
    assert step.truncated[going].all()
    assert going.all() == (name != "pen")
    raw.close()


def test_an_episode_that_has_ended_is_reset_by_the_next_step(backend):
    _, *steps = played("pen", backend, 150, seeds=range(8), limit=50)
    lengths, ends, after = np.zeros(8, int), 0, np.zeros(8, bool)
    for step in steps:
        assert (step.rewards[after] == 0).all()
        assert not (step.terminated | step.truncated)[after].any()
        assert (step.observations[after, 26] > 0.15).all()
        lengths[after] = -1
        lengths += 1
        np.testing.assert_array_equal(step.truncated & ~step.terminated, (lengths == 50) & ~step.terminated)
        after = step.terminated | step.truncated
        ends += step.terminated.sum()
    assert ends >= 4


def test_standing_still_and_resets_between_steps(backend):
    environments = make_environments(spec("pen"), range(4), backend)
    environments.reset()
    some = np.array([True, False, True, False])
    dropped = np.zeros(4, bool)
    noise = np.random.default_rng(0)
    for _ in range(90):
        step = environments.step(noise.uniform(-1, 1, (4, 24)).astype(np.float32), some)
        dropped |= step.terminated
        assert not step.terminated[~some].any()
        if step.terminated.any():
            first = environments.reset_some(step.terminated)
            assert (first[step.terminated, 26] > 0.15).all()
            again = environments.step(np.zeros((4, 24), np.float32), step.terminated)
            assert (again.rewards[step.terminated] != 0).all()
    assert dropped.any()
    environments.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_random_policy_scores_d4rls_zero(name):
    """Of `backend` envpool, which is fast; within four standard errors."""
    pytest.importorskip("envpool")
    episodes = 60 if name == "pen" else 20
    limit = 100 if name == "pen" else 200
    _, *steps = played(name, "envpool", limit, seeds=range(episodes))
    rewards = np.stack([step.rewards for step in steps])
    ended = np.stack([step.terminated | step.truncated for step in steps])
    assert ended.any(axis=0).all()
    lengths = ended.argmax(axis=0) + 1
    returns = np.array([rewards[:n, e].sum() for e, n in enumerate(lengths)])
    if name != "pen":
        assert (lengths == limit).all()
    error = returns.std(ddof=1) / np.sqrt(episodes)
    assert abs(returns.mean() - ZEROS[name]) < 4 * error


def test_provenance_names_what_computed_it():
    pytest.importorskip("envpool")
    assert choose_backend(spec("pen")) == "envpool"
    versions = environment_versions(spec("pen"), "envpool")
    assert versions["id"] == "cqlbench/pen-v0"
    assert f"cqlbench.environments.d4rl {d4rl.__version__}" in versions["backend_version"]
    assert "gymnasium_robotics" in environment_versions(spec("pen"), "gymnasium")["backend_version"]
