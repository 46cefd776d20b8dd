"""Where the policies of a dataset are evaluated, or why they are not."""

from pathlib import Path

from msgspec.structs import replace

from cqlbench.data.buffer import Dataset
from cqlbench.data.cards import Card
from cqlbench.data.local import minari_folder
from cqlbench.data.readers.minari_metadata import environment_of
from cqlbench.environments.make import EnvironmentSpec, why_unplayable


def playable(card: Card, dataset: Dataset) -> tuple[EnvironmentSpec | None, str]:
    """The environment that evaluates policies trained on `dataset`, or `None` with the reason, one sentence.

    Where the card has `unpadded_kwargs`, the data decide whether what is padded with zeros is zero.

    A Minari dataset brings the specification of its environment: id, constructor arguments and wrappers are
    then its own. The time limit is the card's where the card has one, since its score endpoints hold for that
    limit.
    """
    spec = card.environment
    if spec is None:
        because = card.environment_missing_because or _how_to_name_it(card)
        return None, f"Not evaluated: {because}."
    if card.source == "minari" and (folder := minari_folder(card)) is not None:
        spec, because = recorded_environment(folder, spec)
        if because:
            return None, f"Not evaluated: {because}"
    if card.unpadded_kwargs:
        padding = slice(-spec.padding, None)
        if dataset.observation_mean[padding].any() or dataset.observation_std[padding].any():
            spec = replace(spec, padding=0, kwargs={**spec.kwargs, **card.unpadded_kwargs})
    sizes = dataset.observation_size, dataset.action_size
    bounds = None if dataset.discrete_actions else (card.action_low, card.action_high)
    because = why_unplayable(spec, *sizes, discrete=dataset.discrete_actions, bounds=bounds)
    return (None, f"Not evaluated: {because}") if because else (spec, "")


def _how_to_name_it(card: Card) -> str:
    if card.source not in ("path", "imported"):
        return "the dataset's card names no environment"
    named = f"FILE id={card.id}" if card.source == "imported" else "FILE id=my/robot-v0"
    return (
        "no environment is known for it; to get scores, name the one it was recorded in: "
        f"cqlbench data import {named} env=GYMNASIUM_ID"
    )


def recorded_environment(folder: Path, known: EnvironmentSpec) -> tuple[EnvironmentSpec, str]:
    """`known` with what the Minari dataset in `folder` says of its evaluation environment, and what it lacks.

    A dataset that says nothing, or nothing readable, changes nothing.
    """
    found, because = environment_of(folder)
    if found is None:
        return known, because
    steps = known.max_episode_steps or found.max_episode_steps
    changed = replace(
        known, id=found.id, max_episode_steps=steps, kwargs=found.kwargs, wrappers=found.wrappers
    )
    return changed, because
