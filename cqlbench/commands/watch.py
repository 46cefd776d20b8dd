"""`cqlbench watch`: an episode of a run's policy, as a video."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from cqlbench.commands.arguments import truth, values_of
from cqlbench.commands.export import policy_of
from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec, GymnasiumEnvironments
from cqlbench.evaluation.scores import normalized_score
from cqlbench.experiments.policy_module import Policy
from cqlbench.records.policy import SavedPolicy

_KEYS = ("run", "seed", "results", "video", "episode", "overwrite")
_SUFFIXES = (".mp4", ".gif")
_FRAMES_PER_SECOND = 30


def from_words(words: list[str]) -> Path:
    """Render the episode that `run=`, `seed=`, `results=`, `episode=`, `video=` and `overwrite=` name.

    Returns:
        The video.

    Raises:
        UserError: a word that is none of these, no such run, a video that is there already, no
            environment, no renderer, no encoder.
    """
    values = values_of(words, "watch", _KEYS)
    path = Path(values.get("video", ""))
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"Name the video, for instance video=out.mp4; it may end in {' or '.join(_SUFFIXES)}."
        )
    episode = values.get("episode", "0")
    if not episode.isdecimal():
        raise ConfigError(f"episode={episode} must be a whole number.")
    overwrite = truth(values, "overwrite")
    outputs.check_file(path, overwrite)
    saved = policy_of(values)
    steps, total = record_episode(saved, path, int(episode), overwrite)
    score = ""
    if saved.notes["score_min"] is not None and saved.notes["score_max"] is not None:
        score = f", score {normalized_score(total, saved.notes['score_min'], saved.notes['score_max']):.1f}"
    print(f"Video    {path}: {steps} steps, return {total:.1f}{score}")  # noqa: T201  (the command's output)
    return path


def record_episode(
    saved: SavedPolicy, path: Path, episode: int = 0, overwrite: bool = False
) -> tuple[int, float]:
    """Play one episode and write it to `path`, whole or not at all.

    Args:
        saved: who plays.
        path: an `.mp4` or `.gif`.
        episode: its number; it starts as the one of that number in the first evaluation on gymnasium does.
        overwrite: whether to replace a file that is there already.

    Returns:
        Its steps and its undiscounted return.

    Raises:
        UserError: the file is there already, no environment is known, or it cannot be rendered or
            encoded here.
    """
    seed = environment_seeds(saved.notes["seed"], Purpose.EVALUATION, episode + 1, 0)[episode]
    environment = _rendered(saved, int(seed))
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            with _writer(whole, environment.frames_per_second) as writer:
                outcome = _play(environment, Policy(saved), writer)
            outputs.write_file(path, whole.read_bytes(), overwrite)
    except OSError as error:
        raise UserError(f"The video '{path}' cannot be written ({error.strerror or error}).") from error
    finally:
        environment.close()
    return outcome


def _rendered(saved: SavedPolicy, seed: int) -> GymnasiumEnvironments:
    spec = saved.notes["environment"]
    if spec is None:
        raise UserError(
            f"Nothing can be watched: the card of '{saved.notes['dataset']}' names no environment."
        )
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("MUJOCO_GL", "egl")  # gymnasium would open a window
    spec = EnvironmentSpec(**spec | {"kwargs": spec["kwargs"] | {"render_mode": "rgb_array"}})
    environment = GymnasiumEnvironments(spec, [seed], saved.discrete)
    try:
        environment.reset()
        environment.frame()
    except Exception as error:  # every graphics library fails in a way of its own
        environment.close()
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"'{spec.id}' cannot be rendered here ({reason}); MuJoCo needs a display, MUJOCO_GL=egl "
            "with a graphics driver, or MUJOCO_GL=osmesa with libosmesa6."
        ) from error
    return environment


def _writer(path: Path, frames_per_second: int | None) -> Any:
    import imageio.v2 as imageio

    rate = frames_per_second or _FRAMES_PER_SECOND
    try:
        if path.suffix == ".gif":
            return imageio.get_writer(path, duration=1000 / rate)
        return imageio.get_writer(path, format="FFMPEG", fps=rate, macro_block_size=2)
    except ImportError as error:
        raise UserError(
            "An mp4 needs imageio-ffmpeg: pip install 'cqlbench[video]'; a .gif needs nothing."
        ) from error


def _play(environment: GymnasiumEnvironments, policy: Policy, writer: Any) -> tuple[int, float]:
    observation, steps, total, ended = environment.reset(), 0, 0.0, False
    writer.append_data(environment.frame())
    while not ended:
        with torch.no_grad():
            actions = policy(torch.from_numpy(observation).float()).numpy()
        step = environment.step(actions)
        observation, steps, total = step.observations, steps + 1, total + float(step.rewards[0])
        ended = bool(step.terminated[0] or step.truncated[0])
        writer.append_data(environment.frame())
    return steps, total
