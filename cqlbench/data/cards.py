"""Dataset id -> the facts known before training, from the tables in `datasets/cards`."""

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import cache_dir, cards_dir
from cqlbench.environments.spec import EnvironmentSpec

SOURCES = ("d4rl", "minari", "embedded", "imported")

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        "action_clip": "actions outside their bounds are clipped to them",
        "another_time_limit": "its episodes were recorded to another time limit than an evaluation's",
        "contact_forces_are_zero": "the contact forces it observes are all zero (D4RL issue 143)",
        "ends_are_right": "its end flags are what they say, however odd they look",
        "infos_hold_states": "infos/qpos and infos/qvel are the simulator's state, which is what it observes",
        "labels_of_next_row": "rewards and terminals are for the following row's observation, also where "
        "that is another episode's first",
        "one_reward_per_goal": "rewards and terminals are 1 once, when the goal is reached, where its "
        "siblings have them at every step near it (D4RL issue 199)",
        "returns_without_score": "its episodes are no evaluation's, so that their returns have no score",
        "rows_are_right": "its rows are what they say, however odd they look",
        "rewards_of_the_state": "rewards[t] is for being in observations[t], not for the step from there "
        "(D4RL issue 194)",
        "terminals_mark_goals": "terminals say that the goal is near, and the recording goes on up to a time "
        "limit",
        "terminals_are_inverted": "terminals are 1 where the episode goes on",
        "time_limits_in_terminals": "terminals mark time limits too, in episodes as long as the time limit "
        "or, if that is unknown, as the longest",
        "timeouts_mark_goals": "timeouts say that a goal was reached and the next one set, not that a "
        "time limit cut the episode (D4RL issue 85)",
        "timeouts_out_of_step": "timeouts are not where episodes end (D4RL issues 77 and 146)",
    }
)
"""What a card may say of its data that a reader must act on, and what it means."""

Bound = float | tuple[float, ...]
"""Of actions: one number, or one for each of an action's numbers."""

Count = Annotated[int, Meta(ge=1)]


class Card(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is known of a dataset before it is read.

    Attributes:
        id: `<source>/<name>-v<k>`, or the path of a file or folder.
        source: `d4rl`, `minari`, `embedded`, or `path`.
        short_name: what users may type instead, without source and version.
        family: the datasets it belongs to, such as `gym-mujoco`.
        environment: where its policies are evaluated; `None`: they are not.
        unpadded_kwargs: constructor arguments with which the environment observes what its `padding` stands
            for, for data in which that is not all 0; empty: it is known to be 0.
        max_episode_steps: the time limit, in steps; the environment's, or that of the environment it lacks.
        environment_missing_because: why there is no environment; ends a sentence.
        broken_from: packages, with the major version from which on its environment cannot be made.
        observation_keys: of observations that are dictionaries, the parts that are joined, in this order;
            `None`: observations are flat.
        score_min: return that counts as 0 (D4RL: a random policy's).
        score_max: return that counts as 100 (D4RL: an expert's).
        endpoints_source: where the two come from.
        endpoints_missing_because: why there are none; ends a sentence.
        incomparable_because: why scores here may not stand beside published ones; ends a sentence.
        file: of a published file or folder, its path below each of the addresses that have it.
        urls: where it can be had, tried in this order.
        bytes: size of the published file.
        licence: of the data.
        notes: what a reader of its scores should know.
        quirks: names from `QUIRKS`.
        policies: names of the behaviour policies in `datasets/policies`, each for an equal share of the rows.
        maze_play: in place of policies: its maze's balls are driven from cell to cell (`embedded.waypoint`).
        rows: how many transitions there are; an embedded dataset is collected with as many.
        mean_return: mean undiscounted return of its whole episodes.
        collection_seed: the seed it is regenerated with.
        content_hash: of the rows that it has when regenerated with the versions of `requirements.lock`;
            empty: not known.
        action_low: lowest number in an action, or lowest of each of its A numbers.
        action_high: highest number in an action, or highest of each of its A numbers.
        actions: `discrete` or `continuous`; empty: what they look like in the file.
        action_count: how many discrete actions there are; `None`: up to the highest in the file.
        columns: our name of a column -> its name in the file; empty: that of the file is not read.
        preset: the settings published for it: the name of a file in `benchmarks/preset`; empty: none.
        imported_from: the file or folder that an imported dataset was read from.
    """

    id: str
    source: Literal["d4rl", "minari", "embedded", "imported", "path"]
    short_name: str = ""
    family: str = ""
    environment: EnvironmentSpec | None = None
    unpadded_kwargs: Mapping[str, Any] = msgspec.field(default_factory=dict)
    max_episode_steps: Count | None = None
    environment_missing_because: str = ""
    broken_from: Mapping[str, int] = msgspec.field(default_factory=dict)
    observation_keys: tuple[str, ...] | None = None
    score_min: float | None = None
    score_max: float | None = None
    endpoints_source: str = ""
    endpoints_missing_because: str = ""
    incomparable_because: str = ""
    file: str = ""
    urls: tuple[str, ...] = ()
    bytes: Count | None = None
    sha256: str | None = None
    licence: str = ""
    notes: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    maze_play: bool = False
    rows: Count | None = None
    episodes: Count | None = None
    mean_return: float | None = None
    collection_seed: Annotated[int, Meta(ge=0)] | None = None
    content_hash: str = ""
    action_low: Bound = -1.0
    action_high: Bound = 1.0
    actions: Literal["", "discrete", "continuous"] = ""
    action_count: Count | None = None
    columns: Mapping[str, str] = msgspec.field(default_factory=dict)
    preset: str = ""
    imported_from: str = ""

    def __post_init__(self) -> None:
        for quirk in self.quirks:
            if quirk not in QUIRKS:
                raise ValueError(f"unknown quirk '{quirk}' (choose from {', '.join(QUIRKS)})")

    @property
    def endpoints_of_data(self) -> tuple[float, float] | None:
        """Returns of the data's own episodes that count as 0 and 100, where they can have scores."""
        if self.score_min is None or self.score_max is None or "returns_without_score" in self.quirks:
            return None
        return self.score_min, self.score_max

    @property
    def recorded_limit(self) -> int | None:
        """The time limit of the data's own episodes, in steps, if it is known."""
        return None if "another_time_limit" in self.quirks else self.max_episode_steps

    @property
    def version(self) -> int:
        """`k` of the id's `-v<k>`."""
        return int(self.id.rpartition("-v")[2])

    @property
    def name(self) -> str:
        """The id without its source: `hopper-medium-v2`, `mujoco/hopper/medium-v0`."""
        return self.id.partition("/")[2]

    @property
    def incomparable(self) -> str:
        """Why no score on it may stand beside published ones, whatever the settings; empty: some may."""
        reasons = {
            "not D4RL's data": self.source != "d4rl",
            "no published settings are on record": self.source == "d4rl" and not self.preset,
            self.incomparable_because: self.incomparable_because,
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)


class _CardFile(msgspec.Struct, forbid_unknown_fields=True):
    """A card is `card.<id>` over `task.<its task>` over `defaults`."""

    defaults: dict[str, Any] = {}
    task: dict[str, dict[str, Any]] = {}
    card: dict[str, dict[str, Any]] = {}


def all_cards() -> dict[str, Card]:
    """Every card by its id, in the order of files and of cards inside a file; imported datasets' cards last.

    Those of imported datasets that are damaged are left out: see `damaged_cards`.

    Raises:
        DatasetError: a card file is not readable or says something that a card does not have.
    """
    cards: dict[str, Card] = {}
    for path in sorted(cards_dir().glob("*.toml")):
        _add(cards, path)
    _add_imported(cards)
    return cards


def damaged_cards() -> list[str]:
    """What is wrong with cards of imported datasets, one sentence each."""
    return _add_imported({})


def imported_cards_dir() -> Path:
    """Where the cards of imported datasets lie."""
    return cache_dir() / "cards"


def _add_imported(cards: dict[str, Card]) -> list[str]:
    faults = []
    for path in sorted(imported_cards_dir().glob("*.toml")):
        try:
            _add(cards, path)
        except DatasetError as error:
            faults.append(f"{error} Remove that file, or import its dataset again.")
    return faults


def _add(cards: dict[str, Card], path: Path) -> None:
    try:
        found = _parsed(path, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"The card file {path} cannot be read: {error}.") from error
    for card in found:
        if card.id in cards:
            raise DatasetError(f"{path} has a card '{card.id}', which another card file has as well.")
        cards[card.id] = card


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, text: str) -> tuple[Card, ...]:
    file = msgspec.toml.decode(text, type=_CardFile)
    cards = []
    for dataset_id, own in file.card.items():
        where = f"The card '{dataset_id}' of {path}"
        task = own.pop("task", None)
        if task is not None and task not in file.task:
            raise DatasetError(f"{where} names the task '{task}', which the file does not have.")
        try:
            cards.append(_card(dataset_id, {**file.defaults, **file.task.get(task, {}), **own}))
        except msgspec.ValidationError as error:
            raise DatasetError(f"{where} is not valid: {error}.") from error
    return tuple(cards)


def _card(dataset_id: str, values: dict[str, Any]) -> Card:
    values.setdefault("short_name", dataset_id.rpartition("-v")[0].partition("/")[2])
    folders = msgspec.convert(values.pop("folders", []), list[str])
    if values.get("file"):
        values.setdefault("urls", [f"{folder}{values['file']}" for folder in folders])
    card = msgspec.convert({**values, "id": dataset_id}, Card)
    if problem := id_problem(dataset_id, card.source):
        raise msgspec.ValidationError(f"it {problem.rstrip('.')}")
    environment = card.environment
    if environment is None:
        return card
    if environment.observation_keys is not None:
        raise msgspec.ValidationError("observation_keys stand in the card, not in its environment")
    environment = replace(environment, observation_keys=card.observation_keys)
    return replace(card, environment=environment, max_episode_steps=environment.max_episode_steps)


def id_problem(dataset_id: str, source: str) -> str:
    """What is wrong with an id, to stand behind its card's name; empty if nothing is.

    An imported dataset's id starts with a name of the user's own, any other's with its source.
    """
    name, _, version = dataset_id.rpartition("-v")
    first, _, rest = name.partition("/")
    own = source == "imported" and first not in SOURCES and bool(first)
    if (own or first == source in SOURCES) and rest and version.isdecimal():
        return ""
    first = "<a name of your own>" if source == "imported" else source
    return f"must have an id of the form {first}/<name>-v<number>."
