"""Records on disk: written once, whole, and never over one another.

    <folder>/runs/<dataset id>/<algorithm>/<budget>-<config hash>/seed-<n>.json
                                                                  seed-<n>.run-2.json   made again

A key's first record has the plain name; a rerun of the same key goes beside it under the next free number,
so nothing is lost and two processes may write at once. Of several runs of a key the newest finished one
counts; while none is finished, the newest. A file that cannot be used (truncated, damaged, of a newer
cqlbench, in another record's place) is named and left out, as if it were not there.
"""

import hashlib
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from cqlbench.core import atomic
from cqlbench.records.codec import from_json, to_json
from cqlbench.records.schema import Record, RecordError, RecordKey

_LONGEST = 120
"""Bytes of a folder's name; file systems take 255, some 143."""
FILE = re.compile(r"seed-(?P<seed>\d+)(?:\.run-(?P<run>\d+))?\.json")


def to_stderr(error: RecordError) -> None:
    """Name a record that is left out."""
    sys.stderr.write(
        f"cqlbench: {error} It is left out. Restore the file, or delete it and run its seed again.\n"
    )


class RecordStore:
    """The records under `<folder>/runs`.

    Args:
        folder: the results folder; made when the first record is written. The records are under its `runs`.
        left_out: called once for each record that cannot be used.
    """

    def __init__(self, folder: Path | str, left_out: Callable[[RecordError], None] = to_stderr) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"
        self._left_out = left_out
        self._named: set[Path] = set()

    def check_writable(self) -> None:
        """Find out before training whether records can be written.

        Raises:
            RecordError: they cannot.
        """
        probe = self.runs / ".probe"
        try:
            atomic.replace(probe, b"")
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise RecordError(
                f"Results folder '{self.folder}' cannot be written ({_cause(error)}); "
                "choose another with results=<folder>."
            ) from error

    def write(self, record: Record) -> Path:
        """File a record; a record of the same key that is already there stays.

        Returns:
            The new file.

        Raises:
            RecordError: the folder cannot be written; no partial file is left.
        """
        content = to_json(record).encode()
        folder = self._folder_of(record.key)
        try:
            for run in itertools.count(1):
                path = folder / _file_name(record.seed, run)
                if not path.exists() and _created(path, content):
                    return path
        except OSError as error:
            raise RecordError(
                f"The record of seed {record.seed} cannot be written to '{folder}' ({_cause(error)})."
            ) from error
        raise AssertionError("numbers do not run out")

    def path_of(self, record: Record) -> Path:
        """Where this very run of the record's key, told by when it began, is filed.

        Raises:
            RecordError: it is not.
        """
        folder = self._folder_of(record.key)
        mine, found = (record.created_at, record.seed_batch), {}
        for path in folder.glob(f"seed-{record.seed}*.json"):
            name = FILE.fullmatch(path.name)
            if name and int(name["seed"]) == record.seed:
                filed = self.usable(path)
                if filed is not None and (filed.created_at, filed.seed_batch) == mine:
                    found[int(name["run"] or 1)] = path
        if found:
            return found[max(found)]  # two runs may have begun in one second
        raise RecordError(f"The record of seed {record.seed} is not in '{folder}' any more.")

    def history(self, key: RecordKey) -> list[Record]:
        """Every record of `key`, oldest first."""
        return self._read_all(*_values(key)).get(key, [])

    def holds(self, record: Record) -> bool:
        """Whether this very run of the record's key, told by when it began, is filed already."""
        mine = (record.created_at, record.seed_batch)
        return mine in [(other.created_at, other.seed_batch) for other in self.history(record.key)]

    def find(
        self,
        *,
        dataset: str | None = None,
        algorithm: str | None = None,
        budget: str | None = None,
        config_hash: str | None = None,
        seed: int | None = None,
    ) -> list[Record]:
        """The records that count, one per key, in order of key; each argument narrows the search."""
        groups = self._read_all(dataset, algorithm, budget, config_hash, seed)
        counting = (_counting(history) for history in groups.values())
        return [record for record in counting if record is not None]

    def _read_all(
        self,
        dataset: str | None,
        algorithm: str | None,
        budget: str | None,
        config_hash: str | None,
        seed: int | None,
    ) -> dict[RecordKey, list[Record]]:
        wanted = (dataset, algorithm, budget, config_hash, seed)
        folders = "/".join(
            (
                "**" if dataset is None else safe_path(dataset),
                "*" if algorithm is None else safe_name(algorithm),
                f"{'*' if budget is None else safe_name(budget)}-{config_hash or '*'}",
            )
        )
        numbered = []
        for path in self.runs.glob(f"{folders}/seed-*.json"):
            name = FILE.fullmatch(path.name)
            record = self.usable(path) if name and seed in (None, int(name["seed"])) else None
            if name and record is not None:
                numbered.append((int(name["run"] or 1), record))
        groups: dict[RecordKey, list[Record]] = {}
        for _, record in sorted(numbered, key=lambda pair: (pair[1].key, pair[0])):
            if all(want in (None, have) for want, have in zip(wanted, _values(record.key), strict=True)):
                groups.setdefault(record.key, []).append(record)
        return groups

    def _folder_of(self, key: RecordKey) -> Path:
        return self.runs / run_folder(key)

    def usable(self, path: Path) -> Record | None:
        """One record; `None` if it cannot be used, which is said once."""
        try:
            return self.read(path)
        except RecordError as error:
            if path not in self._named:
                self._named.add(path)
                self._left_out(error)
            return None

    def read(self, path: Path) -> Record:
        """One record.

        Raises:
            RecordError: the file cannot be read or lies in another record's place.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(f"Record '{path}' cannot be read ({_cause(error)}).") from error
        record = from_json(content, path)
        name = FILE.fullmatch(path.name)
        if path.parent != self._folder_of(record.key) or name is None or int(name["seed"]) != record.seed:
            raise RecordError(
                f"Record '{path}' is of {' '.join(map(str, _values(record.key)))} and lies in another "
                "record's place; put it back or delete it."
            )
        return record


def _values(key: RecordKey) -> tuple[str, str, str, str, int]:
    return key.dataset, key.algorithm, key.budget, key.config_hash, key.seed


def _counting(history: Sequence[Record]) -> Record | None:
    finished = [record for record in history if record.status == "finished"]
    return next(reversed(finished or history), None)


def _created(path: Path, content: bytes) -> bool:
    try:
        atomic.create(path, content)
    except FileExistsError:
        return False
    return True


def _file_name(seed: int, run: int) -> str:
    return f"seed-{seed}.json" if run == 1 else f"seed-{seed}.run-{run}.json"


def run_folder(key: RecordKey) -> str:
    """The relative path of a run's folder, the same for all its seeds; no two runs share one."""
    return f"{safe_path(key.dataset)}/{safe_name(key.algorithm)}/{safe_name(key.budget)}-{key.config_hash}"


def safe_path(name: str) -> str:
    """A relative path that stands for `name` alone; its slashes are folders, and it never leads outside."""
    return "/".join(map(safe_name, name.split("/")))


@lru_cache(maxsize=4096)
def safe_name(name: str) -> str:
    """A file name that stands for `name` alone; the end of a long one gives way to a digest of the whole."""
    encoded = quote(name, safe=" +,=@")
    if len(encoded) > _LONGEST:
        # Percent-encoding has no '%%', so no other name looks like this.
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return f"{encoded[: _LONGEST - len(digest) - 2]}%%{digest}"
    return f"%{encoded}" if encoded in ("", ".", "..") else encoded


def _cause(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
