"""What a person wants to know of a dataset, in lines and in one figure."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from cqlbench.data.buffer import Dataset
from cqlbench.data.cards import Card
from cqlbench.evaluation.scores import normalized_score
from cqlbench.reporting.plots.figures import STYLE

_SHOWN = 50_000
"""Rows, evenly spread, that the heat maps are made of."""

_BINS = 40


def facts(dataset: Dataset, card: Card) -> list[tuple[str, str]]:
    """Lines of a name and what there is to say of it."""
    lengths = _lengths(dataset)
    returns = dataset.returns
    dropped = f", {dropped_rows:,} more dropped" if (dropped_rows := dataset.dropped_rows) else ""
    lines = [
        ("Rows", f"{dataset.rows:,} transitions{dropped}"),
        ("Sizes", f"{dataset.observation_size} observations, {dataset.action_size} actions"),
        ("Episodes", f"{len(lengths):,}, of which {int(dataset.whole_episodes.sum()):,} whole"),
        ("Lengths", f"{_quantiles(lengths)} steps" + _limit(card)),
        ("Ends", ", ".join(f"{count:,} {kind}" for kind, count in ends(dataset).items())),
        ("Returns", f"mean {returns.mean:,.4g}; {_numbers(returns.quantiles)}"),
    ]
    if card.score_min is not None and card.score_max is not None:
        mean = float(normalized_score(returns.mean, card.score_min, card.score_max))
        scores = normalized_score(returns.quantiles, card.score_min, card.score_max)
        lines += [
            ("Normalised", f"mean {mean:,.4g}; {_numbers(scores.tolist())}"),
            ("Endpoints", f"{card.score_min:g} is 0 and {card.score_max:g} is 100 ({card.endpoints_source})"),
        ]
    else:
        lines.append(("Normalised", "its card has no endpoints"))
    environment = card.environment.id if card.environment else "none: policies are not evaluated"
    lines += [("Environment", environment), ("Licence", card.licence or "not stated")]
    lines += [("Note", note) for note in (*card.notes, *dataset.notes)]
    return lines


def ends(dataset: Dataset) -> dict[str, int]:
    """How many episodes end how; a row that is both terminal and a time limit counts as terminated."""
    last = np.append(dataset.episode_starts[1:], dataset.rows) - 1
    terminated = _flags(dataset, "terminated")[last]
    truncated = _flags(dataset, "truncated")[last] & ~terminated
    open_ended = ~terminated & ~truncated
    limits = open_ended & dataset.whole_episodes if dataset.dropped_rows else np.zeros_like(open_ended)
    counts = {
        "terminated": int(terminated.sum()),
        "time limit": int(truncated.sum()),
        "time limit (its row dropped)": int(limits.sum()),
        "cut off by the recording": int((open_ended & ~limits).sum()),
    }
    return {kind: count for kind, count in counts.items() if count}


def figure(dataset: Dataset, card: Card) -> bytes:
    """A PNG of five panels: returns, lengths, rewards, and where observations and actions lie.

    Observations are shown in the two directions in which they vary most when standardised, continuous actions
    dimension by dimension. Equal datasets give equal bytes on one version of matplotlib.
    """
    with style.context(STYLE, after_reset=True):
        canvas = Figure(figsize=(8.4, 5.2))
        FigureCanvasAgg(canvas)
        halves: Any = canvas.subfigures(2, 1)
        returns, lengths, rewards = halves[0].subplots(1, 3)
        observations, actions = halves[1].subplots(1, 2)
        _draw_returns(returns, dataset, card)
        _draw_lengths(lengths, dataset)
        _draw_rewards(rewards, dataset)
        _draw_observations(observations, dataset)
        (_draw_choices if dataset.discrete_actions else _draw_actions)(actions, dataset)
        canvas.suptitle(dataset.id, x=0.01, ha="left", fontsize=8, parse_math=False)
        file = io.BytesIO()
        canvas.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _draw_returns(axes: Axes, dataset: Dataset, card: Card) -> None:
    returns = _returns(dataset)[dataset.whole_episodes]
    _histogram(axes, returns, "Return of a whole episode", _range(returns, 0.0))
    if card.score_min is None or card.score_max is None:
        return
    low, high = axes.get_xlim()
    for place, label in ((card.score_min, "0"), (card.score_max, "100")):
        if low <= place <= high:
            axes.axvline(place, color="#444444", linestyle=(0, (4, 3)), linewidth=1.0)
            axes.text(place, 1.0, f" {label}", transform=axes.get_xaxis_transform(), fontsize=7, va="bottom")


def _draw_lengths(axes: Axes, dataset: Dataset) -> None:
    lengths = _lengths(dataset)
    _histogram(axes, lengths, "Steps of an episode", (0.0, float(lengths.max())))


def _draw_rewards(axes: Axes, dataset: Dataset) -> None:
    rewards = _rewards(dataset)
    _histogram(axes, rewards, "Reward of a transition", _range(rewards, 0.0))
    axes.set_ylabel("Transitions")
    axes.set_yscale("log")  # a sparse reward is one in thousands
    axes.set_ylim(bottom=0.5)


def _draw_actions(axes: Axes, dataset: Dataset) -> None:
    values = _shown(dataset, "action")
    dimensions = np.broadcast_to(np.arange(dataset.action_size, dtype=np.float64), values.shape)
    edges = np.arange(dataset.action_size + 1) - 0.5, np.linspace(*_range(values, 0.0), 2 * _BINS + 1)
    _heat(axes, dimensions.ravel(), values.ravel(), edges)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Dimension of the action")
    axes.set_ylabel("Value")


def _draw_choices(axes: Axes, dataset: Dataset) -> None:
    taken = dataset.storage["action"].numpy().sum(axis=0)
    axes.bar(np.arange(len(taken)), taken, color=_colour())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Action")
    axes.set_ylabel("Transitions")


def _heat(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], edges: Any) -> None:
    """How many of the shown rows lie where; white where none does."""
    *_, image = axes.hist2d(x, y, bins=edges, norm=LogNorm(), cmap="viridis")
    bar = axes.figure.colorbar(image, ax=axes, label="Rows shown", pad=0.02, format="{x:,.0f}")
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False)


def _shown(dataset: Dataset, name: str) -> NDArray[np.float64]:
    """`[n, D]`: at most `_SHOWN` rows, evenly spread."""
    rows: NDArray[np.float64] = dataset.storage[name].numpy()[:: max(1, dataset.rows // _SHOWN)]
    return rows.astype(np.float64)


def _histogram(axes: Axes, values: NDArray[Any], label: str, span: tuple[float, float]) -> None:
    axes.hist(values.astype(np.float64), bins=_BINS, range=span, color=_colour(), linewidth=0)
    axes.set_xlabel(label)
    axes.set_ylabel("Episodes")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_observations(axes: Axes, dataset: Dataset) -> None:
    observed = _shown(dataset, "observation")
    spread = np.where(dataset.observation_std > 0, dataset.observation_std, 1.0)
    scaled = (observed - dataset.observation_mean) / spread
    variances, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    # eigh ascends; a direction's sign is arbitrary, and fixed here by its largest part.
    main = directions[:, ::-1][:, :2]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    places = scaled @ main
    if places.shape[1] < 2:
        places = np.column_stack([places, np.zeros(len(places))])
    # All but one row in a thousand, so that a few far ones leave the rest its room.
    ranges = [_range(places[:, axis], 0.0005) for axis in range(2)]
    edges = [np.linspace(*ends, 2 * _BINS + 1) for ends in ranges]
    _heat(axes, places[:, 0], places[:, 1], edges)
    share = np.append(variances[::-1], 0.0)[:2] / max(variances.sum(), 1e-12)
    axes.set_xlabel(f"First direction of observations ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"Second direction ({share[1]:.0%})")


def _range(values: NDArray[np.float64], tail: float) -> tuple[float, float]:
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return (float(low), float(high)) if high > low else (float(low) - 1.0, float(low) + 1.0)


def _lengths(dataset: Dataset) -> NDArray[np.int64]:
    return np.diff(np.append(dataset.episode_starts, dataset.rows))


def _returns(dataset: Dataset) -> NDArray[np.float64]:
    return np.add.reduceat(_rewards(dataset), dataset.episode_starts)


def _rewards(dataset: Dataset) -> NDArray[np.float64]:
    rewards: NDArray[np.float64] = dataset.storage["next", "reward"].numpy()[:, 0].astype(np.float64)
    return rewards


def _flags(dataset: Dataset, name: str) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = dataset.storage["next", name].numpy()[:, 0]
    return flags


def _quantiles(values: NDArray[np.int64]) -> str:
    return _numbers(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist())


def _numbers(quantiles: Sequence[float]) -> str:
    return " · ".join(f"{value:,.4g}" for value in quantiles) + " (0, 25, 50, 75, 100 %)"


def _limit(card: Card) -> str:
    return f"; the time limit is {card.max_episode_steps:,}" if card.max_episode_steps else ""


def _colour() -> str:
    return str(mpl.rcParams["axes.prop_cycle"].by_key()["color"][0])
