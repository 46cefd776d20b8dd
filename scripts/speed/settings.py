"""The settings of a measurement, from the command line."""

from collections.abc import Sequence
from typing import TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cqlbench.core.errors import ConfigError

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
