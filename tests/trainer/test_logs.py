"""What goes to a logger."""

from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict

from cqlbench.trainer.logs import Means, Reporter, as_number, batch_statistics, torchrl_statistics


def test_means_are_over_what_was_added_since_the_last_time() -> None:
    means = Means()
    for value in (1.0, 2.0, 6.0):
        means.add({"a": torch.tensor(value)})
    means.add({"b": torch.tensor(5.0)})
    assert means.drain() == {"a": 3.0, "b": 5.0}
    assert means.drain() == {}


def test_means_hold_no_graph_and_nobodys_memory() -> None:
    means, value = Means(), torch.ones((), requires_grad=True)
    means.add({"a": value * 1})
    kept = means.state_dict()
    assert not kept["sums"]["a"].requires_grad
    other = Means()
    other.load_state_dict(kept)
    other.add({"a": torch.tensor(3.0)})
    assert (means.drain(), other.drain()) == ({"a": 1.0}, {"a": 2.0})


BATCH = {
    "observation": torch.tensor([[1.0, 3.0], [5.0, 7.0]]),
    "action": torch.tensor([[0.5], [-0.5]]),
    "next": {
        "reward": torch.tensor([[1.0], [3.0]]),
        "terminated": torch.tensor([[True], [False]]),
        "truncated": torch.tensor([[False], [False]]),
        "done": torch.tensor([[True], [False]]),
        "episode_reward": torch.tensor([[10.0], [99.0]]),
    },
}
WANTED = {"rewards": True, "actions": True, "observations": True}


def test_statistics_by_hand() -> None:
    assert batch_statistics(TensorDict(BATCH, [2]), "batch", WANTED) == pytest.approx(
        {
            "batch/terminated_fraction": 0.5,
            "batch/truncated_fraction": 0.0,
            "batch/reward_mean": 2.0,
            "batch/reward_std": 1.0,
            "batch/reward_max": 3.0,
            "batch/episode_return_mean": 10.0,
            "batch/action_mean": 0.0,
            "batch/action_std": 0.5,
            "batch/observation_mean": 4.0,
            "batch/observation_std": 5.0**0.5,
        }
    )


def test_masked_entries_and_absent_columns_are_left_out() -> None:
    masked = TensorDict(BATCH | {"collector": {"mask": torch.tensor([False, True])}}, [2])
    statistics = batch_statistics(masked, "x", WANTED)
    assert (statistics["x/reward_mean"], statistics["x/action_mean"]) == (3.0, -0.5)
    assert "x/episode_return_mean" not in statistics
    assert batch_statistics(TensorDict({}, [2]), "x", WANTED) == {}


def test_torchrls_statistics_have_its_names_and_absent_columns_are_left_out() -> None:
    statistics = torchrl_statistics(WANTED)(TensorDict(BATCH, [2]))
    assert statistics == pytest.approx(
        {
            "log_pbar": False,
            "done_percentage": 0.5,
            "r_training": 2.0,
            "r_training_std": 2.0**0.5,
            "r_max": 3.0,
            "action_norm": 0.0,
            "action_norm_std": 0.5**0.5,
            "obs_norm": 4.0,
            "obs_norm_std": (20 / 3) ** 0.5,
        }
    )
    few = torchrl_statistics(dict.fromkeys(WANTED, False))
    assert few(TensorDict(BATCH, [2])).keys() == {"log_pbar", "done_percentage"}
    assert few(None) == {"log_pbar": False}


def test_numbers() -> None:
    assert as_number(torch.tensor([1, 3])) == 2.0
    assert as_number(True) == 1.0
    assert as_number("text") is None
    assert as_number(torch.zeros(0)) is None


def test_hook_times_are_seconds_per_call(monkeypatch) -> None:
    clock = iter([0.0, 2.0, 10.0, 11.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    logged = {}
    logger = SimpleNamespace(log_scalar=lambda name, value, step: logged.update({name: value}))
    trainer = SimpleNamespace(
        logger=logger, clock=1, gradient_steps=1, collected_frames=0, _engine=None, auto_log_optim_steps=False
    )
    reporter = Reporter(trainer, None, with_times=True)
    hook = reporter.timed(lambda value: value + 1, "mine")
    assert (hook(1), hook(2)) == (2, 3)
    reporter.report(None, at_once=True)
    assert logged["time/hook/mine"] == 1.5
