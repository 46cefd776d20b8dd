"""Collection is timed beside envpool's own loop, frame for frame."""

import dataclasses
import json
from contextlib import closing

import numpy as np
import pytest
import torch
from speed import collection

from cqlbench.core.errors import ConfigError
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.environments.make import EnvironmentSpec

CPU = torch.device("cpu")


def test_rates_are_of_frames_and_the_ratio_is_theirs(monkeypatch) -> None:
    pytest.importorskip("envpool")
    monkeypatch.setattr(collection, "_FRAMES", 30)
    rate = collection.measure_collection(CPU, rounds=2)
    assert rate is not None
    seconds = {name: timing.median for name, timing in rate.seconds.items()}
    assert rate.over_raw == pytest.approx(seconds["raw"] / seconds["ours"])
    assert rate.frames_per_second == pytest.approx(rate.seeds / seconds["ours"])
    assert rate.policy_share == pytest.approx(seconds["policy"] / seconds["ours"])
    assert 0 < rate.policy_share < 1
    assert rate.policy == "hopper-medium-v0"
    assert 0 <= rate.reset_share < 0.01  # it goes on for hundreds of steps
    assert f"{rate.over_raw:.0%} of envpool's" in str(rate)
    assert json.loads(json.dumps(dataclasses.asdict(rate)))["seconds"]["raw"]["median"] == seconds["raw"]


def test_known_actions_lead_through_the_collectors_episodes() -> None:
    pytest.importorskip("envpool")
    spec, frames = EnvironmentSpec("Hopper-v4"), 1_500
    engine = collection.played_by(BehaviourPolicy.load("hopper-medium-v0"), 3, CPU)
    with closing(collection.make_collector(spec, engine, frames)) as collector:
        collected = collector.collect()
        raw = collection.RawPool(spec, collector.environment_seeds, collected)
    rewards = np.full((3, frames), np.nan)
    places, parts, ended = np.zeros(3, int), [], np.zeros(3, bool)
    for _ in range(frames):
        parts.append(raw.play(1))
        for seed in np.flatnonzero(~ended):  # after an episode's last step comes a reset
            rewards[seed, places[seed]] = raw.rewards[seed]
            places[seed] += 1
        ended = raw.ended
    with pytest.raises(IndexError):
        raw.play(1)
    raw.close()
    assert all(places < frames), "episodes ended"
    for seed, place in enumerate(places):
        assert np.array_equal(rewards[seed, :place].astype(np.float32), collected.rewards[seed, :place])
    assert raw.useful == places.sum()
    assert raw.useful / raw.played == pytest.approx(np.mean(parts))


def test_the_policy_plays_as_it_does_by_itself() -> None:
    policy = BehaviourPolicy.load("hopper-medium-v0")
    engine = collection.played_by(policy, 2, CPU)
    generator = np.random.default_rng(0)
    observations, normals = generator.normal(size=(5, 11)), generator.normal(size=(5, 3))
    seen = torch.from_numpy(observations).expand(2, 5, 11)
    noise = torch.from_numpy(normals).float().expand(2, 5, 3)
    ours = engine.sample_actions(seen, noise).numpy()
    theirs = policy.sample(observations, normals)
    assert ours == pytest.approx(np.broadcast_to(theirs, ours.shape), abs=1e-5)


def test_a_policy_of_another_task_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="of 17 observations and 6 actions, but Hopper"):
        collection.played_by(BehaviourPolicy.load("halfcheetah-medium-v0"), 2, CPU)


def test_only_frames_count() -> None:
    # Of a turn's steps, a quarter were no frames: a frame took a third longer than a step.
    now = iter([0.0, 6.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection.time, "perf_counter", lambda: next(now))
        seconds = collection._contestant(lambda: 0.75)(2)
    assert seconds / 2 == pytest.approx(3.0 / collection._FRAMES * 4 / 3)


def test_without_envpool_it_is_left_out(monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.environments.make._envpool_has", lambda spec: False)
    assert collection.measure_collection(CPU, rounds=1) is None
