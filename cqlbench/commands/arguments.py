"""Words: `key=value` ones of the command line, sentences for mistaken ones, and numbers of things."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence

from cqlbench.core.errors import ConfigError


def values_of(words: Sequence[str], command: str, keys: Collection[str], takes: str = "") -> dict[str, str]:
    """`key=value` words as a dictionary.

    Args:
        words: of the command line.
        command: whose they are.
        keys: what may be set.
        takes: how the sentence names them; by default, one after the other.

    Raises:
        ConfigError: a word that is none of `keys`, or has no value.
    """
    values = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in keys or not value:
            takes = takes or f"{'=, '.join(keys)}="
            raise ConfigError(f"'{word}' is not understood; {command} takes {takes}.")
        values[key] = value
    return values


def truth(values: Mapping[str, str], key: str, default: bool = False) -> bool:
    """What `key=true` or `key=false` says; `default` where it is not there.

    Raises:
        ConfigError: it is neither.
    """
    text = values.get(key, "true" if default else "false")
    if text not in ("true", "false"):
        raise ConfigError(f"{key}={text} must be true or false.")
    return text == "true"


def whole(values: Mapping[str, str], key: str, least: int) -> int:
    """The whole number that `key` is set to; `least` where it is not there.

    Raises:
        ConfigError: it is none, or below `least`.
    """
    text = values.get(key, str(least))
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{key}={text} must be a whole number of at least {least}.")
    return int(text)


def choices(typed: str, names: Iterable[str]) -> str:
    """The end of a sentence that says what could have been meant by `typed`."""
    close = difflib.get_close_matches(typed, sorted(names), n=1)
    return f"did you mean '{close[0]}'?" if close else f"there is {', '.join(sorted(names))}."
