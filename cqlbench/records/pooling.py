"""Which seeds of a run may share a mean, and what must be said of those that do: the rule of all commands."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from cqlbench.records.schema import UNCOMMITTED, Record

MARK = "†"
"""Stands beside a mean over seeds that `differing` has something to say of."""


class Origin(msgspec.Struct, frozen=True):
    """What a seed came from, beyond its key.

    Attributes:
        content_hash: of the dataset; `None` where the run was skipped too early to know it.
        protocol: digest of the evaluation protocol; `None` where the seed was not evaluated.
        dirty: whether the code had uncommitted changes.
        device: the kind of device that trained.
    """

    content_hash: str | None
    protocol: str | None
    dirty: bool
    torch: str | None
    device: str


def origin_of(record: Record) -> Origin:
    """Of one record."""
    protocol = None
    if record.protocol is not None:
        text = json.dumps(msgspec.to_builtins(record.protocol), sort_keys=True)
        protocol = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Origin(
        content_hash=record.dataset.content_hash,
        protocol=protocol,
        dirty=bool(record.git.dirty),
        torch=record.versions.get("torch"),
        device=record.machine.device.partition(":")[0],
    )


def groups(origins: Sequence[Origin]) -> list[list[int]]:
    """Positions in `origins` of one run's seeds that may share a mean: same dataset content, same protocol.

    A seed that does not know one of them may share a mean with any.
    """
    found: list[list[int]] = []
    for place, origin in enumerate(origins):
        for group in found:
            if all(_agree(origin, origins[other]) for other in group):
                group.append(place)
                break
        else:
            found.append([place])
    return found


def differing(origins: Mapping[int, Origin]) -> tuple[str, ...]:
    """How the seeds that share a mean were made, where a reader must know it; a phrase for each difference.

    Clean commits of one `scores_version` give the same scores and are not told.
    """
    phrases = []
    if dirty := [seed for seed, origin in origins.items() if origin.dirty]:
        whose = "all seeds" if len(dirty) == len(origins) else seeds_text(dirty)
        phrases.append(f"{whose}: {UNCOMMITTED}")
    torch = {seed: f"torch {origin.torch or 'unknown'}" for seed, origin in origins.items()}
    device = {seed: origin.device for seed, origin in origins.items()}
    for values in (torch, device):
        counts = Counter(values.values())
        usual, *others = sorted(counts, key=lambda kind: (-counts[kind], kind)) or [""]
        for kind in others:
            seeds = [seed for seed, value in values.items() if value == kind]
            phrases.append(f"{seeds_text(seeds)}: {kind}, not {usual}")
    return tuple(phrases)


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds by their numbers."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _agree(one: Origin, other: Origin) -> bool:
    pairs = ((one.content_hash, other.content_hash), (one.protocol, other.protocol))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)
