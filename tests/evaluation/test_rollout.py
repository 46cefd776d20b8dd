import gymnasium
import mujoco
import numpy as np
import pytest

from cqlbench.core.errors import UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec, make_environments
from cqlbench.evaluation import rollout as module
from cqlbench.evaluation.rollout import rollout

HOPPER = EnvironmentSpec("Hopper-v4", 90)
# Hops for about 90 steps: some episodes fall, some reach the time limit.
WEIGHTS = 0.5 * np.random.default_rng(113).normal(size=(11, 3))


def linear_policy(observations):
    """A policy whose every row depends on that row alone, to the bit."""
    return np.tanh((observations[..., None] * WEIGHTS).sum(axis=-2)).astype(np.float32)


class Geometric(gymnasium.Env):
    """An episode ends after each step with probability 1/4: its return is its length, 4 on average.

    The lengths depend on the reset seed alone. Observation: steps so far. Action 1 asks for a broken reward.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, endless=False, punished=False):
        self.endless = endless
        self.punished = punished

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1), {}

    def step(self, action):
        self.steps += 1
        terminated = not self.endless and bool(self.np_random.random() < 0.25)
        reward = np.nan if self.punished and action[0] == 1.0 else 1.0
        return np.array([float(self.steps)]), reward, terminated, False, {}


@pytest.fixture(autouse=True)
def _toy_environment():
    gymnasium.register("CqlbenchGeometric-v0", Geometric)
    yield
    gymnasium.registry.pop("CqlbenchGeometric-v0")


def toy(**kwargs):
    return EnvironmentSpec("CqlbenchGeometric-v0", kwargs=kwargs)


def stand(observations):
    return np.zeros((*observations.shape[:-1], 1), np.float32)


def test_gymnasium_episodes_equal_a_loop_by_hand():
    played = rollout(linear_policy, HOPPER, [3, 8], 3, evaluation_index=2, backend="gymnasium")
    for row, seed in enumerate([3, 8]):
        for column, environment_seed in enumerate(environment_seeds(seed, Purpose.EVALUATION, 3, 2)):
            with pytest.warns(DeprecationWarning, match="out of date"):
                environment = gymnasium.make("Hopper-v4", max_episode_steps=90)
            observation, _ = environment.reset(seed=environment_seed)
            total, length, terminated, truncated = 0.0, 0, False, False
            while not (terminated or truncated):
                observation, reward, terminated, truncated, _ = environment.step(linear_policy(observation))
                total, length = total + float(reward), length + 1
            environment.close()
            assert played.returns[row, column] == total
            assert played.lengths[row, column] == length
            assert played.terminated[row, column] == terminated
            assert played.environment_seeds[row, column] == environment_seed
    assert not played.failed.any()


def test_envpool_episodes_equal_gymnasium_step_by_step():
    pytest.importorskip("envpool")
    seen = []

    def watched(observations):
        seen.append(observations[0].copy())
        return linear_policy(observations)

    played = rollout(watched, HOPPER, [3], 4, backend="envpool")
    assert played.terminated.any()
    assert not played.terminated.all()
    for column in range(4):
        with pytest.warns(DeprecationWarning, match="out of date"):
            environment = gymnasium.make("Hopper-v4", max_episode_steps=90)
        environment.reset()
        observation = seen[0][column]
        simulator = environment.unwrapped
        mujoco.mj_resetData(simulator.model, simulator.data)  # the solver's warm start is part of the state
        # The observation leaves out the x position, which no force depends on.
        simulator.set_state(np.append(0.0, observation[:5]), observation[5:])
        total, length, terminated, truncated = 0.0, 0, False, False
        while not (terminated or truncated):
            np.testing.assert_allclose(seen[length][column], observation, rtol=0, atol=1e-9)
            observation, reward, terminated, truncated, _ = environment.step(linear_policy(observation))
            total, length = total + float(reward), length + 1
        environment.close()
        assert played.lengths[0, column] == length
        # A fall in the step of the time limit counts as truncated in envpool.
        assert played.terminated[0, column] == (terminated and not truncated)
        # envpool hands rewards over in float32.
        assert played.returns[0, column] == pytest.approx(total, rel=2e-7)


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_a_seed_does_not_depend_on_its_neighbours(backend):
    if backend == "envpool":
        pytest.importorskip("envpool")
    together = rollout(linear_policy, HOPPER, [4, 9, 2], 3, backend=backend, threads=3)
    alone = rollout(linear_policy, HOPPER, [9], 3, backend=backend, threads=1)
    np.testing.assert_array_equal(alone.returns[0], together.returns[1])
    np.testing.assert_array_equal(alone.lengths[0], together.lengths[1])
    np.testing.assert_array_equal(alone.environment_seeds[0], together.environment_seeds[1])
    assert len(np.unique(together.returns)) == 9


def test_every_evaluation_has_its_own_episodes_and_the_same_one_is_repeated():
    first = rollout(linear_policy, HOPPER, [0], 3)
    np.testing.assert_array_equal(first.returns, rollout(linear_policy, HOPPER, [0], 3).returns)
    assert not np.isin(
        rollout(linear_policy, HOPPER, [0], 3, evaluation_index=1).returns, first.returns
    ).any()
    # Asking for more episodes adds to the first ones.
    np.testing.assert_array_equal(rollout(linear_policy, HOPPER, [0], 5).returns[:, :3], first.returns)


def first_to_finish(seeds, count):
    """The tempting way: count episodes as they end, from environments that start anew."""
    environments = make_environments(toy(), seeds)
    environments.reset()
    lengths, running = [], np.zeros(len(seeds), int)
    resetting = np.zeros(len(seeds), bool)
    while len(lengths) < count:
        step = environments.step(np.zeros((len(seeds), 1), np.float32))
        running += ~resetting
        resetting = step.terminated
        lengths.extend(running[step.terminated].tolist())
        running[step.terminated] = 0
    environments.close()
    return np.array(lengths[:count], float)


def test_short_episodes_are_not_favoured():
    seeds, episodes, true_mean = [0, 1], 200, 4.0
    returns = rollout(stand, toy(), seeds, episodes).returns
    # Standard deviation of one length is √12: four standard errors of 400 episodes are 0.69.
    assert abs(returns.mean() - true_mean) < 0.69
    counted = first_to_finish(environment_seeds(0, Purpose.EVALUATION, 400), 400)
    assert counted.mean() < true_mean - 0.69


def test_each_environment_gives_its_first_episode_only():
    played = rollout(stand, toy(), [0], 50)
    for column, seed in enumerate(played.environment_seeds[0]):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(seed))))
        assert played.lengths[0, column] == next(n for n in range(1, 1000) if random.random() < 0.25)
    np.testing.assert_array_equal(played.returns, played.lengths)
    assert played.terminated.all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("after", [0, 30])
def test_a_diverged_seed_disturbs_no_other(poison, after, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    healthy = rollout(linear_policy, HOPPER, [0, 1, 2], 2)
    calls = 0

    def policy(observations):
        nonlocal calls
        assert np.isfinite(observations).all()
        actions = linear_policy(observations)
        if calls >= after:
            actions[1, 0, 2] = poison
        calls += 1
        return actions

    played = rollout(policy, HOPPER, [0, 1, 2], 2)
    np.testing.assert_array_equal(played.failed, [False, True, False])
    assert np.isnan(played.returns[1]).all()
    assert not played.terminated[1].any()
    assert (played.lengths[1] == after).all()
    for row in (0, 2):
        np.testing.assert_array_equal(played.returns[row], healthy.returns[row])
        np.testing.assert_array_equal(played.lengths[row], healthy.lengths[row])
    # MuJoCo complains on the terminal and in a file when a NaN gets through.
    assert capfd.readouterr().err == ""
    assert not list(tmp_path.iterdir())


def test_all_seeds_diverged_ends_at_once():
    played = rollout(lambda observations: linear_policy(observations) * np.nan, HOPPER, [0, 1], 2)
    assert played.failed.all()
    assert np.isnan(played.returns).all()


def test_a_nan_after_an_episode_is_over_is_no_failure():
    healthy = rollout(linear_policy, HOPPER, [0], 8)
    shortest = int(healthy.lengths.min())
    assert shortest < healthy.lengths.max()
    calls = 0

    def policy(observations):
        nonlocal calls
        actions = linear_policy(observations)
        if calls >= shortest:
            actions[0, healthy.lengths[0] == shortest] = np.nan
        calls += 1
        return actions

    played = rollout(policy, HOPPER, [0], 8)
    assert not played.failed.any()
    np.testing.assert_array_equal(played.returns, healthy.returns)


def test_a_seed_that_breaks_the_simulator_has_failed():
    def policy(observations):
        actions = stand(observations)
        actions[1] = 1.0
        return actions

    played = rollout(policy, toy(punished=True), [0, 1], 3)
    np.testing.assert_array_equal(played.failed, [False, True])
    np.testing.assert_array_equal(played.returns[0], played.lengths[0])
    assert np.isnan(played.returns[1]).all()


def test_actions_are_clipped_to_the_box():
    huge = rollout(lambda observations: 50 * np.sign(linear_policy(observations)), HOPPER, [0], 2)
    full = rollout(lambda observations: np.sign(linear_policy(observations)), HOPPER, [0], 2)
    np.testing.assert_array_equal(huge.returns, full.returns)


def test_an_episode_without_end_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_EPISODE", 50)
    with pytest.raises(UserError, match="did not end within 50 steps; give the environment a time limit"):
        rollout(stand, toy(endless=True), [0], 2)
    limited = EnvironmentSpec("CqlbenchGeometric-v0", 50, {"endless": True})
    np.testing.assert_array_equal(rollout(stand, limited, [0], 2).lengths, 50)


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_discrete_actions_are_played(backend):
    if backend == "envpool":
        pytest.importorskip("envpool")

    def balance(observations):
        """Seed 0 pushes under the pole; seed 1 always pushes to the right."""
        right = observations[..., 2] + observations[..., 3] > 0
        right[1] = True
        return np.eye(2, dtype=np.float32)[right.astype(int)]

    played = rollout(balance, EnvironmentSpec("CartPole-v1"), [0, 1], 5, backend=backend, discrete=True)
    assert (played.returns[0] > 150).all()
    assert (played.terminated[0] == (played.returns[0] < 500)).all()
    assert (played.returns[1] < 12).all()
    np.testing.assert_array_equal(played.returns, played.lengths)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="at least one of each"):
        rollout(stand, toy(), [], 2)
    with pytest.raises(ValueError, match="at least one of each"):
        rollout(stand, toy(), [0], 0)
    with pytest.raises(ValueError, match=r"actions \(2, 1\), and \(1, 2, 1\) are needed"):
        rollout(lambda observations: np.zeros((2, 1), np.float32), toy(), [0], 2)


def test_the_simulator_is_closed_when_the_policy_raises(monkeypatch):
    closed = []
    real = module.make_environments

    def watched(*arguments, **named):
        environments = real(*arguments, **named)
        monkeypatch.setattr(environments, "close", lambda: closed.append(True))
        return environments

    def policy(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "make_environments", watched)
    with pytest.raises(KeyboardInterrupt):
        rollout(policy, toy(), [0], 1)
    assert closed == [True]


def test_shapes_and_provenance():
    played = rollout(linear_policy, HOPPER, [0, 1], 3, backend="gymnasium")
    for array, dtype in (
        (played.returns, np.float64),
        (played.lengths, np.int64),
        (played.terminated, np.bool_),
        (played.environment_seeds, np.int64),
    ):
        assert array.shape == (2, 3)
        assert array.dtype == dtype
    assert played.failed.shape == (2,)
    assert played.environment["backend"] == "gymnasium"
    assert played.environment["max_episode_steps"] == "90"
