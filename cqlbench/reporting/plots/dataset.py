"""What a person wants to know of a dataset, in lines and in one figure."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from cqlbench.data.cards import Card
from cqlbench.data.transitions import Flags, Transitions
from cqlbench.evaluation.scores import normalized_score
from cqlbench.reporting.plots.style import STYLE, render

_SHOWN = 50_000
"""Rows, evenly spread, that the heat maps are made of."""

_BINS = 40


def facts(data: Transitions, whole: Flags, card: Card) -> list[tuple[str, str]]:
    """Lines of a name and what there is to say of a dataset, whose `whole` episodes, `[E]`, count."""
    lengths, returns = data.episode_lengths, data.episode_returns[whole]
    limit = f"; the time limit is {card.recorded_limit:,}" if card.recorded_limit else ""
    dropped = f", {data.dropped_rows:,} more dropped" if data.dropped_rows else ""
    lines = [
        ("Rows", f"{len(data):,} transitions{dropped}"),
        ("Sizes", f"{data.observation_size} observations, {data.action_size} actions"),
        ("Episodes", f"{len(lengths):,}, of which {int(whole.sum()):,} whole"),
        ("Lengths", f"{_quantiles(lengths)} steps{limit}"),
        ("Ends", ", ".join(f"{count:,} {kind}" for kind, count in ends(data, whole).items())),
        ("Returns", f"mean {returns.mean():,.4g}; {_quantiles(returns)}"),
    ]
    if (known := card.endpoints_of_data) is not None:
        scores = normalized_score(returns, *known)
        lines.append(("Normalised", f"mean {scores.mean():,.4g}; {_quantiles(scores)}"))
    if card.score_min is None or card.score_max is None:
        lines.append(("Normalised", "its card has no endpoints"))
    else:
        lines.append(
            ("Endpoints", f"{card.score_min:g} is 0 and {card.score_max:g} is 100 ({card.endpoints_source})")
        )
    environment = card.environment.id if card.environment else "none: policies are not evaluated"
    lines += [("Environment", environment), ("Licence", card.licence or "not stated")]
    lines += [("Note", note) for note in (*card.notes, *data.notes)]
    return lines


def ends(data: Transitions, whole: Flags) -> dict[str, int]:
    """How many episodes end how; a row that is both terminal and a time limit counts as terminated."""
    terminated = data.terminated[data.episode_ends]
    truncated = data.truncated[data.episode_ends] & ~terminated
    open_ended = ~terminated & ~truncated
    limits = open_ended & whole if data.dropped_rows else np.zeros_like(open_ended)
    counts = {
        "terminated": int(terminated.sum()),
        "time limit": int(truncated.sum()),
        "time limit (its row dropped)": int(limits.sum()),
        "cut off by the recording": int((open_ended & ~limits).sum()),
    }
    return {kind: count for kind, count in counts.items() if count}


def typical_row(data: Transitions, whole: Flags) -> int:
    """The row in the middle of the whole episode of the median return; of no whole one, row 0."""
    episodes = np.flatnonzero(whole)
    if not len(episodes):
        return 0
    median = episodes[np.argsort(data.episode_returns[episodes], kind="stable")[len(episodes) // 2]]
    return int(data.episode_starts[median] + data.episode_lengths[median] // 2)


def figure(
    dataset_id: str, data: Transitions, whole: Flags, card: Card, frame: NDArray[np.uint8] | None = None
) -> bytes:
    """A PNG: returns, lengths, rewards, where observations and actions lie, and a picture of the environment.

    Observations are shown in the two directions in which they vary most when standardised, continuous actions
    dimension by dimension. Equal arguments give equal bytes on one version of matplotlib. Arguments as in
    `facts`, and `frame`, `[height, width, 3]`, where the environment can be drawn.
    """
    with style.context(STYLE, after_reset=True):
        canvas = Figure(figsize=(8.4, 5.2))
        halves: Any = canvas.subfigures(2, 1)
        returns, lengths, rewards = halves[0].subplots(1, 3)
        observations, actions, *pictures = halves[1].subplots(
            1, 2 if frame is None else 3, width_ratios=[1, 1] if frame is None else [3, 3, 2]
        )
        _draw_returns(returns, data.episode_returns[whole], card)
        longest = float(data.episode_lengths.max())
        _histogram(lengths, data.episode_lengths, "Steps of an episode", (0.0, longest))
        _histogram(rewards, data.rewards, "Reward of a transition", _range(data.rewards.astype(float), 0.0))
        rewards.set_ylabel("Transitions")
        rewards.set_yscale("log")  # a sparse reward is one in thousands
        rewards.set_ylim(bottom=0.5)
        _draw_observations(observations, _shown(data.observations))
        (_draw_choices if data.discrete_actions else _draw_actions)(actions, data.actions)
        for axes in pictures:
            axes.imshow(frame)
            axes.set_axis_off()
        canvas.suptitle(dataset_id, x=0.01, ha="left", fontsize=8, parse_math=False)
    return render(canvas, "png")


def _draw_returns(axes: Axes, returns: NDArray[np.float64], card: Card) -> None:
    _histogram(axes, returns, "Return of a whole episode", _range(returns, 0.0))
    if card.endpoints_of_data is None:
        return
    low, high = axes.get_xlim()
    for place, label in zip(card.endpoints_of_data, ("0", "100"), strict=True):
        if low <= place <= high:
            axes.axvline(place, color="#444444", linestyle=(0, (4, 3)), linewidth=1.0)
            axes.text(place, 1.0, f" {label}", transform=axes.get_xaxis_transform(), fontsize=7, va="bottom")


def _draw_actions(axes: Axes, actions: NDArray[np.float32]) -> None:
    values = _shown(actions)
    size = values.shape[1]
    dimensions = np.broadcast_to(np.arange(size, dtype=np.float64), values.shape)
    edges = np.arange(size + 1) - 0.5, np.linspace(*_range(values, 0.0), 2 * _BINS + 1)
    _heat(axes, dimensions.ravel(), values.ravel(), edges)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Dimension of the action")
    axes.set_ylabel("Value")


def _draw_choices(axes: Axes, actions: NDArray[np.float32]) -> None:
    taken = actions.sum(axis=0)
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


def _shown(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """`[n, D]`: at most `_SHOWN` rows, evenly spread."""
    return values[:: max(1, len(values) // _SHOWN)].astype(np.float64)


def _histogram(axes: Axes, values: NDArray[Any], label: str, span: tuple[float, float]) -> None:
    axes.hist(values.astype(np.float64), bins=_BINS, range=span, color=_colour(), linewidth=0)
    axes.set_xlabel(label)
    axes.set_ylabel("Episodes")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_observations(axes: Axes, observed: NDArray[np.float64]) -> None:
    std = observed.std(axis=0)
    scaled = (observed - observed.mean(axis=0)) / np.where(std > 0, std, 1.0)
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


def _quantiles(values: NDArray[np.int64] | NDArray[np.float64]) -> str:
    points = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return " · ".join(f"{value:,.4g}" for value in points) + " (0, 25, 50, 75, 100 %)"


def _colour() -> str:
    return str(mpl.rcParams["axes.prop_cycle"].by_key()["color"][0])
