"""A file in each family's published schema is trained on and scored, by the command as typed."""

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from experiments import published_files

from cqlbench.commands.main import main
from cqlbench.data.resolve import find_card

pytestmark = pytest.mark.filterwarnings("ignore:.*(is out of date|is probably too|reward functions were)")

slow = pytest.mark.slow
FILES = [  # id, rows in the file
    ("maze2d-umaze-v1", 400),
    pytest.param("maze2d-open-v0", 400, marks=slow),
    pytest.param("antmaze-umaze-v0", 2500, marks=slow),
    pytest.param("antmaze-medium-play-v2", 2500, marks=slow),
    pytest.param("kitchen-complete-v0", 400, marks=slow),
    pytest.param("kitchen-mixed-v0", 400, marks=slow),
    pytest.param("pen-human-v0", 500, marks=slow),
    pytest.param("door-cloned-v0", 500, marks=slow),
    pytest.param("hammer-expert-v0", 500, marks=slow),
    pytest.param("relocate-human-v0", 500, marks=slow),
    pytest.param("relocate-expert-v1", 500, marks=slow),
]


def without_transition(path: Path, family: str) -> int:
    """How many rows of a file no transition can be made of."""
    with h5py.File(path) as file:
        terminals, last = (file[name][:].astype(bool) for name in ("terminals", "timeouts"))
        exact = "next_observations" in file
    if family == "maze2d":
        return 1
    last[-1] = True
    if family == "antmaze":  # labels are another row's
        return int((last & (terminals | np.append(False, terminals[:-1] & ~last[:-1]))).sum())
    return 0 if exact else int((last & ~terminals).sum())


@pytest.mark.parametrize(("name", "rows"), FILES)
def test_a_published_file_is_trained_on_and_scored(tmp_path: Path, monkeypatch, capsys, name, rows):
    card = find_card(f"d4rl/{name}")
    path = published_files.write(tmp_path / "mirror", card, rows)
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CQLBENCH_MIRROR", str(tmp_path / "mirror"))
    words = [f"dataset=d4rl/{name}", "budget=smoke", "seeds=1", "budget.steps=20", "device=cpu"]
    words += ["budget.evaluation_interval=20", "budget.evaluation_episodes=2"]
    status = main(["bench", *words, f"results={tmp_path / 'results'}"])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    (file,) = (tmp_path / "results").rglob("seed-*.json")
    record = json.loads(file.read_text())
    assert record["status"] == "finished"
    assert record["dataset"]["rows"] == rows - without_transition(path, card.family)
    assert record["protocol"]["environment"]["id"] == card.environment.id
    assert record["protocol"]["max_episode_steps"] == card.max_episode_steps
    scores = record["evaluations"][-1]["scores"]
    assert len(scores) == 2
    assert all(map(math.isfinite, scores))
