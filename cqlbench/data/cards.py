"""Dataset id -> the facts known before training, from the tables in `datasets/cards`."""

import contextlib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from cqlbench.core.errors import DatasetError
from cqlbench.core.paths import cache_dir, cards_dir
from cqlbench.environments.spec import EnvironmentSpec

SOURCES = ("d4rl", "minari", "embedded", "imported")

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        "action_clip": "actions outside their bounds are clipped to them",
        "contact_forces_are_zero": "the contact forces it observes are all zero (D4RL issue 143)",
        "ends_are_right": "its end flags are what they say, however odd they look",
        "one_reward_per_goal": "rewards and terminals are 1 once, when the goal is reached, where its "
        "siblings have them at every step near it (D4RL issue 199)",
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


@dataclass(frozen=True)
class Card:
    """What is known of a dataset before it is read.

    Attributes:
        id: `<source>/<name>-v<k>`, or the path of a file or folder.
        source: `d4rl`, `minari`, `embedded`, or `path`.
        short_name: what users may type instead, without source and version.
        family: the datasets it belongs to, such as `gym-mujoco`.
        environment: where its policies are evaluated; `None`: they are not.
        max_episode_steps: the time limit, in steps; the environment's, or that of the environment it lacks.
        environment_missing_because: why there is no environment; ends a sentence.
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
        sha256: checksum of the published file.
        licence: of the data.
        notes: what a reader of its scores should know.
        quirks: names from `QUIRKS`.
        policies: names of the behaviour policies in `datasets/policies`, each for an equal share of the rows.
        rows: how many transitions there are; an embedded dataset is collected with as many.
        episodes: how many episodes there are.
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
    source: str
    short_name: str = ""
    family: str = ""
    environment: EnvironmentSpec | None = None
    max_episode_steps: int | None = None
    environment_missing_because: str = ""
    observation_keys: tuple[str, ...] | None = None
    score_min: float | None = None
    score_max: float | None = None
    endpoints_source: str = ""
    endpoints_missing_because: str = ""
    incomparable_because: str = ""
    file: str = ""
    urls: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    licence: str = ""
    notes: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    rows: int | None = None
    episodes: int | None = None
    mean_return: float | None = None
    collection_seed: int | None = None
    content_hash: str = ""
    action_low: Bound = -1.0
    action_high: Bound = 1.0
    actions: Literal["", "discrete", "continuous"] = ""
    action_count: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    preset: str = ""
    imported_from: str = ""

    @property
    def version(self) -> int:
        """`k` of the id's `-v<k>`."""
        return int(self.id.rpartition("-v")[2])

    @property
    def name(self) -> str:
        """The id without its source: `hopper-medium-v2`, `mujoco/hopper/medium-v0`."""
        return self.id.partition("/")[2]


_NUMBER = (int, float)
_BOUNDS = ("action_low", "action_high")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "source": str,
    "short_name": str,
    "family": str,
    "environment": dict,
    "max_episode_steps": int,
    "environment_missing_because": str,
    "observation_keys": list,
    "score_min": _NUMBER,
    "score_max": _NUMBER,
    "endpoints_source": str,
    "endpoints_missing_because": str,
    "incomparable_because": str,
    "folders": list,
    "file": str,
    "urls": list,
    "bytes": int,
    "sha256": str,
    "licence": str,
    "notes": list,
    "quirks": list,
    "policies": list,
    "rows": int,
    "episodes": int,
    "mean_return": (int, float),
    "collection_seed": int,
    "content_hash": str,
    "action_low": (*_NUMBER, list),
    "action_high": (*_NUMBER, list),
    "actions": str,
    "action_count": int,
    "columns": dict,
    "preset": str,
    "imported_from": str,
}


def all_cards() -> dict[str, Card]:
    """Every card by its id, in the order of files and of cards inside a file; imported datasets' cards last.

    Those of imported datasets that are damaged are left out: see `damaged_cards`.

    Raises:
        DatasetError: a card file is not readable or says something that a card does not have.
    """
    cards: dict[str, Card] = {}
    for path in sorted(cards_dir().glob("*.toml")):
        _add(cards, path)
    for path in sorted(imported_cards_dir().glob("*.toml")):
        with contextlib.suppress(DatasetError):
            _add(cards, path)
    return cards


def damaged_cards() -> list[str]:
    """What is wrong with cards of imported datasets, one sentence each."""
    faults = []
    cards: dict[str, Card] = {}
    for path in sorted(imported_cards_dir().glob("*.toml")):
        try:
            _add(cards, path)
        except DatasetError as error:
            faults.append(f"{error} Remove that file, or import its dataset again.")
    return faults


def _add(cards: dict[str, Card], path: Path) -> None:
    for card in _cards_in(path):
        if card.id in cards:
            raise DatasetError(f"{path} has a card '{card.id}', which another card file has as well.")
        cards[card.id] = card


def imported_cards_dir() -> Path:
    """Where the cards of imported datasets lie."""
    return cache_dir() / "cards"


def load_card(dataset_id: str) -> Card:
    """The card of a full dataset id.

    Raises:
        DatasetError: no card file has it.
    """
    cards = all_cards()
    if dataset_id not in cards:
        raise DatasetError(
            f"There is no card '{dataset_id}' in {cards_dir()}; `cqlbench data list` prints all ids."
        )
    return cards[dataset_id]


def _cards_in(path: Path) -> tuple[Card, ...]:
    try:
        return _parsed(path, path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"The card file {path} cannot be read: {error}.") from error


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, text: str) -> tuple[Card, ...]:
    table = tomllib.loads(text)
    _refuse_unknown(table, {"defaults", "task", "card"}, f"The card file {path}")
    for section in ("defaults", "task", "card"):
        _require(isinstance(table.get(section, {}), dict), f"'{section}' of {path} must be a table.")
    tasks = table.get("task", {})
    cards = []
    for dataset_id, own in table.get("card", {}).items():
        where = f"The card '{dataset_id}' of {path}"
        _require(isinstance(own, dict), f"{where} must be a table.")
        task = own.get("task")
        _require(
            task is None or task in tasks, f"{where} names the task '{task}', which the file does not have."
        )
        merged = {**table.get("defaults", {}), **tasks.get(task, {}), **own}
        merged.pop("task", None)
        cards.append(_card(dataset_id, merged, where))
    return tuple(cards)


def _card(dataset_id: str, values: dict[str, Any], where: str) -> Card:
    _refuse_unknown(values, set(_TYPES), where)
    for key, value in values.items():
        of_type = isinstance(value, _TYPES[key]) and not isinstance(value, bool)
        if isinstance(value, list):
            of_type &= all(isinstance(item, _NUMBER if key in _BOUNDS else str) for item in value)
        _require(of_type, f"{where} has {key} = {value!r}, which is not of the right type.")
    source = values.get("source")
    _require(source in SOURCES, f"{where} has the source '{source}'; it must be one of {', '.join(SOURCES)}.")
    problem = id_problem(dataset_id, str(source))
    _require(not problem, f"{where} {problem}")
    named = all(isinstance(name, str) for name in values.get("columns", {}).values())
    _require(named, f"{where} has columns that are no names.")
    for quirk in values.get("quirks", []):
        _require(quirk in QUIRKS, f"{where} has the quirk '{quirk}', which is none of {', '.join(QUIRKS)}.")
    folders = values.pop("folders", [])
    if values.get("file"):
        values.setdefault("urls", [folder + values["file"] for folder in folders])
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    environment = values.pop("environment", None)
    if environment is not None:
        environment = _environment(environment, lists.get("observation_keys"), where)
        values["max_episode_steps"] = environment.max_episode_steps
    return Card(
        **{
            "short_name": dataset_id.rpartition("-v")[0].partition("/")[2],
            **values,
            **lists,
            "id": dataset_id,
            "environment": environment,
        }
    )


def id_problem(dataset_id: str, source: str) -> str:
    """What is wrong with an id, to stand behind its card's name; empty if nothing is.

    An imported dataset's id starts with a name of the user's own, any other's with its source.
    """
    name, _, version = dataset_id.rpartition("-v")
    first, _, rest = name.partition("/")
    own = source == "imported" and first not in SOURCES and bool(first)
    if (own or first == source) and rest and version.isdecimal():
        return ""
    first = "<a name of your own>" if source == "imported" else source
    return f"must have an id of the form {first}/<name>-v<number>."


def _environment(
    values: dict[str, Any], observation_keys: tuple[str, ...] | None, where: str
) -> EnvironmentSpec:
    known = {field.name for field in fields(EnvironmentSpec)} - {"observation_keys"}
    _refuse_unknown(values, known, f"'environment' of {where[0].lower()}{where[1:]}")
    _require("id" in values, f"{where} has an environment without an id.")
    return EnvironmentSpec(**values, observation_keys=observation_keys)


def _refuse_unknown(values: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(values) - known)
    _require(
        not unknown,
        f"{where} has unknown keys: {', '.join(unknown)}; it may have {', '.join(sorted(known))}.",
    )


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise DatasetError(sentence)
