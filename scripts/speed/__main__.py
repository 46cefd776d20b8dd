"""`make speed`: measure, print, record.

    PYTHONPATH=scripts python -m speed device=auto results=results rounds=9 memory_steps=20000 tf32=true

`rounds` is how often everything is timed, in turns; `memory_steps` the length of the run whose memory is
watched (0: none); `tf32` whether products on CUDA may round to TF32.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from cqlbench.core.devices import device_of
from cqlbench.core.errors import ConfigError, UserError
from speed.collection import measure_collection
from speed.measure import measure, table, write
from speed.memory import memory_growth


@dataclass
class Settings:
    """What is measured, as the module's documentation says."""

    device: str = "auto"
    results: str = "results"
    rounds: int = 9
    memory_steps: int = 20_000
    tf32: bool = True


def speed(words: list[str], console: Console) -> None:
    """Measure the gradient step on this machine.

    Raises:
        UserError: a word that is not understood, or a results folder that cannot be written.
    """
    try:
        given = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_cli(words))
        settings = cast("Settings", OmegaConf.to_object(given))
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    device, rounds, steps = device_of(settings.device), settings.rounds, settings.memory_steps
    if rounds < 1:
        raise ConfigError(f"rounds={rounds} must be at least 1.")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    rows = measure(device, rounds, console)
    console.print(table(rows))
    collection = measure_collection(device, rounds)
    console.print("Collection: not measured (requires envpool)." if collection is None else str(collection))
    growth = memory_growth(steps, device) if steps else None
    if growth is not None:
        console.print(
            f"Memory: {growth.before:.0f} MiB resident, {growth.after:.0f} MiB after {growth.steps:,} more"
            f" steps ({growth.percent:+.1f} %)"
        )
    console.print(f"Recorded {write(rows, growth, collection, Path(settings.results), device)}")


def main() -> int:
    """`speed` from the command line."""
    try:
        speed(sys.argv[1:], Console(soft_wrap=True, highlight=False))
    except UserError as error:
        sys.stderr.write(f"speed: {error}\n")
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
