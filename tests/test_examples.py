import runpy
from pathlib import Path

import matplotlib as mpl
import pytest
from made_records import make_record, replace  # noqa: F401  # a fixture

from cqlbench.records.schema import config_hash
from cqlbench.records.store import RecordStore

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_papers_table_and_figure(make_record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for algorithm, centre in (("cql", 40.0), ("iql", 60.0)):
        for seed in (0, 1, 2):
            record = make_record(seed, [centre, centre + 10 * seed])
            config = {**record.config, "algorithm": algorithm}
            record = replace(record, algorithm=algorithm, config=config, config_hash=config_hash(config))
            RecordStore(tmp_path / "results").write(record)
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    runpy.run_path(str(EXAMPLES / "paper.py"))
    table = (tmp_path / "table.tex").read_text()
    assert "d4rl/hopper-medium-v2 & 50.0 ± 10.0 & 70.0 ± 10.0" in table
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
