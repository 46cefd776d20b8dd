"""Malformed HDF5 files by the hundred, each read in a process of its own kind: a sentence, or the right rows.

The reader runs in a worker, so that a crash or a hang of the HDF5 library would fail the test, not end it.
"""

import collections
import hashlib
import itertools
import json
import select
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WORKER = """
import hashlib, json, resource, sys, traceback
import numpy as np
from cqlbench.data import validate
from cqlbench.data.readers.d4rl import read_d4rl
from cqlbench.core.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
for line in sys.stdin:
    try:
        t = read_d4rl(line.strip())
        validate.check(t)
        arrays = (t.observations, t.actions, t.rewards, t.next_observations, t.terminated, t.truncated)
        answer = {"rows": hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()}
    except UserError as error:
        answer = {"sentence": str(error)}
    except BaseException:
        answer = {"fault": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
"""
ROWS = 24
PATIENCE = 30
"""Seconds until a reader that says nothing counts as hanging."""


def arrays():
    """Whole numbers, which every type holds."""
    rng = np.random.default_rng(0)
    states = rng.integers(-8, 9, (ROWS + 1, 3))
    flags = np.arange(ROWS) % 8 == 7
    return {
        "observations": states[:-1].astype(np.float32),
        "next_observations": states[1:].astype(np.float32),
        "actions": rng.integers(-1, 2, (ROWS, 2)).astype(np.float32),
        "rewards": rng.integers(-8, 9, ROWS).astype(np.float32),
        "terminals": flags & (np.arange(ROWS) % 16 == 7),
        "timeouts": flags & (np.arange(ROWS) % 16 == 15),
    }


KEYS = tuple(arrays())
TABLES = ("observations", "next_observations", "actions")
FLAGS = ("terminals", "timeouts")
ORDER = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
RIGHT = hashlib.sha256(b"".join(arrays()[key].tobytes() for key in ORDER)).hexdigest()


def write(path, faults):
    """Write the file with one fault for each of some keys; returns `same`, `sentence` or `either`."""
    outcomes = ["same"]
    with h5py.File(path, "w") as file:
        for key, value in arrays().items():
            kind, number = faults.get(key, ("whole", 0))
            outcomes.append(FAULTS[kind](file, key, value, number))
    return "sentence" if "sentence" in outcomes else "either" if "either" in outcomes else "same"


def _whole(file, key, value, number):
    options = (
        {},
        {"compression": "gzip"},
        {"chunks": True, "fletcher32": True},
        {"chunks": True, "shuffle": True},
    )
    file.create_dataset(key, data=value, **options[number % len(options)])
    return "same"


def _other_type(file, key, value, number):
    types = ("f2", "f4", "f8", ">f8", "i2", "i8", ">i4", "u1" if key in FLAGS else "i1")
    file[key] = value.astype(types[number % len(types)])
    return "same"


def _column(file, key, value, number):
    file[key] = value if key in TABLES else value[:, None]
    return "same"


def _missing(file, key, value, number):
    file[f"infos/{key}"] = value
    return "either" if key in ("timeouts", "next_observations") else "sentence"


def _rank(file, key, value, number):
    file[key] = value[..., None] if key in TABLES else np.stack([value] * (2 + number % 3), axis=1)
    return "sentence"


def _length(file, key, value, number):
    rows = number % (2 * ROWS)
    rows += rows == ROWS
    file[key] = np.resize(value, (rows, *value.shape[1:]))
    return "sentence"


def _width(file, key, value, number):
    if key not in ("observations", "next_observations"):
        return _rank(file, key, value, number)
    file[key] = np.zeros((ROWS, 4 + number % 5), np.float32)
    return "either"  # right if the two agree, or there is only one


def _no_number(file, key, value, number):
    odd = (
        value.astype("c8"),
        np.full(value.shape, b"x"),
        np.full(value.shape, "é", object),
        value.astype("V2"),
    )
    file[key] = (
        odd[number % len(odd)] if number % len(odd) < 3 else np.zeros(ROWS, [("a", "f4"), ("b", "i4")])
    )
    return "sentence"


def _poisoned(file, key, value, number):
    value = value.astype(np.float64)
    value[number % ROWS] = (np.nan, np.inf, -np.inf, 1e300)[number // ROWS % 4]
    file[key] = value
    return "sentence"


def _no_array(file, key, value, number):
    if number % 5 == 0:
        file.create_group(key)
    elif number % 5 == 1:
        file[key] = h5py.SoftLink(f"/nowhere/{number}")
    elif number % 5 == 2:
        file[key] = h5py.ExternalLink("elsewhere.hdf5", key)
    else:
        file[key] = h5py.Empty("f4") if number % 5 == 3 else np.float32(number)
    return "sentence"


def _enormous(file, key, value, number):
    shape = (1 << (30 + number % 20), *value.shape[1:])
    file.create_dataset(key, shape=shape, dtype="f4", chunks=(1024, *value.shape[1:]))
    return "sentence"


FAULTS = {
    "whole": _whole,
    "other type": _other_type,
    "column": _column,
    "missing": _missing,
    "rank": _rank,
    "length": _length,
    "width": _width,
    "no number": _no_number,
    "poisoned": _poisoned,
    "no array": _no_array,
    "enormous": _enormous,
}


def spoil(content, kind, numbers):
    """The bytes of a good file, spoilt."""
    size = len(content)
    if kind == "cut":
        return content[: numbers[0] % size]
    spoilt = bytearray(content)
    for place, value in itertools.pairwise(numbers):
        at = place % size
        if kind == "flip":
            spoilt[at] ^= 1 << (value % 8)
        elif kind == "header":  # where the structure is
            spoilt[at % 2048] = value % 256
        elif kind == "hole":
            spoilt[at : at + value % 512] = bytes(value % 512)
        else:
            spoilt[at:at] = bytes([value % 256]) * (value % 64)
    return bytes(spoilt)


@pytest.fixture(scope="module")
def read():
    """`read(path)` -> the worker's answer."""
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:

        def ask(path):
            worker.stdin.write(f"{path}\n")
            worker.stdin.flush()
            if not select.select([worker.stdout], [], [], PATIENCE)[0]:
                worker.kill()
                raise AssertionError(f"The reader hangs at {path}.")
            line = worker.stdout.readline()
            assert line, f"The reader died at {path}: exit status {worker.wait()}."
            answer = json.loads(line)
            assert "fault" not in answer, answer["fault"]
            if "sentence" in answer:
                assert "\n" not in answer["sentence"]
                assert answer["sentence"].endswith(".")
            return answer

        yield ask
        worker.stdin.close()


def fuzz(strategies, examples, check):
    """Run `check` on so many examples, always the same ones."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run = given(**strategies)(check)
    settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=quiet
    )(run)()


def test_malformed_arrays(tmp_path, read):
    path, seen = tmp_path / "a.hdf5", collections.Counter()
    numbers = st.integers(0, 255)
    faults = st.dictionaries(
        st.sampled_from(KEYS), st.tuples(st.sampled_from(sorted(FAULTS)), numbers), min_size=1, max_size=3
    )

    def check(faults):
        expected = write(path, faults)
        answer = read(path)
        seen["sentence" if "sentence" in answer else "rows"] += 1
        if expected == "sentence":
            assert "sentence" in answer, faults
        elif expected == "same":
            assert answer == {"rows": RIGHT}, faults

    fuzz({"faults": faults}, 350, check)
    assert seen["sentence"] >= 250
    assert seen["rows"] >= 5


def test_malformed_bytes(tmp_path, read):
    path = tmp_path / "a.hdf5"
    contents = []
    for number in range(3):  # contiguous, compressed, with checksums
        write(path, dict.fromkeys(KEYS, ("whole", number)))
        contents.append(path.read_bytes())
        assert read(path) == {"rows": RIGHT}
    seen = collections.Counter()

    def check(which, kind, numbers):
        spoilt = spoil(contents[which], kind, numbers)
        path.write_bytes(spoilt)
        answer = read(path)
        if spoilt != contents[which]:
            seen["sentence" if "sentence" in answer else "rows"] += 1
        if kind == "cut":
            assert "sentence" in answer

    strategies = {
        "which": st.integers(0, 2),
        "kind": st.sampled_from(["cut", "flip", "header", "hole", "insert"]),
        "numbers": st.lists(st.integers(0, 1 << 20), min_size=2, max_size=9),
    }
    fuzz(strategies, 350, check)
    assert seen.total() >= 300
    assert seen["sentence"] >= 100


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"<html>404</html>", bytes(4096), b"PK\x03\x04"]
)
def test_no_hdf5_at_all(tmp_path, read, content):
    (tmp_path / "a.hdf5").write_bytes(content)
    assert "sentence" in read(tmp_path / "a.hdf5")
