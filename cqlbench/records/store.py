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
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from cqlbench.core import atomic
from cqlbench.records.codec import from_json, to_json
from cqlbench.records.schema import Record, RecordError, RecordKey

_LONGEST = 120
"""Bytes of a folder's name; file systems take 255, some 143."""
_FILE = re.compile(r"seed-(\d+)(?:\.run-(\d+))?\.(?:json|npz)")


def to_stderr(error: RecordError) -> None:
    """Name a record that is left out."""
    sys.stderr.write(
        f"cqlbench: {error} It is left out. Restore the file, or delete it and run its seed again.\n"
    )


class RecordStore:
    """The records under `<folder>/runs`.

    Args:
        folder: the results folder; made when the first record is written.
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
                f"Results folder '{self.folder}' cannot be written ({error.strerror or error}); "
                "choose another with results=<folder>."
            ) from error

    def write(self, record: Record, check: atomic.Check = lambda: None) -> Path:
        """File a record beside those of the same key; returns the new file. `check` is as of `atomic.create`.

        Raises:
            RecordError: the folder cannot be written; no partial file is left.
        """
        content = to_json(record).encode()
        folder = self.runs / run_folder(record.key)
        numbers = itertools.chain([""], (f".run-{number}" for number in itertools.count(2)))
        try:
            for path in (folder / f"seed-{record.seed}{number}.json" for number in numbers):
                with suppress(FileExistsError):
                    atomic.create(path, content, check)
                    return path
        except OSError as error:
            raise RecordError(
                f"The record of seed {record.seed} cannot be written to {folder} ({error.strerror or error});"
                " when that is mended, repeat the command: it resumes from its last checkpoint."
            ) from error
        raise AssertionError("numbers do not run out")

    def path_of(self, record: Record) -> Path:
        """Where this very run of the record's key, identified by when it began, is filed.

        Raises:
            RecordError: it is not.
        """
        if found := self._files_of(record):
            return found[-1]  # two runs may have begun in one second
        folder = self.runs / run_folder(record.key)
        raise RecordError(f"The record of seed {record.seed} is not in '{folder}' any more.")

    def holds(self, record: Record) -> bool:
        """Whether this very run of the record's key is filed already."""
        return bool(self._files_of(record))

    def _files_of(self, record: Record) -> list[Path]:
        own = (record.created_at, record.seed_batch)
        history = self.history(record.key)
        return [path for path, other in history.items() if (other.created_at, other.seed_batch) == own]

    def history(self, key: RecordKey) -> dict[Path, Record]:
        """Every record of `key`, oldest first."""
        return self._filed(f"{run_folder(key)}/seed-{key.seed}.*json")

    def find(
        self,
        *,
        dataset: str | None = None,
        algorithm: str | None = None,
        budget: str | None = None,
        config_hash: str | None = None,
    ) -> list[Record]:
        """The records that count, one per key, in order of key; each argument narrows the search."""
        pattern = "/".join(
            (
                "**" if dataset is None else safe_path(dataset),
                "*" if algorithm is None else safe_name(algorithm),
                f"{'*' if budget is None else safe_name(budget)}-{config_hash or '*'}",
                "seed-*json",
            )
        )
        counting: dict[RecordKey, Record] = {}
        for record in self._filed(pattern).values():
            if budget not in (None, record.budget.name):  # `smoke-*` is `smoke-finetune-...` too
                continue
            before = counting.get(record.key)
            if record.status == "finished" or before is None or before.status != "finished":
                counting[record.key] = record
        return list(counting.values())

    def _filed(self, pattern: str) -> dict[Path, Record]:
        """Usable records whose path below `runs` matches, in order of key and then age."""
        numbered = [
            (record.key, numbers[1], path, record)
            for path in self.runs.glob(pattern)
            if (numbers := numbers_of(path.name)) and (record := self.usable(path))
        ]
        return {path: record for _, _, path, record in sorted(numbered, key=lambda each: each[:2])}

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
            record = from_json(path.read_bytes(), path)
        except OSError as error:
            raise RecordError(f"Record '{path}' cannot be read ({error.strerror or error}).") from error
        numbers = numbers_of(path.name)
        if path.parent != self.runs / run_folder(record.key) or not numbers or numbers[0] != record.seed:
            raise RecordError(
                f"Record '{path}' is of {run_folder(record.key)}, seed {record.seed}, and lies in another"
                " record's place; put it back or delete it."
            )
        return record


def numbers_of(name: str) -> tuple[int, int] | None:
    """Seed and run (1, 2, ...) of a record's or policy's file name; `None` of another file's."""
    match = _FILE.fullmatch(name)
    return (int(match[1]), int(match[2] or 1)) if match else None


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
