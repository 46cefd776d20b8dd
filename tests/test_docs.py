"""What the documentation takes from elsewhere is there, and covers every algorithm, verb and dataset."""

import importlib.util
import re
import string
from pathlib import Path

import pytest

from cqlbench.commands.pages import PAGES
from cqlbench.data.cards import all_cards
from cqlbench.experiments.config_help import keys_help
from cqlbench.experiments.key_names import group_choices

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_SPEC = importlib.util.spec_from_file_location("docs_pages", DOCS / "pages.py")
assert _SPEC is not None
assert _SPEC.loader is not None
pages = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pages)
WRITTEN = [
    *ROOT.glob("*.md"),
    *DOCS.rglob("*.md"),
    *(ROOT / name / "README.md" for name in ("results", "datasets", "tests")),
]
"""Every text that a person reads in the repository."""


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_every_page_finds_what_it_takes_from_elsewhere(path: Path) -> None:
    name = path.relative_to(DOCS).with_suffix("").as_posix()
    text = pages.filled(name, path.read_text(encoding="utf-8"))
    text = re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)  # a notebook's kernel
    assert "<!-- " not in re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert text.startswith("# ")


def test_every_algorithm_has_a_page_and_every_setting_a_row() -> None:
    assert {path.stem for path in (DOCS / "algorithms").glob("*.md")} - {"index"} == set(
        group_choices("algorithm")
    )
    rows = set(
        re.findall(r"^\| `([\w.]+)`", pages.settings("iql") + "\n" + pages.configuration(), re.MULTILINE)
    )
    assert {"algorithm.expectile", "algorithm.batch_size", "dataset", "resume"} <= rows
    keys = set(re.findall(r"^  ([\w.]+)=(?!.*not to be set)", keys_help("iql"), re.MULTILINE))
    assert rows - {"setting"} == keys


def test_settings_are_named_as_elsewhere() -> None:
    (row,) = (line for line in pages.settings("iql").splitlines() if "inverse_temperature" in line)
    assert "| CORL `beta`<br>d3rlpy `weight_temp` |" in row
    (row,) = (line for line in pages.settings("cql").splitlines() if "conservative_weight" in line)
    assert "CORL `cql_alpha`<br>authors `min_q_weight`<br>d3rlpy `alpha`" in row


def test_every_algorithm_page_has_the_same_parts() -> None:
    parts = ["Equations and code", "Settings", "Deviations", "Verified against", "Results"]
    for path in (DOCS / "algorithms").glob("*.md"):
        if path.stem != "index":
            text = path.read_text(encoding="utf-8")
            assert re.findall(r"^## (.*)$", text, re.MULTILINE) == parts
            assert text.count("$$") >= 2
            for kind in ("settings", "origin", "results"):
                assert f"<!-- {kind} {path.stem} -->" in text


def test_results_are_an_algorithms_row_of_the_readme() -> None:
    found = pages.results("bc10")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\|`bc10`\|(.*)\|$", readme, re.MULTILINE)
    shown = re.findall(r"^\| [\w-]+ \| [\d.]+ \| (.*) \|$", found, re.MULTILINE)
    assert shown == [cell for cell in row.split("|") if cell != "–"]
    assert "algorithm=bc10 " in found
    assert "on record" in pages.results("no_such")


def test_code_is_shown_without_its_documentation() -> None:
    shown = pages.code("cqlbench.algorithms.cql.losses: conservative_gap")
    assert "logsumexp(-1)" in shown
    assert '"""' not in shown


def test_every_verb_is_in_the_command_reference() -> None:
    text = pages.commands()
    for verb, page in PAGES.items():
        for words in [f"{verb} {below}" for below in page.verbs] or [verb]:
            assert f"## cqlbench {words}\n" in text
            assert f"usage: cqlbench {words}" in text


def test_every_embedded_dataset_is_in_the_gallery() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    names = {card.id.partition("/")[2] for card in all_cards().values() if card.source == "embedded"}
    assert names == set(re.findall(r"\(images/datasets/([\w-]+)\.png\)", text)) - {"families"}


def test_a_section_ends_where_the_next_begins() -> None:
    text = "# T\n\n## A\n\none\n\n```\n## no heading\n```\n\n### B\n\ntwo\n\n## C\n"
    assert pages.section(text, "A").endswith("### B\n\ntwo\n")
    assert "two" not in pages.section(text, "A (alone)")
    assert pages.section(text, "B") == "## B\n\ntwo\n"
    with pytest.raises(LookupError, match="D"):
        pages.section(text, "D")


def test_links_lead_to_pages_or_name_the_file() -> None:
    text = (
        "[r](results/README.md#x) [law](LICENSE) [`LICENSE`](LICENSE) [f](docs/faq.md#a) [w](https://x.org)"
        " [s](#h)"
    )
    assert pages.with_links(text, "README.md") == (
        "[r](/results.md) law (`LICENSE`) `LICENSE` [f](/faq.md#a) [w](https://x.org) s"
    )
    with pytest.raises(LookupError, match="missing"):
        pages.with_links("[x](missing.md)", "README.md")


def _anchors(text: str) -> set[str]:
    """The anchors of a text's headings, as GitHub and MyST make them."""
    kept = set(string.ascii_lowercase + string.digits + "-_ ")
    outside_code = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", outside_code, re.MULTILINE)
    return {
        "".join(each for each in heading.lower() if each in kept or each.isalpha()).replace(" ", "-")
        for heading in headings
    }


def broken_links(path: Path) -> list[str]:
    """The links of a Markdown file, images among them, to files or headings that are not there."""
    text = re.sub(
        r"^```.*?^```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if not there.exists() or (anchor and anchor not in _anchors(there.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def test_no_link_within_the_repository_is_broken() -> None:
    broken = {path.relative_to(ROOT).as_posix(): broken_links(path) for path in WRITTEN}
    assert {path: links for path, links in broken.items() if links} == {}


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# A `b` of c: d\n")
    (tmp_path / "a.md").write_text(
        "# One\n[1](b.md) [2](b.md#a-b-of-c-d) [3](#one) `[4](no)` [5](https://x.org) ![6](b.md)\n"
        "[x](gone.md) [y](b.md#gone) ![z](gone.png) [![w](gone.svg)](b.md)\n"
    )
    assert broken_links(tmp_path / "a.md") == ["gone.md", "b.md#gone", "gone.png", "gone.svg"]
