import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cqlbench.reporting.plots import ranks as module
from cqlbench.reporting.plots.style import TEXT, render
from cqlbench.reporting.ranks import Ranks

NAMES = ("cql (conservative_weight=5, lagrange=true)", "bc", "td3_bc", "iql", "a_name_longer_than_it" * 3)
RANKS = Ranks(NAMES, (1.2, 2.0, 3.1, 3.9, 4.8), 12, p=0.001, critical=1.5)


@pytest.fixture(scope="module")
def drawn():
    figure = module.ranks_figure(RANKS)
    FigureCanvasAgg(figure).draw()
    return figure


def test_ranks_and_cliques_stand_where_they_are(drawn) -> None:
    lines = drawn.axes[0].lines
    ends = lines[0].get_xdata()
    unit = (ends[1] - ends[0]) / 4
    leads = [line.get_xdata()[0] for line in lines if len(line.get_xdata()) == 3]
    assert sorted((each - ends[0]) / unit + 1 for each in leads) == pytest.approx(RANKS.ranks)
    bars = [line.get_xdata() for line in lines if line.get_lw() == 2.6]
    spans = [[(each - ends[0]) / unit + 1 for each in bar] for bar in bars]
    expected = [[1.2, 2.0], [2.0, 3.1], [3.1, 3.9], [3.9, 4.8]]
    assert len(spans) == len(expected) == len(RANKS.cliques)
    for span, (low, high) in zip(spans, expected, strict=True):
        assert span == pytest.approx([low, high], abs=0.031 / unit)  # bars overhang by 0.03 inches


def test_names_are_whole_or_shortened_and_nothing_overlaps(drawn) -> None:
    boxes = [text.get_window_extent() for text in drawn.axes[0].texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    right = TEXT * drawn.dpi
    assert all(box.x0 >= 0 and box.x1 <= right for box in boxes)
    assert b"/FontFile2" in render(drawn, "pdf")


def test_the_plots_words_name_ranks_p_and_the_critical_difference() -> None:
    plot = module.ranks_plot(RANKS)
    for word in ("p = 0.001", "critical difference of 1.50", "12 datasets"):
        assert word in plot.caption
    assert "bc 2.00" in plot.alt
