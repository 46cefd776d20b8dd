import io

from rich.console import Console

from cqlbench.reporting.tables.render import (
    Document,
    Grid,
    latex,
    latex_table,
    latex_text,
    markdown_table,
    show,
)

GRID = Grid(
    "Title",
    ("Dataset", "a_b"),
    (("x/y|z", "1.0 ± 2.0"), ("[w]", "-3.0"), ("Mean", "–")),
    "Caption 95 %.",
    frozenset({(0, 1)}),
    foot=1,
)


def test_markdown_table():
    assert markdown_table(GRID).splitlines() == [
        "| Dataset |           a_b |",
        "| ------- | ------------: |",
        "| x/y\\|z  | **1.0 ± 2.0** |",
        "| [w]     |          -3.0 |",
        "| Mean    |             – |",
    ]


def test_latex_table():
    assert latex_table(GRID).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Dataset & a\_b \\",
        r"\midrule",
        r"x/y$|$z & \textbf{1.0 $\pm$ 2.0} \\",
        r"{}[w] & $-$3.0 \\",
        r"\midrule",
        r"Mean & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_latex_text_escapes_what_means_something_to_latex():
    assert latex_text(r"50 % of a_b & {c}\d #1 ~ ^ $") == (
        r"50 \% of a\_b \& \{c\}\textbackslash{}d \#1 \textasciitilde{} \textasciicircum{} \$"
    )
    assert latex_text("-1.5 [-2, -1] medium-v2 1e-5") == "$-$1.5 [$-$2, $-$1] medium-v2 1e-5"
    assert latex_text("é") == r"{\ttfamily U+00E9}"


def test_a_long_table_is_printed_in_parts():
    rows = tuple((str(number), "x") for number in range(90))
    text = latex(Document("T", ("W_1",), (Grid("G", ("A", "B"), rows, "", frozenset({(41, 1)})),), ("N%",)))
    assert text.count(r"\begin{tabular}") == 3
    assert r"41 & \textbf{x} \\" in text
    assert text.count(r"\textbf{x}") == 1
    assert all(rf"{number} & " in text for number in range(90))
    assert r"W\_1" in text
    assert r"\item N\%" in text


def test_the_terminal_shows_bold_and_everything_else():
    file = io.StringIO()
    show(
        Document("Doc", ("Beware.",), (GRID,), ("Note.",)),
        Console(file=file, width=80, force_terminal=True, color_system="standard", highlight=False),
    )
    text = file.getvalue()
    assert all(word in text for word in ("Doc", "Beware.", "Title", "Caption 95 %.", "· ", "Note.", "x/y|z"))
    assert "\x1b[1m1.0 ± 2.0\x1b[0m" in text
