import itertools
import json
import math

import numpy as np
import pytest

from cqlbench.core import atomic
from cqlbench.core.errors import DatasetError
from cqlbench.data.embedded import policy
from cqlbench.data.embedded.policy import BehaviourPolicy, policy_path


def make_policy(sizes=(3, 8, 6), low=(-1.0, -2.0, 0.0), high=(1.0, 3.0, 0.5), seed=0):
    random = np.random.default_rng(seed)
    layers = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers[f"{layer}.weight"] = random.normal(size=(inputs, outputs)).astype(np.float32)
        layers[f"{layer}.bias"] = random.normal(size=outputs).astype(np.float32)
    return BehaviourPolicy.from_arrays(
        layers, np.float32(low), np.float32(high), {"seed": seed}, {"mean": 1.5}
    )


def test_hand_computed_action():
    # One ReLU unit, one action in [-1, 3]: hidden = max(0, 2·x + 1), mean = hidden − 1, log_std = ln 2.
    policy = BehaviourPolicy.from_arrays(
        {
            "0.weight": np.float32([[2.0]]),
            "0.bias": np.float32([1.0]),
            "1.weight": np.float32([[1.0, 0.0]]),
            "1.bias": np.float32([-1.0, math.log(2.0)]),
        },
        action_low=np.float32([-1.0]),
        action_high=np.float32([3.0]),
    )
    observations = np.array([[0.25], [-5.0]])  # hidden 1.5 and 0: mean 0.5 and −1
    expected_mean = [[1 + 2 * math.tanh(0.5)], [1 + 2 * math.tanh(-1.0)]]
    np.testing.assert_allclose(policy.mean_action(observations), expected_mean, rtol=1e-7)
    expected = [[1 + 2 * math.tanh(0.5 + 2 * 0.25)], [1 + 2 * math.tanh(-1.0 - 2 * 0.5)]]
    np.testing.assert_allclose(policy.sample(observations, np.array([[0.25], [-0.5]])), expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 41])
def test_rows_do_not_depend_on_each_other(rows):
    policy = make_policy((3, 32, 32, 6))
    random = np.random.default_rng(1)
    observations, normals = random.normal(size=(rows, 3)), random.normal(size=(rows, 3))
    together = policy.sample(observations, normals)
    one_by_one = [policy.sample(observations[[row]], normals[[row]])[0] for row in range(rows)]
    np.testing.assert_array_equal(together, one_by_one)
    assert together.shape == (rows, 3)
    assert together.dtype == np.float32


@pytest.mark.parametrize(("log_std", "std"), [(50.0, math.exp(2.0)), (-50.0, math.exp(-20.0))])
def test_log_standard_deviation_is_bounded(log_std, std):
    policy = BehaviourPolicy.from_arrays(
        {"0.weight": np.zeros((1, 2), np.float32), "0.bias": np.float32([0.0, log_std])},
        np.float32([-1.0]),
        np.float32([1.0]),
    )
    np.testing.assert_allclose(
        policy.sample(np.zeros((1, 1)), np.full((1, 1), 0.1)), [[math.tanh(0.1 * std)]], rtol=1e-6
    )


def test_actions_stay_in_a_box_whose_bounds_do_not_round_well():
    low, high = np.float32([-0.1, 0.3, -1 / 3]), np.float32([0.7, 0.9, 1e-3])
    policy = make_policy(low=low, high=high)
    normals = np.array([[1e9] * 3, [-1e9] * 3])
    np.testing.assert_array_equal(policy.sample(np.zeros((2, 3)), normals), [high, low])


def test_saved_and_loaded(tmp_path):
    policy = make_policy()
    path = tmp_path / "policies" / "toy-v0.npz"
    policy.save(path)
    assert sorted(each.name for each in path.parent.iterdir()) == ["toy-v0.json", "toy-v0.npz"]
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "recipe": {"seed": 0},
        "evaluation": {"mean": 1.5},
    }
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["0.bias", "0.weight", "1.bias", "1.weight", "action_high", "action_low"]
    again = BehaviourPolicy.load(path)
    observations = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(again.mean_action(observations), policy.mean_action(observations))
    assert (again.recipe, again.evaluation) == (policy.recipe, policy.evaluation)
    assert (again.observation_size, again.action_size) == (3, 3)
    first = path.read_bytes()
    policy.save(path)
    assert path.read_bytes() == first


def test_a_bare_name_is_a_shipped_policy(tmp_path, monkeypatch):
    monkeypatch.setattr(policy, "policies_dir", lambda: tmp_path)
    make_policy().save(tmp_path / "toy-v0.npz")
    assert policy_path("toy-v0") == tmp_path / "toy-v0.npz"
    assert BehaviourPolicy.load("toy-v0").action_size == 3
    assert policy_path(str(tmp_path / "other.npz")) == tmp_path / "other.npz"


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "toy.npz"
    make_policy(seed=0).save(path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_policy(seed=1).save(path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def save_raw(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_files_that_are_no_policy_end_in_one_sentence(tmp_path):
    good = {
        "0.weight": np.zeros((2, 2), np.float32),
        "0.bias": np.zeros(2, np.float32),
        "action_low": -np.ones(1, np.float32),
        "action_high": np.ones(1, np.float32),
    }
    cases = [
        ({"0.bias": None}, r"cannot be read \(0.bias\)"),
        ({"action_low": None}, r"cannot be read \(action_low\)"),
        ({"0.weight": np.zeros((2, 2))}, "float32"),
        ({"0.weight": np.full((2, 2), np.nan, np.float32)}, "finite"),
        ({"0.weight": np.zeros((2, 3), np.float32)}, r"weights \[\(2, 3\)\] and biases \[\(2,\)\]"),
        ({"1.weight": np.zeros((3, 2), np.float32), "1.bias": np.zeros(2, np.float32)}, "do not fit"),
        ({"action_low": np.ones(1, np.float32)}, "is not below"),
        (
            {"action_low": -np.ones(2, np.float32), "action_high": np.ones(2, np.float32)},
            "do not fit .* 2 actions",
        ),
        ({"0.weight": None, "0.bias": None}, r"weights \[\]"),
    ]
    for number, (change, message) in enumerate(cases):
        arrays = {name: array for name, array in {**good, **change}.items() if array is not None}
        path = save_raw(tmp_path / f"{number}.npz", **arrays)
        with pytest.raises(DatasetError, match=message) as caught:
            BehaviourPolicy.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(DatasetError, match="There is no behaviour policy at"):
        BehaviourPolicy.load(tmp_path / "absent.npz")
    with pytest.raises(DatasetError, match="hopper-medium-v0"):
        BehaviourPolicy.load("hopper-v0-medium")
    (tmp_path / "text.npz").write_text("not a zip file")
    with pytest.raises(DatasetError, match="cannot be read"):
        BehaviourPolicy.load(tmp_path / "text.npz")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(DatasetError, match="cannot be read"):
        BehaviourPolicy.load(tmp_path / "empty.npz")
    whole = save_raw(tmp_path / "whole.npz", **good).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="cannot be read"):
        BehaviourPolicy.load(tmp_path / "half.npz")
    np.save(tmp_path / "single.npy", good["0.weight"])
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(DatasetError, match="cannot be read"):
        BehaviourPolicy.load(tmp_path / "single.npz")


def test_a_damaged_json_file_is_reported(tmp_path):
    make_policy().save(tmp_path / "toy.npz")
    (tmp_path / "toy.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        BehaviourPolicy.load(tmp_path / "toy.npz")
