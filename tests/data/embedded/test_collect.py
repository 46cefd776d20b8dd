import dataclasses
import itertools
from types import SimpleNamespace

import gymnasium
import msgspec
import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.core.seeding import Purpose, environment_seeds, numpy_generator
from cqlbench.data.embedded import collect as module
from cqlbench.data.embedded import policy
from cqlbench.data.embedded.collect import collect, collect_transitions, source_key
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.resolve import find_card
from cqlbench.environments.make import EnvironmentSpec, make_environments

HOPPER = EnvironmentSpec("Hopper-v4", 25)
BACKENDS = ("envpool", "gymnasium")


def make_policy(sizes=(11, 16, 6), seed=0):
    random = np.random.default_rng(seed)
    layers = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers[f"{layer}.weight"] = (random.normal(size=(inputs, outputs)) / 4).astype(np.float32)
        layers[f"{layer}.bias"] = np.zeros(outputs, np.float32)
    bound = np.ones(sizes[-1] // 2, np.float32)
    return BehaviourPolicy.from_arrays(layers, -bound, bound)


POLICY = make_policy()


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "envpool":
        pytest.importorskip("envpool")
    return request.param


def assert_same(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def stream_bounds(rows, streams):
    return [rows * stream // streams for stream in range(streams + 1)]


def test_the_timeline_holds(backend):
    data = collect_transitions(POLICY, HOPPER, 503, 0, environments=4, backend=backend)
    assert len(data) == 503
    ends = data.episode_ends
    within = np.setdiff1d(np.arange(503), ends)
    np.testing.assert_array_equal(data.observations[within + 1], data.next_observations[within])
    assert not (data.terminated | data.truncated)[within].any()
    # Only the last episode of a stream may have been cut by the end of the recording.
    cut = ends[~(data.terminated | data.truncated)[ends]]
    assert set(cut) <= {bound - 1 for bound in stream_bounds(503, 4)[1:]}
    assert data.terminated.any()
    assert data.truncated.any()
    # An end is the state really reached, not the next episode's first state.
    upright = np.array([1.25, *[0.0] * 10])
    assert (np.abs(data.observations[data.episode_starts] - upright) <= 5.001e-3).all()
    assert (np.abs(data.next_observations[ends] - upright).max(axis=1) > 5.001e-3).all()
    fallen = data.next_observations[data.terminated]
    assert ((fallen[:, 0] <= 0.7) | (np.abs(fallen[:, 1]) >= 0.2)).all()
    assert (data.episode_lengths[data.truncated[ends]] == 25).all()
    assert (data.rewards != 0.0).all()  # a step that only resets has reward 0


def test_rows_equal_a_loop_by_hand():
    data = collect_transitions(POLICY, HOPPER, 240, 3, environments=3, backend="gymnasium")
    bounds = stream_bounds(240, 3)
    seeds = environment_seeds(3, Purpose.ENVIRONMENT, 3, module._STREAM)
    for stream in range(3):
        noise = numpy_generator(3, Purpose.NOISE, module._STREAM, stream)
        with pytest.warns(DeprecationWarning, match="out of date"):
            environment = gymnasium.make("Hopper-v4", max_episode_steps=25)
        observation, _ = environment.reset(seed=seeds[stream])
        new_episode = True
        for row in range(bounds[stream], bounds[stream + 1]):
            action = POLICY.sample(observation[None], noise.standard_normal((1, 3)))[0]
            following, reward, terminated, truncated, _ = environment.step(action)
            np.testing.assert_array_equal(data.observations[row], observation.astype(np.float32))
            np.testing.assert_array_equal(data.actions[row], action)
            assert data.rewards[row] == np.float32(reward)
            np.testing.assert_array_equal(data.next_observations[row], following.astype(np.float32))
            assert (data.terminated[row], data.truncated[row]) == (terminated, truncated)
            assert (row in data.episode_starts) == new_episode
            observation, new_episode = following, terminated or truncated
            if new_episode:
                observation, _ = environment.reset()
                noise.standard_normal((1, 3))  # the step that only resets has used one
        environment.close()


def test_same_seed_same_bits_whatever_the_threads(backend):
    first = collect_transitions(POLICY, HOPPER, 700, 5, environments=7, backend=backend, threads=1)
    assert_same(
        first, collect_transitions(POLICY, HOPPER, 700, 5, environments=7, backend=backend, threads=3)
    )
    other = collect_transitions(POLICY, HOPPER, 700, 6, environments=7, backend=backend)
    assert not np.isin(other.observations[:, 1], first.observations[:, 1]).any()


def test_a_stream_does_not_depend_on_the_others():
    few = collect_transitions(POLICY, HOPPER, 100, 0, environments=2)
    many = collect_transitions(POLICY, HOPPER, 250, 0, environments=5)
    np.testing.assert_array_equal(few.actions, many.actions[:100])
    np.testing.assert_array_equal(few.next_observations, many.next_observations[:100])


def test_more_rows_begin_with_the_fewer(monkeypatch):
    fewer = collect_transitions(POLICY, HOPPER, 40, 0, environments=1)
    more = collect_transitions(POLICY, HOPPER, 150, 0, environments=1)
    np.testing.assert_array_equal(fewer.observations, more.observations[:40])
    # How many random numbers are drawn at once is no part of the content.
    monkeypatch.setattr(module, "_NOISE_CHUNK", 7)
    assert_same(more, collect_transitions(POLICY, HOPPER, 150, 0, environments=1))


def test_noise_has_the_policy_s_distribution():
    # Zero weights: mean 0 and standard deviation 1 before the tanh, whatever the observation.
    flat = BehaviourPolicy.from_arrays(
        {"0.weight": np.zeros((11, 6), np.float32), "0.bias": np.zeros(6, np.float32)},
        -np.ones(3, np.float32),
        np.ones(3, np.float32),
    )
    data = collect_transitions(flat, HOPPER, 4000, 0)
    normals = np.arctanh(data.actions.astype(np.float64))
    assert np.abs(normals.mean(axis=0)).max() < 4 / np.sqrt(4000)
    assert np.abs(normals.var(axis=0) - 1).max() < 4 * np.sqrt(2 / 4000)
    assert np.abs(np.corrcoef(normals, rowvar=False) - np.eye(3)).max() < 4 / np.sqrt(4000)
    assert abs((normals[1:] * normals[:-1]).mean()) < 4 / np.sqrt(3 * 4000)


@pytest.mark.parametrize(("rows", "environments"), [(1, 40), (7, 3), (3, 3), (5, 40)])
def test_any_number_of_rows(rows, environments):
    data = collect_transitions(POLICY, HOPPER, rows, 0, environments=environments)
    assert len(data) == rows
    assert data.episode_starts[0] == 0
    assert len(data.episode_starts) == min(rows, environments)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(DatasetError, match="0 rows from 40 environments"):
        collect_transitions(POLICY, HOPPER, 0, 0)
    with pytest.raises(DatasetError, match="5 rows from 0 environments"):
        collect_transitions(POLICY, HOPPER, 5, 0, environments=0)
    with pytest.raises(DatasetError, match=r"does not fit 'Walker2d-v4' \(17 observations"):
        collect_transitions(POLICY, EnvironmentSpec("Walker2d-v4"), 5, 0)


class Exploding(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (11,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(11), {}

    def step(self, action):
        return np.zeros(11), np.nan, False, False, {}


def test_a_simulator_that_breaks_is_refused():
    gymnasium.register("CqlbenchExploding-v0", Exploding)
    try:
        with pytest.raises(DatasetError, match="not finite"):
            collect_transitions(POLICY, EnvironmentSpec("CqlbenchExploding-v0"), 5, 0)
    finally:
        gymnasium.registry.pop("CqlbenchExploding-v0")


@pytest.fixture
def card(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "policies_dir", lambda: tmp_path)
    POLICY.save(tmp_path / "toy-v0.npz")
    return SimpleNamespace(
        id="embedded/toy-v0",
        environment=HOPPER,
        policies=("toy-v0",),
        maze_play=False,
        rows=60,
        collection_seed=2,
    )


def test_a_card_is_collected(card):
    assert_same(collect(card), collect_transitions(POLICY, HOPPER, 60, 2))


def test_several_policies_share_the_rows(card, tmp_path):
    other = make_policy(seed=1)
    other.save(tmp_path / "other-v0.npz")
    alone = source_key(card)
    card.policies, card.rows = ("toy-v0", "other-v0"), 61
    both = collect(card)
    first = collect_transitions(POLICY, HOPPER, 30, 2)
    second = collect_transitions(other, HOPPER, 31, 3)
    for name in ("observations", "actions", "rewards", "next_observations", "terminated", "truncated"):
        joined = np.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_array_equal(getattr(both, name), joined)
    starts = [*first.episode_starts, *(30 + second.episode_starts)]
    np.testing.assert_array_equal(both.episode_starts, starts)
    assert source_key(card) != alone


def test_progress_counts_rows(card, capsys):
    collect(card)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "collecting embedded/toy-v0: 40/60 rows",
        "collecting embedded/toy-v0: 60/60 rows",
    ]


@pytest.mark.parametrize("fact", ["environment", "policies", "rows", "collection_seed"])
def test_a_card_without_a_fact_is_refused(card, fact):
    setattr(card, fact, () if fact == "policies" else None)
    with pytest.raises(DatasetError, match=f"'embedded/toy-v0' cannot be collected: it lacks .*{fact}"):
        collect(card)
    with pytest.raises(DatasetError, match=f"lacks .*{fact}"):
        source_key(card)


def test_source_key_covers_what_the_content_depends_on(card, tmp_path, monkeypatch):
    key = source_key(card)
    assert len(key) == 64
    assert source_key(card) == key
    keys = [key]
    for fact, value in {
        "rows": 61,
        "collection_seed": 3,
        "environment": EnvironmentSpec("Hopper-v4", 26),
    }.items():
        changed = SimpleNamespace(**{**vars(card), fact: value})
        keys.append(source_key(changed))
    with monkeypatch.context() as patch:
        patch.setattr(module, "COLLECTOR_VERSION", 2)
        keys.append(source_key(card))
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "0.0.0")
        keys.append(source_key(card))
    make_policy(seed=1).save(tmp_path / "toy-v0.npz")
    keys.append(source_key(card))
    assert len(set(keys)) == len(keys) == 7
    (tmp_path / "toy-v0.npz").unlink()
    with pytest.raises(DatasetError, match=r"cannot be read.*toy-v0\.npz"):
        source_key(card)


def test_an_interruption_closes_the_simulator(card, monkeypatch):
    closed = []
    real = make_environments

    def watched(*arguments):
        environments = real(*arguments)
        close = environments.close
        monkeypatch.setattr(environments, "close", lambda: (closed.append(True), close()))

        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(environments, "step", interrupted)
        return environments

    monkeypatch.setattr(module, "make_environments", watched)
    with pytest.raises(KeyboardInterrupt):
        collect(card)
    assert closed == [True]


def test_a_maze_is_played_until_its_goal():
    card = msgspec.structs.replace(find_card("embedded/pointmaze-umaze-v0"), rows=4_000)
    data = collect(card)
    np.testing.assert_array_equal(data.rewards, data.terminated)
    near = np.linalg.norm(data.next_observations[:, :2] - [1, 1], axis=1)
    margin = np.abs(near - 0.5) > 1e-5  # of float32
    np.testing.assert_array_equal(data.terminated[margin], (near <= 0.5)[margin])
    lengths = np.diff([*data.episode_starts, len(data)])
    assert lengths.max() == 60
    ends = data.episode_ends
    assert 0.2 < data.terminated[ends].mean() < 0.8
    assert_same(data, collect(card))
    other = msgspec.structs.replace(card, maze_play=False, policies=("hopper-medium-v0",))
    assert source_key(card) != source_key(other)
