import hashlib
import io
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from made_records import replace
from PIL import Image
from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.records.codec import to_json
from cqlbench.records.schema import Evaluation
from cqlbench.reporting.aggregate import PoolingError, summarise
from cqlbench.reporting.plots import run as plots
from cqlbench.reporting.plots.run import curve_figure
from cqlbench.reporting.plots.style import render
from cqlbench.reporting.run import report_run


@pytest.fixture
def records(make_record):
    return [make_record(seed, [10.0 * seed, 20.0 + seed, 40.0 - seed]) for seed in (0, 1, 2)]


def test_report_is_written_whole_and_again_in_place(records, tmp_path):
    paths = report_run(records, tmp_path)
    folder = tmp_path / "report" / f"d4rl/hopper-medium-v2/cql/quick-{records[0].config_hash}"
    curves = [f"learning-curve.{kind}" for kind in ("png", "pdf", "txt", "tex")]
    assert paths == [folder / name for name in ("table.md", *curves)]
    assert "95 % interval" in paths[3].read_text()
    assert "n = " in paths[3].read_text()
    before = [path.read_bytes() for path in paths]
    assert report_run(records, tmp_path) == paths
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path for path in folder.iterdir() if path.name[0] != ".") == sorted(paths)


def test_report_of_a_run_of_which_no_seed_finished_is_its_table(records, tmp_path):
    failed = [replace(record, status="failed", reason="it diverged") for record in records]
    report_run(records, tmp_path)
    assert [path.name for path in report_run(failed, tmp_path)] == ["table.md"]
    assert [path.name for path in tmp_path.rglob("[!.]*.*")] == ["table.md"]


def test_a_table_with_notes_of_the_users_is_not_replaced(records, tmp_path):
    table = report_run(records, tmp_path)[0]
    table.write_text("my notes")
    with pytest.raises(ConfigError, match=r"table\.md"):
        report_run(records[:2], tmp_path)
    assert table.read_text() == "my notes"


def test_report_prints_its_tables_and_where_its_files_are(records, tmp_path):
    console = Console(file=io.StringIO(), width=40)
    paths = report_run(records, tmp_path, console)
    text = console.file.getvalue()
    assert "Policy" in text
    assert text.splitlines()[-3:] == [f"Report   {path}" for path in paths[:3]]


@pytest.mark.parametrize(
    "dataset", ["file/" + "ü" * 80 + ".hdf5-01234567", "x/" + "a" * 255, "/" + "b/" * 200]
)
def test_report_of_a_dataset_with_a_long_name_is_written(records, tmp_path, dataset):
    named = [replace(record, dataset=replace(record.dataset, id=dataset)) for record in records]
    paths = report_run(named, tmp_path)
    assert all(path.is_file() for path in paths)
    assert max(len(part.encode()) for path in paths for part in path.relative_to(tmp_path).parts) <= 140


def test_reports_of_two_datasets_never_share_a_folder(records, tmp_path):
    folders = set()
    for dataset in ("a/b_c", "a_b/c", "a/b/c", "a_b_c"):
        named = [replace(record, dataset=replace(record.dataset, id=dataset)) for record in records]
        folders.add(report_run(named, tmp_path)[0].parent)
    assert len(folders) == 4


def test_the_table_is_printed_even_if_its_files_cannot_be_written(records, tmp_path):
    (tmp_path / "report").write_text("")
    console = Console(file=io.StringIO(), width=80)
    with pytest.raises(ConfigError, match="cannot be written"):
        report_run(records, tmp_path, console)
    assert "cql, last" in console.file.getvalue()


def test_the_plot_says_whose_mean_is_drawn_and_whether_it_may_be_compared(records):
    def drawn(changed):
        figure = plots.curve_figure(summarise(changed))
        return "|".join([figure.get_suptitle(), *(text.get_text() for text in figure.legends[0].get_texts())])

    assert "not comparable with published scores" in drawn(records)
    assert "dataset episodes" in drawn(records)
    published = [
        replace(
            record,
            comparable=True,
            comparable_reason="",
            dataset=replace(record.dataset, behaviour_source="behaviour policy, 200 evaluated episodes"),
        )
        for record in records
    ]
    assert "comparable" not in drawn(published)
    assert "behaviour policy" in drawn(published)
    assert "not comparable" in drawn([*published[:2], replace(records[2], dataset=published[0].dataset)])


def test_report_refuses_a_mixture_and_an_unwritable_folder(records, tmp_path):
    with pytest.raises(PoolingError):
        report_run([records[0], replace(records[1], algorithm="bc")], tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        report_run(records, tmp_path / "file")


def test_bands_stay_in_the_frame(make_record):
    for scores, behaviour in (([[10.0, 90.0], [5.0, 10.0], [8.0, 40.0]], 60.0), ([[1.0, 0.0]] * 3, 0.5)):
        made = [make_record(seed, each) for seed, each in enumerate(scores)]
        data = replace(made[0].dataset, behaviour_score=behaviour)
        summary = summarise([replace(record, dataset=data) for record in made])
        (axes,) = plots.curve_figure(summary).axes
        low, high = axes.get_ylim()
        assert low <= np.nanmin(summary.curve.low)
        assert high >= np.nanmax(summary.curve.high)


def test_png_is_300_dpi_and_one_column_wide(records):
    with Image.open(io.BytesIO(render(curve_figure(summarise(records)), "png"))) as image:
        assert image.size == (975, 810)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_pdf_embeds_truetype_fonts_and_carries_no_date(records):
    content = render(curve_figure(summarise(records)), "pdf")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


DIGEST = """
import hashlib, sys
from pathlib import Path
import matplotlib as mpl
mpl.rcParams["font.size"] = 30
from cqlbench.records.codec import from_json
from cqlbench.reporting.aggregate import summarise
from cqlbench.reporting.plots.run import curve_figure
from cqlbench.reporting.plots.style import render
summary = summarise([from_json(Path(p).read_text(), p) for p in sys.argv[1:]])
for kind in ("png", "pdf"):
    print(hashlib.sha256(render(curve_figure(summary), kind)).hexdigest())
assert "matplotlib.pyplot" not in sys.modules
"""


def test_equal_runs_give_equal_bytes_in_another_process_with_other_settings(records, tmp_path):
    files = []
    for record in records:
        files.append(tmp_path / f"{record.seed}.json")
        files[-1].write_text(to_json(record), encoding="utf-8")
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    here = [
        hashlib.sha256(render(curve_figure(summarise(records)), kind)).hexdigest() for kind in ("png", "pdf")
    ]
    assert done.stdout.split() == here


def test_global_settings_are_left_alone(records):
    before = dict(mpl.rcParams)
    render(curve_figure(summarise(records)), "png")
    assert dict(mpl.rcParams) == before


def test_every_kind_of_run_can_be_drawn(make_record):
    nan = replace(
        make_record(0, [1.0], batch=(0,)),
        evaluations=(Evaluation.of(3000, [np.nan, np.nan], [1, 1], [np.nan, np.nan], 0.0),),
    )
    runs = [
        [make_record(0, [5.0], batch=(0,))],
        [make_record(seed, [5.0]) for seed in (0, 1, 2)],
        [make_record(0, list(range(30)), batch=(0,))],
        [make_record(0, [-30.0, -40.0]), make_record(1, [0.0, 0.0])],
        [make_record(0, [44.3, 44.3])],
        [nan],
    ]
    for run in runs:
        assert render(curve_figure(summarise(run)), "png").startswith(b"\x89PNG")


def test_a_long_name_or_one_with_dollars_does_not_spoil_the_plot(records):
    for name in ("x/" + "a" * 300, "x/$a_{b$-v0", "$x$"):
        named = [replace(r, dataset=replace(r.dataset, id=name)) for r in records]
        assert render(curve_figure(summarise(named)), "png").startswith(b"\x89PNG")


def test_no_curve_without_a_finished_seed(make_record):
    failed = replace(make_record(0, [1.0]), status="failed", reason="x")
    with pytest.raises(ConfigError, match="no curve"):
        render(curve_figure(summarise([failed])), "png")
