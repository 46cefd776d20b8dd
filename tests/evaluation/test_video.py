"""An episode as a video where something renders, and one sentence where nothing does."""

import importlib.util
import itertools
from pathlib import Path

import gymnasium
import imageio.v2 as imageio
import numpy as np
import pytest
import torch

from cqlbench.core.errors import UserError
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.video import record_episode

PAINTED = EnvironmentSpec("Painted-v0")


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


def act(observations: torch.Tensor) -> torch.Tensor:
    return torch.tanh(observations[:, :1] - 2)


NEEDS_FFMPEG = pytest.mark.skipif(not importlib.util.find_spec("imageio_ffmpeg"), reason="no imageio-ffmpeg")


@pytest.mark.parametrize("suffix", [".gif", pytest.param(".mp4", marks=NEEDS_FFMPEG)])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # pipes of imageio-ffmpeg's reader
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_video_shows_the_policys_actions(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    steps, total = record_episode(act, PAINTED, 0, path)
    actions = np.tanh(np.arange(5) - 2.0)
    assert steps == 5
    assert total == pytest.approx(actions.sum(), abs=1e-5)
    with imageio.get_reader(path) as reader:
        shades = [float(np.mean(frame)) for frame in reader]
    assert shades == pytest.approx([0, *(127.5 + 127.5 * actions)], abs=4)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_of_a_fast_simulator_only_frames_that_are_seen_are_rendered(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(Painted.metadata, "render_fps", 90)
    assert record_episode(act, PAINTED, 0, tmp_path / "out.gif")[0] == 5
    with imageio.get_reader(tmp_path / "out.gif") as reader:
        shades = [float(np.mean(frame)) for frame in reader]
    last = [127.5 + 127.5 * np.tanh(step - 2.0) for step in (2, 4)]
    assert shades == pytest.approx([0, *last], abs=4), "the first, after 3 steps, and the last"


def test_a_real_environment_is_rendered(tmp_path: Path) -> None:
    pytest.importorskip("pygame")
    spec = EnvironmentSpec("Pendulum-v1", max_episode_steps=8)
    steps, total = record_episode(lambda seen: 2 * seen[:, 1:2], spec, 0, tmp_path / "out.gif")
    assert steps == 8
    assert total < 0
    with imageio.get_reader(tmp_path / "out.gif") as reader:
        frames = [np.asarray(frame, int) for frame in reader]
    assert len(frames) == 9
    assert all(np.abs(after - before).max() > 50 for before, after in itertools.pairwise(frames)), "it moves"


def test_discrete_actions_are_watched(tmp_path: Path) -> None:
    pytest.importorskip("pygame")

    def balance(seen: torch.Tensor) -> torch.Tensor:
        right = (seen[:, 2] + 0.5 * seen[:, 3] > 0).long()
        return torch.nn.functional.one_hot(right, 2).float()

    spec = EnvironmentSpec("CartPole-v1", max_episode_steps=60)
    played = record_episode(balance, spec, 0, tmp_path / "out.gif", discrete=True)
    assert played == (60, 60.0), "any constant action falls in 12"


def test_a_time_limit_ends_the_episode(tmp_path: Path) -> None:
    spec = EnvironmentSpec("Painted-v0", max_episode_steps=3)
    assert record_episode(act, spec, 0, tmp_path / "out.gif")[0] == 3


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (EnvironmentSpec("Painted-v0", kwargs={"broken": True}), "MUJOCO_GL=egl"),
        (EnvironmentSpec("Nothing-v0"), "Nothing-v0"),
    ],
)
def test_without_a_renderer_it_is_one_sentence_and_no_file(
    tmp_path: Path, spec: EnvironmentSpec, word: str
) -> None:
    with pytest.raises(UserError, match=word) as caught:
        record_episode(act, spec, 0, tmp_path / "out.gif")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_an_encoder_it_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no ffmpeg")

    monkeypatch.setattr(imageio, "get_writer", missing)
    with pytest.raises(UserError, match=r"pip install 'cqlbench\[video\]'"):
        record_episode(act, PAINTED, 0, tmp_path / "out.mp4")
