"""What a page of the documentation takes from elsewhere.

A line `<!-- from FILE: HEADING -->` stands for that section of a Markdown file of the repository; `(alone)`
at its end leaves out what stands under headings below. `<!-- from FILE -->` is the whole file without its
title. `<!-- settings NAME -->`, `<!-- origin NAME -->`, `<!-- code MODULE: NAME NAME -->`,
`<!-- configuration -->` and `<!-- commands -->` stand for what the code says, and `<!-- results NAME -->` for
an algorithm's row in the README's table.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import io
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUITE = re.compile(r"<!-- embedded suite -->\n(.*?)<!-- /embedded suite -->", re.DOTALL)
"""The README's table of the embedded suite, and what is said below it."""
_PAGES = {
    "README.md": "/index.md",
    "results/README.md": "/results.md",
    "datasets/README.md": "/datasets.md",
    "CONTRIBUTING.md": "/extending.md",
    "CHANGELOG.md": "/changelog.md",
}
"""A file of the repository -> the page that holds most of it."""
_OTHERS = (("CORL", "CORL"), ("the paper's code", "authors"), ("d3rlpy", "d3rlpy"))
"""How the parts of `benchmarks/aliases.yaml` begin -> whose names they are."""


def filled(name: str, text: str) -> str:
    """The source of a page, by its name, with everything it takes from elsewhere."""
    text = with_links(text, f"docs/{name}.md")
    return re.sub(
        r"^<!-- (from|settings|origin|code|results|configuration|commands)\b ?(.*?) ?-->$",
        _replaced,
        text,
        flags=re.MULTILINE,
    )


def _replaced(found: re.Match[str]) -> str:
    kind, words = found.groups()
    if kind == "from":
        file, _, heading = words.partition(": ")
        text = (ROOT / file).read_text(encoding="utf-8")
        return with_links(section(text, heading) if heading else text.partition("\n")[2], file)
    if words:
        return {"settings": settings, "origin": origin, "code": code, "results": results}[kind](words)
    return commands() if kind == "commands" else configuration()


def section(text: str, heading: str) -> str:
    """The section of a Markdown text, its heading at the second level.

    Raises:
        LookupError: there is no such heading.
    """
    title, alone = heading.removesuffix(" (alone)"), heading.endswith(" (alone)")
    taken: list[str] = []
    top = 0
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        marks = re.match(r"#+(?= )", line) if not fenced else None
        level = len(marks[0]) if marks else 0
        if level and taken and (alone or level <= top):
            break
        if level and not taken and line[level + 1 :] == title:
            top = level
        if top:
            taken.append(line.replace("#" * level, "#" * (level - top + 2), 1) if level else line)
    if not taken:
        raise LookupError(f"No heading '{title}'; the documentation takes its section from there.")
    return "\n".join(taken)


def with_links(text: str, file: str) -> str:
    """Links to files of the repository lead to the page that holds them, and otherwise name the file.

    Raises:
        LookupError: there is no such file.
    """

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        path, _, anchor = target.partition("#")
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) if path else file
        if not (ROOT / inside).exists():
            raise LookupError(f"{file} links to {inside}, which does not exist.")
        if inside in _PAGES and path:
            return f"[{words}]({_PAGES[inside]})"
        if inside.startswith("docs/") and inside.endswith(".md"):
            return f"[{words}](/{inside.removeprefix('docs/')}{'#' + anchor if anchor else ''})"
        return words if not path or words.strip("`") in inside else f"{words} (`{inside}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|mailto:|/)([^)\s]+)\)", link, text)


def settings(algorithm: str) -> str:
    """A table of an algorithm's settings: name, default, other implementations' names, meaning."""
    from cqlbench.experiments.config_help import keys_help

    blocks = [block for block in _blocks(keys_help(algorithm)) if block[0].startswith("algorithm.")]
    own = {key.removeprefix("algorithm.") for key, *_ in blocks}
    rows = ["| setting | default | elsewhere | meaning |", "|---|---|---|---|"]
    for key, default, meaning in blocks:
        names = {whose: list(each) for whose, each in other_names().get(key, {}).items()}
        for corl in set(re.findall(r"CORL `(\w+)`", meaning)) - own:
            names = {"CORL": []} | names
            names["CORL"] = list(dict.fromkeys([corl, *names["CORL"]]))
        elsewhere = "<br>".join(f"{whose} {', '.join(map(_code, each))}" for whose, each in names.items())
        rows.append(f"| `{key}` | {_code(default)} | {elsewhere} | {_cell(meaning)} |")
    return "\n".join(rows)


@functools.cache
def other_names() -> dict[str, dict[str, list[str]]]:
    """Our keys -> whose names -> these names, from `benchmarks/aliases.yaml`."""
    names: dict[str, dict[str, list[str]]] = {}
    whose = ""
    for line in (ROOT / "benchmarks" / "aliases.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            whose = next((name for start, name in _OTHERS if line[2:].startswith(start)), "")
        elif whose:
            name, _, keys = line.partition(": ")
            for key in keys.partition(" (")[0].split(" or "):
                names.setdefault(key, {}).setdefault(whose, []).append(name)
    return names


def origin(algorithm: str) -> str:
    """Where an algorithm's defaults come from, and in what they differ: the comment of its configuration."""
    text = (ROOT / "benchmarks" / "algorithm" / f"{algorithm}.yaml").read_text(encoding="utf-8")
    comment = [line[2:] for line in text.partition("defaults:")[0].splitlines() if line.startswith("# ")]
    return "\n".join(comment)


def code(words: str) -> str:
    """The source of functions of a module, without their documentation."""
    module, _, names = words.partition(": ")
    at = importlib.import_module(module)
    shown = []
    for name in names.split():
        source = textwrap.dedent(inspect.getsource(functools.reduce(getattr, name.split("."), at))).strip()
        lines, function = source.splitlines(), ast.parse(source).body[0]
        assert isinstance(function, ast.FunctionDef)
        if ast.get_docstring(function) is not None:
            del lines[function.body[0].lineno - 1 : function.body[0].end_lineno]
        shown.append("\n".join(lines))
    path = module.replace(".", "/")
    return f"From `{path}.py`:\n\n```python\n" + "\n\n\n".join(shown) + "\n```"


def results(algorithm: str) -> str:
    """An algorithm's scores on the embedded suite, a row per dataset, from the README's table."""
    found = SUITE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    lines = found[1].strip().splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    by_name = {name: row for row in table for name in re.findall(r"`(\w+)`", row[0])}
    behaviour = next(row for row in table if row[0] == "behaviour policy")
    scores = by_name.get(algorithm, ["–"] * len(table[0]))
    rows = [
        f"| {dataset} | {of_data} | {score} |"
        for dataset, of_data, score in list(zip(table[0], behaviour, scores, strict=True))[1:]
        if score != "–"
    ]
    if not rows:
        return "No run of the embedded suite is on record yet."
    said = "\n".join(line for line in lines if not line.startswith("|"))
    said = re.sub(r"\balgorithm=\w+", f"algorithm={algorithm}", said)
    return "\n".join(["| dataset | behaviour policy | score |", "|---|---|---|", *rows, said])


def configuration() -> str:
    """A table of every setting that all algorithms share."""
    from cqlbench.experiments.compose import default_algorithm
    from cqlbench.experiments.config_help import keys_help

    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for key, default, meaning in _blocks(keys_help(default_algorithm())):
        if not key.startswith("algorithm."):
            rows.append(f"| `{key}` | {_code(default)} | {_cell(meaning)} |")
    return "\n".join(rows)


def _blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of each setting in what `--help` prints."""
    for found in re.finditer(r"^  ([\w.]+)=(?:  \[(.*)\])?\n((?:        .*\n?)*)", text, re.MULTILINE):
        yield found[1], found[2] or "", " ".join(found[3].split())


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def commands() -> str:
    """Every verb, as its `--help` explains it."""
    from cqlbench.commands.pages import PAGES
    from cqlbench.commands.parser import parse

    text = []
    for verb, page in PAGES.items():
        for words in [[verb, below] for below in page.verbs] or [[verb]]:
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
                parse([*words, "--help"])
            text.append(f"## cqlbench {' '.join(words)}\n\n```text\n{shown.getvalue().strip()}\n```\n")
    return "\n".join(text)
