"""A document of tables as Markdown, LaTeX and on the terminal. The same document gives the same bytes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "%": r"\%", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"$<$", ">": r"$>$", "|": r"$|$",
    "±": r"$\pm$", "–": "--", "−": "$-$", "×": r"$\times$", "·": r"$\cdot$", "…": r"\ldots{}", '"': "''",
    "†": r"$\dagger$", "τ": r"$\tau$", "ρ": r"$\rho$", "→": r"$\rightarrow$",
})  # fmt: skip
_PAGE_ROWS = 40
"""Rows of a table that fit on one page of the LaTeX document."""
_PREAMBLE = r"""\documentclass{article}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\sloppy
\begin{document}
"""
_NOTES = "How the numbers came about"


@dataclass(frozen=True)
class Grid:
    """A table before it has a look.

    Attributes:
        columns: their headings, short enough for a terminal of 80 columns.
        caption: what the headings are too short to say.
        bold: row and column of each cell to emphasise.
        foot: how many of the last rows a line sets apart.
        labels: how many of the first columns are text; the others are right-aligned.
        notes: what marks in the cells mean, a sentence each.
        runs: row and column of a cell -> name of the run that it is about.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    bold: frozenset[tuple[int, int]] = frozenset()
    foot: int = 0
    labels: int = 1
    notes: tuple[str, ...] = ()
    runs: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def ends_body(self, row: int) -> bool:
        """Whether a row is the last one above the foot."""
        return bool(self.foot) and row == len(self.rows) - self.foot - 1


@dataclass(frozen=True)
class Document:
    """All that is said about one run or many, in the order in which it is said.

    Attributes:
        warnings: what the numbers must not be used for, and what is missing.
        notes: how the numbers came about.
        answers: what a reader asks first, in sentences.
    """

    title: str
    warnings: tuple[str, ...]
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]
    answers: tuple[str, ...] = ()


def show(content: Document, console: Console, widest: int = 100) -> None:
    """Print a document, at most `widest` columns wide whatever the terminal."""
    width = min(console.width, widest)
    console.print(Text(content.title, style="bold"), width=width)
    for answer in content.answers:
        console.print(Text(answer), width=width)
    for warning in content.warnings:
        console.print(Text(warning, style="bold yellow"), width=width)
    for grid in content.grids:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for index, column in enumerate(grid.columns):
            justify = "left" if index < grid.labels else "right"
            table.add_column(Text(column), justify=justify, overflow="fold")  # type: ignore[arg-type]
        for number, row in enumerate(grid.rows):
            styles = ("bold" if (number, index) in grid.bold else "" for index in range(len(row)))
            table.add_row(*map(Text, row, styles), end_section=grid.ends_body(number))
        console.print()
        console.print(Text(grid.title, style="bold"))
        console.print(table, width=width)
        for said in (Text(grid.caption, style="dim"), *(Text(note, style="yellow") for note in grid.notes)):
            for line in said.wrap(console, width):
                console.print(line)
    console.print()
    for note in content.notes:
        for index, line in enumerate(Text(note, style="dim").wrap(console, width - 2)):
            console.print(Text("  " if index else "· ", style="dim") + line)


def markdown(content: Document) -> str:
    """The same as a Markdown document, its tables aligned to be read as plain text too."""
    parts = [f"# {content.title}", *content.answers]
    parts += [f"**{warning}**" for warning in content.warnings]
    for grid in content.grids:
        parts += [f"## {grid.title}", markdown_table(grid), grid.caption, *grid.notes]
    parts += [f"## {_NOTES}", "\n".join(f"- {note}" for note in content.notes)]
    return "\n\n".join(parts) + "\n"


def markdown_table(grid: Grid) -> str:
    """A grid as a pipe table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (grid.columns, *grid.rows)]
    for row, column in grid.bold:
        cells[row + 1][column] = f"**{cells[row + 1][column]}**"
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    texts = [index < grid.labels for index in range(len(widths))]

    def line(row: Sequence[str]) -> str:
        sides = zip(row, widths, texts, strict=True)
        return f"| {' | '.join(c.ljust(width) if text else c.rjust(width) for c, width, text in sides)} |"

    rule = [
        "-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, texts, strict=True)
    ]
    return "\n".join((line(cells[0]), line(rule), *map(line, cells[1:])))


def latex_table(grid: Grid) -> str:
    """A grid as a `tabular` of the booktabs package, to be taken into a paper as it is."""
    alignment = "l" * grid.labels + "r" * (len(grid.columns) - grid.labels)
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    lines += [" & ".join(map(latex_text, grid.columns)) + r" \\", r"\midrule"]
    for number, row in enumerate(grid.rows):
        cells = [
            rf"\textbf{{{latex_text(cell)}}}" if (number, index) in grid.bold else latex_text(cell)
            for index, cell in enumerate(row)
        ]
        # After a row's end, LaTeX takes an opening bracket for a distance.
        lines.append(("{}" if cells[0].startswith(("[", "*")) else "") + " & ".join(cells) + r" \\")
        lines += [r"\midrule"] * grid.ends_body(number)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex_file(grid: Grid) -> str:
    """The same, and below it what its marks mean."""
    notes = (f"\\par\\smallskip{{\\footnotesize {latex_text(note)}\\par}}\n" for note in grid.notes)
    return latex_table(grid) + "".join(notes)


def latex(*contents: Document) -> str:
    """The same of one or more, as a document that compiles as it is, with pdfLaTeX, XeLaTeX or LuaLaTeX."""
    return "".join([_PREAMBLE, *map(_latex_section, contents), "\\end{document}\n"])


def _latex_section(content: Document) -> str:
    parts = [f"\\section*{{{latex_text(content.title)}}}\n"]
    parts += [f"\\noindent {latex_text(answer)}\\par\n" for answer in content.answers]
    parts += [f"\\noindent\\textbf{{{latex_text(warning)}}}\\par\n" for warning in content.warnings]
    for grid in content.grids:
        parts.append(f"\\subsection*{{{latex_text(grid.title)}}}\n")
        for start in range(0, max(1, len(grid.rows)), _PAGE_ROWS):
            fitted = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
            parts.append(f"\\noindent{fitted}\n{latex_table(_page(grid, start))}}}\\par\n")
        for text in (grid.caption, *grid.notes):
            parts.append(f"\\smallskip\\noindent{{\\small {latex_text(text)}\\par}}\n")
    if content.notes:
        items = "".join(f"\\item {latex_text(note)}\n" for note in content.notes)
        parts.append(f"\\subsection*{{{_NOTES}}}\n\\begin{{itemize}}\n{items}\\end{{itemize}}\n")
    return "".join(parts)


def _page(grid: Grid, start: int) -> Grid:
    """The grid's rows from `start` on that fit a page."""
    rows = grid.rows[start : start + _PAGE_ROWS]
    bold = frozenset((row - start, column) for row, column in grid.bold)
    return replace(grid, rows=rows, bold=bold, foot=grid.foot if start + len(rows) == len(grid.rows) else 0)


def latex_text(text: str) -> str:
    """Text as LaTeX prints it; a character that fonts may lack is named by its code point."""
    text = re.sub(r"(?<![\w.-])-(?=\d)", "−", text).translate(_LATEX)
    return re.sub(r"[^\x00-\x7f]", lambda found: f"{{\\ttfamily U+{ord(found[0]):04X}}}", text)
