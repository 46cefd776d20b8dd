import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cqlbench.core import lease
from cqlbench.core.errors import DatasetError
from cqlbench.data import buffer as buffer_module
from cqlbench.data import buffer_files
from cqlbench.data.buffer import buffer_for, content_hash
from cqlbench.data.buffer_files import built, damage
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.data.transitions import Transitions


@pytest.fixture
def transitions(tmp_path, make_episodes, write_d4rl):
    return read_d4rl(
        write_d4rl(tmp_path / "a.hdf5", make_episodes(("terminated", "truncated", "both", "cut")))
    )


def test_discrete_actions_stay_so(transitions):
    actions = np.eye(2, dtype=np.float32)[np.arange(len(transitions)) % 2]
    made = buffer_for("a", "k", lambda: replace(transitions, actions=actions, discrete_actions=True))
    for dataset in (made, buffer_for("a", "k", never)):
        assert dataset.discrete_actions
        assert dataset.action_size == 2
        assert torch.equal(dataset.storage["action"], torch.from_numpy(actions))


def test_the_last_row_of_every_episode_is_known(transitions):
    dataset = buffer_for("a", "k", lambda: transitions)
    assert np.flatnonzero(dataset.last_rows).tolist() == transitions.episode_ends.tolist()
    assert len(dataset.last_rows) == len(transitions)


def many(rows, observation_size=11, action_size=3):
    rng = np.random.default_rng(0)
    observations = rng.random((rows, observation_size), np.float32)
    truncated = np.zeros(rows, np.bool_)
    truncated[999::1000] = True
    return Transitions(
        observations,
        rng.random((rows, action_size), np.float32),
        rng.random(rows, np.float32),
        np.roll(observations, -1, axis=0),
        np.zeros(rows, np.bool_),
        truncated,
        np.arange(0, rows, 1000),
    )


def never():
    raise AssertionError("the source was read although there is a buffer")


def column(array):
    return torch.from_numpy(array)[:, None]


def test_every_value_and_key(transitions):
    dataset = buffer_for("d4rl/a-v0", "k", lambda: transitions)
    storage = dataset.storage
    assert set(storage.keys(include_nested=True, leaves_only=True)) == {
        "observation",
        "action",
        *(("next", key) for key in ("observation", "reward", "terminated", "truncated", "done")),
    }
    assert torch.equal(storage["observation"], torch.from_numpy(transitions.observations))
    assert torch.equal(storage["action"], torch.from_numpy(transitions.actions))
    assert torch.equal(storage["next", "observation"], torch.from_numpy(transitions.next_observations))
    assert torch.equal(storage["next", "reward"], column(transitions.rewards))
    assert torch.equal(storage["next", "terminated"], column(transitions.terminated))
    assert torch.equal(storage["next", "truncated"], column(transitions.truncated))
    assert torch.equal(storage["next", "done"], column(transitions.terminated | transitions.truncated))
    assert storage.batch_size == (len(transitions),)
    assert dataset.rows == len(transitions)
    assert (dataset.observation_size, dataset.action_size) == (3, 2)


def test_facts(transitions):
    dataset = buffer_for("d4rl/a-v0", "k", lambda: replace(transitions, dropped_rows=0, notes=("n",)))
    assert not dataset.discrete_actions
    exact = transitions.observations.astype(np.float64)
    np.testing.assert_allclose(dataset.observation_mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset.observation_std, exact.std(0), rtol=1e-12)
    np.testing.assert_array_equal(dataset.action_lowest, transitions.actions.min(0))
    np.testing.assert_array_equal(dataset.action_highest, transitions.actions.max(0))
    whole = transitions.episode_returns[:3]  # the last episode is cut off
    assert dataset.returns.episodes == 3
    assert dataset.returns.mean == pytest.approx(whole.mean(), rel=1e-12)
    assert (dataset.returns.quantiles[0], dataset.returns.quantiles[-1]) == (whole.min(), whole.max())
    assert dataset.returns.quantiles[2] == np.median(whole)
    assert dataset.notes == ("n",)
    assert dataset.content_hash == content_hash(transitions)
    np.testing.assert_array_equal(dataset.episode_starts, transitions.episode_starts)


def test_dropped_time_limit_rows_do_not_hide_their_episodes(tmp_path, make_episodes, write_d4rl):
    episodes = make_episodes(("terminated", "truncated", "truncated", "cut"))
    path = write_d4rl(tmp_path / "b.hdf5", episodes, without=("next_observations",))
    assert buffer_for("d4rl/b-v0", "k", lambda: read_d4rl(path)).returns.episodes == 3


def test_only_a_cut_off_episode_counts_as_one(tmp_path, make_episodes, write_d4rl):
    path = write_d4rl(tmp_path / "b.hdf5", make_episodes(("cut",)))
    assert buffer_for("d4rl/b-v0", "k", lambda: read_d4rl(path)).returns.episodes == 1


def test_second_opening_reads_no_source(transitions):
    first = buffer_for("d4rl/a-v0", "k", lambda: transitions)
    second = buffer_for("d4rl/a-v0", "k", never)
    assert second.content_hash == first.content_hash
    assert second.path == first.path
    assert built("d4rl/a-v0", "k")


def test_another_id_key_or_version_is_another_buffer(transitions, monkeypatch):
    buffer_for("d4rl/a-v0", "k", lambda: transitions)
    assert not built("d4rl/a-v0", "l")
    assert not built("d4rl/a-v1", "k")
    monkeypatch.setattr(buffer_files, "BUFFER_VERSION", 99)
    assert not built("d4rl/a-v0", "k")


def test_content_hash_sees_every_array_and_its_order(transitions):
    hashes = {content_hash(transitions)}
    names = ("observations", "actions", "rewards", "next_observations", "terminated", "truncated")
    for name in names:
        changed = getattr(transitions, name).copy()
        changed.flat[-1] = not changed.flat[-1] if changed.dtype == bool else changed.flat[-1] + 1
        hashes.add(content_hash(replace(transitions, **{name: changed})))
    hashes.add(content_hash(replace(transitions, episode_starts=transitions.episode_starts[:2])))
    swapped = {
        "observations": transitions.next_observations,
        "next_observations": transitions.observations,
    }
    hashes.add(content_hash(replace(transitions, **swapped)))
    assert len(hashes) == 9


def test_replay_buffer_draws_rows_of_the_dataset(transitions):
    dataset = buffer_for("d4rl/a-v0", "k", lambda: transitions)
    replay = dataset.replay_buffer(8, torch.Generator().manual_seed(1))
    again = dataset.replay_buffer(8, torch.Generator().manual_seed(1))
    assert len(replay) == dataset.rows
    sample = replay.sample()
    assert torch.equal(sample["index"], again.sample()["index"])
    for key in dataset.storage.keys(include_nested=True, leaves_only=True):
        assert torch.equal(sample[key], dataset.storage[key][sample["index"]])
    with pytest.raises(RuntimeError):
        replay.extend(sample)


def test_the_replay_buffer_s_storage_is_the_dataset_s_without_a_copy(transitions):
    dataset = buffer_for("d4rl/a-v0", "k", lambda: transitions)
    rows = dataset.replay_buffer(8).storage[:]
    keys = set(dataset.storage.keys(include_nested=True, leaves_only=True))
    assert set(rows.keys(include_nested=True, leaves_only=True)) == keys
    for key in keys:
        assert rows[key].data_ptr() == dataset.storage[key].data_ptr()
        assert Path(rows[key].filename).is_relative_to(dataset.path)


def test_zeros_on_disk_are_refused(transitions, monkeypatch, tmp_path):
    fill = buffer_module._fill

    def zeros(folder, columns):
        fill(folder, {key: np.zeros_like(values) for key, values in columns.items()})

    monkeypatch.setattr(buffer_module, "_fill", zeros)
    with pytest.raises(DatasetError, match="does not hold what was written"):
        buffer_for("d4rl/a-v0", "k", lambda: transitions)
    assert not built("d4rl/a-v0", "k")
    assert [path.suffix for path in (tmp_path / "cache" / "buffers").iterdir()] == []


@pytest.mark.parametrize("damage", ["no manifest", "broken manifest", "no column", "short column", "empty"])
def test_damaged_folder_is_made_again(transitions, damage):
    path = buffer_for("d4rl/a-v0", "k", lambda: transitions).path
    if damage == "no manifest":
        (path / "manifest.json").unlink()
    elif damage == "broken manifest":
        (path / "manifest.json").write_text('{"version": 1,')
    elif damage == "no column":
        (path / "action.memmap").unlink()
    elif damage == "short column":
        os.truncate(path / "observation.memmap", 8)
    else:
        (path / "manifest.json").write_text(json.dumps({"version": 1}))
    assert not built("d4rl/a-v0", "k")
    dataset = buffer_for("d4rl/a-v0", "k", lambda: transitions)
    assert dataset.content_hash == content_hash(transitions)
    assert torch.equal(dataset.storage["observation"], torch.from_numpy(transitions.observations))


FILES = (
    "observation.memmap",
    "action.memmap",
    *(f"next/{name}.memmap" for name in ("observation", "reward", "terminated", "truncated", "done")),
    "episode_starts.npy",
    "whole_episodes.npy",
    "meta.json",
    "next/meta.json",
    "manifest.json",
)


def flip(path, where):
    """Change one byte; neither size nor time of the file tell."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_every_file_of_a_buffer_is_among_those_that_are_damaged_here(transitions):
    path = buffer_for("d4rl/a-v0", "k", lambda: transitions).path
    assert {each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()} == set(FILES)


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found_told_and_mended(transitions, capfd, name, where):
    path = buffer_for("d4rl/a-v0", "k", lambda: transitions).path
    intact = {each: (path / each).read_bytes() for each in FILES}
    flip(path / name, where)
    dataset = buffer_for("d4rl/a-v0", "k", lambda: transitions)
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "'d4rl/a-v0'" in told
    assert name in told
    assert torch.equal(dataset.storage["action"], torch.from_numpy(transitions.actions))
    assert {each: (path / each).read_bytes() for each in FILES} == intact
    buffer_for("d4rl/a-v0", "k", never)
    assert not capfd.readouterr().err


def test_damage_is_placed_by_its_block():
    path = buffer_for("d4rl/a-v0", "k", lambda: many(50_000)).path
    assert damage(path) == ""
    flip(path / "observation.memmap", 2_000_000)
    assert "observation.memmap" in damage(path)
    assert "1,048,576 and 2,097,152" in damage(path)


def test_a_damaged_buffer_whose_source_is_gone_is_one_sentence(transitions):
    path = buffer_for("d4rl/a-v0", "k", lambda: transitions).path
    flip(path / "observation.memmap", 0)

    def gone():
        raise DatasetError("There is no file /a.hdf5.")

    with pytest.raises(DatasetError, match=r"damaged .*observation.memmap.* There is no file /a.hdf5\.$"):
        buffer_for("d4rl/a-v0", "k", gone)
    assert (path / "manifest.json").exists()  # what is left of it may be all that the user has


def test_leftovers_of_a_killed_process_are_removed(transitions):
    path = buffer_for("d4rl/a-v0", "k", lambda: transitions).path
    (path / "manifest.json").unlink()
    leftover = path.with_name(f".{path.name}.abc.tmp")
    leftover.mkdir()
    buffer_for("d4rl/a-v0", "k", lambda: transitions)
    assert not leftover.exists()


def test_failed_source_leaves_nothing(tmp_path):
    def fails():
        raise DatasetError("no source")

    with pytest.raises(DatasetError, match="no source"):
        buffer_for("d4rl/a-v0", "k", fails)
    assert [path.suffix for path in (tmp_path / "cache" / "buffers").iterdir()] == []


def test_cache_cannot_be_written(transitions, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"cannot be written .* set CQLBENCH_CACHE"):
        buffer_for("d4rl/a-v0", "k", lambda: transitions)


def test_full_disk_is_seen_before_it_is_written(transitions, monkeypatch):
    usage = buffer_module.shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(buffer_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match=r"has 0 MiB free, and .* needs 64"):
        buffer_for("d4rl/a-v0", "k", lambda: transitions)


BUILD = """
import pathlib, sys, time
from cqlbench.data.buffer import buffer_for
from cqlbench.data.readers.d4rl import read_d4rl

def load():
    with pathlib.Path(sys.argv[2]).open("a") as calls:
        calls.write("x")
    time.sleep(0.2)
    return read_d4rl(sys.argv[1])

print(buffer_for("d4rl/a-v0", "k", load).content_hash)
"""


def test_of_two_processes_one_makes_it(tmp_path, transitions):
    command = [sys.executable, "-c", BUILD, str(tmp_path / "a.hdf5"), str(tmp_path / "calls")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [worker.communicate(timeout=120)[0].strip() for worker in workers]
    assert outputs == [content_hash(transitions)] * 2
    assert (tmp_path / "calls").read_text() == "x"


def test_a_maker_that_slept_too_long_leaves_the_other_ones_buffer_alone(tmp_path, transitions, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "EXPIRY", 0.3)
    calls = []

    def slept():
        calls.append(None)
        if len(calls) == 1:  # another host has taken over, and is silent now
            (file,) = (tmp_path / "cache" / "buffers").glob("*.lease")
            file.write_text('{"host": "far", "machine": "x", "pid": 1, "started": "1", "token": "t"}')
        return transitions

    assert buffer_for("a", "k", slept).content_hash == content_hash(transitions)
    assert len(calls) == 2
    assert len(list((tmp_path / "cache" / "buffers").iterdir())) == 1


def resident_kilobytes(folder):
    resident, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0] and ":" not in line.split(" ")[0]:
            ours = str(folder) in line
        elif ours and line.startswith("Rss:"):
            resident += int(line.split()[1])
    return resident


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's smaps")
def test_opening_is_fast_and_reads_no_rows(monkeypatch):
    path = buffer_for("d4rl/a-v0", "k", lambda: many(100_000)).path
    monkeypatch.setattr(buffer_module, "_hash", lambda *_: never())
    before = resident_kilobytes(path)
    start = time.perf_counter()
    dataset = buffer_for("d4rl/a-v0", "k", never)
    assert time.perf_counter() - start < 0.2
    assert resident_kilobytes(path) - before < 64
    dataset.storage["observation"].sum()
    assert resident_kilobytes(path) - before > 4000
