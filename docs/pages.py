"""What a page of the documentation takes from elsewhere.

A line `<!-- from FILE: HEADING -->` stands for that section of a Markdown file of the repository; `(alone)`
at its end leaves out what stands under headings below. `<!-- from FILE -->` is the whole file without its
title. `<!-- settings NAME -->`, `<!-- origin NAME -->`, `<!-- code MODULE: NAME NAME -->`,
`<!-- configuration -->` and `<!-- commands -->` stand for what the code says.
"""

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
_PAGES = {
    "README.md": "/index.md",
    "results/README.md": "/results.md",
    "datasets/README.md": "/datasets.md",
    "CONTRIBUTING.md": "/extending.md",
    "CHANGELOG.md": "/changelog.md",
    "docs/cluster.md": "/cluster.md",
}
"""A file of the repository -> the page that holds most of it."""


def filled(name: str, text: str) -> str:
    """The source of a page, by its name, with everything it takes from elsewhere."""
    text = with_links(text, f"docs/{name}.md")
    return re.sub(
        r"^<!-- (from|settings|origin|code|configuration|commands)\b ?(.*?) ?-->$",
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
    if kind in ("settings", "origin", "code"):
        return {"settings": settings, "origin": origin, "code": code}[kind](words)
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
    """Links to files of the repository lead to the page that holds them, and otherwise are no links."""

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        path, _, anchor = target.partition("#")
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) if path else file
        if (
            file.startswith("docs/")
            and (path.endswith(".md") and not inside.startswith(".."))
            and not (inside in _PAGES or not (ROOT / inside).exists())
        ):
            return found[0]
        if not path and (file.startswith("docs/")):
            return f"[{words}](#{anchor})"
        if inside in _PAGES and path:
            return f"[{words}]({_PAGES[inside]})"
        return words if not path or words.strip("`") in inside else f"{words} (`{inside}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|mailto:|/)([^)\s]+)\)", link, text)


def settings(algorithm: str) -> str:
    """A table of an algorithm's settings: name, default, meaning, which names CORL's where they differ."""
    from cqlbench.experiments.config_help import keys_help

    return _table(block for block in _blocks(keys_help(algorithm)) if block[0].startswith("algorithm."))


def origin(algorithm: str) -> str:
    """Where an algorithm's defaults come from, and in what they differ: the comment of its configuration."""
    text = (ROOT / "benchmarks" / "algorithm" / f"{algorithm}.yaml").read_text(encoding="utf-8")
    comment = [line[2:] for line in text.partition("defaults:")[0].splitlines() if line.startswith("# ")]
    return "\n".join(comment)


def code(words: str) -> str:
    """The source of functions of a module."""
    module, _, names = words.partition(": ")
    at = importlib.import_module(module)
    shown = []
    for name in names.split():
        source = inspect.getsource(functools.reduce(getattr, name.split("."), at))
        shown.append(textwrap.dedent(source).strip())
    path = module.replace(".", "/")
    return f"From `{path}.py`:\n\n```python\n" + "\n\n\n".join(shown) + "\n```"


def configuration() -> str:
    """A table of every setting that all algorithms share."""
    from cqlbench.experiments.compose import default_algorithm
    from cqlbench.experiments.config_help import keys_help

    return _table(
        block for block in _blocks(keys_help(default_algorithm())) if not block[0].startswith("algorithm.")
    )


def _blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of each setting in what `--help` prints."""
    for found in re.finditer(r"^  ([\w.]+)=(?:  \[(.*)\])?\n((?:        .*\n?)*)", text, re.MULTILINE):
        yield found[1], found[2] or "", " ".join(found[3].split())


def _table(blocks: Iterator[tuple[str, str, str]]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for key, default, meaning in blocks:
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{key}` | {shown} | {meaning.replace('|', chr(92) + '|').replace('<', '&lt;')} |")
    return "\n".join(rows)


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
