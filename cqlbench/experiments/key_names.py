"""The keys that a run takes, and which of them an unknown one was meant for."""

import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from cqlbench.algorithms import ALGORITHMS
from cqlbench.algorithms.algorithm import AlgorithmConfig
from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import benchmarks_dir, yaml_names
from cqlbench.core.text import flat
from cqlbench.experiments.config import BenchConfig
from cqlbench.trainer.config import TRAINER_DECIDED

T = TypeVar("T")
SHORTHANDS = {"steps": "budget.steps", "logger": "trainer.logger"}
RENAMED = {"online.conservative_weight": "online.algorithm.conservative_weight"}
"""Keys of version 0.1.0 that are understood for one version more."""
GROUPS = ("algorithm", "budget", "online", "preset")


def check_key(override: str, algorithm: str) -> None:
    """Refuse a key that a run from the command line does not take, and a choice that a group does not have.

    Raises:
        ConfigError: naming what was meant: our name for another implementation's key, or the nearest key.
    """
    key, _, value = override.partition("=")
    group, _, name = key.partition(".")
    if group == "trainer" and name in TRAINER_DECIDED:
        raise ConfigError(f"{key} cannot be set in a run from the command line: {TRAINER_DECIDED[name]}.")
    if key in GROUPS:
        check_choice(key, value)
    if key not in known_keys(algorithm):
        if key.startswith("online.algorithm.") and key.rpartition(".")[2] in settings_of(algorithm).FIXED:
            raise ConfigError(f"{key} cannot change between a run's offline and its online steps.")
        if others := _takers([key]):
            raise ConfigError(f"{key} is for algorithm={' or '.join(others)}, and this is {algorithm}.")
        raise ConfigError(f"Unknown key '{key}'{_hint(key, value, algorithm)}.")


def known_keys(algorithm: str) -> list[str]:
    """All keys of a run of `algorithm`, those that cannot be set left out."""
    settings = settings_of(algorithm)
    own = [field.name for field in dataclasses.fields(settings)]
    later = [name for name in own if name not in settings.FIXED]
    names = [
        *flat(dataclasses.asdict(BenchConfig())),
        *(f"algorithm.{name}" for name in own),
        *(f"online.algorithm.{name}" for name in later),
        *GROUPS,
        *SHORTHANDS,
    ]
    decided = {f"trainer.{each}" for each in ("_target_", *TRAINER_DECIDED)}
    return [name for name in names if name not in decided]


def settings_of(algorithm: str) -> type[AlgorithmConfig]:
    """The settings' type of a file in `benchmarks/algorithm`, which the first of its `defaults` names.

    Raises:
        ConfigError: there is no such file.
    """
    check_choice("algorithm", algorithm)
    path = benchmarks_dir() / "algorithm" / f"{algorithm}.yaml"
    first = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"][0]
    return ALGORITHMS[first.removeprefix("schema/").removesuffix("@_here_")][0]


def group_choices(group: str) -> list[str]:
    """The files of a group of `benchmarks/`."""
    return yaml_names(benchmarks_dir() / group)


def read_choice(folder: Path, name: str, kind: type[T], key: str) -> T:
    """A YAML file of a folder as a `kind`, whose field `key` is the file's name.

    Raises:
        ConfigError: there is none of that name, or it says anything but a `kind`.
    """
    if name not in yaml_names(folder):
        known = ", ".join(yaml_names(folder))
        raise ConfigError(f"Unknown {folder.name} '{name}' (choose from {known}).")
    path = folder / f"{name}.yaml"
    try:
        return msgspec.convert({**yaml.safe_load(path.read_text(encoding="utf-8")), key: name}, kind)
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{folder.name.capitalize()} '{path}' cannot be read: {reason}.") from error


def check_choice(group: str, name: str) -> None:
    """Refuse a name that is no file of a group.

    Raises:
        ConfigError: naming the valid ones, or the command that takes several algorithms.
    """
    if group == "algorithm" and ("," in name or name == "all"):
        raise ConfigError(
            f"A run has one algorithm, not '{name}'; for several say cqlbench paper algorithm={name}."
        )
    if name not in group_choices(group):
        raise ConfigError(f"Unknown {group} '{name}' (choose from {', '.join(group_choices(group))}).")


def algorithms_named(text: str) -> list[str]:
    """Algorithms by their names, with commas between them; `all` is every one.

    Raises:
        ConfigError: there is none of a name.
    """
    names = group_choices("algorithm") if text == "all" else [each.strip() for each in text.split(",")]
    for name in names:
        check_choice("algorithm", name)
    return list(dict.fromkeys(names))


def aliases() -> dict[str, str]:
    """Other implementations' names for our keys: name -> key, or keys joined by ` or `; see the file."""
    found: dict[str, str] = yaml.safe_load((benchmarks_dir() / "aliases.yaml").read_text(encoding="utf-8"))
    return found


def _hint(key: str, value: str, algorithm: str) -> str:
    # Of equal leaves the last counts: fine-tuning's are meant least often.
    ordered = sorted(known_keys(algorithm), key=lambda name: not name.startswith("online."))
    if key.lower() in ordered:  # make's variables are upper case
        return f"; keys are lower case: '{key.lower()}'"
    leaf = key.rpartition(".")[2]
    if leaf in aliases():
        return f"; it is {_meant(leaf, value, algorithm)} here"
    by_leaf = {name.rpartition(".")[2]: name for name in ordered}
    nearest = difflib.get_close_matches(leaf, list(by_leaf), n=1)
    if "." not in key:  # a group's common beginning would make any of its keys near
        nearest = difflib.get_close_matches(key, [*ordered, *nearest], n=1)
    return f"; the nearest is '{by_leaf.get(nearest[0], nearest[0])}'" if nearest else ""


def _meant(alias: str, value: str, algorithm: str) -> str:
    """Our keys for another implementation's: those of `algorithm`, or of the algorithms that have them."""
    text, bracket, difference = aliases()[alias].format(value=value).partition(" (")
    keys = {each.partition("=")[0]: each for each in text.split(" or ")}
    own = [each for key, each in keys.items() if key in known_keys(algorithm)]
    whose = "" if own else f" of algorithm={' or '.join(_takers(keys))}"
    return f"{' or '.join(own or keys.values())}{whose}{bracket}{difference}"


def _takers(keys: Iterable[str]) -> list[str]:
    """The algorithms that take any of `keys`."""
    return [name for name in group_choices("algorithm") if not set(known_keys(name)).isdisjoint(keys)]
