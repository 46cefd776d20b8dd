"""`cqlbench data import`: a file or folder of the user's gets an id, a card and a buffer."""

from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.data.cards import Bound, Card
from cqlbench.data.imported import UNNAMED, import_dataset, recorded_environment
from cqlbench.data.readers.column_names import parsed
from cqlbench.environments.make import EnvironmentSpec

_Numbers = tuple[float, ...]

_QUIRKS = {
    "trusted": "ends_are_right",
    "time_limits": "time_limits_in_terminals",
    "inverted": "terminals_are_inverted",
}


def import_data(
    console: Console,
    file: str,
    name: str,
    env: str | None,
    max_episode_steps: int | None,
    score_min: float | None,
    score_max: float | None,
    observation_keys: tuple[str, ...] | None,
    actions: Literal["discrete", "continuous"] | None,
    action_count: int | None,
    action_low: _Numbers | None,
    action_high: _Numbers | None,
    columns: str | None,
    clip_actions: bool,
    ends: str | None,
    rows: str | None,
    licence: str,
) -> None:
    """Import a dataset; the arguments are those of `Card`, and what is not known is `None`.

    Raises:
        ConfigError: arguments that contradict each other.
        DatasetError: the file is refused.
        UserError: the environment cannot be made, or does not fit the data.
    """
    path = Path(file)
    if env is None:
        environment, because = recorded_environment(path, observation_keys)
    else:
        environment, because = EnvironmentSpec(env, max_episode_steps, observation_keys=observation_keys), ""
    missing = because.rstrip(".") if because != UNNAMED else ""
    scores = [score for score in (score_min, score_max) if score is not None]
    if len(scores) == 1 or scores != sorted(set(scores)):
        raise ConfigError(
            "score_min= and score_max= are given together, the smaller one first, or not at all."
        )
    if actions == "continuous" and action_count:
        raise ConfigError(
            "action_count= is the number of discrete actions; leave it out, or actions=continuous."
        )
    quirks = {"action_clip": clip_actions, _QUIRKS.get(ends or "", ""): ends, "rows_are_right": rows}
    card = Card(
        id=name,
        source="imported",
        environment=environment,
        environment_missing_because=missing[:1].lower() + missing[1:],
        max_episode_steps=max_episode_steps,
        score_min=score_min,
        score_max=score_max,
        endpoints_source="given by whoever imported it" if scores else "",
        observation_keys=observation_keys,
        actions=actions or ("discrete" if action_count else ""),
        columns=parsed(columns) if columns else {},
        action_count=action_count,
        quirks=tuple(quirk for quirk, given in quirks.items() if given),
        licence=licence,
    )
    dataset = import_dataset(path, card, _bounds(action_low, action_high))
    console.out(f"{card.id}: {dataset.rows:,} transitions, {dataset.returns.episodes:,} whole episodes")
    for note in dataset.notes:
        console.out(f"note     {note}")
    played = environment.id if environment else f"none, so policies are not evaluated. {because}"
    console.out(f"Environment: {played}")
    console.out(f"Train on it: cqlbench bench dataset={card.id}")


def _bounds(low: _Numbers | None, high: _Numbers | None) -> tuple[Bound, Bound] | None:
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise ConfigError("action_low= and action_high= are given together, or not at all.")
    if len({len(low), len(high)} - {1}) > 1 or not (np.less(low, high)).all():
        raise ConfigError("action_low= must be below action_high=, with as many numbers in each, or one.")
    return low[0] if len(low) == 1 else low, high[0] if len(high) == 1 else high
