from pathlib import Path

import gymnasium
import numpy as np
import pytest
from evaluation.test_video import Painted

from cqlbench.commands.main import main
from cqlbench.records.policy import SavedPolicy


def save_run(results: Path, environment: dict | None) -> None:
    """A run whose policy acts with tanh(first observation − 2)."""
    arrays = {
        "0.weight": np.array([[1.0, 0.0], [0.0, 0.0]]), "0.bias": np.array([-2.0, 0.0]),
        "observation_mean": np.zeros(2), "observation_scale": np.ones(2),
        "action_low": -np.ones(1), "action_high": np.ones(1),
    }  # fmt: skip
    notes = {"run": "a/b/c-d", "seed": 0, "dataset": "own", "score_min": None, "score_max": None}
    folder = results / "runs" / "a/b/c-d"
    folder.mkdir(parents=True)
    (folder / "seed-0.json").touch()
    policy = SavedPolicy(
        {name: array.astype(np.float32) for name, array in arrays.items()},
        notes | {"environment": environment},
    )
    policy.save(folder / "seed-0.npz")


@pytest.fixture
def painted():
    gymnasium.register("Painted-v0", entry_point=Painted, disable_env_checker=True)
    yield
    del gymnasium.registry["Painted-v0"]


def test_the_command_names_the_video_and_its_return(painted, tmp_path: Path, capsys) -> None:
    save_run(tmp_path, {"id": "Painted-v0", "max_episode_steps": None, "kwargs": {}})
    video = tmp_path / "out.gif"
    command = ["watch", "--run", "a/b/c-d", "--results", str(tmp_path), "--video", str(video)]
    assert main(command) == 0
    assert "5 steps, return 0.0" in capsys.readouterr().out.replace("-0.0", "0.0")
    video.write_bytes(b"own")
    assert main(command) == 2
    assert video.read_bytes() == b"own"
    assert main([*command, "overwrite=true"]) == 0
    assert video.read_bytes() != b"own"


def test_without_an_environment_nothing_can_be_watched(tmp_path: Path, capsys) -> None:
    save_run(tmp_path, None)
    assert main(["watch", "run=a/b/c-d", f"results={tmp_path}", f"video={tmp_path / 'out.gif'}"]) == 2
    assert "no environment" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["run=x"], "video"),
        (["run=x", "video=out.avi"], ".mp4"),
        (["run=x", "video=out.gif", "episode=x"], "episode"),
        (["video=out.gif"], "run"),
    ],
)
def test_mistakes_are_one_sentence(capsys, words: list[str], word: str) -> None:
    assert main(["watch", *words]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1
