"""Every row is a transition that happened, whatever the environments do; a seed's rows are its own."""

import json
import re
import time
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch

from cqlbench.algorithms.networks import DiscreteActions
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.engine.online.collector import Collected, SeedCollector, collector_of
from cqlbench.environments.make import EnvironmentSpec

BACKENDS = ("envpool", "gymnasium")
HOPPER = EnvironmentSpec("Hopper-v4", 25)


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "envpool":
        pytest.importorskip("envpool")
    return request.param


def act(observations, normals):
    """A policy that depends on what it sees."""
    return torch.tanh(normals + observations[..., : normals.shape[-1]])


def hopper(*seeds, spec=HOPPER, **arguments):
    box = np.ones(3, np.float32)
    return SeedCollector(spec, seeds, act, -box, box, **arguments)


def test_beside_a_pools_threads_the_policy_acts_on_one(backend):
    before, seen = torch.get_num_threads(), []

    def counting(observations, normals):
        seen.append(torch.get_num_threads())
        if len(seen) > 2:
            raise ZeroDivisionError
        return act(observations, normals)

    torch.set_num_threads(before + 1)
    box = np.ones(3, np.float32)
    collector = SeedCollector(HOPPER, (0, 1), counting, -box, box, backend=backend)
    try:
        collector.collect()
        collector.collect()
        with pytest.raises(ZeroDivisionError):
            collector.collect()
        assert seen == [1 if backend == "envpool" else before + 1] * 3
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
        collector.close()


def rows(batches, environments):
    """Each column of all batches, `[S, E, T, …]`."""
    return {
        name: torch.cat(
            [getattr(batch, name).unflatten(1, (-1, environments)).transpose(1, 2) for batch in batches],
            dim=2,
        ).numpy()
        for name in Collected.__dataclass_fields__
        if name != "broken_before"
    }


def collected(collector, batches, environments=1):
    return rows([collector.collect() for _ in range(batches)], environments)


def assert_same(one, other):
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_rows_are_those_of_stepping_gymnasium_by_hand():
    collector = hopper(7, 8, environments=2, frames_per_batch=8, random_frames=12, backend="gymnasium")
    got = collected(collector, 20, 2)
    collector.close()
    lengths = {seed: [] for seed in (7, 8)}
    for s, seed in enumerate((7, 8)):
        for e, environment_seed in enumerate(environment_seeds(seed, Purpose.COLLECTION, 2, 2, 0)):
            environment = gymnasium.make("Hopper-v4", max_episode_steps=25)
            before, _ = environment.reset(seed=environment_seed)
            begun = 0
            for t in range(80):
                action = got["actions"][s, e, t]
                after, reward, terminated, truncated, _ = environment.step(action)
                np.testing.assert_array_equal(got["observations"][s, e, t], before.astype(np.float32))
                np.testing.assert_array_equal(got["next_observations"][s, e, t], after.astype(np.float32))
                assert got["rewards"][s, e, t] == np.float32(reward)
                assert got["terminated"][s, e, t] == terminated
                assert got["ended"][s, e, t] == (terminated or truncated)
                before = after
                if terminated or truncated:
                    lengths[seed].append(t + 1 - begun)
                    begun = t + 1
                    before, _ = environment.reset()
            environment.close()
    assert got["terminated"].any()
    assert (got["ended"] & ~got["terminated"]).any()
    for seed in (7, 8):
        assert sorted(each.length for each in collector.episodes if each.seed == seed) == sorted(
            lengths[seed]
        )


def test_actions_are_uniform_first_and_then_the_policys(backend):
    collector = hopper(1, random_frames=300, frames_per_batch=300, backend=backend)
    uniform = collector.collect().actions
    assert abs(float(uniform.mean())) < 0.1
    assert float(uniform.std()) == pytest.approx((1 / 3) ** 0.5, abs=0.03)
    sampled = collector.collect()
    collector.close()
    normals = torch.atanh(sampled.actions.double()) - sampled.observations[..., :3]
    clear = sampled.actions.abs() < 0.999
    assert float(normals[clear].mean()) == pytest.approx(0, abs=0.15)
    assert clear.any()


def test_episodes_sum_the_rows_up(backend):
    collector = hopper(3, 4, frames_per_batch=100, backend=backend)
    got = collected(collector, 2)
    collector.close()
    for s, seed in enumerate((3, 4)):
        ends = np.flatnonzero(got["ended"][s, 0]) + 1
        episodes = [each for each in collector.episodes if each.seed == seed]
        assert [each.frame for each in episodes] == ends.tolist()
        assert [each.length for each in episodes] == np.diff(ends, prepend=0).tolist()
        sums = [part.sum() for part in np.split(got["rewards"][s, 0], ends)[:-1]]
        np.testing.assert_allclose([each.episode_return for each in episodes], sums, rtol=1e-5)


def test_a_seed_in_a_batch_is_the_seed_alone(backend):
    together, alone = (
        hopper(1, 2, 3, environments=2, backend=backend),
        hopper(2, environments=2, backend=backend),
    )
    many, one = collected(together, 60, 2), collected(alone, 60, 2)
    for each in (together, alone):
        each.close()
    assert_same({name: column[1:2] for name, column in many.items()}, one)
    assert not np.array_equal(many["observations"][0], many["observations"][1])
    assert not np.array_equal(many["observations"][0, 0], many["observations"][0, 1])


def test_how_frames_are_batched_changes_nothing(backend):
    short, long = (hopper(5, environments=2, frames_per_batch=n, backend=backend) for n in (2, 60))
    assert_same(collected(short, 60, 2), collected(long, 2, 2))
    for each in (short, long):
        each.close()


def test_envpool_and_gymnasium_lay_rows_out_alike():
    pytest.importorskip("envpool")
    for backend in BACKENDS:
        collector = hopper(5, 6, environments=2, frames_per_batch=100, backend=backend)
        batch = collector.collect()
        collector.close()
        got = rows([batch], 2)
        # Within each track, an observation is the one reached before, unless an episode has begun.
        follows = np.all(got["observations"][:, :, 1:] == got["next_observations"][:, :, :-1], axis=-1)
        np.testing.assert_array_equal(follows, ~got["ended"][:, :, :-1])
        assert [batch.observations.shape, batch.actions.shape] == [(2, 100, 11), (2, 100, 3)]
        assert batch.rewards.shape == batch.terminated.shape == batch.ended.shape == (2, 100)
        assert batch.observations.dtype == batch.rewards.dtype == torch.float32
        assert batch.terminated.dtype == batch.ended.dtype == batch.broken_before.dtype == torch.bool
        assert batch.broken_before.shape == (2, 2)


def test_a_batch_is_not_overwritten_by_the_next(backend):
    collector = hopper(1, frames_per_batch=5, backend=backend)
    first = collector.collect()
    copies = [column.clone() for column in vars(first).values()]
    collector.collect()
    collector.close()
    assert all(map(torch.equal, copies, vars(first).values()))


@pytest.mark.parametrize(
    "spec", [HOPPER, EnvironmentSpec("Ant-v4", 40, {"use_contact_forces": True})], ids=lambda spec: spec.id
)
def test_going_on_from_a_state_is_not_having_stopped(spec):
    size = 3 if spec is HOPPER else 8
    box = np.ones(size, np.float32)

    def made():
        return SeedCollector(
            spec, (1, 2), act, -box, box, environments=2, random_frames=40, backend="gymnasium"
        )

    whole = made()
    collected(whole, 33, 2)
    state = json.loads(json.dumps(whole.state_dict()))
    expected = collected(whole, 60, 2)
    resumed = made()
    resumed.load_state_dict(state)
    assert_same(collected(resumed, 60, 2), expected)
    assert resumed.state_dict() == whole.state_dict()
    assert (resumed.frames, resumed.dropped_episodes, resumed.incidents) == (186, 0, ())
    assert resumed.episodes == whole.episodes


def test_without_states_of_simulators_new_episodes_begin():
    pytest.importorskip("envpool")
    whole, resumed = hopper(1, 2, backend="envpool"), hopper(1, 2, backend="envpool")
    got = collected(whole, 10)
    in_flight = ~got["ended"][:, 0, -1]
    assert in_flight.any()
    state = json.loads(json.dumps(whole.state_dict()))
    assert state["simulators"] is None
    resumed.load_state_dict(state)
    assert resumed.dropped_episodes == 0, "they are dropped when there is more to collect"
    again = hopper(1, 2, backend="envpool")
    again.load_state_dict(resumed.state_dict())
    for collector in (resumed, again):
        batch = collector.collect()
        assert collector.dropped_episodes == in_flight.sum()
        assert "simulators" in collector.incidents[0]
        np.testing.assert_array_equal(batch.broken_before[:, 0].numpy(), in_flight)
        assert not collector.collect().broken_before.any()
        assert float((batch.observations[:, 0] - whole.collect().observations[:, 0]).abs().max()) > 1e-3
        first = torch.tensor([1.25, *[0.0] * 10])
        assert float((batch.observations[:, 0] - first).abs().max()) <= 5e-3
        assert collector.frames == 12
        collector.close()
    whole.close()


def test_a_state_from_before_the_first_frame(backend):
    fresh, loaded = hopper(1, backend=backend), hopper(1, backend=backend)
    loaded.load_state_dict(json.loads(json.dumps(fresh.state_dict())))
    assert_same(collected(fresh, 5), collected(loaded, 5))
    assert loaded.incidents == ()


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [1, 3]},
        {"environments": 2},
        {"environment": "Ant-v4"},
        {"observations": ["<f4", [7], ""]},
        {"lengths": [1, 2, 3]},
        {"simulators": [[False, {}]] * 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_foreign_state_is_refused(change):
    collector = hopper(1, 2, backend="gymnasium")
    collector.collect()
    with pytest.raises(UserError, match="state"):
        collector.load_state_dict(collector.state_dict() | change)


class Faulty(gymnasium.Env):
    """Counts steps; what goes wrong in which step of which life of which environment is in `plan`."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,))
    plan: ClassVar[dict] = {}
    made: ClassVar[list] = []

    def __init__(self):
        self.life = len(Faulty.made)
        Faulty.made.append(self)
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        self.fail("reset")
        return np.array([self.life, 0.0]), {}

    def step(self, action):
        self.steps += 1
        value = self.fail(self.steps)
        reward = value if Faulty.plan.get("what") == "reward" else 1.0
        seen = value if Faulty.plan.get("what") == "observation" else 0.0
        return np.array([self.life, self.steps + seen]), 1.0 * reward, False, False, {}

    def fail(self, when):
        what = Faulty.plan.get((self.life, when)) or Faulty.plan.get(("all", when))
        if what == "raise":
            raise RuntimeError("the motor burnt out.\nmore")
        if what == "hang":
            time.sleep(0.3)
        if isinstance(what, float):
            return what
        return 1.0 if Faulty.plan.get("what") == "reward" else 0.0


@pytest.fixture
def faulty():
    gymnasium.register("CqlbenchFaulty-v0", Faulty, max_episode_steps=8)

    def make(plan, seeds=(0, 1), **arguments):
        Faulty.plan, Faulty.made = plan, []
        return SeedCollector(
            EnvironmentSpec("CqlbenchFaulty-v0"),
            seeds,
            lambda observations, normals: torch.zeros_like(normals),
            -np.ones(1, np.float32),
            np.ones(1, np.float32),
            **({"timeout": 0.1, "frames_per_batch": 4} | arguments),
        )

    yield make
    gymnasium.registry.pop("CqlbenchFaulty-v0")


FAULTS = {
    "raise": ({(0, 3): "raise"}, "the motor burnt out"),
    "hang": ({(0, 3): "hang"}, "0.1 s"),
    "nan": ({(0, 3): np.nan, "what": "observation"}, "NaN"),
    "infinite": ({(0, 3): np.inf, "what": "reward"}, "infinity"),
    "too large": ({(0, 3): 1e39, "what": "observation"}, "infinity"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("frames_per_batch", [1, 2, 12])
def test_a_failure_costs_the_rest_of_one_episode(faulty, fault, frames_per_batch):
    plan, reason = FAULTS[fault]
    collector = faulty(plan, frames_per_batch=frames_per_batch)
    batches = [collector.collect() for _ in range(12 // frames_per_batch)]
    got = rows(batches, 1)
    # Two steps in the first life, then a new one; the other seed knows nothing of it.
    assert got["observations"][0, 0].tolist() == [[0, 0], [0, 1], *[[2, t] for t in [*range(8), 0, 1]]]
    assert got["next_observations"][0, 0, :, 1].tolist() == [1, 2, *range(1, 9), 1, 2]
    assert got["observations"][1, 0].tolist() == [[1, t] for t in [*range(8), *range(4)]]
    broken = np.array([bool(batch.broken_before[0, 0]) for batch in batches])
    ended = got["ended"][0, 0].copy()
    ended[[frames_per_batch * b - 1 for b in np.flatnonzero(broken)]] = True
    assert np.flatnonzero(ended).tolist() == [1, 9]
    assert broken.sum() == (2 % frames_per_batch == 0)
    assert not any(batch.broken_before[1].any() for batch in batches)
    assert not got["terminated"].any()
    assert collector.dropped_episodes == 1
    (incident,) = collector.incidents
    assert incident.startswith("At frame 2 of seed 0, 'CqlbenchFaulty-v0' ")
    assert reason in incident
    assert [(each.seed, each.length) for each in collector.episodes] == [(1, 8), (0, 8)]
    assert np.isfinite(got["next_observations"]).all()
    collector.close()
    time.sleep(0.3 if fault == "hang" else 0)  # what hung wakes up, and finds nothing to write to
    assert collector.frames == 12


@pytest.mark.parametrize("what", ["raise", "hang", np.nan])
def test_a_failure_in_the_first_step_and_in_a_reset(faulty, what):
    plan = {(0, 1): what, (2, "reset"): "raise", (3, 2): what, "what": "observation"}
    collector = faulty(plan, frames_per_batch=12)
    got = rows([collector.collect()], 1)
    assert got["observations"][0, 0].tolist() == [[3, 0], *[[4, t] for t in [*range(8), *range(3)]]]
    assert np.flatnonzero(got["ended"][0, 0]).tolist() == [0, 8]
    assert collector.dropped_episodes == 1  # the others had no frame yet
    assert len(collector.incidents) == 3
    collector.close()


def test_a_reset_that_fails_after_an_end_ends_nothing_else(faulty):
    collector = faulty({}, frames_per_batch=12)
    Faulty.plan = {(0, "reset"): 0}
    first = collector.collect()  # the plan for the reset after the end must come when life 0 has begun
    collector.close()
    assert np.flatnonzero(first.ended[0].numpy()).tolist() == [7]

    fails = faulty({}, frames_per_batch=4)
    fails.collect()
    Faulty.plan = {(0, "reset"): "raise"}
    batch, later = fails.collect(), fails.collect()
    fails.close()
    assert np.flatnonzero(batch.ended[0].numpy()).tolist() == [3]
    assert fails.dropped_episodes == 0
    assert later.observations[0, 0].tolist() == [2, 0]
    assert not later.broken_before.any()


def test_two_fail_in_one_frame(faulty):
    plan = {(0, 3): "raise", (1, 3): "hang", (2, 3): np.nan, "what": "observation"}
    collector = faulty(plan, seeds=(5, 6, 7), frames_per_batch=4)
    batch = collector.collect()
    assert batch.observations[:, :, 0].tolist() == [[0, 0, 3, 3], [1, 1, 4, 4], [2, 2, 5, 5]]
    assert batch.ended.tolist() == [[False, True, False, False]] * 3
    assert [re.search(r"of seeds? ([\d, ]+)", each)[1] for each in collector.incidents] == [
        "5, ",
        "6, ",
        "7, ",
    ]
    collector.close()


@pytest.mark.parametrize("when", ["reset", 1])
@pytest.mark.parametrize("what", ["raise", "hang"])
def test_an_environment_that_always_fails_ends_collection(faulty, when, what):
    collector = faulty({("all", when): what}, seeds=(0,), timeout=0.02)
    with pytest.raises(UserError, match="CqlbenchFaulty-v0"):
        collector.collect()
    collector.close()


def test_one_that_fails_now_and_then_does_not(faulty):
    collector = faulty({("all", 2): "raise"}, frames_per_batch=6)
    batch = collector.collect()
    assert len(collector.incidents) == 2 * 5
    assert batch.ended.tolist() == [[True] * 5 + [False]] * 2
    collector.close()


def test_without_a_timeout_no_thread_is_made(faulty):
    import threading

    before = {thread.name for thread in threading.enumerate()}
    collector = faulty({(0, 3): "raise"}, timeout=0)
    collector.collect()
    assert not {thread.name for thread in threading.enumerate()} - before - {"MainThread"}
    assert len(collector.incidents) == 1


def test_a_diverged_policy_reaches_no_simulator(backend):
    box = np.ones(3, np.float32)

    def broken(observations, normals):
        actions = torch.full_like(normals, 0.5)
        actions[0] = np.nan
        actions[1, :, 0] = np.inf
        return actions

    collector = SeedCollector(HOPPER, (1, 2, 3), broken, -box, box, frames_per_batch=30, backend=backend)
    batch = collector.collect()
    collector.close()
    assert torch.isfinite(batch.next_observations).all()
    assert batch.actions[:, 0].tolist() == [[0, 0, 0], [1, 0.5, 0.5], [0.5, 0.5, 0.5]]
    assert collector.incidents == ()


def test_an_engine_of_discrete_actions_explores_by_no_policy(make_engine):
    with pytest.raises(ConfigError, match="Fine-tuning needs continuous actions"):
        collector_of(make_engine(0, actions=DiscreteActions(2)), EnvironmentSpec("CartPole-v1"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"environments": 0},
        {"environments": 2, "frames_per_batch": 5},
        {"frames_per_batch": 0},
        {"random_frames": -1},
        {"timeout": -1.0},
        {"timeout": float("nan")},
        {"observation_size": 17},
        {"backend": "brax"},
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UserError, match=next(reversed(arguments)).partition("_")[0]):
        hopper(1, **arguments)


@pytest.mark.parametrize(("size", "bound"), [(3, 2), (2, 1)])
def test_another_action_box_is_refused(size, bound):
    box = np.full(size, bound, np.float32)
    with pytest.raises(ConfigError, match="actions"):
        SeedCollector(HOPPER, (1,), act, -box, box)


def test_a_state_is_small_and_quickly_taken():
    collector = hopper(1, 2, 3, backend="gymnasium")
    collected(collector, 5)
    collector.episodes.clear()
    assert len(json.dumps(collector.state_dict())) < 10_000
    fastest = min(timed(lambda: json.dumps(collector.state_dict())) for _ in range(50))
    collector.close()
    assert fastest < 1e-3


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
