"""`cqlbench doctor`: what this machine has, what can be run and played here, and what not and why.

Nothing is downloaded, and only the caches' folders are looked through.
"""

import importlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.text import Text

from cqlbench.core.errors import UserError
from cqlbench.core.paths import cache_dir, data_root
from cqlbench.core.text import counted
from cqlbench.core.threads import usable_cores
from cqlbench.data.cards import Card, all_cards, damaged_cards
from cqlbench.data.local import candidates, minari_folder, minari_home, offline, why_unplayed
from cqlbench.environments.spec import EnvironmentSpec
from cqlbench.records import provenance

Line = tuple[str, str]
"""What it is about, and what is said of it."""

_LOADED = ("torch", "torchrl", "numpy", "h5py", "gymnasium", "mujoco")
"""Packages with compiled parts, which may be installed and still not load."""


class BrokenError(UserError):
    """Something that every run needs is missing or does not work."""


def doctor(console: Console, results: Path) -> None:
    """Print all that is found out; nothing is changed.

    Raises:
        BrokenError: something that every run needs is missing or does not work; all is printed nevertheless.
    """
    broken = list(_faults())
    sections: dict[str, list[Line]] = {"Versions": list(_versions()), "Extras": list(_extras())}
    if not broken:
        sections |= {"Devices": list(_devices()), "Simulators": list(_simulators())}
    sections |= {
        "Folders": list(_folders(results)),
        "Datasets": list(_datasets(all_cards())),
        "Broken": [("", each) for each in broken],
    }
    for title, lines in sections.items():
        for number, (about, said) in enumerate(lines):
            head = f"{title if number == 0 else '':<11}{about:<20} "
            console.print(Text(provenance.with_tilde(head + said)), soft_wrap=True)
    if broken:
        raise BrokenError(f"{counted(len(broken), 'fault')}, first: {broken[0]}")


def _requirements(package: str = "cqlbench", extra: str = "") -> list[Requirement]:
    """What a package, or an extra of it, requires here; nothing where it is not installed."""
    try:
        declared = [Requirement(text) for text in metadata.requires(package) or ()]
    except metadata.PackageNotFoundError:  # cqlbench: run from its source tree
        return []

    def applies(required: Requirement, extra: str) -> bool:
        return required.marker is None or required.marker.evaluate({"extra": extra})

    return [each for each in declared if applies(each, extra) and not (extra and applies(each, ""))]


def _missing(package: str, extra: str) -> Iterator[str]:
    """What of an extra is not installed, or too old, and what of the extras that it names."""
    for each in _requirements(package, extra):
        if not _satisfied(each):
            yield each.name
        else:
            for part in sorted(each.extras):
                yield from _missing(each.name, part)


def _satisfied(required: Requirement) -> bool:
    version = _installed(required.name)
    return bool(version) and required.specifier.contains(version, prereleases=True)


def _installed(name: str) -> str:
    """Its version; empty if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _faults() -> Iterator[str]:
    """What stands in the way of every run, a sentence each."""
    for each in _requirements():
        if not _satisfied(each):
            version = _installed(each.name)
            found = f"is {version}" if version else "is not installed"
            yield f"{each.name} {found}, which is required: pip install '{each.name}{each.specifier}'."
    for name in _LOADED:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            yield f"{name} cannot be imported ({' '.join(str(error).split())}); install it again."
    if not (data_root() / "benchmarks").is_dir():
        yield f"{data_root() / 'benchmarks'} is missing; install cqlbench again."
    folder = cache_dir()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        yield f"The cache {cache_dir()} cannot be written; set CQLBENCH_CACHE to a folder that can."
    yield from damaged_cards()


def _versions() -> Iterator[Line]:
    yield from provenance.versions().items()
    commit = provenance.git_state()
    if commit.commit:
        yield "commit", commit.commit[:12] + (", with changes that are not committed" if commit.dirty else "")


def _extras() -> Iterator[Line]:
    for extra in sorted(_extra_names()):
        missing = ", ".join(_missing("cqlbench", extra))
        yield extra, f"no: pip install 'cqlbench[{extra}]' brings {missing}" if missing else "yes"


def _extra_names() -> set[str]:
    """Those for users."""
    try:
        named = metadata.metadata("cqlbench").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:  # run from its source tree
        named = []
    return {*named} - {"all", "dev", "docs"}


def _devices() -> Iterator[Line]:
    import torch

    machine = provenance.machine()
    memory = f", {machine.memory_gib:g} GiB of memory" if machine.memory_gib else ""
    yield "CPU", f"{machine.cpu}{memory}"
    chosen = os.environ.get("OMP_NUM_THREADS")
    because = f"OMP_NUM_THREADS={chosen}" if chosen else "OMP_NUM_THREADS is not set"
    yield "threads", f"{torch.get_num_threads()} of {counted(usable_cores(), 'usable core')} ({because})"
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no usable GPU or driver" if built else "this build of torch is for CPUs alone"
        yield "GPU", f"none: {why}; runs take the CPU, and budget=quick by default"
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        size = facts.total_memory / 2**30
        yield f"cuda:{number}", f"{facts.name}, {size:.0f} GiB, sm_{facts.major}{facts.minor}"
    yield "CUDA graphs", _graph(torch.device("cuda", 0))
    triton = _installed("triton")
    yield "GPU kernels", f"yes, Triton {triton}" if triton else "no: Triton is missing"


def _graph(device: object) -> str:
    """Whether a CUDA graph can be captured and replayed, tried out."""
    import torch

    from cqlbench.engine.cuda_graph import capture

    try:
        number = torch.zeros(1, device=torch.device(str(device)))
        capture(lambda: number.add_(1), [number], torch.device(str(device))).replay()
        return "yes" if number.item() == 1 else "no: a replayed graph computes something else"
    except RuntimeError as error:
        return f"no: {' '.join(str(error).split())[:200]}"


def _simulators() -> Iterator[Line]:
    for name in ("envpool", "gymnasium", "mujoco", "gymnasium-robotics", "minigrid"):
        yield name, _installed(name) or "not installed"
    first = {
        card.family or card.source: card.environment
        for card in reversed(all_cards().values())
        if card.environment and not why_unplayed(card)
    }
    for family, spec in sorted(first.items()):
        yield family, _tried(spec)


def _tried(spec: EnvironmentSpec) -> str:
    """What becomes of making one; which kind its actions are, the data alone know."""
    from cqlbench.environments.make import choose_backend, make_environments

    problem = ""
    for discrete in (False, True):
        try:
            make_environments(spec, [0], discrete=discrete).close()
        except UserError as error:
            problem = problem or str(error)
        else:
            return f"yes: {spec.id} by {choose_backend(spec)}"
    return f"no: {problem}"


def _folders(results: Path) -> Iterator[Line]:
    cache = cache_dir()
    yield "cache", f"{cache}, {_size(cache)} (CQLBENCH_CACHE)"
    for part in sorted(path for path in cache.glob("*") if path.is_dir()):
        yield f"  {part.name}", _size(part)
    d4rl = Path(os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets").expanduser()
    for name, folder, variable in (
        ("D4RL", d4rl, "D4RL_DATASET_DIR"),
        ("Minari", minari_home(), "MINARI_DATASETS_PATH"),
    ):
        yield name, f"{folder}, {_size(folder)} ({variable})"
    yield "results", f"{results}, {_size(results)} (results=)"
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    yield "free", f"{shutil.disk_usage(nearest).free / 2**30:,.1f} GiB on the cache's disk"
    yield "network", "not used: CQLBENCH_OFFLINE is set" if offline() else "may be used"


def _size(folder: Path) -> str:
    """How much lies in a folder, links not followed."""
    if not folder.is_dir():
        return "not there yet"
    files = (Path(at) / name for at, _, names in os.walk(folder) for name in names)
    total = sum(file.lstat().st_size for file in files if file.exists())
    return f"{total / 2**20:,.1f} MiB"


def _datasets(cards: Mapping[str, Card]) -> Iterator[Line]:
    """By source: how many, how many of them are here, and why which are not played."""
    for source in sorted({card.source for card in cards.values()}):
        of_it = [card for card in cards.values() if card.source == source]
        reasons = Counter(why_unplayed(card) for card in of_it)
        where = "made here when needed"
        if source != "embedded":
            stored = minari_folder if source == "minari" else candidates
            where = f"{sum(bool(stored(each)) for each in of_it)} on this machine"
        yield source, f"{len(of_it)}, {where}; {reasons.pop('', 0)} can be played"
        for reason, count in reasons.most_common():
            yield "", f"{count} cannot: {reason}"
