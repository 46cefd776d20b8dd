"""The rule of what may share a mean, and what is said of seeds that share one."""

from made_records import replace

from cqlbench.records.pooling import Origin, differing, groups, origin_of
from cqlbench.records.schema import Git, Record

ORIGIN = Origin(content_hash="c", protocol="p", dirty=False, torch="2.13.0", device="cpu")


def test_other_contents_and_protocols_are_apart_and_what_is_unknown_joins_any() -> None:
    unknown = replace(ORIGIN, content_hash=None, protocol=None)
    other = replace(ORIGIN, content_hash="d")
    sampled = replace(ORIGIN, protocol="q")
    assert groups([unknown, ORIGIN, other, sampled, ORIGIN]) == [[0, 1, 4], [2], [3]]
    assert groups([ORIGIN, replace(ORIGIN, dirty=True, torch="1", device="cuda")]) == [[0, 1]]
    assert groups([]) == []


def test_the_protocol_counts_to_the_environments_version(record: Record) -> None:
    assert record.protocol is not None
    place = replace(record.protocol.environment, backend_version="9.9")
    other = replace(record, protocol=replace(record.protocol, environment=place))
    assert len(groups([origin_of(record), origin_of(other)])) == 2


def test_what_differs_among_pooled_seeds_is_said_with_their_numbers() -> None:
    assert differing({0: ORIGIN, 1: ORIGIN}) == ()
    dirty = replace(ORIGIN, dirty=True)
    assert differing({0: ORIGIN, 3: dirty, 4: dirty}) == ("seeds 3, 4: code with uncommitted changes",)
    assert differing({3: dirty, 4: dirty})[0].startswith("all seeds")
    said = differing({0: ORIGIN, 1: ORIGIN, 2: replace(ORIGIN, torch="2.12.0", device="cuda")})
    assert said == ("seed 2: torch 2.12.0, not torch 2.13.0", "seed 2: cuda, not cpu")


def test_uncommitted_code_is_never_comparable_and_unknown_code_is_not_uncommitted(record: Record) -> None:
    clean = replace(record, comparable=True, comparable_reason="")
    assert not clean.incomparable_because
    assert not replace(clean, git=Git(commit=None, dirty=None)).incomparable_because
    assert "uncommitted" in replace(clean, git=Git(commit="a", dirty=True)).incomparable_because
