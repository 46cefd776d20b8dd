"""Sweeps: `key=a,b` stands for a job with `key=a` and one with `key=b`."""

import itertools
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.compose import TEXT


def multirun(words: Sequence[str]) -> Iterator[list[str]]:
    """The words of each job: every combination of the values that `words` give, the last varying fastest."""
    yield from map(list, itertools.product(*map(job_words, words)))


def job_words(word: str) -> list[str]:
    """The words that a sweep `key=a,b` stands for; `[word]` where it is no sweep.

    `seeds=0,1` is a job for seed 0 and one for seed 1.

    Raises:
        ConfigError: a sweep that is not supported.
    """
    key = word.partition("=")[0]
    try:
        override: Override = OverridesParser.create().parse_override(word)
        if not override.is_sweep_override():
            return [word]
        if isinstance(override.value(), Glob):
            raise ConfigError(f"{word} cannot be swept over; list the values: {key}=a,b.")
        values = list(override.sweep_string_iterator())
    except HydraException:
        return [word]  # composition says what is wrong with it; and a path may hold anything
    if key == "seeds":
        values = [f"[{value}]" if value.isdecimal() else value for value in values]
    if key in TEXT:
        values = [value.strip("'\"") for value in values]
    return [f"{key}={value}" for value in values]
