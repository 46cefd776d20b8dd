"""Statistics of a suite: several datasets, a few seeds each. Defined as in rliable (Agarwal et al. 2021).

`scores` is everywhere one array per dataset, its last dimension the seeds, of which datasets may have more
or fewer. Leading dimensions, the same in all, are carried through: that is how the bootstrap is vectorised.
Nothing here draws but from the generator it is given.

n seeds drawn again from n show only (n - 1)/n of the variance, so every bootstrap here first stretches their
distances from the mean by √(n/(n - 1)).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scores = Sequence[Floats]
Statistic = Callable[[Scores], Floats]

SAMPLES = 50_000
LEVEL = 0.95
_AT_ONCE = 4_000_000
"""Resampled numbers held at a time, so that a large suite needs no more memory than a small one."""


def mean(scores: Scores) -> Floats:
    """Mean over datasets of each one's mean over seeds, `[...]`."""
    averaged: Floats = np.mean([each.mean(-1) for each in scores], axis=0)
    return averaged


def median(scores: Scores) -> Floats:
    """Median over datasets of each one's mean over seeds, `[...]`."""
    middle: Floats = np.median([each.mean(-1) for each in scores], axis=0)
    return middle


def iqm(scores: Scores) -> Floats:
    """Interquartile mean, `[...]`: of all runs together, without the lowest and the highest quarter.

    A quarter is rounded down to whole runs, as in `scipy.stats.trim_mean`. Runs count alike: a dataset of
    more seeds weighs more.
    """
    runs = np.sort(np.concatenate(scores, axis=-1), axis=-1)
    cut = runs.shape[-1] // 4
    kept: Floats = runs[..., cut : runs.shape[-1] - cut].mean(-1)
    return kept


def optimality_gap(scores: Scores, target: float = 100.0) -> Floats:
    """How far runs fall short of `target` on average, `[...]`; what is above it makes up for nothing."""
    return target - mean([np.minimum(each, target) for each in scores])


def bootstrap_intervals(
    scores: Scores,
    statistics: Sequence[Statistic],
    generator: np.random.Generator,
    samples: int = SAMPLES,
    level: float = LEVEL,
) -> list[tuple[float, float]]:
    """Percentile intervals of the stratified bootstrap: seeds are drawn again within each dataset.

    `results/README.md` says what they really cover with few seeds.

    Args:
        scores: one array `[S]` per dataset.
        statistics: those of this module, or any that carry leading dimensions through; all of the same
            bootstrap samples.
        generator: where the draws come from.
        samples: bootstrap samples.
        level: share of the samples' statistics inside the interval.
    """
    found, wide = [], [stretched(each) for each in scores]
    for count in _blocks(samples, sum(map(len, scores))):
        drawn = [each[generator.integers(len(each), size=(count, len(each)))] for each in wide]
        found.append([statistic(drawn) for statistic in statistics])
    ends = _percentiles(np.concatenate(found, axis=1).T, level)
    return [(float(low), float(high)) for low, high in ends.T]


def performance_profile(scores: Scores, thresholds: ArrayLike) -> Floats:
    """Run-score distribution, `[P]`: the share of runs that score more than each of `thresholds` `[P]`.

    Datasets count alike, whatever their numbers of seeds.
    """
    return mean([above.T for above in _above(scores, thresholds)])


def performance_profile_interval(
    scores: Scores,
    thresholds: ArrayLike,
    generator: np.random.Generator,
    samples: int = SAMPLES,
    level: float = LEVEL,
) -> tuple[Floats, Floats]:
    """Pointwise percentile interval of the stratified bootstrap, `[P]` and `[P]`."""
    above = _above(scores, thresholds)
    found = np.concatenate(
        [
            np.mean([_weights(len(each), count, generator) @ each for each in above], axis=0)
            for count in _blocks(samples, above[0].shape[1])
        ]
    )
    low, high = np.clip(_percentiles(found, level), 0, 1)
    return low, high


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """Mean over datasets of P(X > Y) + P(X = Y) / 2, for a run X of `x` and a run Y of `y`, `[S]` each."""
    return float(np.mean([better.mean() for better in _better(x, y)]))


def probability_of_improvement_interval(
    x: Scores,
    y: Scores,
    generator: np.random.Generator,
    samples: int = SAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the stratified bootstrap; both algorithms' seeds are drawn independently."""
    found = np.mean(
        [
            (
                (_weights(len(better), samples, generator) @ better)
                * _weights(better.shape[1], samples, generator)
            ).sum(-1)
            for better in _better(x, y)
        ],
        axis=0,
    )
    low, high = np.clip(_percentiles(found, level), 0, 1)
    return float(low), float(high)


def difference_samples(
    x: Scores, y: Scores, generator: np.random.Generator, samples: int = SAMPLES
) -> Floats:
    """Bootstrap samples of each dataset's mean of x minus mean of y, `[D, samples]`; both sides are drawn."""
    return np.array(
        [
            _weights(len(ours), samples, generator) @ ours
            - _weights(len(theirs), samples, generator) @ theirs
            for ours, theirs in zip(x, y, strict=True)
        ]
    )


def mean_samples(x: Floats, generator: np.random.Generator, samples: int = SAMPLES) -> Floats:
    """Bootstrap samples of the mean of x `[S]`, `[samples]`."""
    drawn: Floats = _weights(len(x), samples, generator) @ x
    return drawn


def _above(scores: Scores, thresholds: ArrayLike) -> list[Floats]:
    """Per dataset `[S, P]`: 1 where a run scores more than a threshold."""
    return [(each[:, None] > np.asarray(thresholds)).astype(np.float64) for each in scores]


def _better(x: Scores, y: Scores) -> list[Floats]:
    """Per dataset `[Sx, Sy]`: 1 where x's run is the better one, 1/2 for a tie."""
    return [
        (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
        for ours, theirs in zip(x, y, strict=True)
    ]  # fmt: skip


def stretched(scores: Floats) -> Floats:
    """Scores `[S]` whose population variance is their sample variance; one alone stays as it is."""
    mean = scores.mean()
    wide: Floats = mean + _stretch(len(scores)) * (scores - mean)
    return wide


def _stretch(seeds: int) -> float:
    return float(np.sqrt(seeds / (seeds - 1))) if seeds > 1 else 1.0


def _weights(seeds: int, samples: int, generator: np.random.Generator) -> Floats:
    """`[samples, seeds]`: the share of each seed in a bootstrap sample, stretched from 1/S."""
    # Counting draws is several times faster than numpy's multinomial.
    drawn = generator.integers(seeds, size=(samples, seeds)) + np.arange(0, samples * seeds, seeds)[:, None]
    shares = np.bincount(drawn.ravel(), minlength=samples * seeds).reshape(samples, seeds) / seeds
    wide: Floats = 1 / seeds + _stretch(seeds) * (shares - 1 / seeds)
    return wide


def _blocks(samples: int, numbers: int) -> Iterator[int]:
    """Parts of `samples` of which each holds not much more than `_AT_ONCE` numbers."""
    block = max(1, _AT_ONCE // numbers)
    for done in range(0, samples, block):
        yield min(block, samples - done)


def _percentiles(found: Floats, level: float) -> Floats:
    return np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
