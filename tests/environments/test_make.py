import re

import gymnasium
import mujoco
import numpy as np
import pytest
from msgspec.structs import replace

from cqlbench.core.errors import UserError
from cqlbench.data.resolve import find_card
from cqlbench.environments.make import (
    EnvironmentSpec,
    choose_backend,
    environment_versions,
    make_environments,
    why_unplayable,
)

BACKENDS = ("envpool", "gymnasium")


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "envpool":
        pytest.importorskip("envpool")
    return request.param


def play(spec, seeds, backend, steps, threads=0, restart=False):
    """Every observation, reward and flag of `steps` steps with actions that depend on the seed alone."""
    environments = make_environments(spec, seeds, backend, threads)
    try:
        first = environments.reset()
        if restart:
            first = environments.reset()
        size = len(environments.action_low)
        noise = [np.random.default_rng(seed).uniform(-1, 1, (steps, size)) for seed in seeds]
        taken = [environments.step(np.stack([n[t] for n in noise]).astype(np.float32)) for t in range(steps)]
    finally:
        environments.close()
    return (
        np.stack([first, *(step.observations for step in taken)], axis=1),
        np.stack([step.rewards for step in taken], axis=1),
        np.stack([step.terminated for step in taken], axis=1),
        np.stack([step.truncated for step in taken], axis=1),
    )


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_time_limit_truncates_then_resets(backend):
    observations, rewards, terminated, truncated = play(EnvironmentSpec("Hopper-v4", 5), [1, 2], backend, 12)
    assert not terminated.any()
    np.testing.assert_array_equal(np.flatnonzero(truncated[0]), [4, 10])
    np.testing.assert_array_equal(rewards[:, 5], 0.0)  # the step that only resets
    assert (rewards[:, [4, 6]] != 0.0).all()
    # A first observation is within the reset noise of the model's rest state; the state at the limit is not.
    rest = np.array([1.25, *[0.0] * 10])
    assert (np.abs(observations[:, [0, 6]] - rest) <= 5e-3).all()
    assert (np.abs(observations[:, 5] - rest).max(axis=-1) > 5e-3).all()


def test_fall_terminates_at_the_state_really_reached(backend):
    observations, rewards, terminated, truncated = play(
        EnvironmentSpec("Hopper-v4", 500), [3, 4, 5], backend, 150
    )
    assert not truncated.any()
    for stream in range(3):
        end = int(np.flatnonzero(terminated[stream])[0])
        fallen = observations[stream, end + 1]
        assert fallen[0] <= 0.7 or abs(fallen[1]) >= 0.2  # Hopper's healthy range
        assert observations[stream, end + 2, 0] > 1.2  # upright again
        assert rewards[stream, end + 1] == 0.0
        assert not terminated[stream, end + 1]


def test_fall_in_the_step_of_the_time_limit(backend):
    *_, terminated, _ = play(EnvironmentSpec("Hopper-v4", 500), [3], backend, 150)
    fall = int(np.flatnonzero(terminated[0])[0])
    *_, terminated, truncated = play(EnvironmentSpec("Hopper-v4", fall + 1), [3], backend, fall + 1)
    assert truncated[0, fall]
    assert terminated[0, fall] == (backend == "gymnasium")  # a known loss: envpool keeps one flag


def test_registered_time_limit_is_the_default(backend):
    # HalfCheetah never ends itself.
    *_, terminated, truncated = play(EnvironmentSpec("HalfCheetah-v4"), [1], backend, 1001)
    assert not terminated.any()
    np.testing.assert_array_equal(np.flatnonzero(truncated[0]), [999])


def test_neighbours_and_threads_change_nothing(backend):
    spec = EnvironmentSpec("Hopper-v4", 30)
    alone = play(spec, [7], backend, 80)
    among = play(spec, [5, 7, 6], backend, 80, threads=3)
    assert_same(alone, [array[1:2] for array in among])
    assert_same(among, play(spec, [5, 7, 6], backend, 80, threads=1))
    assert not np.array_equal(among[0][0], among[0][1])


def test_a_second_reset_goes_on_to_new_episodes(backend):
    spec = EnvironmentSpec("Hopper-v4")
    once = play(spec, [7], backend, 3)
    twice = play(spec, [7], backend, 3, restart=True)
    assert not np.array_equal(once[0][:, 0], twice[0][:, 0])
    assert_same(twice, play(spec, [7], backend, 3, restart=True))


def test_some_are_stepped_and_reset_while_others_stand_still(backend):
    spec = EnvironmentSpec("Hopper-v4", 4)
    pair, alone = make_environments(spec, [7, 8], backend), make_environments(spec, [8], backend)
    np.testing.assert_array_equal(pair.reset()[1:], alone.reset())
    first, second = np.array([True, False]), np.array([False, True])
    noise = np.random.default_rng(0)
    for _ in range(4):
        actions = noise.uniform(-1, 1, (2, 3)).astype(np.float32)
        expected = alone.step(actions[1:])
        pair.step(actions[::-1].copy(), first)
        got = pair.step(actions, second)
        np.testing.assert_array_equal(got.observations[1:], expected.observations)
        assert (got.rewards[1], got.truncated[1]) == (expected.rewards[0], expected.truncated[0])
    assert got.truncated[1]
    np.testing.assert_array_equal(pair.reset_some(second)[1], alone.reset_some(second[1:])[0])
    for environments in (pair, alone):  # the next step is the new episode's first
        step = environments.step(np.ones((1 + (environments is pair), 3), np.float32))
        assert step.rewards[-1] != 0
        environments.close()


def test_a_step_is_not_overwritten_by_the_next(backend):
    environments = make_environments(EnvironmentSpec("Hopper-v4"), [1], backend)
    first = environments.reset()
    kept = first.copy()
    step = environments.step(np.ones((1, 3), np.float32))
    copies = [step.observations.copy(), step.rewards.copy()]
    environments.step(-np.ones((1, 3), np.float32))
    environments.close()
    environments.close()
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(step.observations, copies[0])
    np.testing.assert_array_equal(step.rewards, copies[1])
    assert step.observations.dtype == step.rewards.dtype == np.float64
    assert step.terminated.dtype == step.truncated.dtype == np.bool_


@pytest.mark.parametrize(
    ("environment_id", "positions", "horizon"),
    # Rounding grows with chaotic contact dynamics, HalfCheetah's fastest.
    [("Hopper-v4", 6, 200), ("Hopper-v5", 6, 200), ("Walker2d-v4", 9, 200), ("HalfCheetah-v4", 9, 20)],
)
def test_envpool_and_gymnasium_simulate_the_same_task(environment_id, positions, horizon):
    pytest.importorskip("envpool")
    spec = EnvironmentSpec(environment_id, horizon)
    pool, plain = (make_environments(spec, [11], backend) for backend in BACKENDS)
    observation = pool.reset()[0]
    plain.reset()
    simulator = plain._environments[0].unwrapped
    mujoco.mj_resetData(simulator.model, simulator.data)  # the solver's warm start is part of the state
    simulator.set_state(np.append(0.0, observation[: positions - 1]), observation[positions - 1 :])
    noise = np.random.default_rng(0)
    for _ in range(horizon):
        actions = noise.uniform(-1, 1, (1, len(pool.action_low))).astype(np.float32)
        ours, theirs = pool.step(actions), plain.step(actions)
        np.testing.assert_allclose(ours.observations, theirs.observations, rtol=0, atol=1e-9)
        # envpool hands rewards over in float32.
        np.testing.assert_allclose(ours.rewards, theirs.rewards, rtol=2e-7, atol=2e-7)
        assert ours.terminated == theirs.terminated
        assert ours.truncated == theirs.truncated
        if ours.terminated[0] or ours.truncated[0]:
            break
    else:
        pytest.fail("the episode did not end")
    pool.close()
    plain.close()


def test_spaces_are_read(backend):
    environments = make_environments(EnvironmentSpec("Pusher-v5"), [0], backend)
    np.testing.assert_array_equal(environments.action_low, np.full(7, -2.0, np.float32))
    np.testing.assert_array_equal(environments.action_high, np.full(7, 2.0, np.float32))
    assert environments.action_low.dtype == np.float32
    assert environments.observation_size == 23
    assert environments.backend == backend
    environments.close()


def test_discrete_actions_are_one_hot(backend):
    environments = make_environments(EnvironmentSpec("CartPole-v1"), [5, 6], backend, discrete=True)
    np.testing.assert_array_equal(environments.action_low, np.zeros(2, np.float32))
    np.testing.assert_array_equal(environments.action_high, np.ones(2, np.float32))
    assert environments.observation_size == 4
    before = environments.reset()
    step = environments.step(np.array([[1, 0], [0, 1]], np.float32))
    environments.close()
    assert ((step.observations - before)[:, 1] > 0).tolist() == [False, True]  # pushed left, right
    np.testing.assert_array_equal(step.rewards, 1.0)


class Echo(gymnasium.Env):
    """Observes the last action."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return np.array([float(action)]), 0.0, False, False, {}


def test_discrete_actions_need_not_start_at_0():
    gymnasium.register("CqlbenchEcho-v0", Echo)
    try:
        environments = make_environments(EnvironmentSpec("CqlbenchEcho-v0"), [0] * 3, discrete=True)
        environments.reset()
        step = environments.step(np.eye(3, dtype=np.float32)[[2, 0, 1]])
        assert step.observations.tolist() == [[7.0], [5.0], [6.0]]
    finally:
        gymnasium.registry.pop("CqlbenchEcho-v0")


def test_a_box_where_discrete_actions_are_needed(backend):
    with pytest.raises(UserError, match=r"'Hopper-v4' has the action space Box.*, and a Discrete one"):
        make_environments(EnvironmentSpec("Hopper-v4"), [0], backend, discrete=True)


def test_gymnasium_takes_what_envpool_has_not():
    with_arguments = EnvironmentSpec("Hopper-v4", kwargs={"reset_noise_scale": 0.0})
    assert choose_backend(with_arguments) == "gymnasium"
    environments = make_environments(with_arguments, [0])
    np.testing.assert_array_equal(environments.reset()[0], [1.25, *[0.0] * 10])
    environments.close()
    with pytest.raises(UserError, match="envpool cannot make 'Hopper-v4'"):
        choose_backend(with_arguments, "envpool")


def test_envpool_is_preferred():
    pytest.importorskip("envpool")
    assert choose_backend(EnvironmentSpec("Hopper-v4")) == "envpool"
    assert choose_backend(EnvironmentSpec("Hopper-v4"), "gymnasium") == "gymnasium"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EnvironmentSpec("NoSuchRobot-v0"), "'NoSuchRobot-v0' cannot be made here"),
        (EnvironmentSpec("Hopper-v99"), "Environment version `v99`"),
        (EnvironmentSpec("no such id"), "Malformed environment ID"),
        (EnvironmentSpec("no_such_module:Robot-v0"), "No module named 'no_such_module'"),
        (EnvironmentSpec("Hopper-v4", kwargs={"gravitas": 1}), "unexpected keyword argument 'gravitas'"),
        (EnvironmentSpec("CartPole-v1"), "action space Discrete(2), and a flat Box is needed"),
    ],
    ids=lambda value: getattr(value, "id", ""),
)
def test_unusable_environments_end_in_one_sentence(spec, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        make_environments(spec, [0])
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_unknown_backend_and_time_limit_are_refused():
    with pytest.raises(UserError, match="no environment backend 'brax'"):
        make_environments(EnvironmentSpec("Hopper-v4"), [0], "brax")
    with pytest.raises(UserError, match="time limit of 'Hopper-v4' is 0 steps"):
        EnvironmentSpec("Hopper-v4", 0)


def test_making_and_stepping_prints_nothing(backend, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to MUJOCO_LOG.TXT as well
    play(EnvironmentSpec("HalfCheetah-v4", 5), [0, 1], backend, 8)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
    assert not list(tmp_path.iterdir())


def test_versions_name_environment_backend_and_simulator():
    pytest.importorskip("envpool")
    pool = environment_versions(EnvironmentSpec("Hopper-v4"), "envpool")
    assert set(pool) == {"id", "backend", "backend_version"}
    assert pool["id"] == "Hopper-v4"
    spec = EnvironmentSpec("Hopper-v4", 7, {"reset_noise_scale": 0.0})
    assert environment_versions(spec, "gymnasium") == {
        "id": "Hopper-v4",
        "backend": "gymnasium",
        "backend_version": gymnasium.__version__,
        "mujoco_version": mujoco.__version__,
        "max_episode_steps": "7",
        "kwargs": '{"reset_noise_scale": 0.0}',
    }


TOY = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text


class Toy(gymnasium.Env):
    action_space = Box(-1, 1, (2,))

    def __init__(self, size=3):
        self.observation_space = Dict(
            goal=Box(-9, 9, (2,)), door=Discrete(4), image=Box(0, 255, (size, 2), np.uint8), text=Text(9)
        )
        self.size = size

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        return self.observe(), 1.0, False, False, {}

    def observe(self):
        image = np.arange(self.size * 2).reshape(self.size, 2).astype(np.uint8)
        return {"goal": np.full(2, self.steps, np.float32), "door": 3, "image": image, "text": "a"}


gymnasium.register("Toy-v0", Toy, max_episode_steps=7)
__version__ = "1.2"
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy_of_this_test.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    return EnvironmentSpec(
        "Toy-v0", module="toy_of_this_test", extra="toys", observation_keys=("image", "goal", "door")
    )


def test_dictionaries_are_joined_in_the_order_of_the_card(toy):
    environments = make_environments(replace(toy, padding=2), [0, 1])
    assert environments.observation_size == 11
    first = environments.reset()
    step = environments.step(np.zeros((2, 2), np.float32))
    environments.close()
    assert first.dtype == step.observations.dtype == np.float64
    np.testing.assert_array_equal(first, [[0, 1, 2, 3, 4, 5, 0, 0, 3, 0, 0]] * 2)
    np.testing.assert_array_equal(step.observations, [[0, 1, 2, 3, 4, 5, 1, 1, 3, 0, 0]] * 2)
    environments = make_environments(replace(toy, observation_keys=("door", "goal")), [0])
    np.testing.assert_array_equal(environments.reset(), [[3, 0, 0]])
    environments.close()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ("goal", "wall"),
            "observes no array 'wall', which the card's observation_keys name; it observes goal,",
        ),
        (("text",), "observes no array 'text'"),
        (None, "flat Box is needed; of a dictionary, the card names the parts (observation_keys)."),
    ],
)
def test_parts_that_are_not_there_are_one_sentence(toy, keys, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make_environments(replace(toy, observation_keys=keys), [0])


def test_parts_of_an_environment_that_has_none():
    with pytest.raises(UserError, match="'Hopper-v4' observes no array 'goal'"):
        make_environments(EnvironmentSpec("Hopper-v4", observation_keys=("goal",)), [0], "gymnasium")


def test_padding_is_zeros_after_what_is_observed(backend):
    bare, padded = (
        make_environments(EnvironmentSpec("Ant-v4", padding=size), [5], backend) for size in (0, 84)
    )
    assert (bare.observation_size, padded.observation_size) == (27, 111)
    seen = [(padded.reset(), bare.reset())]
    for _ in range(3):
        action = np.full((1, 8), 0.3, np.float32)
        seen.append((padded.step(action).observations, bare.step(action).observations))
    for ours, theirs in seen:
        np.testing.assert_array_equal(ours[:, :27], theirs)
        np.testing.assert_array_equal(ours[:, 27:], 0.0)
    bare.close()
    padded.close()


def test_why_a_policy_cannot_be_evaluated(toy, tmp_path):
    assert why_unplayable(toy, 9, 2) == ""
    assert "gives 9 observations and takes 2 actions, but the data have 8 and 2." in why_unplayable(toy, 8, 2)
    assert "but the data have 9 and 1." in why_unplayable(toy, 9, 1)
    assert "No module named 'none_such'" in why_unplayable(replace(toy, module="none_such"), 9, 2)
    failing = replace(toy, kwargs={"size": None})
    assert why_unplayable(failing, 9, 2).startswith("Environment 'Toy-v0' cannot be made here (")
    (tmp_path / "broken_toy.py").write_text("assert 1 == 2")
    broken = why_unplayable(replace(toy, module="broken_toy"), 9, 2)
    assert broken.endswith(
        "cannot be made here (AssertionError); try other versions of broken_toy and MuJoCo."
    )


def test_versions_name_the_module_that_brings_the_environment(toy):
    version = environment_versions(toy, "gymnasium")["backend_version"]
    assert version == f"{gymnasium.__version__}, toy_of_this_test 1.2"


@pytest.mark.parametrize(
    ("card_id", "size"),
    [
        ("minari/D4RL/pointmaze/umaze-v2", 6),
        ("minari/D4RL/antmaze/umaze-v1", 31),
        ("d4rl/relocate-human-v1", 39),
    ],
)
def test_environments_of_the_extra_observe_what_the_data_do(card_id, size, tmp_path, monkeypatch):
    pytest.importorskip("gymnasium_robotics", reason="the extra robotics is not installed")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spec = find_card(card_id).environment
    environments = make_environments(spec, [0], "gymnasium")
    assert environments.observation_size == environments.reset().shape[1] == size
    environments.step(np.zeros((1, len(environments.action_low)), np.float32))
    environments.close()
    assert not list(tmp_path.iterdir())  # gymnasium-robotics' mazes leave their models there


def test_envpools_dictionaries_are_joined_alike():
    pytest.importorskip("envpool")
    spec = EnvironmentSpec("PointMaze_UMaze-v3", observation_keys=("observation", "desired_goal"))
    environments = make_environments(spec, [0, 1])
    assert environments.backend == "envpool"
    first = environments.reset()
    step = environments.step(np.zeros((2, 2), np.float32))
    environments.close()
    assert first.shape == step.observations.shape == (2, 6)
    np.testing.assert_array_equal(first[:, 4:], step.observations[:, 4:])  # the goal stays
    assert len(np.unique(first)) > 4
