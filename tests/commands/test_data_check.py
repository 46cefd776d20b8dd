"""`cqlbench data check`, `show` and `import`, as a user types them."""

import json

import h5py
import numpy as np
import pytest
from data.conftest import d4rl_arrays, make_episodes, write_d4rl, write_minari
from data.recordings import FAULTS, recording

from cqlbench.commands.main import main
from cqlbench.data.cards import all_cards
from cqlbench.records.policy import SavedPolicy


@pytest.fixture
def run(world, tmp_path, monkeypatch, capfd):
    """`run("check", ...)` -> exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        capfd.readouterr()
        status = main(["data", *map(str, words)])
        out = capfd.readouterr()
        return status, out.out, out.err

    return command


@pytest.fixture
def episodes():
    return make_episodes(["terminated", "truncated"] * 4, [30] * 8, observation_size=11, action_size=3)


@pytest.fixture
def file(tmp_path, episodes):
    return write_d4rl(tmp_path / "robot.hdf5", episodes)


def test_check_of_good_data(run, file):
    status, out, err = run("check", file)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["ok"] * 14


def test_check_of_misaligned_rows(run, tmp_path, episodes):
    shifted = np.roll(d4rl_arrays(episodes)["next_observations"], 1, axis=0)
    path = write_d4rl(tmp_path / "a.hdf5", episodes, next_observations=shifted)
    status, out, err = run("check", path)
    assert status == 2
    assert "error    next observations    At row 0 (and 231 more) the next observation is not" in out
    assert "Rows: 0, 1, 2, 3, 4, …." in out
    assert err == f"cqlbench: {path} fails 1 of its checks: next observations.\n"


def test_check_of_a_file_cut_short(run, file):
    file.write_bytes(file.read_bytes()[:-400])
    status, _, err = run("check", file)
    assert status == 2
    assert f"{file} cannot be read" in err


def test_check_of_a_flipped_bit(run, file):
    with h5py.File(file) as opened:
        place = opened["observations"].id.get_chunk_info(0).byte_offset
    content = bytearray(file.read_bytes())
    content[place + 100] ^= 4
    file.write_bytes(content)
    status, _, err = run("check", file)
    assert status == 2
    assert f"'observations' of {file} cannot be read" in err
    assert "the file is damaged" in err


def test_clipping_needs_consent(run, tmp_path, episodes):
    actions = d4rl_arrays(episodes)["actions"]
    actions[7] = 1.5
    path = write_d4rl(tmp_path / "a.hdf5", episodes, actions=actions)
    status, out, err = run("check", path)
    assert status == 2
    assert "agree to clipping with clip_actions=true" in out
    status, out, err = run("check", path, "clip_actions=true")
    assert (status, err) == (0, "")
    assert "note     The actions of 1 rows were clipped to their bounds." in out
    assert run("show", path)[0] == 2
    assert run("show", path, "clip_actions=true")[0] == 0


def test_shifted_rows_need_consent(run, tmp_path):
    arrays = recording("walker2d")
    FAULTS["actions a row late"][1](arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    status, out, err = run("check", tmp_path / "a.npz")
    assert (status, "action rows" in err) == (2, True)
    assert "doubt    action rows" in out
    assert "rows=trusted" in out
    assert run("check", tmp_path / "a.npz", "rows=trusted")[0] == 0
    assert run("check", tmp_path / "a.npz", "rows=right")[0] == 2
    status, out, _ = run("import", tmp_path / "a.npz", "id=my/a-v0")
    assert (status, "move the actions" in out) == (0, True)
    assert run("check", "my/a-v0")[0] == 2
    status, out, _ = run("import", tmp_path / "a.npz", "id=my/b-v0", "rows=trusted")
    assert (status, "move the actions" in out) == (0, False)
    assert run("check", "my/b-v0")[0] == 0


def test_rows_are_replayed_where_they_were_recorded(run, tmp_path):
    arrays = recording("hopper")
    arrays["actions"] *= 0.8  # too little for their range to tell
    np.savez(tmp_path / "a.npz", **arrays)
    assert run("check", tmp_path / "a.npz")[0] == 0
    assert run("import", tmp_path / "a.npz", "id=my/a-v0", "env=Hopper-v4")[0] == 0
    status, _, err = run("check", "my/a-v0")
    assert (status, "replayed states" in err) == (2, True)
    assert run("check", "my/a-v0", "rows=trusted")[0] == 0


def test_rare_huge_rewards_are_not_refused(run, tmp_path):
    arrays = recording("walker2d")
    arrays["rewards"][2000:2003] = 1e5
    np.savez(tmp_path / "a.npz", **arrays)
    status, out, err = run("check", tmp_path / "a.npz")
    assert (status, err) == (0, "")
    assert "warning  outliers" in out


def test_show_prints_facts_and_draws(run, tmp_path):
    status, out, _ = run("show", "tiny-hopper", "results=r")
    assert status == 0
    facts = {line.split()[0]: line for line in out.splitlines()}
    assert "600 transitions" in facts["Rows"]
    assert "11 observations, 3 actions" in facts["Sizes"]
    assert "the time limit is 50" in facts["Lengths"]
    assert "-20.2723 is 0 and 3234.3 is 100" in facts["Endpoints"]
    figure = tmp_path / "r" / "datasets" / "embedded-tiny-hopper-v0.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert str(figure.relative_to(tmp_path)) in facts["Figure"]
    assert run("show", "tiny-hopper", "results=r")[0] == 0
    figure.write_bytes(b"mine")
    assert run("show", "tiny-hopper", "results=r")[0] == 2
    assert figure.read_bytes() == b"mine"


def test_check_of_an_embedded_dataset(run):
    status, out, _ = run("check", "embedded/tiny-hopper-v0")
    assert status == 0
    assert "ok       card's transitions" in out


def test_import_train_and_read_again(run, bench, file, tmp_path):
    words = ("id=my/robot-v0", "env=Hopper-v4", "score_min=0", "score_max=100")
    status, out, err = run("import", file, *words)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "my/robot-v0: 240 transitions, 8 whole episodes"
    card = all_cards()["my/robot-v0"]
    assert (card.rows, card.episodes, card.max_episode_steps) == (240, 8, 1000)

    status, out, err = bench("dataset=my/robot-v0", "budget=smoke", "seeds=1")
    assert status == 0, err
    assert "my/robot-v0: 'my/robot-v0' is a full dataset id" in out
    assert "a dataset of your own" in out

    assert run("import", file, *words)[0] == 0  # again: nothing changes
    file.unlink()
    assert run("show", "robot")[0] == 0  # from the buffer
    status, out, err = run("check", "my/robot-v0")
    assert status == 2
    assert f"There is no file {file}" in err


def test_import_with_dashes(run, file):
    assert run("import", "--id", "my/robot-v0", "--env=Hopper-v4", "--max-episode-steps", "40", file)[0] == 0
    assert all_cards()["my/robot-v0"].environment.max_episode_steps == 40


def test_import_of_npz_and_minari_gives_the_same_rows(run, tmp_path, episodes, file):
    np.savez(tmp_path / "robot.npz", **d4rl_arrays(episodes))
    folder = write_minari(tmp_path / "m", episodes)
    for source, name in ((file, "a"), (tmp_path / "robot.npz", "b"), (folder, "c")):
        assert run("import", source, f"id=my/{name}-v0")[0] == 0
    hashes = {card.sha256 for card in all_cards().values() if card.source == "imported"}
    assert len(hashes) == 1


def test_clipping_what_was_imported_with_rounding(run, tmp_path, episodes):
    actions = d4rl_arrays(episodes)["actions"]
    actions[7, 0] = 1.000005  # inside the bounds, up to rounding
    assert run("import", write_d4rl(tmp_path / "a.hdf5", episodes, actions=actions), "id=my/a-v0")[0] == 0
    status, out, err = run("check", "my/a-v0", "clip_actions=true")
    assert (status, err) == (0, "")
    assert "The actions of 1 rows were clipped" in out


def test_a_file_that_changed_after_its_import(run, file, episodes):
    assert run("import", file, "id=my/robot-v0")[0] == 0
    write_d4rl(file, episodes[:-1])
    status, _, err = run("check", "my/robot-v0")
    assert status == 2
    assert "is not what was imported as 'my/robot-v0' any more" in err
    status, _, err = run("import", file, "id=my/robot-v0")
    assert status == 2
    assert "give it another version" in err
    assert run("import", file, "id=my/robot-v1")[0] == 0


def discrete_file(tmp_path, numbers, name="cart.hdf5"):
    """240 rows of a pole on a cart whose actions are 0 or 1, as they are stored by `numbers`."""
    rows = make_episodes(["terminated", "truncated"] * 4, [30] * 8, observation_size=4, action_size=1)
    return write_d4rl(tmp_path / name, rows, actions=numbers)


def test_discrete_actions_of_a_file_are_trained_as_such(run, bench, tmp_path):
    path = discrete_file(tmp_path, np.arange(240) % 2)
    small = ("budget=smoke", "seeds=1", "algorithm.critic_hidden=[8,8]")
    status, out, err = bench(f"dataset={path}", *small)
    assert status == 0, err
    assert "2 discrete actions" in out
    refused = bench(f"dataset={path}", *small, "algorithm.lagrange=true")
    assert refused[0] == 2
    assert "lagrange" in refused[2]


def test_the_environment_says_which_actions_there_are(run, bench, tmp_path):
    path = discrete_file(tmp_path, np.zeros(240))  # which might as well be a motor that stands still
    assert run("import", path, "id=my/cart-v0", "env=CartPole-v1")[0] == 0
    card = all_cards()["my/cart-v0"]
    assert (card.actions, card.action_count, card.preset) == ("discrete", 2, "discrete")
    status, out, err = bench("dataset=my/cart-v0", "budget=smoke", "seeds=1", "algorithm.critic_hidden=[8,8]")
    assert status == 0, err
    assert "never taken: 1" in out
    assert "Not evaluated" not in out


def test_actions_that_may_be_either_kind(run, bench, tmp_path):
    path = discrete_file(tmp_path, np.arange(240.0) % 2)
    status, _, err = bench(f"dataset={path}", "budget=smoke", "seeds=1")
    assert status == 2
    assert "data import" in err
    assert run("import", path, "id=my/x-v0")[0] == 2
    assert run("import", path, "id=my/a-v0", "actions=discrete", "action_count=3")[0] == 0
    assert run("import", path, "id=my/b-v0", "actions=continuous")[0] == 0
    assert run("import", path, "id=my/c-v0", "action_low=0", "action_high=1")[0] == 0
    cards = all_cards()
    assert [cards[f"my/{name}-v0"].preset for name in "abc"] == ["discrete", "", ""]
    assert cards["my/c-v0"].action_low == 0


def test_bounds_of_actions(run, bench, tmp_path, episodes):
    degrees = d4rl_arrays(episodes)["actions"] * [90, 45, 10]
    path = write_d4rl(tmp_path / "a.hdf5", episodes, actions=degrees)
    for words in ((), ("clip_actions=true",)):
        status, out, err = run("check", path, *words)
        assert status == 2
        assert "action_low=" in out + err
        assert run("import", path, "id=my/a-v0", *words)[0] == 2
    bounds = ("action_low=[-90,-45,-10]", "action_high=90,45,10")
    assert run("import", path, "id=my/a-v0", *bounds)[0] == 0
    card = all_cards()["my/a-v0"]
    assert (card.action_low, card.action_high) == ((-90, -45, -10), (90, 45, 10))
    assert run("import", path, "id=my/a-v0")[0] == 2  # the same rows in another box
    status, _, err = bench("dataset=my/a-v0", "budget=smoke", "seeds=1")
    assert status == 0, err
    status, _, err = run("import", path, "id=my/b-v0", "env=Hopper-v4", *bounds)
    assert status == 2
    assert "'Hopper-v4' takes actions from -1.0 to 1.0" in err
    narrow = write_d4rl(tmp_path / "b.hdf5", episodes)
    words = ("env=Hopper-v4", "action_low=-1,-1,-1", "action_high=1")
    assert run("import", narrow, "id=my/c-v0", *words)[0] == 0


def test_doubtful_ends(run, bench, tmp_path):
    episodes = make_episodes(["terminated", "truncated"] * 6, [20, 40] * 6, 0, 11, 3)
    arrays = d4rl_arrays(episodes)
    inverted = write_d4rl(tmp_path / "a.hdf5", episodes, terminals=~arrays["terminals"])
    status, _, err = bench(f"dataset={inverted}", "budget=smoke", "seeds=1")
    assert status == 2
    assert "ends=inverted" in err
    assert run("import", inverted, "id=my/a-v0", "ends=inverted")[0] == 0
    both = arrays["terminals"] | arrays["timeouts"]
    dones = write_d4rl(tmp_path / "b.hdf5", episodes, terminals=both, without=("timeouts",))
    limit = ("env=Hopper-v4", "max_episode_steps=40")
    assert run("import", dones, "id=my/b-v0", *limit)[0] == 2
    status, out, _ = run("import", dones, "id=my/b-v0")
    assert (status, "ends=time_limits" in out) == (0, True)
    assert run("import", dones, "id=my/c-v0", *limit, "ends=time_limits")[0] == 0
    assert run("import", dones, "id=my/d-v0", *limit, "ends=trusted")[0] == 0
    cards = all_cards()
    assert cards["my/a-v0"].sha256 == cards["my/c-v0"].sha256 != cards["my/d-v0"].sha256
    folder = write_minari(tmp_path / "m", episodes)
    assert run("import", folder, "id=my/m-v0", "ends=inverted")[0] == 2
    assert run("import", folder, "id=my/m-v0", "ends=trusted")[0] == 0


def test_a_recording_under_wrappers_that_are_not_here_is_not_evaluated(run, bench, tmp_path, episodes):
    folder = write_minari(tmp_path / "m", episodes)
    wrapper = {"name": "Slow", "entry_point": "lab:Slow", "kwargs": {}}
    spec = {"id": "Hopper-v4", "max_episode_steps": 50, "additional_wrappers": [wrapper]}
    (folder / "data" / "metadata.json").write_text(json.dumps({"env_spec": json.dumps(spec)}))
    status, out, _ = run("import", folder, "id=my/slow-v0")
    assert status == 0
    assert "Slow" in out
    status, out, err = bench("dataset=my/slow-v0", "budget=smoke", "seeds=1")
    assert status == 0, err
    assert "Not evaluated: the dataset was recorded under wrappers (Slow)" in " ".join(out.split())
    (record,) = (tmp_path / "results").rglob("seed-0.json")
    assert "Slow" in record.read_text()
    assert run("import", folder, "id=my/slow-v1", "env=Hopper-v4")[0] == 0  # the user knows better


def test_a_recording_under_wrappers_is_evaluated_in_them(run, bench, tmp_path, episodes):
    folder = write_minari(tmp_path / "m", episodes)
    wrapper = {"name": "RescaleAction", "entry_point": "gymnasium.wrappers:RescaleAction"}
    wrapper["kwargs"] = {"min_action": -2.0, "max_action": 2.0}
    spec = {"id": "Hopper-v4", "max_episode_steps": 50, "additional_wrappers": [wrapper]}
    facts = {"env_spec": json.dumps(spec), "ref_min_score": -20.0, "ref_max_score": 3000.0}
    (folder / "data" / "metadata.json").write_text(json.dumps(facts))
    status, _, err = run("import", folder, "id=my/half-v0")
    assert status == 0, err
    status, _, err = bench("dataset=my/half-v0", "budget=smoke", "seeds=1")
    assert status == 0, err
    (path,) = (tmp_path / "results").rglob("seed-0.json")
    protocol = json.loads(path.read_text())["protocol"]
    assert protocol["environment"]["kwargs"] == {"wrappers": [wrapper]}
    assert (protocol["score_min"], protocol["score_max"]) == (-20.0, 3000.0)
    assert SavedPolicy.load(path.with_suffix(".npz")).notes["environment"]["wrappers"] == [wrapper]


def test_columns_of_other_names(run, bench, tmp_path, episodes):
    arrays = d4rl_arrays(episodes)
    names = {"observations": "obs", "actions": "acts", "rewards": "reward", "terminals": "done"}
    np.savez(tmp_path / "a.npz", **{names.get(key, key): array for key, array in arrays.items()})
    status, _, err = bench(f"dataset={tmp_path / 'a.npz'}", "budget=smoke", "seeds=1")
    assert status == 2
    key = "columns='{observations: obs, actions: acts, rewards: reward, terminals: done}'"
    assert key in err
    assert run("import", tmp_path / "a.npz", "id=my/a-v0", key.replace("'", ""))[0] == 0
    assert run("import", write_d4rl(tmp_path / "b.hdf5", episodes), "id=my/b-v0")[0] == 0
    cards = all_cards()
    assert cards["my/a-v0"].columns == names
    assert cards["my/a-v0"].sha256 == cards["my/b-v0"].sha256
    assert run("check", "my/a-v0")[0] == 0  # read again, as the card says
    folder = write_minari(tmp_path / "m", episodes)
    assert run("import", folder, "id=my/m-v0", "columns={actions: acts}")[0] == 2


MISTAKES = {
    "no name": (("check",), "required: ID"),
    "two names": (("check", "a", "b"), "'b' (choose from ID, clip_actions=, "),
    "unknown": (("show", "robbot"), "There is no dataset 'robbot'"),
    "key": (("show", "tiny-hopper", "sauce=d4rl"), "'sauce' (choose from ID, clip_actions=, source=, "),
    "truth": (
        ("check", "tiny-hopper", "clip_actions=maybe"),
        "--clip-actions: 'maybe' must be true or false",
    ),
    "no id": (("import", "{file}"), "required: --id"),
    "no value": (("import", "{file}", "--id"), "'--id' has no value"),
    "empty value": (("import", "{file}", "id="), "'id' has no value; say id=VALUE"),
    "id of a source": (("import", "{file}", "id=d4rl/x-v0"), "must have an id of the form"),
    "id without version": (("import", "{file}", "id=my/robot"), "must have an id of the form"),
    "id with a space": (("import", "{file}", "id=my/ro bot-v0"), "may hold letters"),
    "no file": (("import", "none.hdf5", "id=my/x-v0"), "There is no file or folder none.hdf5"),
    "environment": (("import", "{file}", "id=my/x-v0", "env=Hoper-v4"), "'Hoper-v4' cannot be made here"),
    "other environment": (
        ("import", "{file}", "id=my/x-v0", "env=Walker2d-v4"),
        "'Walker2d-v4' has (17, 6) observations and actions, but the data have (11, 3)",
    ),
    "steps": (
        ("import", "{file}", "id=my/x-v0", "max_episode_steps=0"),
        "must be a whole number of at least 1",
    ),
    "one endpoint": (("import", "{file}", "id=my/x-v0", "score_min=3"), "are given together"),
    "no number": (("import", "{file}", "id=my/x-v0", "score_min=low"), "--score-min: 'low' must be a number"),
    "one bound": (("import", "{file}", "id=my/x-v0", "action_low=-2"), "are given together"),
    "bounds crossed": (("import", "{file}", "id=my/x-v0", "action_low=2", "action_high=-2"), "must be below"),
    "too many bounds": (
        ("import", "{file}", "id=my/x-v0", "action_low=-2,-2", "action_high=2"),
        "2 bounds were stated",
    ),
    "bounds of nothing": (("import", "{file}", "id=my/x-v0", "action_low=", "action_high=2"), "no value"),
    "bound is no number": (
        ("import", "{file}", "id=my/x-v0", "action_low=[-1,x]", "action_high=2"),
        "--action-low: 'x' must be a number",
    ),
    "kind of actions": (("import", "{file}", "id=my/x-v0", "actions=sometimes"), "'discrete', 'continuous'"),
    "count": (("import", "{file}", "id=my/x-v0", "action_count=0"), "whole number of at least 1"),
    "count of continuous": (
        ("import", "{file}", "id=my/x-v0", "action_count=3", "actions=continuous"),
        "number of discrete actions",
    ),
    "bounds of discrete": (
        ("import", "{file}", "id=my/x-v0", "actions=discrete", "action_low=0", "action_high=1"),
        "have no bounds",
    ),
    "not discrete": (("import", "{file}", "id=my/x-v0", "actions=discrete"), "not supported"),
    "columns": (("import", "{file}", "id=my/x-v0", "columns=acts"), "must be a mapping"),
    "columns of nothing": (
        ("import", "{file}", "id=my/x-v0", "columns=colour: red"),
        "unknown column 'colour'",
    ),
    "columns that are not there": (
        ("import", "{file}", "id=my/x-v0", "columns=actions: acts"),
        "lacks acts, which columns= names",
    ),
    "ends": (("import", "{file}", "id=my/x-v0", "ends=well"), "--ends: invalid choice: 'well'"),
    "no folder": (("show", "tiny-hopper", "results=/dev/null/x"), "cannot be written"),
}


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_sentence(run, file, words, sentence):
    status, _, err = run(*(word.format(file=file) for word in words))
    assert status == 2
    said = err.splitlines()[-1]  # progress may stand before it
    assert said.startswith("cqlbench: ")
    assert sentence in said
    assert not [card for card in all_cards().values() if card.source == "imported"]
