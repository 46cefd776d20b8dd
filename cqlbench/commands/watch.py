"""`cqlbench watch`: an episode of a run's policy, as a video."""

from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.scores import normalized_score
from cqlbench.evaluation.video import SUFFIXES, record_episode
from cqlbench.experiments.policy_module import SequencePolicy, module_of
from cqlbench.records.find import find_policy
from cqlbench.records.policy import SavedPolicy


def watch(
    console: Console, run: str, seed: int | None, results: Path, video: Path, episode: int, overwrite: bool
) -> None:
    """Render an episode: the one of that number in the first evaluation, where it was on gymnasium.

    Raises:
        UserError: no such run, a video that is there already, no environment, no renderer, no encoder.
    """
    if video.suffix not in SUFFIXES:
        raise ConfigError(f"video={video} must end in {' or '.join(SUFFIXES)}.")
    outputs.check_file(video, overwrite)
    saved = SavedPolicy.load(find_policy(results, run, seed))
    notes = saved.notes
    if notes["environment"] is None:
        raise UserError(f"Nothing can be watched: the card of '{notes['dataset']}' names no environment.")
    module = module_of(saved)
    steps, total = record_episode(
        module.player() if isinstance(module, SequencePolicy) else module,
        msgspec.convert(notes["environment"], EnvironmentSpec),
        int(environment_seeds(notes["seed"], Purpose.EVALUATION, episode + 1, 0)[episode]),
        video,
        discrete=saved.discrete,
        overwrite=overwrite,
    )
    score = ""
    if notes["score_min"] is not None and notes["score_max"] is not None:
        score = f", score {normalized_score(total, notes['score_min'], notes['score_max']):.1f}"
    console.print(Text(f"Video    {video}: {steps} steps, return {total:.1f}{score}"))
