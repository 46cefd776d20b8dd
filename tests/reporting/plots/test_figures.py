import io
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cqlbench.reporting.plots import figures, style
from cqlbench.reporting.plots.figures import Line
from cqlbench.reporting.plots.style import COLUMN, TEXT, Reference

LONG = "a-robot-with-a-long-name-and-many-joints-expert-v0"
NAMES = [f"algorithm {number}" for number in range(7)]


def _line(top, points=9, band=3.0):
    x = np.linspace(100, 10_000, points)
    mean = top * x / x[-1]
    return Line(x, mean, mean - band, mean + band)


def _marks(*rows):
    """`(row, series, value)`, or the ends of its interval besides."""
    filled = [(*row, np.nan, np.nan)[:5] for row in rows]
    return pd.DataFrame(filled, columns=["row", "series", "value", "low", "high"])


SCORES = _marks(("d/x-v0", "a", 50, 40, 60), ("d/x-v0", "b", 20), ("d/y-v0", "a", -3, -5, 1))
DRAWINGS = {
    "learning curves": lambda: figures.learning_curves(
        {(f"d/{n}-v0", name): _line(20 + 10 * i) for i, name in enumerate(NAMES) for n in range(5)}
    ),
    "wall clock": lambda: figures.wall_clock_curves({("d/x-v0", "a"): _line(50), ("d/x-v0", "b"): _line(30)}),
    "scores": lambda: figures.intervals(SCORES, reference=Reference("Dataset mean", {"d/x-v0": 44.0})),
    "aggregates": lambda: figures.aggregate_intervals(
        _marks(*((name, *mark) for name in ("Mean", "IQM") for mark in (("a", 50, 40, 60), ("b", 20))))
    ),
    "long names": lambda: figures.learning_curves(
        {(f"embedded/{n}-{LONG}", name): _line(50) for n in range(6) for name in NAMES[:2]}
    ),
    "profiles": lambda: figures.performance_profiles(
        {"a": Line(np.linspace(0, 100, 11), *[np.linspace(1, 0, 11)] * 3)}
    ),
    "improvement": lambda: figures.improvement_intervals(_marks(("a > b", "", 0.7, 0.5, 0.9))),
    "throughput": lambda: figures.throughput(
        _marks(*(("cpu, 3 seeds", *mark) for mark in (("a", 200), ("a", 310), ("b", 2000))))
    ),
}


@pytest.fixture(params=DRAWINGS, scope="module")
def drawn(request):
    return DRAWINGS[request.param]


def test_a_pdf_embeds_truetype_fonts_and_equal_numbers_give_equal_bytes(drawn):
    first = style.render(drawn(), "pdf")
    assert b"/FontFile2" in first
    assert b"/Type3" not in first
    assert b"CreationDate" not in first
    with mpl.rc_context({"font.size": 30, "pdf.fonttype": 3}):
        assert style.render(drawn(), "pdf") == first


def test_an_svg_is_the_same_again_and_needs_no_font():
    drawn = DRAWINGS["learning curves"]
    first = style.render(drawn(), "svg")
    assert style.render(drawn(), "svg") == first
    assert b"<dc:date>" not in first
    assert b"<text" not in first


def test_nothing_is_cut_off_or_laid_over_something_else(drawn):
    figure = drawn()
    with Image.open(io.BytesIO(style.render(figure, "png", dpi=80))) as image:
        pixels = np.asarray(image.convert("L"))
    assert min(pixels[0].min(), pixels[-1].min(), pixels[:, 0].min(), pixels[:, -1].min()) == 255
    titles = [axes._left_title for axes in figure.axes if axes.get_title(loc="left")]
    every = [*(text for text in (figure._supxlabel, figure._supylabel) if text), *titles, *figure.legends]
    boxes = [each.get_window_extent() for each in every]
    # Not even close: a point of air on each side.
    assert not any(one.padded(1).overlaps(other.padded(1)) for one, other in itertools.combinations(boxes, 2))
    assert figure.get_figwidth() in (COLUMN, TEXT)


def test_global_settings_are_left_alone(drawn):
    before = dict(mpl.rcParams)
    style.render(drawn(), "png", dpi=30)
    assert dict(mpl.rcParams) == before


def test_algorithms_differ_in_colour_dashes_and_marker_alike():
    lines = DRAWINGS["learning curves"]().axes[0].lines
    assert len(lines) == len(NAMES)
    for look in ("get_color", "get_marker"):
        assert len({getattr(line, look)() for line in lines}) == len(NAMES)
    assert len({str(line._dash_pattern) for line in lines}) == len(NAMES)


def test_an_algorithm_looks_the_same_whatever_others_a_figure_shows():
    alone = figures.wall_clock_curves({("d", "b"): _line(1)}, order=["a", "b"]).axes[0].lines[0]
    beside = figures.learning_curves({("d", "a"): _line(1), ("d", "b"): _line(2)}).axes[0].lines[1]
    assert (alone.get_color(), alone.get_marker()) == (beside.get_color(), beside.get_marker())


def test_numbers_are_drawn_where_they_are():
    axes = DRAWINGS["scores"]().axes[0]
    points = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_color() == style.GREY] == [[44, 44]]
    assert [list(line.get_xdata()) for line in points] == [[50, -3], [20]]
    ends = [segment[:, 0].tolist() for lines in axes.collections for segment in lines.get_segments()]
    assert sorted(ends) == [[-5.0, 1.0], [40.0, 60.0]]
    curve = figures.learning_curves({("d", "a"): _line(50)}).axes[0].lines[0]
    assert curve.get_xdata() == pytest.approx(_line(50).x / 1000)
    assert curve.get_ydata() == pytest.approx(_line(50).mean)


@pytest.mark.parametrize(
    ("last", "unit"), [(100, "seconds"), (300, "minutes"), (7200, "hours")]
)  # fmt: skip
def test_wall_clock_time_is_in_a_unit_that_fits(last, unit):
    line = Line(np.array([last / 2, last]), *[np.array([1.0, 2.0])] * 3)
    assert unit in figures.wall_clock_curves({("d", "a"): line})._supxlabel.get_text()


def test_bands_stay_in_the_frame_and_none_is_drawn_of_nan():
    low, high = figures.learning_curves({("d", "a"): _line(50, band=100)}).axes[0].get_ylim()
    assert low < -88
    assert high > 150
    nan = _line(50, band=np.nan)
    assert style.render(figures.learning_curves({("d", "a"): nan}), "png", dpi=30)


def test_odd_names_are_drawn_as_they_are():
    odd = "x/$a_{b$" + "long-" * 30
    style.render(figures.intervals(_marks((odd, "_a", 1), (odd, "$", 2))), "png", dpi=30)
    style.render(figures.learning_curves({(odd, "_a"): _line(1), (odd, "$x$"): _line(2)}), "png", dpi=30)


def test_what_made_the_data_is_a_line_in_its_panel():
    panels = {(name, "a"): _line(50) for name in ("d", "e")}
    for draw in (figures.learning_curves, figures.wall_clock_curves):
        figure = draw(panels, reference=Reference("Dataset mean", {"e": 80.0}))
        without, beside = figure.axes
        assert len(without.lines) == 1
        assert list(beside.lines[1].get_ydata()) == [80.0, 80.0]
        assert beside.get_ylim()[1] > 80
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "Dataset mean"]


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_figure_is_of_the_kind_that_is_asked_for(kind, start):
    content = style.render(DRAWINGS["improvement"](), kind)
    assert content.startswith(start)
    if kind == "png":
        with Image.open(io.BytesIO(content)) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_style_lies_beside_the_code():
    assert style.STYLE.is_file()
