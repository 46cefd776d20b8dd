import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from made_records import replace

from cqlbench.commands.main import main
from cqlbench.records.codec import from_json
from cqlbench.records.schema import Git, Record, config_hash
from cqlbench.records.store import RecordStore
from cqlbench.reporting.plots.style import render

GOLDEN = Path(__file__).parents[1] / "golden" / "record_v1.json"
DATASETS = ("d4rl/hopper-medium-v2", "d4rl/walker2d-medium-v2")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two datasets, cql and bc, three seeds, published and ours comparable."""
    for dataset in DATASETS:
        for algorithm in ("cql", "b_c"):
            for seed in (2, 0, 1):
                RecordStore(tmp_path / "r").write(made(dataset, algorithm, seed))
    return tmp_path / "r"


def made(dataset: str, algorithm: str = "cql", seed: int = 0, **changes: object) -> Record:
    golden = from_json(GOLDEN.read_text(), GOLDEN)
    config = golden.config | {"algorithm": algorithm}
    facts = {"algorithm": algorithm, "config": config, "config_hash": config_hash(config), "seed": seed}
    facts |= {"dataset": replace(golden.dataset, id=dataset), "comparable": True, "comparable_reason": ""}
    return replace(golden, **facts | changes)


def report(results: Path, *words: str) -> int:
    return main(["report", f"results={results}", "plots=false", *words])


def test_everything_is_written_and_printed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(results) == 0
    printed = capsys.readouterr().out
    text = (results / "report" / "report.md").read_text()
    for each in (printed, text):
        for word in ("b_c, cql on 2 datasets", "47.5 ± 0.0", "cql beside published scores", "CORL", "IQM"):
            assert word in each
    names = {path.relative_to(results / "report").as_posix() for path in (results / "report").rglob("*.*")}
    tables = ("scores", "suite", "improvement", "published-cql", "runs")
    assert names >= {"report.md", "report.tex", *(f"tables/{name}.tex" for name in tables)}
    assert names >= {f"tables/{name}.csv" for name in ("scores", "suite", "improvement", "published")}


def test_the_same_records_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for path in sorted((results / "runs").rglob("seed-*.json"), reverse=True):
        copy = other / path.relative_to(results)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    assert report(results) == report(other, f"output={tmp_path / 'out'}") == 0
    first = {path.name: path.read_bytes() for path in (results / "report").rglob("*.*")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == first


def test_plots_and_the_page_are_written_too(results: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("cqlbench.reporting.plots.plot.render", partial(render, dpi=40))
    for name in ("a", "b"):
        assert main(["report", f"results={results}", f"output={tmp_path / name}"]) == 0
    names = [path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*.*")]
    assert {"report.html", *(f"plots/scores.{kind}" for kind in ("png", "pdf", "txt", "tex"))} <= {*names}
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert f"Plots    {tmp_path / 'b' / 'plots'}, " in capsys.readouterr().out
    assert report(results, f"output={tmp_path / 'a'}") == 0
    assert not list((tmp_path / "a").rglob("*.png"))
    assert not (tmp_path / "a" / "report.html").exists()


def test_a_papers_folder_loses_nothing(results: Path, tmp_path: Path, capsys) -> None:
    paper = {"tables/mine.csv": "a", "plots/mine.pdf": "b", "main.tex": "c", "refs.bib": "d"}
    for name, text in paper.items():
        (tmp_path / "paper" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "paper" / name).write_text(text)
    for _ in range(2):
        assert report(results, f"output={tmp_path / 'paper'}") == 0
    assert {name: (tmp_path / "paper" / name).read_text() for name in paper} == paper
    (tmp_path / "paper" / "report.md").write_text("my notes")
    assert report(results, f"output={tmp_path / 'paper'}", "algorithm=b_c") == 2
    assert "report.md" in capsys.readouterr().err
    assert (tmp_path / "paper" / "report.md").read_text() == "my notes"
    assert (tmp_path / "paper" / "tables" / "improvement.tex").exists()


def test_tables_of_an_earlier_report_go(results: Path) -> None:
    assert report(results) == 0
    assert report(results, "algorithm=b_c") == 0
    assert not (results / "report" / "tables" / "published-cql.tex").exists()
    assert not (results / "report" / "tables" / "improvement.tex").exists()


def test_embedded_data_never_stand_beside_published_scores(tmp_path: Path) -> None:
    # Even a record that wrongly says it may.
    RecordStore(tmp_path).write(made("embedded/hopper-medium-v2"))
    assert report(tmp_path) == 0
    assert "CORL" not in (tmp_path / "report" / "report.md").read_text()
    assert (tmp_path / "report" / "tables" / "published.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["select=worst"], "choose from 'last', 'best', 'mean10'"),
        (["selct=last"], "'selct' (choose from select=, "),
        (["dataset=ant"], "No record in"),
    ],
)
def test_mistakes_are_one_sentence(
    results: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(results, *words) == 2
    assert sentence in capsys.readouterr().err
    assert report(Path("/nowhere")) == 2
    assert "There are no records in '/nowhere'" in capsys.readouterr().err
    assert not (results / "report").exists()


def test_budgets_and_sources_are_sections_and_name_their_files(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cqlbench.reporting.plots.plot.render", lambda *_: b"drawn")
    golden, store = made(DATASETS[0]), RecordStore(results)
    store.write(replace(golden, budget=replace(golden.budget, name="paper")))
    store.write(made("embedded/hopper-medium-v0"))
    assert main(["report", f"results={results}"]) == 0
    folder, sections = results / "report", ("d4rl-quick", "d4rl-paper", "embedded-quick")
    for text in ((folder / "report.md").read_text(), capsys.readouterr().out):
        assert text.count("budget paper") == 1
        assert text.count("budget quick") == 2
    for section in sections:
        for name in (f"report-{section}.html", f"tables/scores-{section}.csv", f"plots/scores-{section}.pdf"):
            assert (folder / name).is_file(), name
    assert (folder / "report.tex").read_text().count("documentclass") == 1
    assert report(results, "budget=quick", "dataset=d4rl/*") == 0
    assert (folder / "tables" / "scores.csv").is_file()
    assert not list(folder.rglob("*-d4rl-*"))


def test_a_sweep_is_reported_by_what_was_swept(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for weight in range(1, 13):
        config = made(DATASETS[0]).config
        config |= {"algorithm": {"name": "swept", "conservative_weight": weight}}
        facts = {"algorithm": "swept", "config": config, "config_hash": config_hash(config)}
        RecordStore(results).write(made(DATASETS[0], **facts))
    assert report(results) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 160
    text = (results / "report" / "report.md").read_text()
    assert "14 variants of b_c, cql, swept" in text
    assert text.count("| swept (conservative_weight=12) ") >= 2  # scores, runs
    assert main(["results", "list", f"results={results}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("conservative_weight=12") for line in lines) == 1
    assert not any("=" in line for line in lines if "/b_c/" in line)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "file").touch()
    assert report(results, f"output={results / 'file'}") == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_the_latex_document_compiles(tmp_path: Path) -> None:
    facts = made("file/a_b & 100 % é.hdf5-1a2b3c4d")
    RecordStore(tmp_path).write(facts)
    RecordStore(tmp_path).write(
        made(facts.dataset.id, "x#$~^{}\\", comparable=False, comparable_reason="<a> | b")
    )
    assert report(tmp_path) == 0
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path / "report", capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "report" / "report.pdf").is_file()


def test_a_damaged_record_is_named_and_the_others_are_reported(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = RecordStore(results).path_of(made(DATASETS[0], seed=1))
    path.write_bytes(path.read_bytes()[:500])
    for words in (
        ["report", "plots=false"],
        ["results", "list"],
        ["results", "export", f"output={path}.csv"],
    ):
        assert main([*words, f"results={results}"]) == 0
        said = capsys.readouterr()
        assert str(path) in said.err
        assert "left out" in said.err
    assert "2/3" in (results / "report" / "report.md").read_text()


def test_a_seed_without_environment_beside_evaluated_ones_is_named(results: Path) -> None:
    store = RecordStore(results)
    unplayed = {"protocol": None, "evaluations": (), "reason": "No environment is known."}
    store.write(made(DATASETS[0], seed=0, created_at="2026-11-30T00:00:00+00:00", **unplayed))
    assert report(results) == 0
    text = (results / "report" / "report.md").read_text()
    assert "(2/3)" in text
    assert "cql on d4rl/hopper-medium-v2, seed 0: No environment is known." in text


def test_a_seed_of_other_data_is_left_out_of_its_cell_by_name_and_all_else_is_reported(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RecordStore(results)
    later = made(DATASETS[0], seed=2, created_at="2026-11-30T00:00:00+00:00")
    store.write(replace(later, dataset=replace(later.dataset, content_hash="0" * 64)))
    assert report(results) == 0
    text = (results / "report" / "report.md").read_text()
    for said in (text, capsys.readouterr().out):
        assert "cql on d4rl/hopper-medium-v2, seed 2 not pooled" in " ".join(said.split())
        assert "rerun=true" in said
        assert "(2/3)" in said
        assert "d4rl/walker2d-medium-v2" in said
    rows = (results / "report" / "tables" / "scores.csv").read_text().splitlines()
    assert sum(",partial,2,3," in row for row in rows) == 1
    assert sum(",finished,3,3," in row for row in rows) == 3


def test_seeds_of_uncommitted_code_are_marked_everywhere_and_stand_beside_nothing_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, dirty = RecordStore(tmp_path), Git(commit="f" * 40, dirty=True)
    for seed in range(3):
        store.write(made(DATASETS[0], seed=seed, **({"git": dirty} if seed == 2 else {})))
    assert main(["report", f"results={tmp_path}"]) == 0
    folder = tmp_path / "report"
    printed = capsys.readouterr().out
    for name in ("report.md", "report.tex", "tables/scores.tex", "tables/scores.csv", "report.html", ""):
        text = (folder / name).read_text() if name else printed
        assert "uncommitted changes" in " ".join(text.split()), name
        assert "seed 2" in text, name
        assert "CORL" not in text, name
        if not name.endswith(".csv"):
            assert r"$\pm$ 0.0 $\dagger$" in text or "± 0.0 †" in text, name
    assert main(["results", "list", f"results={tmp_path}"]) == 0
    assert "seed 2: code with uncommitted changes" in capsys.readouterr().out
    assert main(["results", "export", f"results={tmp_path}", f"output={tmp_path / 'x.csv'}"]) == 0
    assert "seed 2: code with uncommitted changes" in (tmp_path / "x.csv").read_text()
