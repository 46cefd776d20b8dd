"""What the settings of runs differ in, for those who must tell them apart."""

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

_LONGEST = 24


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by dots; a list becomes its JSON text."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            found |= flat(item, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(item) if isinstance(item, list | tuple) else item
    return found


def differing_settings(
    runs: Sequence[tuple[Hashable, Mapping[str, Any]]], left_out: Sequence[str] = ()
) -> list[str]:
    """Of each run its values of the settings in which runs of one place differ: `weight=1, lagrange=true`.

    Args:
        runs: a place (a dataset, for instance, whose own settings are no difference to another's) and a
            config.
        left_out: beginnings of keys that do not count.
    """
    configs = [
        {key: value for key, value in flat(config).items() if not key.startswith(tuple(left_out))}
        for _, config in runs
    ]
    firsts: dict[Hashable, dict[str, Any]] = {}
    keys = set()
    for (place, _), config in zip(runs, configs, strict=True):
        first = firsts.setdefault(place, config)
        if first is not config:
            keys |= {key for key in first.keys() | config.keys() if first.get(key) != config.get(key)}
    return [", ".join(_text(key, config) for key in sorted(keys)) for config in configs]


def natural(text: str) -> list[tuple[bool, float, str]]:
    """A sorting key that takes the numbers in a text for numbers."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", text)
    return [(bool(place % 2), float(part) if place % 2 else 0.0, part) for place, part in enumerate(parts)]


def _text(key: str, config: Mapping[str, Any]) -> str:
    value = config.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value)
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"{key.removeprefix('algorithm.')}={shown if key in config else 'unset'}"
