"""Sweeps: `key=a,b` stands for a job with `key=a` and one with `key=b`; and files of configurations."""

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import benchmarks_dir
from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.experiments.compose import TEXT, default_algorithm, value_of
from cqlbench.experiments.key_names import read_choice


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


_Values = Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)]


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of `benchmarks/sweep`: the configurations of one algorithm that one would choose from.

    Attributes:
        algorithm: the file's name, which is that of a file of `benchmarks/algorithm`.
        keys: settings, and the values that each of them takes; every combination is a configuration.
        draw: how many of the combinations are drawn where nothing else is said.
    """

    algorithm: str
    title: Annotated[str, msgspec.Meta(min_length=1)]
    keys: Annotated[Mapping[str, _Values], msgspec.Meta(min_length=1)]
    draw: Annotated[int, msgspec.Meta(ge=1)]

    def configurations(self, draw: int | None = None) -> list[list[str]]:
        """The drawn combinations as arguments, `key=value` each; all of them where there are fewer.

        The order is random and always the same, so that a larger `draw` only adds configurations.
        """
        choices = [[f"{key}={argument_text(value)}" for value in values] for key, values in self.keys.items()]
        every = [*itertools.product(*choices)]
        generator = numpy_generator(0, Purpose.SWEEP, zlib.crc32(self.algorithm.encode()))
        order = generator.permutation(math.prod(map(len, choices)))
        return [list(every[place]) for place in order[: self.draw if draw is None else draw]]


def sweep_jobs(arguments: Sequence[str], draw: int | None = None) -> list[list[str]]:
    """The arguments of each run of a sweep: each drawn configuration of each algorithm on each dataset.

    Args:
        arguments: those of `bench`; `dataset=` and `algorithm=` may name several, with commas.
        draw: configurations of each algorithm; `None`: as many as its file says.

    Raises:
        ConfigError: an algorithm without a sweep, or an argument that sets what the sweep does.
    """
    jobs = []
    several = ("dataset=", "algorithm=")
    last = f"algorithm={value_of(arguments, 'algorithm', default_algorithm())}"
    arguments = [*(each for each in arguments if not each.startswith("algorithm=")), last]
    for words in itertools.product(*(job_words(a) if a.startswith(several) else [a] for a in arguments)):
        algorithm = value_of(words, "algorithm", default_algorithm())
        sweep = read_choice(benchmarks_dir() / "sweep", algorithm, Sweep, "algorithm")
        set_twice = [word for word in words if word.partition("=")[0] in sweep.keys]
        if set_twice:
            raise ConfigError(f"{set_twice[0]} cannot be set: the sweep of {sweep.algorithm} varies it.")
        jobs += [[*words, *configuration] for configuration in sweep.configurations(draw)]
    return jobs


def argument_text(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(argument_text, value))}]"
    return str(value)
