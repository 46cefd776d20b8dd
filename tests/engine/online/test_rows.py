"""Collected rows are on disk once they are committed; a torn commit is never taken for a whole one."""

import itertools
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.engine.online.rows import OnlineRows

S, OBSERVATION, A = 2, 3, 1


def batch(first: int, count: int = 4, ended: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Rows that carry their own number."""
    numbers = torch.arange(first, first + count, dtype=torch.float32).expand(S, count)
    ends = torch.zeros(S, count, dtype=torch.bool)
    for row in ended:
        ends[:, row - first] = True
    return {
        "observations": numbers.unsqueeze(-1).expand(S, count, OBSERVATION),
        "actions": numbers.unsqueeze(-1).expand(S, count, A),
        "rewards": numbers,
        "next_observations": numbers.unsqueeze(-1).expand(S, count, OBSERVATION) + 1,
        "terminated": torch.zeros(S, count, dtype=torch.bool),
        "ended": ends,
    }


def rows_in(folder: Path | None, capacity: int = 12, environments: int = 1) -> OnlineRows:
    return OnlineRows(S, capacity, OBSERVATION, A, environments, folder)


def test_committed_rows_are_there_again_with_the_collectors_state(tmp_path: Path) -> None:
    rows = rows_in(tmp_path)
    rows.extend(batch(0), {"frame": 4, "exact": 0.1 + 0.2})
    rows.extend(batch(4), {"frame": 8, "exact": 1e-300})

    again = rows_in(tmp_path)

    assert (again.rows, again.committed) == (0, 8)
    assert again.committed_state() == {"frame": 8, "exact": 1e-300}
    assert again.columns["rewards"][:, :8].tolist() == [list(map(float, range(8)))] * S


def test_rows_after_a_checkpoint_are_replayed_batch_by_batch(tmp_path: Path) -> None:
    rows = rows_in(tmp_path)
    for first in (0, 4, 8):
        rows.extend(batch(first))
    again = rows_in(tmp_path)
    again.go_back(4)

    assert again.replaying
    replayed = again.replay(4)
    assert replayed is not None
    assert replayed["observations"][1, :, 2].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert again.rows == 8
    assert again.replay(4) is not None
    assert not again.replaying
    assert again.replay(4) is None


def test_what_was_collected_after_going_back_counts_and_nothing_else(tmp_path: Path) -> None:
    rows = rows_in(tmp_path)
    rows.extend(batch(0), "first")
    rows.extend(batch(4), "second")
    rows.go_back(4)
    rows.extend(batch(40), "other")

    again = rows_in(tmp_path)
    assert (again.committed, again.committed_state()) == (8, "other")
    assert again.columns["rewards"][0, 4:8].tolist() == [40.0, 41.0, 42.0, 43.0]


def test_a_checkpoint_of_more_rows_than_there_are_is_refused(tmp_path: Path) -> None:
    rows = rows_in(tmp_path)
    rows.extend(batch(0))
    with pytest.raises(ConfigError, match="resume=never"):
        rows.go_back(8)


@pytest.mark.parametrize("damaged", range(0, 32, 3))
def test_a_torn_commit_counts_as_the_one_before(tmp_path: Path, damaged: int) -> None:
    rows = rows_in(tmp_path)
    rows.extend(batch(0), "first")
    rows.extend(batch(4), "second")
    marker = tmp_path / "committed"
    content = bytearray(marker.read_bytes())
    slot = content.index(b'"second"') // (1 << 20) * (1 << 20)
    content[slot + damaged] ^= 0xFF
    marker.write_bytes(content)

    again = rows_in(tmp_path)

    assert (again.committed, again.committed_state()) == (4, "first")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_process_loses_at_most_the_batch_it_was_at(tmp_path: Path) -> None:
    rows_in(tmp_path, capacity=40_000)  # makes the files
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            rows = rows_in(tmp_path, capacity=40_000)
            for first in itertools.count(0, 4):
                rows.extend(batch(first), first)
                os.write(writing, b".")
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        said.read(200)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        last = 4 * (200 + len(said.read()))

    again = rows_in(tmp_path, capacity=40_000)

    assert again.committed >= last
    assert again.committed_state() == again.committed - 4
    expected = torch.arange(again.committed, dtype=torch.float32).expand(S, -1)
    assert torch.equal(again.columns["rewards"][:, : again.committed], expected)


def test_an_episode_that_broke_off_is_marked_at_the_row_after_it(tmp_path: Path) -> None:
    rows = rows_in(tmp_path, environments=2)
    rows.extend(batch(0))
    broken = torch.tensor([[False, True], [False, False]])

    rows.extend(batch(4), broken=broken)

    assert rows.columns["broken"][0, :8].tolist() == [False] * 5 + [True, False, False]
    assert not rows.columns["broken"][1].any()
    assert not rows.columns["ended"].any(), "what is committed is not changed"


def test_without_a_folder_rows_are_in_memory_only() -> None:
    rows = rows_in(None)
    rows.extend(batch(0), "state")
    assert rows.rows == rows.committed == 4
    assert rows.committed_state() is None


def test_more_rows_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    rows = rows_in(tmp_path, capacity=6)
    rows.extend(batch(0))
    with pytest.raises(UserError, match="room for"):
        rows.extend(batch(4))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/rows"):
        rows_in(tmp_path / "file" / "rows")


def test_a_disk_without_room_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make room"):
        rows_in(tmp_path / "rows", capacity=10**13)
    assert list(tmp_path.iterdir()) == []


def test_rows_are_forgotten_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    rows = rows_in(folder)
    rows.extend(batch(0))
    rows.forget()
    assert rows_in(folder).committed == 0
    rows.remove()
    assert not folder.exists()


def test_rows_without_their_files_are_not_taken_for_committed_ones(tmp_path: Path) -> None:
    rows_in(tmp_path).extend(batch(0))
    (tmp_path / "rewards.memmap").unlink()
    again = rows_in(tmp_path)
    assert again.fresh
    assert again.committed == 0


def test_a_state_that_no_commit_has_room_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2,000,002"):
        rows_in(tmp_path).extend(batch(0), "x" * 2_000_000)
