"""`launcher=` and `launcher.<key>=`: where the units of a suite or sweep run. No part of a run."""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cqlbench.core.errors import ConfigError
from cqlbench.core.threads import usable_cores


@dataclass
class LauncherSettings:
    """What every launcher takes.

    Attributes:
        seeds_per_run: seeds trained together in a unit; 0: all of a run, which is fastest for a seed.
        cpus_per_run: CPU cores, and the threads that compute; 0: the launcher's own default.
        retries: how often a unit is started again whose machine or process died; one that ended with an
            error is not.
        dry_run: print the plan and run nothing.
    """

    seeds_per_run: int = 0
    cpus_per_run: int = 0
    retries: int = 3
    dry_run: bool = False

    @property
    def name(self) -> str:
        """As `launcher=` has it."""
        return next(name for name, kind in KINDS.items() if kind is type(self))

    @property
    def cpus(self) -> int:
        """CPU cores of a unit."""
        return self.cpus_per_run or 1

    @property
    def gpus(self) -> float:
        """GPUs of a unit."""
        return 0.0

    @property
    def device(self) -> str:
        """Where a unit trains that does not say it; `auto`: as its machine has it."""
        return "cuda" if self.gpus else "cpu"

    def problems(self) -> Iterator[str]:
        """What is wrong with the values, a sentence each."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
                yield f"launcher.{field.name}={value} must be a number of at least 0."
            if field.name == "at_once" and value < 1:
                yield f"launcher.at_once={value} must be at least 1."


@dataclass
class LocalSettings(LauncherSettings):
    """Child processes of this one.

    Attributes:
        at_once: how many at a time.
    """

    at_once: int = 1

    @property
    def cpus(self) -> int:
        """CPU cores of a unit: by default a fair share."""
        return self.cpus_per_run or max(1, usable_cores() // self.at_once)

    @property
    def device(self) -> str:
        """It is this machine."""
        return "auto"


@dataclass
class RaySettings(LauncherSettings):
    """Tasks on a Ray cluster.

    Attributes:
        address: `auto` (the cluster that this machine belongs to), `local` (this machine alone, started and
            ended with the suite), `<host>:<port>`, or `ray://<host>:<port>`.
        gpus_per_run: GPUs of a unit; a fraction shares one, memory included.
        memory: GB of a unit that its node must have left; 0: not asked for.
    """

    address: str = "auto"
    gpus_per_run: float = 0.0
    memory: float = 0.0

    @property
    def gpus(self) -> float:
        """GPUs of a unit."""
        return self.gpus_per_run

    def problems(self) -> Iterator[str]:
        """Also an address that is none, and one and a half GPUs."""
        yield from super().problems()
        if not re.fullmatch(r"auto|local|(?:ray://)?[^\s/:]+:\d+", self.address):
            yield (
                f"launcher.address={self.address} must be auto, local, <host>:<port> or ray://<host>:<port>."
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            yield f"launcher.gpus_per_run={self.gpus:g} must be a whole number, or a fraction of one GPU."


@dataclass
class SlurmSettings(LauncherSettings):
    """Jobs of SLURM, in arrays.

    Attributes:
        partition: where; empty: SLURM's default.
        account: who pays; empty: SLURM's default.
        qos: quality of service; empty: SLURM's default.
        time: minutes of a job; a run that takes longer is saved, queued again, and resumed.
        gpus_per_run: GPUs of a unit.
        memory: GB of a unit; 0: SLURM's default.
        at_once: how many jobs run at a time, at most.
        notice: seconds before a job's end at which its run is told to save.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    time: int = 1440
    gpus_per_run: int = 0
    memory: float = 0.0
    at_once: int = 256
    notice: int = 90

    @property
    def gpus(self) -> float:
        """GPUs of a unit."""
        return self.gpus_per_run

    def problems(self) -> Iterator[str]:
        """Also a job without time."""
        yield from super().problems()
        if 60 * self.time <= self.notice:
            yield f"launcher.time={self.time} minutes is less than launcher.notice={self.notice} seconds."


KINDS: dict[str, type[LauncherSettings]] = {
    "local": LocalSettings,
    "ray": RaySettings,
    "slurm": SlurmSettings,
}


def split(words: Sequence[str]) -> tuple[list[str], LauncherSettings | None]:
    """The words of the runs, and the launcher that the others ask for; `None`: this process makes the runs.

    Raises:
        ConfigError: an unknown launcher or key, or a value that makes no sense.
    """
    own = [word for word in words if re.match(r"launcher[.=]", word)]
    rest = [word for word in words if word not in own]
    if not own:
        return rest, None
    values = dict(word.split("=", 1) for word in own if "=" in word)
    name = values.pop("launcher", "")
    if name not in KINDS:
        choices = f"(choose from {', '.join(KINDS)})"
        if not name:
            raise ConfigError(f"{own[0]} needs a launcher; say launcher=NAME {choices}.")
        raise ConfigError(f"Unknown launcher '{name}' {choices}.")
    settings = _read(KINDS[name], name, values)
    for word in rest:
        if word.startswith("threads="):
            raise ConfigError(f"{word} cannot be set with launcher={name}; say launcher.cpus_per_run=.")
    return rest, settings


def _read(kind: type[LauncherSettings], name: str, values: dict[str, str]) -> LauncherSettings:
    names = [field.name for field in dataclasses.fields(kind)]
    known = [f"launcher.{name}" for name in names]
    config = OmegaConf.structured(kind)
    for key, value in values.items():
        if key not in known:
            own = key.removeprefix("launcher.")  # what all have in common would make any of them near
            near = [f"launcher.{each}" for each in difflib.get_close_matches(own, names, 1)]
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise ConfigError(f"Unknown key {key} of launcher={name} ({hint}).")
        try:
            OmegaConf.update(config, key.removeprefix("launcher."), value)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}={value}: {str(error).splitlines()[0].rstrip('.')}.") from error
    settings: LauncherSettings = OmegaConf.to_object(config)  # type: ignore[assignment]
    if problem := next(settings.problems(), None):
        raise ConfigError(problem)
    return settings
