"""`make speed`: measure, print, record.

    PYTHONPATH=scripts python -m speed device=auto results=results rounds=9 memory_steps=20000 tf32=true

`rounds` is how often everything is timed, in turns; `memory_steps` the length of the run whose memory is
watched (0: none); `tf32` whether products on CUDA may round to TF32.
"""

import sys
from pathlib import Path

import torch
from rich.console import Console

from cqlbench.commands.arguments import truth, values_of, whole
from cqlbench.core.devices import device_of
from cqlbench.core.errors import UserError
from speed.collection import measure_collection
from speed.measure import measure, table, write
from speed.memory import memory_growth

_DEFAULTS = {"device": "auto", "results": "results", "rounds": "9", "memory_steps": "20000", "tf32": "true"}


def speed(words: list[str], console: Console) -> None:
    """Measure the gradient step on this machine.

    Raises:
        ConfigError: a word that is not understood, or a results folder that cannot be written.
    """
    settings = _DEFAULTS | values_of(words, "speed", _DEFAULTS)
    tf32 = truth(settings, "tf32")
    device = device_of(settings["device"])
    rounds, steps = whole(settings, "rounds", 1), whole(settings, "memory_steps", 0)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
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
    console.print(f"Recorded {write(rows, growth, collection, Path(settings['results']), device)}")


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
