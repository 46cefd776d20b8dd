"""What a whole pool's failure costs; what single environments' costs is in `test_seed_collector.py`."""

import time

import numpy as np
import pytest
import torch

from cqlbench.engine.online.collector import SeedCollector
from cqlbench.engine.online.guard import DEFAULT_TIMEOUTS, EnvironmentGuard
from cqlbench.environments.make import EnvironmentSpec

HOPPER = EnvironmentSpec("Hopper-v4", 500)


@pytest.fixture
def pooled():
    pytest.importorskip("envpool")
    box = np.ones(3, np.float32)
    made = []

    def make(**arguments):
        made.append(
            SeedCollector(
                HOPPER,
                (0, 1),
                lambda observations, normals: torch.tanh(normals),
                -box,
                box,
                backend="envpool",
                **({"timeout": 5.0, "frames_per_batch": 10} | arguments),
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def fail_once(pool, method, at, fault):
    """Have the `at`-th call of `method` go through `fault(result)`."""
    original, calls = getattr(pool, method), []

    def failing(*arguments):
        calls.append(1)
        result = original(*arguments)
        return fault(result) if len(calls) == at else result

    setattr(pool, method, failing)


def upright(observation):
    rest = torch.tensor([1.25, *[0.0] * 10])
    return bool((observation - rest).abs().max() <= 5e-3)


def raising(_):
    raise RuntimeError


def hanging(result):
    time.sleep(0.4)
    return result


@pytest.mark.parametrize(("fault", "timeout"), [(raising, 0), (raising, 5.0), (hanging, 0.1)])
def test_a_pool_that_fails_is_made_anew_as_a_whole(pooled, fault, timeout):
    collector = pooled(timeout=timeout)
    pool = collector._guard.environments.pool
    fail_once(pool, "step", 4, fault)
    batch = collector.collect()
    assert collector._guard.environments.pool is not pool
    assert batch.ended.tolist() == [[False, False, True, *[False] * 7]] * 2
    for seed in range(2):
        assert [t for t in range(10) if upright(batch.observations[seed, t])] == [0, 3]
        following = batch.next_observations[seed, :-1] == batch.observations[seed, 1:]
        assert following.all(-1).tolist() == [True, True, False, *[True] * 6]
    assert collector.dropped_episodes == 2
    assert len(collector.incidents) == 1
    assert "of seeds 0, 1," in collector.incidents[0]
    assert "the rest of 2 episodes dropped" in collector.incidents[0]


def test_a_nan_in_a_pool_costs_one_episode_and_leaves_the_pool(pooled):
    def broken(result):
        observations = result[0].copy()
        observations[1] = np.nan
        return (observations, *result[1:])

    whole, collector = pooled(), pooled()
    pool = collector._guard.environments.pool
    fail_once(pool, "step", 4, broken)
    expected, batch = whole.collect(), collector.collect()
    assert collector._guard.environments.pool is pool
    assert torch.equal(batch.next_observations[0], expected.next_observations[0])
    assert batch.ended.tolist() == [[False] * 10, [False, False, True, *[False] * 7]]
    assert upright(batch.observations[1, 3])
    assert collector.dropped_episodes == 1


def test_a_pool_that_fails_in_one_seeds_reset_drops_the_others_episode_after_its_last_row(pooled):
    collector = pooled(frames_per_batch=40)
    pool = collector._guard.environments.pool
    fail_once(pool, "reset", 2, raising)  # the first began all episodes
    batch = collector.collect()
    assert collector.dropped_episodes == 1
    first = min(int(torch.argmax(ended.int())) for ended in batch.ended)
    assert batch.ended[:, first].all()  # one fell, the other's episode was lost
    assert batch.terminated[:, first].sum() == 1
    assert all(upright(observation) for observation in batch.observations[:, first + 1])


def test_new_environments_have_new_seeds_that_depend_on_nothing_else():
    guards = [EnvironmentGuard(HOPPER, seeds, 2, "gymnasium", 0) for seeds in ([3, 4], [4])]
    everywhere = [np.ones(len(guard.generations), np.bool_) for guard in guards]
    firsts = [
        guard.reset_some(where).step.observations for guard, where in zip(guards, everywhere, strict=True)
    ]
    np.testing.assert_array_equal(firsts[0][2:], firsts[1])
    guards[0].replace(np.array([False, False, True, False]))
    guards[1].replace(np.array([True, False]))
    seconds = [
        guard.reset_some(where).step.observations for guard, where in zip(guards, everywhere, strict=True)
    ]
    np.testing.assert_array_equal(seconds[0][2:], seconds[1])
    drawn = np.concatenate([firsts[0], seconds[0]])
    assert len(np.unique(drawn, axis=0)) == 8
    for guard in guards:
        guard.close()


def test_threads_watch_by_default_where_something_may_wait():
    assert DEFAULT_TIMEOUTS["gymnasium"] > 0
    guard = EnvironmentGuard(HOPPER, [0], 1, "gymnasium", None)
    assert guard._worker is not None
    guard.close()
