"""Threads wait as we say unless the user says how, and are as many as asked for."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from cqlbench import threads
from cqlbench.errors import ConfigError
from cqlbench.threads import threads_of, usable_cores, wait_briefly
from cqlbench.training.engine import Engine

_COMMAND = "import sys; from cqlbench.cli import main; sys.exit(main(['bench', 'dataset=no-such-dataset']))"


def settings_of_libgomp(**environment: str) -> dict[str, str]:
    """What libgomp says that it goes by when a command has loaded torch."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND],
        env=inherited | environment | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    lines = [line.split(" = ") for line in done.stderr.splitlines() if " = '" in line]
    return {name.split()[-1]: value.strip("'") for name, value in lines}


@pytest.mark.skipif(platform.system() != "Linux", reason="torch has another OpenMP library here")
@pytest.mark.parametrize(
    ("environment", "spins"),
    [
        ({}, str(threads._SPINS)),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "30000000000"),
    ],
)
def test_torch_is_loaded_with_the_setting_and_a_users_own_wins(environment, spins) -> None:
    assert settings_of_libgomp(**environment)["GOMP_SPINCOUNT"] == spins


def test_nothing_is_set_where_it_would_have_no_effect(monkeypatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    wait_briefly()  # this process has torch
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_number_of_threads_is_one_that_the_cores_allow() -> None:
    assert threads_of("auto") is None
    assert threads_of("1") == 1
    assert threads_of(str(usable_cores())) == usable_cores()
    for name in ("0", "-1", "1.5", "²", "", "all", str(usable_cores() + 1)):
        with pytest.raises(ConfigError, match="threads="):
            threads_of(name)


def test_a_run_computes_on_as_many_threads_as_asked_and_says_so(world, bench, monkeypatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 64)
    before, seen, step = torch.get_num_threads(), set(), Engine.step

    def watched(engine: Engine, number: int) -> object:
        seen.add(torch.get_num_threads())
        return step(engine, number)

    monkeypatch.setattr(Engine, "step", watched)
    for words in ([], [f"threads={before + 1}", "rerun=true"]):
        status, _, err = bench("dataset=tiny-hopper", "seeds=1", *words)
        assert status == 0, err
    records = [json.loads(path.read_text()) for path in sorted((world / "results").rglob("seed-*.json"))]
    assert [record["machine"]["threads"] for record in records] == [before, before + 1]
    assert seen == {before, before + 1}
    assert torch.get_num_threads() == before
    assert f"threads={before + 1}" in records[1]["command"]
    assert records[0]["config"] == records[1]["config"]
