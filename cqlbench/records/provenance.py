"""What a record says about the code and the computer that made it; nothing that names a person or a host."""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cqlbench
from cqlbench.core.paths import data_root
from cqlbench.core.threads import usable_cores
from cqlbench.records.schema import Git, Machine

PACKAGES = ("torch", "torchrl", "tensordict", "numpy", "envpool", "gymnasium", "mujoco", "h5py")
# Uncommitted files elsewhere (notes, results) cannot change a number.
_CODE = ("cqlbench", "benchmarks", "datasets", "pyproject.toml")


@dataclass(frozen=True)
class Provenance:
    """The fields of `Record` that do not come from training and evaluation."""

    versions: dict[str, str]
    git: Git
    machine: Machine
    command: tuple[str, ...]
    created_at: str
    resumed_at: tuple[int, ...] = ()
    earlier_commits: tuple[str, ...] = ()
    earlier_machines: tuple[Machine, ...] = ()


def collect(
    device: str = "cpu",
    threads: int | None = None,
    gpu: str | None = None,
    arguments: Sequence[str] | None = None,
) -> Provenance:
    """Everything of this module, by what `core.devices.device_facts` says; `arguments` as of `command`."""
    return Provenance(versions(), git_state(), machine(device, threads, gpu), command(arguments), now())


def versions() -> dict[str, str]:
    """Versions of Python, of cqlbench and of the installed packages that can change a number."""
    found = {"python": platform.python_version(), "cqlbench": cqlbench.__version__}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def git_state(folder: Path | None = None) -> Git:
    """Commit of the checkout whose top is `folder`, by default this package's, and whether its code differs.

    A package installed somewhere inside another project's repository is not taken for that project.
    """
    folder = (folder or data_root()).resolve()
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "HEAD")
    if not top or not commit or Path(top).resolve() != folder:
        return Git(commit=None, dirty=None)
    changes = _git(folder, "status", "--porcelain", "--", *_CODE)
    return Git(commit=commit, dirty=None if changes is None else bool(changes))


def code_digest(commit: str) -> str | None:
    """Twelve digits for what of a commit can change a number; `None` where this checkout does not have it.

    Commits that differ in documents or tests alone have the same ones.
    """
    trees = _git(data_root(), "rev-parse", *(f"{commit}:{path}" for path in _CODE))
    return None if trees is None else hashlib.sha256(trees.encode()).hexdigest()[:12]


def machine(device: str = "cpu", threads: int | None = None, gpu: str | None = None) -> Machine:
    """The hardware; without a number of threads, one for each core."""
    cores, memory = usable_cores(), None
    name, family, model = map(_cpu, ("model name", "cpu family", "model"))
    with suppress(AttributeError, OSError, ValueError):  # not on every system
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return Machine(
        platform=platform.platform(),
        cpu=name or platform.processor() or platform.machine(),
        cores=cores,
        device=device,
        threads=threads or cores,
        gpu=gpu,
        memory_gib=memory,
        # One name may stand for several that round otherwise.
        model=".".join(filter(None, (family, model))) or None,
    )


def command(arguments: Sequence[str] | None = None) -> tuple[str, ...]:
    """`cqlbench` and its arguments, by default those of this process, with `~` for the home folder."""
    return "cqlbench", *map(with_tilde, sys.argv[1:] if arguments is None else arguments)


def with_tilde(text: str) -> str:
    """`text` with `~` for the home folder wherever a path in it begins with that."""
    for home in sorted({str(Path.home()), str(Path.home().resolve())}, key=len, reverse=True):
        if len(home) > 1:
            text = re.sub(rf"(?<![\w./~-]){re.escape(home)}(?![\w.-])", "~", text)
    return text


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(folder: Path, *arguments: str) -> str | None:
    # A git hook exports GIT_DIR and the like, which would point at the hook's repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu(key: str) -> str:
    """What Linux says of the first core; empty elsewhere."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(rf"^{key}\s*: (.+)$", text, re.MULTILINE):
            return found[1].strip()
    return ""
