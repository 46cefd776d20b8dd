"""A policy's episode as a video where something renders, and one sentence where nothing does."""

import importlib.util
import itertools
from pathlib import Path

import gymnasium
import imageio.v2 as imageio
import numpy as np
import pytest

from cqlbench.commands import watch
from cqlbench.commands.main import main
from cqlbench.commands.watch import record_episode
from cqlbench.core.errors import UserError
from cqlbench.records.policy import SavedPolicy

NOTES = {"run": "a/b/c-d", "seed": 0, "dataset": "mine", "score_min": None, "score_max": None}


class Painted(gymnasium.Env):
    """Five steps of grey frames that say which action was taken; needs no graphics library."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, render_mode: str | None = None, broken: bool = False) -> None:
        self.render_mode, self.broken, self.action = render_mode, broken, -1.0

    def reset(self, *, seed=None, options=None):
        self.state = np.array([0.0, 1.0])
        return self.state, {}

    def step(self, action):
        self.action = float(action[0])
        self.state = self.state + np.array([1.0, 0.0])
        return self.state, self.action, bool(self.state[0] >= 5), False, {}

    def render(self):
        if self.broken:
            raise AttributeError("'NoneType' object has no attribute 'glGetError'\nsecond line")
        return np.full((64, 96, 3), 127.5 + 127.5 * self.action, np.uint8)


@pytest.fixture(autouse=True)
def painted():
    gymnasium.register("Painted-v0", entry_point=Painted, disable_env_checker=True)
    yield
    del gymnasium.registry["Painted-v0"]


def policy(**environment: object) -> SavedPolicy:
    """Acts with tanh(first observation − 2)."""
    arrays = {
        "0.weight": np.array([[1.0, 0.0], [0.0, 0.0]]), "0.bias": np.array([-2.0, 0.0]),
        "observation_mean": np.zeros(2), "observation_scale": np.ones(2),
        "action_low": -np.ones(1), "action_high": np.ones(1),
    }  # fmt: skip
    spec = {"id": "Painted-v0", "max_episode_steps": None, "kwargs": {}} | environment
    return SavedPolicy(
        {name: array.astype(np.float32) for name, array in arrays.items()},
        NOTES | {"environment": spec if environment.get("id", "") is not None else None},
    )


NEEDS_FFMPEG = pytest.mark.skipif(not importlib.util.find_spec("imageio_ffmpeg"), reason="no imageio-ffmpeg")


@pytest.mark.parametrize("suffix", [".gif", pytest.param(".mp4", marks=NEEDS_FFMPEG)])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # pipes of imageio-ffmpeg's reader
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_video_shows_the_policys_actions(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    steps, total = record_episode(policy(), path)
    actions = np.tanh(np.arange(5) - 2.0)
    assert steps == 5
    assert total == pytest.approx(actions.sum(), abs=1e-5)
    with imageio.get_reader(path) as reader:
        shades = [float(np.mean(frame)) for frame in reader]
    assert shades == pytest.approx([0, *(127.5 + 127.5 * actions)], abs=4)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_real_environment_is_rendered(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    arrays = {
        "0.weight": np.array([[0.0, 0.0], [5.0, 0.0], [1.0, 0.0]]), "0.bias": np.zeros(2),
        "observation_mean": np.zeros(3), "observation_scale": np.ones(3),
        "action_low": np.full(1, -2.0), "action_high": np.full(1, 2.0),
    }  # fmt: skip
    spec = {"id": "Pendulum-v1", "max_episode_steps": 8, "kwargs": {}}
    pendulum = SavedPolicy(
        {k: v.astype(np.float32) for k, v in arrays.items()}, NOTES | {"environment": spec}
    )
    steps, total = record_episode(pendulum, tmp_path / "out.gif")
    assert steps == 8
    assert total < 0
    with imageio.get_reader(tmp_path / "out.gif") as reader:
        frames = [np.asarray(frame, int) for frame in reader]
    assert len(frames) == 9
    assert all(np.abs(after - before).max() > 50 for before, after in itertools.pairwise(frames)), "it moves"


def test_discrete_actions_are_watched(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    arrays = {
        "0.weight": np.array([[[0, 0], [0, 0], [-1, 1], [-0.5, 0.5]]]), "0.bias": np.zeros((1, 2)),
        "observation_mean": np.zeros(4), "observation_scale": np.ones(4),
    }  # fmt: skip
    spec = {"id": "CartPole-v1", "max_episode_steps": 60, "kwargs": {}}
    balancing = SavedPolicy(
        {k: v.astype(np.float32) for k, v in arrays.items()}, NOTES | {"environment": spec}
    )
    assert record_episode(balancing, tmp_path / "out.gif") == (60, 60.0), "any constant action falls in 12"


def test_a_time_limit_ends_the_episode(tmp_path: Path) -> None:
    assert record_episode(policy(max_episode_steps=3), tmp_path / "out.gif")[0] == 3


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"kwargs": {"broken": True}}, r"cannot be rendered here \('NoneType' .* MUJOCO_GL=egl"),
        ({"id": "Nothing-v0"}, "'Nothing-v0' cannot be made here"),
        ({"id": None}, "the card of 'mine' names no environment"),
    ],
)
def test_without_a_renderer_it_is_one_sentence_and_no_file(
    tmp_path: Path, environment, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        record_episode(policy(**environment), tmp_path / "out.gif")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_an_encoder_it_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no ffmpeg")

    monkeypatch.setattr(imageio, "get_writer", missing)
    with pytest.raises(UserError, match=r"pip install 'cqlbench\[video\]'"):
        record_episode(policy(), tmp_path / "out.mp4")


def test_the_command_names_the_video_and_its_return(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "runs" / "a/b/c-d"
    folder.mkdir(parents=True)
    (folder / "seed-0.json").touch()
    policy().save(folder / "seed-0.npz")
    video = tmp_path / "out.gif"
    assert main(["watch", "--run", "a/b/c-d", "--results", str(tmp_path), "--video", str(video)]) == 0
    assert "5 steps, return 0.0" in capsys.readouterr().out.replace("-0.0", "0.0")
    assert video.is_file()
    command = ["watch", "--run", "a/b/c-d", "--results", str(tmp_path), "--video", str(video)]
    video.write_bytes(b"mine")
    assert main(command) == 2
    assert video.read_bytes() == b"mine"
    assert main([*command, "overwrite=true"]) == 0
    assert video.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run=x"], "Name the video"),
        (["run=x", "video=out.avi"], ".mp4 or .gif"),
        (["run=x", "video=out.gif", "episode=x"], "episode=x must be a whole number"),
        (["video=out.gif"], "No run was named"),
    ],
)
def test_mistakes_are_one_sentence(capsys, words: list[str], sentence: str) -> None:
    assert main(["watch", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert watch._SUFFIXES == (".mp4", ".gif")
