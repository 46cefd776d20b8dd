"""Recorded runs, and policies of their seeds, by what `bench` prints."""

import difflib
from pathlib import Path

from cqlbench.records.schema import RecordError
from cqlbench.records.store import numbers_of


def find_policy(results: Path, run: str, seed: int | None = None) -> Path:
    """The newest policy of `seed`, or of a run's first seed; `results` and `run` as in `find_run`.

    Raises:
        RecordError: no such run (the nearest are named), more than one, or no policy of that seed.
    """
    name = find_run(results, run)
    files = (results / "runs" / name).glob("seed-*.npz")
    newest = {
        numbers[0]: path
        for numbers, path in sorted((numbers_of(path.name), path) for path in files)
        if numbers is not None
    }
    if not newest:
        raise RecordError(f"Run '{name}' has no policies: it failed, or was made before they were kept.")
    wanted = min(newest) if seed is None else seed
    if wanted not in newest:
        raise RecordError(
            f"Run '{name}' has no policy of seed {wanted} (choose from {', '.join(map(str, newest))})."
        )
    return newest[wanted]


def find_run(results: Path, run: str) -> str:
    """The folder of a run below `<results>/runs`.

    Args:
        results: the results folder.
        run: the run as `bench` prints it, `<dataset id>/<algorithm>/<budget>-<config hash>`; its end (from
            a whole part, or the hash, on); or the path of its folder, or of a file in it.

    Raises:
        RecordError: no such run (the nearest are named), or more than one.
    """
    root = results / "runs"
    folders = sorted({path.parent.relative_to(root).as_posix() for path in root.glob("**/seed-*.json")})
    name = _run_of(root, run)
    found = [folder for folder in folders if folder == name] or [
        folder for folder in folders if name and folder.endswith((f"/{name}", f"-{name}"))
    ]
    if len(found) > 1:
        raise RecordError(f"'{run}' could be any of the runs {', '.join(found)}; name more of it.")
    if not found:
        by_end = {end: folder for folder in folders for end in (folder, folder.rpartition("/")[2])}
        near = [by_end[end] for end in difflib.get_close_matches(name, by_end, n=3, cutoff=0.4)]
        names = ", ".join(dict.fromkeys(near or folders[:3])) or "none, since no run has been recorded there"
        raise RecordError(f"There is no run '{run}' in '{results}'; the nearest: {names}.")
    return found[0]


def _run_of(root: Path, run: str) -> str:
    """`run` without the results folder before it and a file's name after it."""
    path = Path(run)
    for base in (root, root.parent / "report"):
        if path.resolve().is_relative_to(base.resolve()):
            path = path.resolve().relative_to(base.resolve())
            break
    return (path.parent if path.suffix in (".json", ".npz") else path).as_posix()
