from collections.abc import Callable
from pathlib import Path

import pytest

from cqlbench.commands.main import main
from cqlbench.core.paths import benchmarks_dir


def test_alone_the_command_says_in_five_lines_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all("cqlbench " in line for line in lines[1:])


def test_a_demo_trains_reports_and_says_what_to_read_next(
    world: Path, bench: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (benchmarks_dir() / "demo.yaml").read_text()
    (world / "tree").mkdir()
    (world / "tree" / "demo.yaml").write_text(
        text.replace("embedded/pendulum-random-v0", "embedded/tiny-hopper-v0").replace("gate", "smoke")
    )
    monkeypatch.setattr("cqlbench.commands.demo.benchmarks_dir", lambda: world / "tree")
    monkeypatch.setattr("cqlbench.commands.demo.publish", lambda *_, **__: ())
    words = ("seeds=1", "steps=4", "budget.evaluation_interval=4", "budget.evaluation_episodes=2")
    status, out, err = bench(*words, verb="demo")
    assert status == 0, err
    assert len(list((world / "results").rglob("seed-*.json"))) == 2, "one seed of two algorithms"
    assert "report.html" in out
    assert "cqlbench watch run=smoke-" in out
