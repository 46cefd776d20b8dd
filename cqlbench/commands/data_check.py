"""`cqlbench data check`, `show` and `import`: words, and what is printed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
from rich.console import Console

from cqlbench.commands.arguments import choices, truth, whole
from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError, DatasetError
from cqlbench.core.paths import expanded
from cqlbench.data import validate
from cqlbench.data.cards import Bound, Card
from cqlbench.data.findings import Finding
from cqlbench.data.imported import UNNAMED, import_dataset, recorded_environment
from cqlbench.data.load import expected, provide, read
from cqlbench.data.readers.column_names import parsed
from cqlbench.data.resolve import Resolution, resolve
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.reporting.plots.dataset import facts, figure

_IMPORT_KEYS = (
    "id", "env", "max_episode_steps", "score_min", "score_max", "observation_keys", "actions", "action_count",
    "action_low", "action_high", "columns", "clip_actions", "ends", "licence",
)  # fmt: skip

_ENDS = {
    "trusted": "ends_are_right",
    "time_limits": "time_limits_in_terminals",
    "inverted": "terminals_are_inverted",
}


def check(words: Sequence[str], console: Console) -> None:
    """Read a dataset's file anew and print what the checks find, one line per check.

    Words: the dataset's name; `source=`, `clip_actions=true`.

    Raises:
        ConfigError: a word that is not understood.
        DatasetError: the dataset cannot be had or read, or a check failed.
    """
    resolution, settings = _resolved(words, ("source", "clip_actions"))
    clip = truth(settings, "clip_actions")
    console.out(f"{resolution.dataset_id}: {resolution.reason}")
    if resolution.card.source == "embedded":  # collecting takes long, and would give the same rows
        transitions = provide(resolution).transitions()
    else:
        transitions = read(resolution, clip_actions=clip)
    findings = validate.examine(transitions, expected(resolution.card))
    for line in table(findings):
        console.out(line)
    for note in transitions.notes:
        console.out(f"note     {note}")
    failed = [finding.check for finding in findings if finding.severity == "error"]
    if failed:
        raise DatasetError(f"{resolution.dataset_id} fails {len(failed)} of its checks: {', '.join(failed)}.")


def table(findings: Sequence[Finding]) -> list[str]:
    """One line per finding: severity, check, sentence, and the first rows concerned."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        more = ", …" if finding.count > len(finding.rows) else ""
        rows = f" Rows: {', '.join(map(str, finding.rows))}{more}." if finding.rows else ""
        line = f"{finding.severity:<7}  {finding.check:<{width}}  {finding.message}{rows}"
        lines.append(line.rstrip())
    return lines


def show(words: Sequence[str], console: Console) -> None:
    """Print a dataset's facts, and draw them.

    Words: the dataset's name; `source=`, `clip_actions=true`, `results=` (for the figure).

    Raises:
        ConfigError: a word that is not understood, or a results folder that cannot be written or has a file
            of another's under the figure's name.
        DatasetError: the dataset cannot be had.
    """
    resolution, settings = _resolved(words, ("source", "clip_actions", "results"))
    dataset = provide(resolution, clip_actions=truth(settings, "clip_actions"))
    console.out(f"{resolution.dataset_id}: {resolution.reason}")
    rows, whole = dataset.transitions(), dataset.whole_episodes
    for name, text in facts(rows, whole, resolution.card):
        console.out(f"{name:<12} {text}")
    file = Path(dataset.path).name.rpartition("-")[0] + ".png"
    place = expanded(settings.get("results", "results")) / "datasets" / file
    picture = {file: figure(dataset.id, rows, whole, resolution.card)}
    outputs.write_folder(place.parent, picture, "show", "results", complete=False)
    console.out(f"{'Figure':<12} {place}")


def import_(words: Sequence[str], console: Console) -> None:
    """Give a file or folder of the user's an id, a card and a buffer.

    Words: the path; `id=`, and where known `env=`, `max_episode_steps=`, `score_min=`, `score_max=`,
    `observation_keys=a,b`, `actions=discrete|continuous`, `action_count=`, `action_low=`, `action_high=`,
    `columns={ours: theirs}`, `clip_actions=true`, `ends=trusted|time_limits|inverted`.

    Raises:
        ConfigError: a word that is not understood, or no id.
        DatasetError: the file is refused.
        UserError: the environment cannot be made, or does not fit the data.
    """
    name, settings = _words(words, _IMPORT_KEYS, "FILE")
    if "id" not in settings:
        raise ConfigError("No id was given; say for instance id=my/robot-v0.")
    path = expanded(name)
    limit = _whole(settings, "max_episode_steps")
    keys = tuple(settings["observation_keys"].split(",")) if "observation_keys" in settings else None
    if "env" in settings:
        environment: EnvironmentSpec | None = EnvironmentSpec(settings["env"], limit, observation_keys=keys)
        because = ""
    else:
        environment, because = recorded_environment(path, keys)
    missing = because.rstrip(".") if because != UNNAMED else ""
    low, high = _number(settings, "score_min"), _number(settings, "score_max")
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise ConfigError(
            "score_min= and score_max= are given together, the smaller one first, or not at all."
        )
    card = Card(
        id=settings["id"],
        source="imported",
        environment=environment,
        environment_missing_because=missing[:1].lower() + missing[1:],
        max_episode_steps=limit,
        score_min=low,
        score_max=high,
        endpoints_source="given by whoever imported it" if low is not None else "",
        observation_keys=keys,
        actions=_actions(settings),
        columns=parsed(settings["columns"]) if "columns" in settings else {},
        action_count=_whole(settings, "action_count"),
        quirks=_quirks(settings),
        licence=settings.get("licence", ""),
    )
    dataset = import_dataset(path, card, _bounds(settings))
    console.out(f"{card.id}: {dataset.rows:,} transitions, {dataset.returns.episodes:,} whole episodes")
    for note in dataset.notes:
        console.out(f"note     {note}")
    played = environment.id if environment else f"none, so policies are not evaluated. {because}"
    console.out(f"Environment: {played}")
    console.out(f"Train on it: cqlbench bench dataset={card.id}")


def _resolved(words: Sequence[str], keys: Sequence[str]) -> tuple[Resolution, dict[str, str]]:
    name, settings = _words(words, keys, "ID")
    return resolve(name, settings.get("source", "auto")), settings


def _words(words: Sequence[str], keys: Sequence[str], what: str) -> tuple[str, dict[str, str]]:
    """The one word that is no `key=value`, and the others."""
    names: list[str] = []
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or (key not in keys and "/" in key):  # a path may hold an equals sign
            names.append(word)
            continue
        if key not in keys:
            raise ConfigError(f"There is no key '{key}' here; {choices(key, keys)}")
        if not value:
            raise ConfigError(f"'{key}' has no value; say {key}=VALUE.")
        settings[key] = value
    if len(names) != 1:
        raise ConfigError(
            f"One {what} is needed, and {len(names)} were given; the keys are {', '.join(keys)}."
        )
    return names[0], settings


def _actions(settings: Mapping[str, str]) -> Literal["", "discrete", "continuous"]:
    said = settings.get("actions", "discrete" if "action_count" in settings else "")
    if said not in ("", "discrete", "continuous"):
        raise ConfigError(f"actions={said} must be discrete or continuous.")
    if said == "continuous" and "action_count" in settings:
        raise ConfigError(
            "action_count= is the number of discrete actions; leave it out, or actions=continuous."
        )
    return cast("Literal['', 'discrete', 'continuous']", said)


def _quirks(settings: Mapping[str, str]) -> tuple[str, ...]:
    said = settings.get("ends", "")
    if said not in ("", *_ENDS):
        raise ConfigError(f"There is no ends={said}; {choices(said, _ENDS)}")
    clipped = ("action_clip",) if truth(settings, "clip_actions") else ()
    return (*clipped, _ENDS[said]) if said else clipped


def _bounds(settings: Mapping[str, str]) -> tuple[Bound, Bound] | None:
    given = [key for key in ("action_low", "action_high") if key in settings]
    if not given:
        return None
    if len(given) == 1:
        raise ConfigError("action_low= and action_high= are given together, or not at all.")
    low, high = (_numbers(key, settings[key]) for key in given)
    if len({len(low), len(high)} - {1}) > 1 or not (np.less(low, high)).all():
        raise ConfigError("action_low= must be below action_high=, with as many numbers in each, or one.")
    return low[0] if len(low) == 1 else low, high[0] if len(high) == 1 else high


def _numbers(key: str, text: str) -> tuple[float, ...]:
    """One number, or a list of them: `-1`, `-1,-2`, `[-1, -2]`."""
    return tuple(_finite(key, part) for part in text.strip("[]() ").split(","))


def _number(settings: Mapping[str, str], key: str) -> float | None:
    return _finite(key, settings[key]) if key in settings else None


def _finite(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{key}={text} must be a number.")
    return value


def _whole(settings: Mapping[str, str], key: str) -> int | None:
    return whole(settings, key, 1) if key in settings else None
