"""What README and the documentation tell people to type exists, and README's tables are true."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import cqlbench
from cqlbench.algorithms import ALGORITHMS
from cqlbench.commands.pages import PAGES
from cqlbench.commands.parser import parse
from cqlbench.experiments.api import Run
from cqlbench.experiments.key_names import check_key

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WRITTEN = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "datasets/README.md", "results/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def typed(text: str, program: str) -> list[str]:
    """The commands of a text that begin with `program`, of its code blocks and of words set as code.

    Those with a place to be filled in (`…`, `VERB`, `<file>`) are left out.
    """
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    lines = [*re.findall(r"^(?:    |\$ )?(.*)$", joined, re.MULTILINE), *re.findall(r"`([^`\n]+)`", joined)]
    found = {re.split(r"\s+#\s", line)[0].removeprefix(".venv/bin/") for line in lines}
    return sorted(
        each
        for each in found
        if each.startswith(f"{program} ") and not re.search(r"[…<]|\b[A-Z]{2,}\b|\.\.\.", each)
    )


def test_readme_is_short_and_in_order() -> None:
    assert len(README.split()) <= 1200
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == [
        "Results", "Install", "From Python", "From the command line", "Algorithms", "Datasets", "Speed",
        "Citing", "Licence", "Contributing",
    ]  # fmt: skip


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_is_understood(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text(encoding="utf-8")
    for command in typed(text, "cqlbench"):
        words = shlex.split(command)[1:]
        if not re.search("[=-]", command):  # prose, or a verb's name
            assert words[0] in PAGES, command
            continue
        try:
            _, values = parse(words)
        except SystemExit:
            continue  # help
        settings = values.get("settings", [])
        names = next((each[10:] for each in settings if each.startswith("algorithm=")), "cql").split(",")
        for setting in settings:
            if setting.startswith("algorithm="):
                assert set(names) <= {*ALGORITHMS, "all"}
            elif "=" in setting and not setting.startswith("launcher"):
                check_key(setting, names[0])
    for command in re.findall(r"\bmake ([a-z]+)(?: [A-Z]+=|\s*(?:#|`|$))", text, re.MULTILINE):
        assert re.search(rf"^{command}:", MAKEFILE, re.MULTILINE), command


def test_commands_are_found_in_a_text() -> None:
    text = "    cqlbench a x=1 \\\n      y=2   # why\n`cqlbench b`, `cqlbench c d=…`, `cqlbench VERB`"
    assert typed(text, "cqlbench") == ["cqlbench a x=1 y=2", "cqlbench b"]


def test_the_example_uses_what_there_is() -> None:
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert hasattr({"cqlbench": cqlbench, "run": Run}[node.value.id], node.attr), node.attr


def test_the_table_of_algorithms_is_true() -> None:
    rows = re.findall(r"^\| (\[`.*)\|$", README.partition("## Algorithms")[2], re.MULTILINE)
    told = {
        name: (kinds.strip(), online.strip())
        for row in rows
        for names, _, kinds, online, *_ in [row.split("|")]
        for name in re.findall(r"\[`(\w+)`\]", names)
    }
    kind_of = {"box": "continuous", "discrete": "discrete"}
    assert told == {
        name: (
            ", ".join(kind_of[each.actions] for each in classes),
            "yes" if any(each.online for each in classes) else "no",
        )
        for name, (_, classes) in ALGORITHMS.items()
    }


def test_the_suites_table_has_every_algorithm() -> None:
    suite = README.partition("<!-- embedded suite -->")[2].partition("<!-- /embedded suite -->")[0]
    table = [line for line in suite.splitlines() if line.startswith("|")]
    assert {name for line in table for name in re.findall(r"`(\w+)`", line)} == set(ALGORITHMS)
    assert sum(line.startswith("|behaviour policy|") for line in table) == 1
    assert len({line.count("|") for line in table}) == 1


def test_badges_say_what_the_project_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = {path.stem: path.read_text() for path in (ROOT / "docs" / "images" / "badges").glob("*.svg")}
    versions = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert f"Python: {' | '.join(versions)}" in shown["python"]
    assert f"licence: {project['license']}" in shown["licence"]
    steps = re.search(r"CI: (.*?)<", shown["ci"])[1].split(", ")
    jobs = "".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    files = {path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert {"gate", "docs", "wheel"} <= files & set(steps)
    assert ".ci/run" in jobs
