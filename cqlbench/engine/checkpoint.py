"""Checkpoints on disk: a state and the facts of what it belongs to, whole or not at all.

A file is a first line that names the format, the digest of all that follows it, and `torch.save`'s bytes. It
holds plain values and tensors only, so reading one runs no code of whoever wrote it.
"""

import hashlib
import io
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cqlbench.core import atomic
from cqlbench.core.errors import UserError
from cqlbench.core.lease import Lease, LeaseHeldError, held, patience
from cqlbench.core.text import flat

FORMAT = 3
"""Raise it whenever the layout or meaning of a run's state changes: older checkpoints are then rejected."""
_NAME = b"cqlbench checkpoint "
_DIGEST_BYTES = 32
_FILE = re.compile(r"step-(\d+)\.checkpoint")


class CheckpointError(UserError):
    """A checkpoint that cannot be written, read or trusted, or that belongs to another run."""


class OtherRunError(CheckpointError):
    """A checkpoint of another run, or of a version of cqlbench with another format."""


def save(
    path: Path, state: Mapping[str, Any], facts: Mapping[str, Any], check: atomic.Check = lambda: None
) -> None:
    """Write a checkpoint, in place of one that may be there.

    Args:
        path: the file.
        state: nested dictionaries and lists of plain values and tensors, on any device.
        facts: what the state belongs to, in plain JSON types: see `differences`.
        check: as of `atomic.replace`.

    Raises:
        CheckpointError: the file cannot be written; what was there is left as it was.
    """
    buffer = io.BytesIO()
    torch.save({"facts": dict(facts), "state": dict(state)}, buffer)
    # Released here: left to the garbage collector, it crashes Python 3.12.1 (python/cpython#111049).
    with buffer.getbuffer() as content, _refused(f"Checkpoint '{path}' cannot be written"):
        atomic.replace(path, _NAME + str(FORMAT).encode() + b"\n" + _digest(content) + content, check)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save` wrote; tensors come on the CPU.

    Returns:
        The state and the facts.

    Raises:
        OtherRunError: it is of another format.
        CheckpointError: it is not a checkpoint, or not as it was written.
    """
    with _refused(f"Checkpoint '{path}' cannot be read"):
        content = path.read_bytes()
    if not content.startswith(_NAME):
        raise CheckpointError(f"'{path}' is not a checkpoint of cqlbench.")
    version, _, rest = content[len(_NAME) :].partition(b"\n")
    if version != str(FORMAT).encode():
        found = version[:8].decode(errors="replace")
        raise OtherRunError(
            f"Checkpoint '{path}' has format {found}, and this cqlbench reads format {FORMAT}."
        )
    digest, body = rest[:_DIGEST_BYTES], rest[_DIGEST_BYTES:]
    if digest != _digest(body):
        raise CheckpointError(f"Checkpoint '{path}' is damaged: its contents do not match its checksum.")
    try:
        whole = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        return whole["state"], whole["facts"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"Checkpoint '{path}' holds what no checkpoint of cqlbench does.") from error


def load_fitting(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint whose facts are the expected ones.

    Raises:
        OtherRunError: they are not; it names what differs. Also as `load`.
        CheckpointError: as `load`.
    """
    state, facts = load(path)
    if differing := differences(facts, expected):
        raise OtherRunError(f"Checkpoint '{path}' is of another run: {'; '.join(differing)}.")
    return state


def differences(facts: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Where a checkpoint's facts are not the expected ones, one phrase each, keys of inner tables dotted."""
    here, there = flat(expected), flat(facts)
    pairs = {name: (here.get(name, "absent"), there.get(name, "absent")) for name in here | there}
    return [
        f"{name} is {own} here and {other} there"
        for name, (own, other) in sorted(pairs.items())
        if own != other
    ]


@dataclass(frozen=True)
class Found:
    """What a folder of checkpoints has to offer.

    Attributes:
        path: the newest checkpoint that is whole and fits; `None` if there is none.
        refused: a sentence for each newer one that is not whole or does not fit.
    """

    path: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


class CheckpointFolder:
    """The newest two checkpoints of one run; `folder` is made when the first is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lease: Lease | None = None

    def check(self, within: float = 0.0) -> None:
        """Within `alone`, make sure that no other process has taken the run over.

        `within` is as of `Lease.check`.

        Raises:
            LeaseLostError: one has.
        """
        if self._lease is not None:
            self._lease.check(within)

    def save(self, step: int, state: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
        """Save what holds after `step` gradient steps, and drop what is older than the newest two.

        Raises:
            CheckpointError: it cannot be written; those before it are left as they were.
        """
        path = self.folder / f"step-{step:012d}.checkpoint"
        save(path, state, facts, self.check)
        # Any of a later step was refused when the run was resumed from an earlier one.
        before = [other for other in self.paths() if other < path]
        for other in self.paths():
            if other not in (path, *before[-1:]):
                other.unlink(missing_ok=True)
        return path

    def newest(self, expected: Mapping[str, Any]) -> Found:
        """The newest checkpoint that is whole and whose facts are the expected ones.

        Raises:
            OtherRunError: there are whole ones, and none fits; it names what differs in the newest.
        """
        refused: list[CheckpointError] = []
        for path in reversed(self.paths()):
            try:
                return Found(path, load_fitting(path, expected), tuple(map(str, refused)))
            except CheckpointError as error:
                refused.append(error)
        for reason in refused:
            if isinstance(reason, OtherRunError):
                raise reason
        return Found(refused=tuple(map(str, refused)))

    def paths(self) -> list[Path]:
        """The checkpoints, by step."""
        return sorted(path for path in self.folder.glob("step-*") if _FILE.fullmatch(path.name))

    def clear(self) -> None:
        """Remove the checkpoints."""
        self.check()
        for path in self.paths():
            path.unlink(missing_ok=True)

    @contextmanager
    def alone(self, *, wait: bool = True) -> Iterator[None]:
        """Keep other processes out of the folder; what a killed one left half-written is removed.

        Afterwards an empty folder is removed too.

        A process that is in it is waited for as `core.lease.patience` says, unless `wait` is false.

        Raises:
            CheckpointError: another process is in it, or it cannot be made.
        """
        with _refused(f"Checkpoints cannot be kept in '{self.folder}'"), ExitStack() as stack:
            try:
                what = f"the run whose checkpoints are in '{self.folder}'"
                self._lease = stack.enter_context(
                    held(self.folder / ".lease", what, patience() if wait else 0)
                )
            except LeaseHeldError as error:
                raise CheckpointError(f"{error} Wait for it, or choose another results folder.") from error
            leaving = stack.pop_all()
        try:
            with leaving:
                for half_written in self.folder.glob(".step-*.tmp"):
                    half_written.unlink(missing_ok=True)
                yield
        finally:
            self._lease = None
            if not self.paths():
                with suppress(OSError):  # files of others are in it
                    self.folder.rmdir()


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{what} ({error.strerror or error}).") from error


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
