"""The interface of an engine, and the engines by name."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.launchers.settings import LauncherSettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit


class Launcher(Protocol):
    """Runs units, each by `run_unit`, on machines of its own choice.

    Attributes:
        where: on what, for people: "3 nodes with 8 GPUs".
        slots: how many units at a time, at most.
    """

    where: str
    slots: int

    def submit(self, units: Sequence[Unit], surroundings: Surroundings) -> None:
        """Have units run, now or when there is room. It returns at once."""

    def wait(self, seconds: float) -> Mapping[int, Outcome]:
        """The outcomes, by the units' numbers, of those that have ended since it was last asked.

        It returns when one has ended, or after `seconds`.
        """

    def cancel(self) -> None:
        """End the units, which save what they have done, and forget those that wait."""

    def close(self) -> None:
        """Let go of the engine."""


_ENGINES = {
    "local": ("local", "LocalLauncher", ""),
    "ray": ("ray", "RayLauncher", "ray"),
    "slurm": ("slurm", "SlurmLauncher", "submitit"),
}


def connect(settings: LauncherSettings, results: Path) -> Launcher:
    """The launcher that the settings ask for, ready to run units that write to `results`.

    Raises:
        ConfigError: it is not installed, does not answer, cannot give a unit what it asks for, or its
            machines do not see the results folder or have other packages than this one.
    """
    module, name, package = _ENGINES[settings.name]
    if package and importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"launcher={settings.name} requires a package: pip install 'cqlbench[{settings.name}]'."
        )
    launcher: Launcher = getattr(importlib.import_module(f"cqlbench.experiments.launchers.{module}"), name)(
        settings, results
    )
    return launcher
