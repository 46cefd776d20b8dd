"""Columns of other names: hinted at, mapped by the user, and refused if the mapping makes no sense."""

import h5py
import numpy as np
import pytest

from cqlbench.core.errors import ConfigError, DatasetError
from cqlbench.data.cards import Card
from cqlbench.data.readers.column_names import parsed
from cqlbench.data.readers.d4rl import has_discrete_actions, read_d4rl

GYMNASIUM = {
    "observations": "obs", "actions": "acts", "rewards": "reward", "terminals": "done",
    "timeouts": "truncated", "next_observations": "next_obs",
}  # fmt: skip


@pytest.fixture(params=["hdf5", "npz", "group"])
def renamed(request, tmp_path, make_episodes, d4rl_arrays):
    """`renamed(names)` -> a file whose columns are called so, and the names with their group."""

    def write(names):
        arrays = d4rl_arrays(make_episodes())
        group = "run/" if request.param == "group" else ""
        called = {ours: group + theirs for ours, theirs in names.items()}
        stored = {called.get(ours, ours): array for ours, array in arrays.items()}
        if request.param == "npz":
            np.savez(tmp_path / "a.npz", **stored)
            return tmp_path / "a.npz", called
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            for name, array in stored.items():
                file[name] = array
        return tmp_path / "a.hdf5", called

    return write


def test_a_file_of_other_names_is_refused_with_the_mapping_that_reads_it(renamed, make_episodes, d4rl_arrays):
    path, called = renamed(GYMNASIUM)
    with pytest.raises(DatasetError, match="lacks observations, actions, rewards, terminals") as error:
        read_d4rl(path)
    (text,) = [part for part in str(error.value).split("'") if part.startswith("{")]
    assert parsed(text) == called
    transitions = read_d4rl(path, Card("", "path", columns=parsed(text)))
    arrays = d4rl_arrays(make_episodes())
    for ours, name in (("actions", "actions"), ("terminals", "terminated"), ("timeouts", "truncated")):
        np.testing.assert_array_equal(getattr(transitions, name), arrays[ours])
    assert transitions.notes == ()
    assert not has_discrete_actions(path, Card("", "path", columns=called))


def test_misspelt(renamed):
    path, called = renamed({"observations": "observatoins"})
    with pytest.raises(DatasetError, match=f"observations: {called['observations']}"):
        read_d4rl(path)


def test_nothing_like_it(renamed):
    path, _ = renamed({"rewards": "x"})
    with pytest.raises(DatasetError, match="lacks rewards") as error:
        read_d4rl(path)
    assert "columns=" not in str(error.value)


def test_optional_columns_that_are_not_read_are_noted(tmp_path, make_episodes, d4rl_arrays):
    arrays = d4rl_arrays(make_episodes())
    arrays["next_obs"] = arrays.pop("next_observations")
    np.savez(tmp_path / "a.npz", **arrays)
    (note,) = [note for note in read_d4rl(tmp_path / "a.npz").notes if "Not read" in note]
    assert "columns='{next_observations: next_obs}'" in note
    said = read_d4rl(tmp_path / "a.npz", Card("", "path", columns={"next_observations": ""}))
    assert not [note for note in said.notes if "Not read" in note]


GIVEN = pytest.mark.parametrize("given", [{"terminals": "", "actions": "acts"}, {"actions": "acts"}])


@GIVEN
def test_the_hint_on_missing_columns_keeps_what_was_mapped(renamed, given):
    path, called = renamed({"actions": "acts", "rewards": "rew", "timeouts": "truncated"})
    given = {ours: called.get(ours, "") for ours in given}
    with pytest.raises(DatasetError, match="lacks rewards") as error:
        read_d4rl(path, Card("", "path", columns=given))
    (text,) = [part for part in str(error.value).split("'") if part.startswith("{")]
    assert parsed(text) == given | called
    read_d4rl(path, Card("", "path", columns=parsed(text)))


@GIVEN
def test_the_note_on_unread_columns_keeps_what_was_mapped(tmp_path, make_episodes, d4rl_arrays, given):
    arrays = d4rl_arrays(make_episodes())
    names = {"actions": "acts", "timeouts": "truncated"}
    np.savez(tmp_path / "a.npz", **{names.get(ours, ours): array for ours, array in arrays.items()})
    notes = read_d4rl(tmp_path / "a.npz", Card("", "path", columns=given)).notes
    (text,) = [part for note in notes for part in note.split("'") if part.startswith("{")]
    assert parsed(text) == given | names


def test_a_column_that_is_not_to_be_read(renamed):
    path, _ = renamed({})
    transitions = read_d4rl(path, Card("", "path", columns=parsed("{terminals: null, timeouts: terminals}")))
    assert not transitions.terminated.any()
    assert transitions.truncated.sum() == 1


def test_a_mapping_to_what_is_not_there(renamed):
    path, _ = renamed({})
    with pytest.raises(DatasetError, match=r"lacks acts, which columns= names \(it has: .*actions"):
        read_d4rl(path, Card("", "path", columns={"actions": "acts"}))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("{action: acts}", {"actions": "acts"}),
        ('{"observations": "data/obs", "done": "dones"}', {"observations": "data/obs", "terminals": "dones"}),
        ("{timeouts: null}", {"timeouts": ""}),
        ("actions: acts", {"actions": "acts"}),
        ("{terminals: timeouts, timeouts: terminals}", {"terminals": "timeouts", "timeouts": "terminals"}),
    ],
)
def test_mappings(text, columns):
    assert parsed(text) == columns


NO_MAPPINGS = [
    "acts", "[actions, acts]", "{", "{}", "{colour: red}", "{actions: 3}", "{actions: null}", "{1: a}",
    "{obs: a, observation: b}", "{obs: a, obs: a}", "{timeouts: terminals}",
    "{terminals: terminals, timeouts: terminals}",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_MAPPINGS)
def test_no_mappings(text):
    with pytest.raises(ConfigError, match="columns="):
        parsed(text)
