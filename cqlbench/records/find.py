"""Recorded runs, and policies of their seeds, by what `bench` prints."""

import difflib
import re
from pathlib import Path

from cqlbench.records.schema import RecordError

_FILE = re.compile(r"seed-(?P<seed>\d+)(?:\.run-(?P<run>\d+))?\.npz")


def find_policy(results: Path, run: str, seed: int | None = None) -> Path:
    """The newest policy of a run.

    Args:
        results: the results folder.
        run: the run as `bench` prints it, `<dataset id>/<algorithm>/<budget>-<config hash>`; its end (from
            a whole part, or the hash, on); or the path of its folder, or of a file in it.
        seed: whose; `None` is the first seed's.

    Raises:
        RecordError: no such run (the nearest are named), more than one, or no policy of that seed.
    """
    name = find_run(results, run)
    numbered = [
        (int(match["seed"]), int(match["run"] or 1), path)
        for path in (results / "runs" / name).glob("seed-*.npz")
        if (match := _FILE.fullmatch(path.name))
    ]
    seeds = sorted({each for each, _, _ in numbered})
    if not seeds:
        raise RecordError(f"Run '{name}' has no policies: it failed, or was made before they were kept.")
    wanted = seeds[0] if seed is None else seed
    if wanted not in seeds:
        raise RecordError(
            f"Run '{name}' has no policy of seed {wanted}; it has those of {', '.join(map(str, seeds))}."
        )
    return max((number, path) for each, number, path in numbered if each == wanted)[1]


def find_run(results: Path, run: str) -> str:
    """The folder of a run below `<results>/runs`, from what `find_policy` takes for one.

    Raises:
        RecordError: no such run (the nearest are named), or more than one.
    """
    root = results / "runs"
    folders = {path.parent.relative_to(root).as_posix() for path in root.glob("**/seed-*.json")}
    name = _run_of(root, run)
    found = sorted(folder for folder in folders if folder == name) or sorted(
        folder for folder in folders if name and folder.endswith((f"/{name}", f"-{name}"))
    )
    if not found:
        raise RecordError(f"There is no run '{run}' in '{results}'{_nearest(name, folders)}.")
    if len(found) > 1:
        raise RecordError(f"'{run}' could be any of the runs {', '.join(found)}; name more of it.")
    return found[0]


def _run_of(root: Path, run: str) -> str:
    """`run` without the results folder before it and a file's name after it."""
    path = Path(run)
    for base in (root, root.parent / "report"):
        try:
            path = path.resolve().relative_to(base.resolve())
            break
        except ValueError:
            continue
    return (path.parent if path.suffix in (".json", ".npz") else path).as_posix()


def _nearest(name: str, folders: set[str]) -> str:
    by_end = {end: folder for folder in sorted(folders) for end in (folder, folder.rpartition("/")[2])}
    near = difflib.get_close_matches(name, by_end, n=3, cutoff=0.4)
    names = list(dict.fromkeys(by_end[each] for each in near)) or sorted(folders)[:3]
    return f"; the nearest: {', '.join(names)}" if names else "; no run has been recorded there"
