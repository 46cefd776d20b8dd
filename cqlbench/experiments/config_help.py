"""The keys of a run with their meaning and defaults, read off the config dataclasses and `benchmarks/`."""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from omegaconf import MISSING, OmegaConf

from cqlbench.core.paths import benchmarks_dir
from cqlbench.experiments.config import BenchConfig
from cqlbench.experiments.key_names import settings_of
from cqlbench.trainer.config import TRAINER_DECIDED, CQLTrainerConfig

_WIDTH = 100
_INDENT = " " * 8


def keys_help(algorithm: str) -> str:
    """One paragraph per key of a run of `algorithm`: `key=  [default]`, and below it the meaning."""
    written = OmegaConf.to_container(OmegaConf.load(benchmarks_dir() / "bench.yaml"), resolve=False)
    settings = dataclasses.replace(BenchConfig(), algorithm=settings_of(algorithm)())
    return "".join(_keys("", settings, written))


def attributes(cls: type) -> dict[str, str]:
    """The `Attributes:` of the documentation of a class and its bases: name -> meaning, on one line."""
    meanings: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        section = inspect.cleandoc(each.__doc__ or "").partition("\nAttributes:\n")[2].split("\n\n")[0]
        found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
        meanings |= {name: " ".join(text.split()) for name, text in found}
    return meanings


def _keys(prefix: str, settings: Any, written: Any) -> Iterator[str]:
    meanings = attributes(type(settings))
    for field in dataclasses.fields(settings):
        default = getattr(settings, field.name)
        written_here = written.get(field.name) if isinstance(written, dict) else None
        if dataclasses.is_dataclass(default):
            yield f"\n  {prefix}{field.name}.*: {meanings[field.name]}\n"
            yield from _keys(f"{prefix}{field.name}.", default, written_here)
        elif field.name in meanings:
            value = _shown(default if written_here is None else written_here)
            decided = TRAINER_DECIDED.get(field.name) if isinstance(settings, CQLTrainerConfig) else None
            note = f"  (not to be set: {decided})" if decided else value
            meaning = textwrap.fill(
                meanings[field.name], _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT
            )
            yield f"  {prefix}{field.name}={note}\n{meaning}\n"


def _shown(value: Any) -> str:
    if value == MISSING:
        return ""
    if isinstance(value, str) and value.startswith("${"):
        return f"  [that of {value[2:-1]}]"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"  [{text}]"
