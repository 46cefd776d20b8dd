from dataclasses import replace

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure

from cqlbench.data.cards import Card
from cqlbench.data.transitions import Transitions
from cqlbench.reporting.plots.dataset import ends, facts, figure, typical_row

CARD = Card("x/y-v0", "d4rl", max_episode_steps=5, score_min=0.0, score_max=20.0, endpoints_source="made up")


@pytest.fixture
def dataset():
    """Four episodes of 4, 5, 2 and 3 rows, each row worth 1: fell, limit, both, cut off."""
    rows = 14
    observations = np.random.default_rng(0).normal(size=(rows + 1, 3)).astype(np.float32)
    flags = {name: np.zeros(rows, np.bool_) for name in ("terminated", "truncated")}
    flags["terminated"][[3, 10]] = True
    flags["truncated"][[8, 10]] = True
    return Transitions(
        observations[:-1],
        np.linspace(-1, 1, rows, dtype=np.float32)[:, None],
        np.ones(rows, np.float32),
        observations[1:],
        **flags,
        episode_starts=np.array([0, 4, 9, 11]),
        notes=("A note.",),
    )


def test_facts(dataset):
    lines = dict(facts(dataset, dataset.whole_episodes, CARD))
    assert lines["Rows"] == "14 transitions"
    assert lines["Sizes"] == "3 observations, 1 actions"
    assert lines["Episodes"] == "4, of which 3 whole"
    assert lines["Lengths"] == "2 · 2.75 · 3.5 · 4.25 · 5 (0, 25, 50, 75, 100 %) steps; the time limit is 5"
    assert lines["Ends"] == "2 terminated, 1 time limit, 1 cut off by the recording"
    assert lines["Returns"] == "mean 3.667; 2 · 3 · 4 · 4.5 · 5 (0, 25, 50, 75, 100 %)"
    assert lines["Normalised"] == "mean 18.33; 10 · 15 · 20 · 22.5 · 25 (0, 25, 50, 75, 100 %)"
    assert lines["Note"] == "A note."


def test_facts_of_a_card_without_endpoints(dataset):
    lines = dict(
        facts(dataset, dataset.whole_episodes, msgspec.structs.replace(CARD, score_min=None, score_max=None))
    )
    assert lines["Normalised"] == "its card has no endpoints"


def test_dropped_time_limits_are_counted(dataset):
    dataset.truncated[:] = False
    dropped = replace(dataset, dropped_rows=2)
    counts = ends(dropped, dropped.whole_episodes)
    assert counts == {"terminated": 2, "time limit (its row dropped)": 1, "cut off by the recording": 1}


def drawing(dataset):
    return figure("x/y-v0", dataset, dataset.whole_episodes, CARD)


def test_figure_is_the_same_each_time(dataset):
    first = drawing(dataset)
    assert first.startswith(b"\x89PNG")
    assert drawing(dataset) == first


def test_the_typical_row_is_in_the_middle_of_the_median_episode(dataset):
    """Whole are the episodes of 4, 5 and 2 rows worth 1 each; the median one begins at row 0."""
    assert typical_row(dataset, dataset.whole_episodes) == 2
    assert typical_row(dataset, np.zeros(4, np.bool_)) == 0


def test_figure_with_a_frame_is_another_one(dataset):
    frame = np.zeros((5, 5, 3), np.uint8)
    assert figure("x/y-v0", dataset, dataset.whole_episodes, CARD, frame) != drawing(dataset)


@pytest.mark.parametrize("size", [1, 2])
def test_figure_of_data_without_spread(dataset, size):
    """One dimension, or all rows alike: a figure nevertheless."""
    flat = np.zeros((14, size), np.float32)
    assert drawing(replace(dataset, observations=flat, next_observations=flat))


def drawn(dataset, monkeypatch):
    """The figure's panels, by what is drawn to the right."""
    made = []
    save = Figure.savefig

    def saved(self, *args, **kwargs):
        made.append(self)
        save(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", saved)
        drawing(dataset)
    return {axes.get_xlabel(): axes for axes in made[0].axes}


def test_rewards_and_actions_are_drawn_and_heat_maps_have_colour_bars(dataset, monkeypatch):
    panels = drawn(dataset, monkeypatch)
    bars = panels["Reward of a transition"].patches
    assert sum(bar.get_height() for bar in bars) == len(dataset)
    (actions,) = panels["Dimension of the action"].collections
    assert actions.get_array().sum() == len(dataset)
    (observations,) = (axes for label, axes in panels.items() if label.startswith("First direction"))
    for axes in (panels["Dimension of the action"], observations):
        assert axes.collections[0].colorbar is not None


def test_discrete_actions_are_counted(dataset, monkeypatch):
    taken = np.eye(3, dtype=np.float32)[[0] * 9 + [2] * 5]
    panels = drawn(replace(dataset, actions=taken, discrete_actions=True), monkeypatch)
    assert [bar.get_height() for bar in panels["Action"].patches] == [9, 0, 5]
