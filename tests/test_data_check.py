"""`cqlbench data check`, `show` and `import`, as a user types them."""

import h5py
import numpy as np
import pytest
from data.conftest import d4rl_arrays, make_episodes, write_d4rl, write_minari

from cqlbench.cli import main
from cqlbench.data.cards import all_cards


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
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["ok"] * 9


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
    assert f"{file} cannot be opened: it is cut short, damaged" in err


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
    assert "give these another version" in err
    assert run("import", file, "id=my/robot-v1")[0] == 0


MISTAKES = {
    "no name": (("check",), "One ID is needed, and 0 were given"),
    "two names": (("check", "a", "b"), "One ID is needed, and 2 were given"),
    "unknown": (("show", "robbot"), "There is no dataset 'robbot'"),
    "key": (("show", "tiny-hopper", "sauce=d4rl"), "There is no key 'sauce' here; did you mean 'source'?"),
    "truth": (("check", "tiny-hopper", "clip_actions=maybe"), "clip_actions=maybe must be true or false"),
    "no id": (("import", "{file}"), "No id was given"),
    "no value": (("import", "{file}", "--id"), "'--id' has no value"),
    "empty value": (("import", "{file}", "id="), "'id' has no value; say id=VALUE"),
    "id of a source": (("import", "{file}", "id=d4rl/x-v0"), "must have an id of the form"),
    "id without version": (("import", "{file}", "id=my/robot"), "must have an id of the form"),
    "id with a space": (("import", "{file}", "id=my/ro bot-v0"), "may hold letters"),
    "no file": (("import", "none.hdf5", "id=my/x-v0"), "There is no file or folder none.hdf5"),
    "environment": (("import", "{file}", "id=my/x-v0", "env=Hoper-v4"), "'Hoper-v4' cannot be made here"),
    "other environment": (
        ("import", "{file}", "id=my/x-v0", "env=Walker2d-v4"),
        "'Walker2d-v4' gives 17 observations and takes 6 actions, but the data have 11 and 3",
    ),
    "steps": (
        ("import", "{file}", "id=my/x-v0", "max_episode_steps=0"),
        "must be a whole number of at least 1",
    ),
    "one endpoint": (("import", "{file}", "id=my/x-v0", "score_min=3"), "are given together"),
    "no number": (("import", "{file}", "id=my/x-v0", "score_min=low"), "score_min=low must be a number"),
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
