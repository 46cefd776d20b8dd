"""What argparse makes of a key's text; an `ArgumentTypeError` ends in its message and exit status 2."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress


def truth(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ArgumentTypeError(f"'{text}' must be true or false")
    return text == "true"


def whole(least: int) -> Callable[[str], int]:
    """A whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"'{text}' must be a whole number of at least {least}")
        return int(text)

    return read


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[str], float]:
    """A finite number of at least `low` and below `high`."""
    bounds = [f"of at least {low:g}"] if low > -math.inf else []
    bounds += [f"below {high:g}"] if high < math.inf else []

    def read(text: str) -> float:
        with suppress(ValueError):
            value = float(text)
            if math.isfinite(value) and low <= value < high:
                return value
        raise ArgumentTypeError(" ".join([f"'{text}' must be a number", " and ".join(bounds)]).strip())

    return read


def numbers(text: str) -> tuple[float, ...]:
    """One number, or a list of them: `-1`, `-1,-2`, `[-1, -2]`."""
    return tuple(map(number(), text.strip("[]() ").split(",")))


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(text.split(","))
