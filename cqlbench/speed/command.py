"""`cqlbench speed`: measure, print, record."""

from pathlib import Path

import torch
from rich.console import Console

from cqlbench.devices import device_of
from cqlbench.errors import ConfigError
from cqlbench.speed.measure import measure, table, write
from cqlbench.speed.memory import memory_growth

_DEFAULTS = {"device": "auto", "results": "results", "rounds": "9", "memory_steps": "20000", "tf32": "true"}


def speed(words: list[str], console: Console) -> None:
    """Measure the gradient step on this machine.

    Raises:
        ConfigError: a word that is not understood, or a results folder that cannot be written.
    """
    settings = _settings(words)
    device = device_of(settings["device"])
    rounds, steps = (
        _count("rounds", settings["rounds"], 1),
        _count("memory_steps", settings["memory_steps"], 0),
    )
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if settings["tf32"] == "true" else "highest")
    rows = measure(device, rounds, console)
    console.print(table(rows))
    growth = memory_growth(steps, device) if steps else None
    if growth is not None:
        console.print(
            f"Memory: {growth.before:.0f} MiB resident, {growth.after:.0f} MiB after {growth.steps:,} more"
            f" steps ({growth.percent:+.1f} %)"
        )
    console.print(f"Recorded {write(rows, growth, Path(settings['results']), device)}")


def _settings(words: list[str]) -> dict[str, str]:
    settings = dict(_DEFAULTS)
    for each in words:
        key, _, value = each.partition("=")
        if key not in settings or not value:
            raise ConfigError(f"'{each}' is not understood; speed takes {'=, '.join(_DEFAULTS)}=.")
        settings[key] = value
    if settings["tf32"] not in ("true", "false"):
        raise ConfigError(f"tf32={settings['tf32']} must be true or false.")
    return settings


def _count(key: str, value: str, least: int) -> int:
    if not value.isdecimal() or int(value) < least:
        raise ConfigError(f"{key}={value} must be a whole number of at least {least}.")
    return int(value)
