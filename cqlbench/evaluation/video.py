"""An episode of a policy as a video."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cqlbench.core import outputs
from cqlbench.core.errors import UserError
from cqlbench.environments.make import EnvironmentSpec, GymnasiumEnvironments
from cqlbench.environments.rendering import rendered
from cqlbench.evaluation.player import Player

SUFFIXES = (".mp4", ".gif")
FRAMES_PER_SECOND = 30
"""Of a video, at least; of simulators that step more than twice as often, not every step is rendered."""

Act = Callable[[Tensor], Tensor] | Player
"""Raw observations `[B, O]` float32 -> actions `[B, A]`; or who looks back."""


def record_episode(
    act: Act, spec: EnvironmentSpec, seed: int, path: Path, *, discrete: bool = False, overwrite: bool = False
) -> tuple[int, float]:
    """Play one episode and write it to `path`, an `.mp4` or `.gif`, whole or not at all.

    Returns:
        Its steps and its undiscounted return.

    Raises:
        UserError: the file exists already, or the environment cannot be made, rendered or encoded here.
    """
    environment = rendered(spec, seed, discrete)
    rate = environment.frames_per_second or FRAMES_PER_SECOND
    every = max(1, rate // FRAMES_PER_SECOND)
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            with _writer(whole, rate / every) as writer:
                outcome = _play(environment, act, writer, every)
            outputs.write_file(path, whole.read_bytes(), overwrite)
    except OSError as error:
        raise UserError(f"The video '{path}' cannot be written ({error.strerror or error}).") from error
    finally:
        environment.close()
    return outcome


def _writer(path: Path, rate: float) -> Any:
    import imageio.v2 as imageio

    try:
        if path.suffix == ".gif":
            return imageio.get_writer(path, duration=1000 / rate)
        return imageio.get_writer(path, format="FFMPEG", fps=rate, macro_block_size=2)
    except ImportError as error:
        raise UserError(
            "An mp4 needs imageio-ffmpeg: pip install 'cqlbench[video]'; a .gif needs nothing."
        ) from error


def _play(environment: GymnasiumEnvironments, act: Act, writer: Any, every: int) -> tuple[int, float]:
    observation, steps, total, ended = environment.reset(), 0, 0.0, False
    writer.append_data(environment.frame())
    while not ended:
        with torch.no_grad():
            seen = torch.from_numpy(observation).float()
            actions = act.act(seen.unsqueeze(0))[0] if isinstance(act, Player) else act(seen)
        step = environment.step(actions.numpy())
        if isinstance(act, Player):
            act.rewarded(torch.from_numpy(step.rewards).unsqueeze(0))
        observation, steps, total = step.observations, steps + 1, total + float(step.rewards[0])
        ended = bool(step.terminated[0] or step.truncated[0])
        if ended or steps % every == 0:
            writer.append_data(environment.frame())
    return steps, total
