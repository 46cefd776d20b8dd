"""What holds for every task of the table."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from cqlbench.environments import d4rl
from cqlbench.environments.make import EnvironmentSpec, make_environments
from cqlbench.environments.simulator_state import get_state

pytestmark = pytest.mark.filterwarnings("ignore:.*(is out of date|is probably too|reward functions were)")

BACKENDS = {
    name: ("gymnasium", "envpool") if "envpool" in task else ("gymnasium",)
    for name, task in d4rl.TASKS.items()
}


@pytest.fixture(params=d4rl.TASKS)
def task(request):
    if needed := d4rl.TASKS[request.param].get("needs"):
        pytest.importorskip(needed)
    return request.param


def test_gymnasium_finds_nothing_wrong(task):
    check_env(gymnasium.make(task).unwrapped, skip_render_check=True)


def played(task, backend, seeds, steps=12, limit=5):
    """Of each seed, everything that was returned."""
    environments = make_environments(EnvironmentSpec(task, limit, module=d4rl.__name__), seeds, backend)
    size = len(environments.action_low)
    noise = [np.random.default_rng(seed).uniform(-1, 1, (steps, size)) for seed in seeds]
    first = environments.reset()
    taken = [
        environments.step(np.stack([each[t] for each in noise]).astype(np.float32)) for t in range(steps)
    ]
    environments.close()
    return {
        seed: [
            first[n].tobytes(),
            *((s.observations[n].tobytes(), s.rewards[n], s.terminated[n], s.truncated[n]) for s in taken),
        ]
        for n, seed in enumerate(seeds)
    }


def test_a_seed_gives_the_same_episodes(task):
    for backend in BACKENDS[task]:
        pytest.importorskip(backend)
        once, again = played(task, backend, (3, 4)), played(task, backend, (4, 5, 3))
        assert once == {seed: again[seed] for seed in (3, 4)}
        assert len({episodes[0] for episodes in again.values()}) == 3
        assert any(step[3] for step in once[3][1:])


def test_its_state_can_be_saved(task):
    env = gymnasium.make(task, disable_env_checker=True)
    env.reset(seed=0)
    assert get_state(env) is not None
