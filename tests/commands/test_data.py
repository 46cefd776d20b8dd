"""`cqlbench data ...` as a user types it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_server import serving

from cqlbench.commands.main import main
from cqlbench.data.cards import all_cards
from cqlbench.records.codec import from_json
from cqlbench.records.store import RecordStore

GOLDEN = Path(__file__).parents[1] / "golden" / "record_v1.json"
CARDS = """
[defaults]
source = "d4rl"
licence = "MIT"
family = "arms"
endpoints_source = "made up"
folders = ["http://127.0.0.1:PORT/"]

[card."d4rl/arm-lift-v0"]
preset = "arms"
file = "lift.hdf5"
bytes = 5
sha256 = "SHA"
score_min = -1.5
score_max = 1234

[card."d4rl/arm-drop-v0"]
file = "drop.hdf5"
endpoints_missing_because = "nobody knows"
"""
SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of b"hello"


@pytest.fixture
def server():
    with serving() as running:
        running.files["/lift.hdf5"] = b"hello"
        yield running


@pytest.fixture
def data(world, server, monkeypatch, capfd):
    """`data("list")` -> exit status, standard output, standard error."""
    monkeypatch.setenv("CQLBENCH_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("D4RL_DATASET_DIR", str(world / "d4rl"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(world / "minari"))
    monkeypatch.delenv("CQLBENCH_MIRROR", raising=False)
    text = CARDS.replace("PORT", str(server.server_port)).replace("SHA", SHA)
    (world / "cards" / "arms.toml").write_text(text)

    def run(*words):
        capfd.readouterr()
        status = main(["data", *words])
        out = capfd.readouterr()
        return status, out.out, out.err

    return run


def test_without_a_verb_it_says_which_there_are(data):
    status, out, err = data()
    assert (status, err) == (2, "")
    assert out.startswith("usage: cqlbench data VERB")
    assert data("--help")[:2] == (0, out)


def test_list_names_local_minari_datasets_without_a_card(data, world):
    folder = world / "minari" / "lab" / "arm-v1"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "metadata.json").write_text('{"dataset_id": "lab/arm-v1"}')
    assert str(folder) in data("list")[1]
    assert str(folder) not in data("list", "source=d4rl")[1]


def test_list_is_a_table(data):
    status, out, _ = data("list")
    assert status == 0
    *lines, legend = out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "dataset rows episodes size score 0 score 100 behaviour played comparable cached",
        "d4rl/arm-lift-v0 - - 0.0 MB -1.5 1,234.0 - no yes -",
        "d4rl/arm-drop-v0 - - - - - - no no -",
        "embedded/tiny-hopper-v0 600 - - -20.3 3,234.3 1.0 yes no -",
        "2 not played: no environment was named.",
        "1 not comparable: not D4RL's data.",
        "1 not comparable: no published settings are on record.",
    ]
    assert legend.startswith("3 datasets.")


def names(out):
    return [line.split()[0] for line in out.splitlines() if "/" in line.split()[0]]


def test_list_filters(data):
    assert names(data("list", "source=embedded")[1]) == ["embedded/tiny-hopper-v0"]
    assert names(data("list", "family=arms")[1]) == ["d4rl/arm-lift-v0", "d4rl/arm-drop-v0"]
    assert data("list", "cached=true")[1].startswith("0 datasets.")
    data("fetch", "arm-lift")
    assert names(data("list", "cached=true")[1]) == ["d4rl/arm-lift-v0"]
    assert names(data("list", "cached=false", "family=arms")[1]) == ["d4rl/arm-drop-v0"]
    assert data("list", "cached=true")[1].splitlines()[1].endswith("  file")


def test_every_dataset_is_listed_in_half_a_second(capsys):
    start = time.process_time()
    assert main(["data", "list"]) == 0
    assert time.process_time() - start < 0.5
    assert len(names(capsys.readouterr().out)) == len(all_cards())


def test_a_converted_dataset_is_ready(data, bench):
    bench("dataset=tiny-hopper", "seeds=1")
    line = data("list", "source=embedded")[1].splitlines()[1]
    assert line.endswith("  ready")
    assert int(line.split()[2]) > 5  # episodes


def test_fetch_brings_files_and_says_where_they_are(data, world, server):
    place = world / "cache" / "downloads" / "d4rl" / "arm-lift-v0.hdf5"
    status, out, _ = data("fetch", "arm-lift", "embedded/tiny-hopper-v0")
    assert status == 0
    assert out.splitlines() == [
        f"d4rl/arm-lift-v0: {place}",
        "embedded/tiny-hopper-v0: made on this machine when it is needed; there is nothing to fetch",
    ]
    assert place.read_bytes() == b"hello"
    assert data("fetch", "d4rl/arm-lift-v0")[0] == 0
    assert len(server.asked) == 1


def test_a_failure_does_not_stop_the_rest(data, world):
    status, out, err = data("fetch", "arm-drop", "arm-lift")
    assert status == 2
    assert "d4rl/arm-lift-v0: " in out
    first, last = err.splitlines()[0], err.splitlines()[-1]
    assert "'d4rl/arm-drop-v0' cannot be downloaded (http://127.0.0.1:" in first
    assert "404" in first
    assert last == "cqlbench: 1 of 2 could not be fetched."
    assert len(data("fetch", "arm-drop")[2].splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lst"], "argument VERB: invalid choice: 'lst' (choose from 'list', "),
        (["fetch"], "the following arguments are required: ID..."),
        (["fetch", "arm-lift", "arm-lft"], "There is no dataset 'arm-lft'; did you mean 'arm-lift'"),
        (
            ["fetch", "arm-lift", "source=hub"],
            "argument --source: invalid choice: 'hub' (choose from 'auto', 'd4rl', ",
        ),
        (["list", "source=hub"], "argument --source: invalid choice: 'hub' (choose from 'd4rl', "),
        (["list", "family=arm"], "Unknown family 'arm' (choose from arms)."),
        (["list", "cached=yes"], "argument --cached: 'yes' must be true or false"),
        (["list", "arms"], "Unknown argument 'arms' (choose from source=, family=, cached=)."),
        (["list", "famly=arms"], "Unknown argument 'famly' (choose from source=, family=, cached=)."),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_sentence(data, server, words, sentence):
    status, out, err = data(*words)
    assert status == 2
    assert out == ""
    assert err.startswith(f"cqlbench: {sentence}")
    assert err.count("\n") == 1
    assert server.asked == []  # all names are looked up before the first download


def test_files_in_place_are_what_fetch_prints(data, world):
    (world / "d4rl").mkdir()
    (world / "d4rl" / "lift.hdf5").write_bytes(b"hello")
    assert data("fetch", "arm-lift")[1] == f"d4rl/arm-lift-v0: {world / 'd4rl' / 'lift.hdf5'}\n"


def test_lists_load_nothing_heavy(world, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(world / "minari"))
    for name in ("mujoco/hopper/medium-v0", "my/own-v0"):
        (world / "minari" / name / "data").mkdir(parents=True)
        for file in ("metadata.json", "main_data.hdf5"):
            (world / "minari" / name / "data" / file).write_text("{}")
    RecordStore(world).write(from_json(GOLDEN.read_text(), GOLDEN))
    program = f"""
import sys
from cqlbench.commands.main import main
print(main(["data", "list", "source=minari"]), main(["results", "list", "results={world}"]))
print({{"torch", "mujoco", "envpool", "gymnasium", "minari", "h5py", "requests"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0 0", "set()"]
    assert "my/own-v0" in done.stdout
