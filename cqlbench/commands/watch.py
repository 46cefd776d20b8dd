"""`cqlbench watch`: an episode of a run's policy, as a video."""

from pathlib import Path

from cqlbench.commands.arguments import truth, values_of
from cqlbench.commands.export import policy_of
from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.scores import normalized_score
from cqlbench.evaluation.video import SUFFIXES, record_episode
from cqlbench.experiments.policy_module import Policy

_KEYS = ("run", "seed", "results", "video", "episode", "overwrite")


def from_words(words: list[str]) -> Path:
    """Render an episode: the one of that number in the first evaluation, where it was on gymnasium.

    Returns:
        The video.

    Raises:
        UserError: a word that is none of these, no such run, a video that is there already, no
            environment, no renderer, no encoder.
    """
    values = values_of(words, "watch", _KEYS)
    path = Path(values.get("video", ""))
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"Name the video, for instance video=out.mp4; it may end in {' or '.join(SUFFIXES)}."
        )
    text = values.get("episode", "0")
    if not text.isdecimal():
        raise ConfigError(f"episode={text} must be a whole number.")
    episode = int(text)
    overwrite = truth(values, "overwrite")
    outputs.check_file(path, overwrite)
    saved = policy_of(values)
    notes = saved.notes
    if notes["environment"] is None:
        raise UserError(f"Nothing can be watched: the card of '{notes['dataset']}' names no environment.")
    seed = int(environment_seeds(notes["seed"], Purpose.EVALUATION, episode + 1, 0)[episode])
    steps, total = record_episode(
        Policy(saved),
        EnvironmentSpec(**notes["environment"]),
        seed,
        path,
        discrete=saved.discrete,
        overwrite=overwrite,
    )
    score = ""
    if notes["score_min"] is not None and notes["score_max"] is not None:
        score = f", score {normalized_score(total, notes['score_min'], notes['score_max']):.1f}"
    print(f"Video    {path}: {steps} steps, return {total:.1f}{score}")  # noqa: T201  (the command's output)
    return path
