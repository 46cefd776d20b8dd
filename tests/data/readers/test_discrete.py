"""Discrete actions of files: recognised, and refused where they may be continuous as well."""

import numpy as np
import pytest

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import Card
from cqlbench.data.readers.d4rl import has_discrete_actions, read_d4rl
from cqlbench.data.resolve import resolve

ROWS = 12


@pytest.fixture(params=["hdf5", "npz"])
def read(request, tmp_path, make_episodes, write_d4rl, d4rl_arrays):
    """`read(actions, **said)` -> the transitions of a file with those actions."""

    def reader(stored, **said):
        if request.param == "npz":
            path = tmp_path / "a.npz"
            np.savez(path, **(d4rl_arrays(make_episodes()) | {"actions": stored}))
        else:
            path = write_d4rl(tmp_path / "a.hdf5", make_episodes(), actions=stored)
        reader.path = path
        return read_d4rl(path, Card("", "path", **said))

    return reader


NUMBERS = np.array([0, 2, 1, 3, 3, 0, 1, 2, 0, 1, 2, 3])

DISCRETE = {
    "int64 [T]": NUMBERS,
    "uint8 [T, 1]": NUMBERS.astype(np.uint8)[:, None],
    "float32 [T]": NUMBERS.astype(np.float32),
    "float64 [T, 1]": NUMBERS.astype(np.float64)[:, None],
    "one-hot int8": np.eye(4, dtype=np.int8)[NUMBERS],
    "one-hot float32": np.eye(4, dtype=np.float32)[NUMBERS],
}


@pytest.mark.parametrize("actions", DISCRETE.values(), ids=DISCRETE)
def test_discrete_actions_are_recognised(read, actions):
    transitions = read(actions)
    assert transitions.discrete_actions
    np.testing.assert_array_equal(transitions.actions, np.eye(4, dtype=np.float32)[NUMBERS])
    assert [note for note in transitions.notes if "4 discrete actions" in note]
    assert has_discrete_actions(read.path)
    assert resolve(str(read.path)).card.preset == "discrete"


CONTINUOUS = {
    "some whole numbers": np.linspace(-1, 1, ROWS).round(1)[:, None],
    "bang-bang": np.where(NUMBERS > 1, 1.0, -1.0)[:, None],
    "still": np.zeros((ROWS, 1)),
    "one number in each row, flat": np.linspace(-1, 1, ROWS),
    "one corner of the box": np.tile([1.0, 0.0], (ROWS, 1)),
    "two columns of whole numbers": np.stack([NUMBERS > 1, NUMBERS > 2], axis=1).astype(np.float32),
    "int8 switches": np.stack([NUMBERS - 1, NUMBERS - 2], axis=1).clip(-1, 1).astype(np.int8),
}


@pytest.mark.parametrize("actions", CONTINUOUS.values(), ids=CONTINUOUS)
def test_continuous_actions_are_left_alone(read, actions):
    transitions = read(actions)
    assert not transitions.discrete_actions
    np.testing.assert_array_equal(transitions.actions, actions.reshape(ROWS, -1).astype(np.float32))
    assert transitions.notes == ()
    assert not has_discrete_actions(read.path)
    assert not resolve(str(read.path)).card.preset


EITHER = {
    "on and off as floats": (NUMBERS > 1).astype(np.float32)[:, None],
    "gaps": np.array([0.0, 5.0, 10.0] * 4)[:, None],
    "negative integers": NUMBERS - 1,
    "degrees": np.arange(ROWS) * 15,
    "several at once": np.stack([NUMBERS, NUMBERS], axis=1),
}


@pytest.mark.parametrize("actions", EITHER.values(), ids=EITHER)
def test_what_may_be_either_is_refused_until_it_is_said(read, actions):
    with pytest.raises(DatasetError, match=r"actions=discrete.*actions=continuous") as error:
        read(actions)
    assert "clip_actions" not in str(error.value)
    assert not has_discrete_actions(read.path)
    said = read(actions, actions="continuous")
    assert not said.discrete_actions
    np.testing.assert_array_equal(said.actions, actions.reshape(ROWS, -1).astype(np.float32))


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1)])
def test_true_and_false_are_two_discrete_actions(read, shape):
    transitions = read((NUMBERS > 1).reshape(shape))
    assert transitions.discrete_actions
    np.testing.assert_array_equal(transitions.actions, np.eye(2)[(NUMBERS > 1).astype(int)])
    assert has_discrete_actions(read.path)


def test_the_number_of_actions_can_be_said(read):
    assert read(NUMBERS).action_size == 4
    transitions = read(NUMBERS, actions="discrete", action_count=6)
    assert transitions.action_size == 6
    assert [note for note in transitions.notes if "never taken: 4, 5" in note]
    assert read((NUMBERS > 1) * 1.0, actions="discrete").action_size == 2
    assert read(np.zeros(ROWS, np.int64)).action_size == 2


NOT_DISCRETE = {
    "too few": (NUMBERS, 3, "must be one of 0 to 2"),
    "halves": (NUMBERS / 2, None, "must be one of"),
    "negative": (NUMBERS - 1, None, "must be one of"),
    "several at once": (np.stack([NUMBERS, NUMBERS], axis=1), None, "not supported"),
    "one-hot of others": (np.eye(4)[NUMBERS], 5, "4 actions, but 5"),
    "very many": (NUMBERS * 1000, None, "action_count="),
}


@pytest.mark.parametrize(("actions", "count", "sentence"), NOT_DISCRETE.values(), ids=NOT_DISCRETE)
def test_what_cannot_be_discrete(read, actions, count, sentence):
    with pytest.raises(DatasetError, match=sentence):
        read(actions, actions="discrete", action_count=count)
