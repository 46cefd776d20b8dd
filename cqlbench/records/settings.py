"""What the settings of runs differ in, for those who must tell them apart."""

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from cqlbench.core.text import flat

_LONGEST = 24


def differing_settings(runs: Sequence[tuple[Hashable, Mapping[str, Any]]]) -> list[str]:
    """`differing_values` as text: `weight=1, lagrange=true`."""
    values = differing_values(runs)
    return [", ".join(f"{name}={value}" for name, value in each.items()) for each in values]


def differing_values(
    runs: Sequence[tuple[Hashable, Mapping[str, Any]]], left_out: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Of each run its values of the settings in which runs of one place differ, by the setting.

    Args:
        runs: a place (a dataset, for instance, whose own settings are no difference to another's) and a
            config.
        left_out: beginnings of keys that do not count.
    """
    configs = [flat(config) for _, config in runs]
    firsts: dict[Hashable, dict[str, Any]] = {}
    keys = set()
    for (place, _), config in zip(runs, configs, strict=True):
        first = firsts.setdefault(place, config)
        keys |= {key for key in first.keys() | config.keys() if first.get(key) != config.get(key)}
    chosen = sorted(key for key in keys if not key.startswith(tuple(left_out)))
    texts = {key.removeprefix("algorithm."): _texts(key, configs) for key in chosen}
    return [{name: each[place] for name, each in texts.items()} for place in range(len(runs))]


def natural(text: str) -> list[tuple[bool, float, str]]:
    """A sorting key that takes the numbers in a text for numbers."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", text)
    return [(bool(place % 2), float(part) if place % 2 else 0.0, part) for place, part in enumerate(parts)]


def _texts(key: str, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each config's value, long ones cut unless that makes different ones the same."""
    whole = [_text(config[key]) if key in config else "unset" for config in configs]
    short = [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in whole]
    return short if len(set(short)) == len(set(whole)) else whole


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)
