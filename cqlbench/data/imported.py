"""A file or folder of the user's -> a dataset with a card of its own, known by its id from then on."""

import contextlib
import dataclasses
import re
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
import tomli_w
from msgspec.structs import replace

from cqlbench.core import atomic
from cqlbench.core.errors import DatasetError, UserError
from cqlbench.core.paths import kind
from cqlbench.data import validate
from cqlbench.data.buffer import Dataset, buffer_for, content_hash
from cqlbench.data.cards import Bound, Card, all_cards, id_problem, imported_cards_dir
from cqlbench.data.load import expected, read
from cqlbench.data.local import published_key
from cqlbench.data.readers.discrete import Kind
from cqlbench.data.readers.minari_folder import scored
from cqlbench.data.readers.minari_metadata import (
    action_bounds,
    discrete_actions,
    environment_of,
)
from cqlbench.data.readers.quirks import MENDED
from cqlbench.data.readers.robomimic import environment_name
from cqlbench.data.resolve import DISCRETE, Resolution
from cqlbench.data.transitions import Floats
from cqlbench.environments.make import EnvironmentSpec, VectorEnvironment, make_environments

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+")

UNNAMED = "No environment was named."
"""The reason that says nothing: there is no environment."""

# What scores under one id have in common. It may be added later, but not changed.
_STATED = (
    "environment", "max_episode_steps", "observation_keys", "score_min", "score_max",
    "action_low", "action_high", "actions", "action_count",
)  # fmt: skip


def import_dataset(path: Path, card: Card, bounds: tuple[Bound, Bound] | None = None) -> Dataset:
    """Read, check and keep a dataset; afterwards its id names it wherever a dataset is named.

    Importing the same rows under the same id again may add what was not stated before, and changes nothing.

    Args:
        path: an HDF5 or npz file in D4RL's schema, or a Minari folder.
        card: its id, environment, and whatever else is known; counts and hash are filled in.
        bounds: of its actions; `None`: the environment's, else the Minari folder's, else the card's.

    Raises:
        DatasetError: the id is taken, also by the same rows with another environment or endpoints, or
            malformed; the file is refused, or the cache cannot be written.
        UserError: the environment cannot be made, or does not fit the data.
    """
    problem = id_problem(card.id, "imported")
    if not problem and (not _ID.fullmatch(card.id) or "--" in card.id):
        problem = "may hold letters, digits, and . _ - between slashes, but no '--'."
    if problem:
        raise DatasetError(f"No import can be called '{card.id}': it {problem}")
    if kind(path) is None:
        raise DatasetError(f"There is no file or folder {path}; check the path.")
    path = path.resolve()
    taken = all_cards().get(card.id)
    if taken is not None and taken.source != "imported":
        raise DatasetError(f"'{card.id}' is a published dataset's id; choose another.")
    card = replace(card, imported_from=str(path), actions=_kind_of_actions(card, path, bounds))
    if kind(path) == "folder":
        bounds = bounds or action_bounds(path)
        if card.score_min is None:
            card = scored(card, path)
    played = None
    if card.environment:
        card, played = _fitted(card, card.environment, bounds)
    elif bounds:
        card = replace(card, action_low=bounds[0], action_high=bounds[1])
    transitions = read(Resolution(card.id, card, "", path))
    sizes = transitions.observation_size, transitions.action_size
    if card.environment and played != sizes:
        raise UserError(
            f"'{card.environment.id}' has {played} observations and actions, but the data have {sizes}; name "
            "the environment of the recording."
        )
    warnings = validate.check(transitions, expected(card))
    card = replace(
        card,
        sha256=content_hash(transitions),
        rows=len(transitions) + transitions.dropped_rows,
        episodes=len(transitions.episode_starts) - len(transitions.continuations),
        actions="discrete" if transitions.discrete_actions else "continuous",
        action_count=transitions.action_size if transitions.discrete_actions else None,
        preset=DISCRETE if transitions.discrete_actions else "",
        mean_return=float(transitions.episode_returns[transitions.whole_episodes].mean()),
    )
    if taken is not None:
        _refuse_changes(taken, card)
    noted = dataclasses.replace(transitions, notes=(*transitions.notes, *warnings))
    dataset = buffer_for(card.id, published_key(card), lambda: noted)
    _write(card)
    return dataset


def _kind_of_actions(card: Card, path: Path, bounds: tuple[Bound, Bound] | None) -> Kind:
    """Discrete or continuous where that is known before they are read; empty: it is not."""
    known: Kind = "continuous" if bounds else ""
    if kind(path) == "folder":
        known = "discrete" if discrete_actions(path) else "continuous"
        if card.columns or set(card.quirks) & set(MENDED):
            raise DatasetError(
                "A Minari folder has its own columns and says how episodes end; leave out columns=, and of "
                "ends= say ends=trusted at most."
            )
    if bounds and "discrete" in (known, card.actions):
        raise DatasetError("Discrete actions have no bounds; leave out action_low= and action_high=.")
    if known and card.actions not in ("", known):
        raise DatasetError(f"The actions of {path} are {known}, not {card.actions}; leave out actions=.")
    return known or card.actions


def recorded_environment(
    folder: Path, observation_keys: tuple[str, ...] | None = None
) -> tuple[EnvironmentSpec | None, str]:
    """The environment of a Minari folder's policies, or `None` and why, one sentence."""
    try:
        found, because = environment_of(folder)
        if found is None and (name := environment_name(folder)):
            return None, f"It was recorded in '{name}' of robomimic, which is not played here."
        if found is None:
            return None, UNNAMED
        if because:
            return None, because
        found = replace(found, observation_keys=observation_keys)
        make_environments(found, [0], discrete=discrete_actions(folder)).close()
    except UserError as error:
        return None, str(error)
    return found, ""


def card_text(card: Card) -> str:
    """The card as TOML: what departs from the defaults.

    Raises:
        TypeError: an argument of the environment is of a type that TOML lacks, such as a null.
    """
    facts = msgspec.to_builtins(card)
    del facts["id"]
    facts.get("environment", {}).pop("observation_keys", None)  # the card has them
    return tomli_w.dumps({"card": {card.id: facts}})


def _fitted(
    card: Card, spec: EnvironmentSpec, bounds: tuple[Bound, Bound] | None
) -> tuple[Card, tuple[int, int]]:
    """The card with what follows from its environment, and that one's numbers of observations and actions."""
    environments, discrete = _made(spec, card.actions)
    environments.close()
    low, high = environments.action_low, environments.action_high
    if spec.max_episode_steps is None:
        with contextlib.suppress(gymnasium.error.Error):  # one that envpool alone has
            spec = replace(spec, max_episode_steps=gymnasium.spec(spec.id).max_episode_steps)
    card = replace(card, environment=spec, max_episode_steps=spec.max_episode_steps)
    if discrete:
        card = replace(card, actions="discrete", action_count=len(low))
    else:
        lowest, highest = bounds or (_plain(low), _plain(high))
        _check_bounds(spec, low, high, lowest, highest)
        card = replace(card, actions="continuous", action_low=lowest, action_high=highest)
    return card, (environments.observation_size, len(low))


def _made(spec: EnvironmentSpec, actions: Kind) -> tuple[VectorEnvironment, bool]:
    """The environment, and whether its actions are discrete; `actions` may be empty: either kind will do."""
    try:
        return make_environments(spec, [0], discrete=actions == "discrete"), actions == "discrete"
    except UserError:
        if not actions:
            with contextlib.suppress(UserError):
                return make_environments(spec, [0], discrete=True), True
        raise


def _check_bounds(spec: EnvironmentSpec, low: Floats, high: Floats, lowest: Bound, highest: Bound) -> None:
    """Refuse bounds that the environment's do not hold, or that are infinite."""
    lows, highs = np.asarray(lowest, np.float32), np.asarray(highest, np.float32)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        raise UserError(
            f"The actions of '{spec.id}' have no bounds; state those of the data: action_low=, action_high=."
        )
    if {lows.size, highs.size} - {1, low.size} or (lows < low).any() or (highs > high).any():
        raise UserError(
            f"'{spec.id}' takes actions from {_plain(low)} to {_plain(high)}, but action_low= and "
            f"action_high= state {lowest} to {highest}; scale the file's actions to the environment's."
        )


def _plain(bound: Floats) -> Bound:
    numbers = tuple(bound.astype(float).tolist())
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _refuse_changes(taken: Card, card: Card) -> None:
    changed = "rows" if taken.sha256 != card.sha256 else ""
    for name in _STATED:
        before, now = getattr(taken, name), getattr(card, name)
        if name in ("action_low", "action_high"):
            before, now = _plain(np.atleast_1d(before)), _plain(np.atleast_1d(now))
        if not changed and before not in (None, "") and before != now:
            changed = "env=" if name == "environment" else f"{name}="
    if changed:
        raise DatasetError(
            f"'{card.id}' was imported before with other {changed}; give it another version, since scores of "
            "the two must not meet."
        )


def _write(card: Card) -> None:
    path = imported_cards_dir() / f"{card.id.replace('/', '--')}.toml"
    try:
        atomic.replace(path, card_text(card).encode())
    except TypeError as error:
        raise DatasetError(
            f"'{card.id}' cannot be kept: its card is no TOML ({error}); give the environment with env=."
        ) from error
    except (OSError, UnicodeEncodeError) as error:
        raise DatasetError(
            f"The card {path} cannot be written ({error}); set CQLBENCH_CACHE to a folder that can."
        ) from error
