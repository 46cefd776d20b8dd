"""Numbers of things in words, and nested settings by one name each."""

import json
from collections.abc import Mapping
from typing import Any


def counted(number: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """How long, in the unit that suits."""
    minutes = seconds / 60
    if seconds < 100:
        return counted(round(seconds), "second")
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by dots; a list becomes its JSON text."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            found |= flat(item, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(item) if isinstance(item, list | tuple) else item
    return found
