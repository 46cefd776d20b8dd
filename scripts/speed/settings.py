"""The settings of a measurement, from the command line."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.signals import Stopped, at_once

T = TypeVar("T")


def read_settings(kind: type[T], arguments: Sequence[str]) -> T:
    """A dataclass of `kind`, with what `key=value` arguments say.

    Raises:
        ConfigError: an unknown key, or a value of another type; the message names the key.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.from_cli(list(arguments)))
        return cast("T", OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        key, message = error.full_key, str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"{key}: {message}." if key else f"{message}.") from error


def run(name: str, measurement: Callable[[list[str], Console], Any]) -> int:
    """`measurement` of the command line's arguments; the exit status. An error or signal is one line."""
    try:
        with at_once():
            measurement(sys.argv[1:], Console(soft_wrap=True, highlight=False))
    except (UserError, Stopped) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return error.status
    return 0
