"""Stepping on from a saved state is bit by bit what stepping on without it is, over episode ends too."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from cqlbench.core.errors import UserError
from cqlbench.environments.make import EnvironmentSpec, make_environments

SPECS = [
    EnvironmentSpec("Hopper-v4"),
    EnvironmentSpec("Walker2d-v4"),
    EnvironmentSpec("HalfCheetah-v4", 150),
    EnvironmentSpec("Ant-v4", 120, {"use_contact_forces": True}),
    EnvironmentSpec("Humanoid-v4", 120),
    EnvironmentSpec("Pusher-v5", 70),
    EnvironmentSpec("Pendulum-v1"),
    EnvironmentSpec("CartPole-v1"),
    EnvironmentSpec("Acrobot-v1", 90),
    EnvironmentSpec("cqlbench/maze2d-umaze-v1", 110, module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/pen-v0", module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/hammer-v0", 60, module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/door-v0", 60, module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/relocate-v0", 60, module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/kitchen-mixed-v0", 60, module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/antmaze-umaze-v0", 60, module="cqlbench.environments.d4rl"),
    EnvironmentSpec("cqlbench/antmaze-umaze-v2", 60, module="cqlbench.environments.d4rl"),
]
DISCRETE = {"CartPole-v1", "Acrobot-v1"}
BEFORE, AFTER = 70, 150


ROBOTICS = ("pen", "hammer", "door", "relocate", "kitchen")
"""Tasks of the extra `robotics`."""


def made(spec, seeds=(3, 4)):
    return make_environments(spec, seeds, "gymnasium", discrete=spec.id in DISCRETE)


def actions(environments, first, count):
    size = len(environments.action_low)
    low, high = environments.action_low, environments.action_high
    for t in range(first, first + count):
        yield np.random.default_rng(t).uniform(low, high, (2, size)).astype(np.float32)


def play(environments, first, count):
    """Everything that steps return, as bytes, and how many episodes ended."""
    seen, ends = [], 0
    for each in actions(environments, first, count):
        step = environments.step(each)
        ended = step.terminated | step.truncated
        seen += [step.observations.tobytes(), step.rewards.tobytes(), step.terminated.tobytes()]
        if ended.any():
            ends += int(ended.sum())
            seen.append(environments.reset_some(ended)[ended].tobytes())
    return seen, ends


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_going_on_from_a_state_is_not_having_stopped(spec):
    if spec.id.removeprefix("cqlbench/").startswith(ROBOTICS):
        pytest.importorskip("gymnasium_robotics")
    whole = made(spec)
    whole.reset()
    play(whole, 0, BEFORE)
    state = json.loads(json.dumps(whole.state()))
    expected, ends = play(whole, BEFORE, AFTER)
    assert ends > 1
    whole.close()
    resumed = made(spec, (5, 6))
    resumed.set_state(state)
    assert json.loads(json.dumps(resumed.state())) == state
    assert play(resumed, BEFORE, AFTER) == (expected, ends)
    # And where the environments have a past of their own.
    resumed.set_state(state)
    assert play(resumed, BEFORE, AFTER) == (expected, ends)
    resumed.close()


IN_A_NEW_PROCESS = """
import hashlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from test_simulator_state import AFTER, BEFORE, SPECS, made, play

for spec, state in zip(SPECS[:4], json.load(sys.stdin)):
    environments = made(spec)
    environments.set_state(state)
    print(hashlib.sha256(b"".join(play(environments, BEFORE, AFTER)[0])).hexdigest())
"""


def test_going_on_in_a_new_process():
    import hashlib
    from pathlib import Path

    states, expected = [], []
    for spec in SPECS[:4]:
        environments = made(spec)
        environments.reset()
        play(environments, 0, BEFORE)
        states.append(environments.state())
        expected.append(hashlib.sha256(b"".join(play(environments, BEFORE, AFTER)[0])).hexdigest())
        environments.close()
    here = Path(__file__).parent
    finished = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, json.dumps([str(here), str(here.parents[1])])],
        input=json.dumps(states),
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split() == expected


def test_a_state_taken_just_after_an_end_is_reset_by_the_next_step():
    spec = EnvironmentSpec("Hopper-v4", 5)
    whole = made(spec)
    whole.reset()
    for each in actions(whole, 0, 5):
        step = whole.step(each)
    assert step.truncated.all()
    resumed = made(spec)
    resumed.set_state(whole.state())
    for each in actions(whole, 5, 15):
        ours, theirs = resumed.step(each), whole.step(each)
        assert ours.observations.tobytes() == theirs.observations.tobytes()


class Stateful(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}


def test_no_state_is_better_than_half_of_one():
    gymnasium.register("CqlbenchStateful-v0", Stateful)
    try:
        environments = make_environments(EnvironmentSpec("CqlbenchStateful-v0"), [0], "gymnasium")
        environments.reset()
        assert environments.state() is None
    finally:
        gymnasium.registry.pop("CqlbenchStateful-v0")
    pytest.importorskip("envpool")
    pool = make_environments(EnvironmentSpec("Hopper-v4"), [0], "envpool")
    pool.reset()
    assert pool.state() is None
    with pytest.raises(UserError, match="envpool cannot set states"):
        pool.set_state([])
    pool.close()


def test_a_state_of_something_else_is_one_sentence():
    hopper, walker, pendulum = (
        made(EnvironmentSpec(name)) for name in ("Hopper-v4", "Walker2d-v4", "Pendulum-v1")
    )
    for each in (hopper, walker, pendulum):
        each.reset()
    for foreign in (walker.state(), pendulum.state(), hopper.state()[:1], [1, 2], [[False, {}]] * 2):
        with pytest.raises(UserError, match="This state is not one of 2 environments 'Hopper-v4'"):
            hopper.set_state(foreign)
