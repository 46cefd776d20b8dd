"""Collection is timed beside envpool's own loop, frame for frame."""

import dataclasses
import json

import pytest
import torch

from cqlbench.speed import collection

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
    assert 0 < rate.reset_share < 0.1  # an untrained policy falls within some 30 steps
    assert f"{rate.over_raw:.0%} of envpool's" in str(rate)
    assert json.loads(json.dumps(dataclasses.asdict(rate)))["seconds"]["raw"]["median"] == seconds["raw"]


def test_only_frames_count() -> None:
    # Of a turn's steps, a quarter were no frames: a frame took a third longer than a step.
    now = iter([0.0, 6.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection.time, "perf_counter", lambda: next(now))
        seconds = collection._contestant(lambda: 0.75)(2)
    assert seconds / 2 == pytest.approx(3.0 / collection._FRAMES * 4 / 3)


def test_without_envpool_it_is_left_out(monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.environments._envpool_has", lambda spec: False)
    assert collection.measure_collection(CPU, rounds=1) is None
