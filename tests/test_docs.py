"""What the documentation takes from elsewhere is there, and covers every algorithm and verb."""

import importlib.util
import re
from pathlib import Path

import pytest

from cqlbench.commands.pages import PAGES
from cqlbench.experiments.config_help import keys_help
from cqlbench.experiments.key_names import group_choices

DOCS = Path(__file__).resolve().parents[1] / "docs"
_SPEC = importlib.util.spec_from_file_location("docs_pages", DOCS / "pages.py")
assert _SPEC is not None
assert _SPEC.loader is not None
pages = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(pages)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_every_page_finds_what_it_takes_from_elsewhere(path: Path) -> None:
    name = path.relative_to(DOCS).with_suffix("").as_posix()
    text = pages.filled(name, path.read_text(encoding="utf-8"))
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


def test_every_verb_is_in_the_command_reference() -> None:
    text = pages.commands()
    for verb, page in PAGES.items():
        for words in [f"{verb} {below}" for below in page.verbs] or [verb]:
            assert f"## cqlbench {words}\n" in text
            assert f"usage: cqlbench {words}" in text


def test_a_section_ends_where_the_next_begins() -> None:
    text = "# T\n\n## A\n\none\n\n```\n## no heading\n```\n\n### B\n\ntwo\n\n## C\n"
    assert pages.section(text, "A").endswith("### B\n\ntwo\n")
    assert "two" not in pages.section(text, "A (alone)")
    assert pages.section(text, "B") == "## B\n\ntwo\n"
    with pytest.raises(LookupError, match="D"):
        pages.section(text, "D")


def test_links_lead_to_pages_or_name_the_file() -> None:
    text = (
        "[r](results/README.md#x) [code](cqlbench/a.py) [`a.py`](cqlbench/a.py) [w](https://x.org) [s](#here)"
    )
    assert pages.with_links(text, "README.md") == (
        "[r](/results.md) code (`cqlbench/a.py`) `a.py` [w](https://x.org) s"
    )
