"""Waiting for an asynchronous collector's rows, and not for those of one that has stopped."""

from types import SimpleNamespace

import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.async_collection import is_collecting, new_rows


def trainer_with(counts: list[int], running: bool, frames: int = 0, random: int = 0) -> SimpleNamespace:
    """A trainer whose buffer has had so many rows each time it is asked; the last time for ever."""
    return SimpleNamespace(
        collector=SimpleNamespace(is_running=lambda: running, init_random_frames=random),
        collected_frames=frames,
        total_frames=60,
        _replay_write_count=lambda: counts.pop(0) if len(counts) > 1 else counts[0],
    )


@pytest.mark.parametrize(("written", "frames", "random"), [(0, 0, 0), (20, 20, 40)])
def test_it_sleeps_until_there_is_something_to_do(monkeypatch, written, frames, random) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    trainer = trainer_with([written, written, written + 5], True, frames, random)
    assert new_rows(trainer, written) == 5
    assert len(slept) == 2
    assert min(slept) > 0


def test_training_goes_on_without_new_rows_where_there_are_enough() -> None:
    assert new_rows(trainer_with([20], True, 20), 20) == 0


def test_the_last_rows_of_a_collector_that_has_stopped_are_counted() -> None:
    assert new_rows(trainer_with([60], False, 40), 40) == 20
    with pytest.raises(ConfigError, match="The collector has stopped after 40 of 60 frames"):
        new_rows(trainer_with([40], False, 40), 40)


def test_a_collector_of_processes_needs_every_one() -> None:
    alive, dead = SimpleNamespace(is_alive=lambda: True), SimpleNamespace(is_alive=lambda: False)
    assert is_collecting(SimpleNamespace(procs=[alive, alive]))
    assert not is_collecting(SimpleNamespace(procs=[alive, dead]))
