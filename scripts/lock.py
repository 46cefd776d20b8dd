"""Write `requirements.lock`: the exact installed versions of all that `pyproject.toml` asks for."""

import importlib.metadata
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# Exact versions of everything cqlbench runs, is tested and is built with. Written by `make lock`.
# torch's pin names no build: a machine with CUDA gets the CUDA build, with its own nvidia packages.
"""
# These come with torch's CUDA builds, in versions that torch itself pins.
OF_TORCH = ("nvidia-", "cuda-", "triton")


def main() -> None:
    """Write the lock from this interpreter's environment."""
    (ROOT / "requirements.lock").write_text(HEAD + "".join(f"{line}\n" for line in lines()), encoding="utf-8")


def lines() -> list[str]:
    """One `name==version` for each package in the closure of the dependencies and the `dev` extra.

    What only a platform-bound dependency needs is bound to the same platform.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    everywhere = closure(each for each in direct if each.marker is None)
    pins = dict.fromkeys(everywhere, "")
    for bound in (each for each in direct if each.marker is not None):
        for name in closure([bound]):
            pins.setdefault(name, f"; {bound.marker}")
    return [
        f"{name}=={Version(importlib.metadata.version(name)).public}{pins[name]}"
        for name in sorted(pins)
        if not name.startswith(OF_TORCH)
    ]


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Canonical names of the installed packages that the requirements lead to."""
    waiting, seen = list(requirements), set[tuple[str, frozenset[str]]]()
    while waiting:
        requirement = waiting.pop()
        node = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if node in seen:
            continue
        seen.add(node)
        for text in importlib.metadata.distribution(requirement.name).requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return {name for name, _ in seen}


if __name__ == "__main__":
    main()
