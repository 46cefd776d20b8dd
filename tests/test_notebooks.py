"""The documentation's notebooks: they compile, ten lines make a table and figure, a failing cell is seen."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
from made_records import make_record, replace  # noqa: F401  # a fixture

from cqlbench.records.schema import config_hash
from cqlbench.records.store import RecordStore

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTEBOOKS = sorted(path for path in (DOCS / "notebooks").glob("*.md") if path.stem != "index")


def cells(path: Path, tag: str = "") -> Iterator[str]:
    """The Python of a notebook's cells, of those with `tag` if one is given; lines for IPython left out."""
    for cell in re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        tags = re.match(r":tags: \[(.*)\]\n\n?", cell)
        if tag in (tags[1] if tags else ""):
            yield re.sub(r"^[%!].*$", "pass", cell[tags.end() :] if tags else cell, flags=re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_listed_and_its_cells_are_python(path: Path) -> None:
    assert f"\n{path.stem}\n" in (DOCS / "notebooks" / "index.md").read_text()
    found = list(cells(path))
    assert len(found) > 2
    for cell in found:
        compile(cell, path.name, "exec")


def test_cql_by_hand_has_a_hundred_lines() -> None:
    lines = "".join(cells(DOCS / "notebooks" / "cql_by_hand.md", "agent")).splitlines()
    assert 50 < sum(bool(line.strip()) for line in lines) <= 100


def test_a_papers_table_and_figure_are_ten_lines(make_record, tmp_path, monkeypatch) -> None:  # noqa: F811
    for algorithm, centre in (("cql", 40.0), ("iql", 60.0)):
        for seed in (0, 1, 2):
            record = make_record(seed, [centre, centre + 10 * seed])
            config = {**record.config, "algorithm": algorithm}
            record = replace(record, algorithm=algorithm, config=config, config_hash=config_hash(config))
            RecordStore(tmp_path / "results").write(record)
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    (cell,) = cells(DOCS / "notebooks" / "compare.md", "paper")
    assert len(cell.splitlines()) <= 10
    exec(cell, {})
    table = (tmp_path / "table.tex").read_text()
    assert "d4rl/hopper-medium-v2 & 50.0 ± 10.0 & 70.0 ± 10.0" in table
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", ["1 + 1", "1 / 0"])
def test_a_failing_cell_fails_the_build(tmp_path: Path, cell: str) -> None:
    header, _, _ = NOTEBOOKS[0].read_text().partition("\n# ")
    (tmp_path / "index.md").write_text(f"{header}\n# T\n\n```{{code-cell}} ipython3\n{cell}\n```\n")
    built = _build(tmp_path, tmp_path / "html")
    assert (built.returncode == 0) == (cell == "1 + 1"), built.stderr
    assert ("ZeroDivisionError" in built.stderr) == (cell == "1 / 0")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_documentation_builds_and_touches_nothing_of_the_users(tmp_path: Path) -> None:
    users = {"HOME": str(tmp_path / "home"), "CQLBENCH_CACHE": str(tmp_path / "cache")}
    built = _build(DOCS, tmp_path / "html", **users)
    assert built.returncode == 0, built.stderr
    for path in NOTEBOOKS:
        assert "cell_output" in (tmp_path / "html" / "notebooks" / f"{path.stem}.html").read_text()
    assert not (tmp_path / "cache").exists()


def _build(source: Path, output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["-q", "-W", "-c", DOCS, "-d", output.with_name("doctrees"), source, output]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, words)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
