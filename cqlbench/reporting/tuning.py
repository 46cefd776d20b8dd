"""How good an algorithm is if so many of its configurations, or so many episodes, may be tried online.

Two answers. *Configurations tried*: the expected score of the best of k (Kurenkov & Kolesnikov 2022,
arXiv:2110.04156). *Episodes played*: a bandit pulls a policy of each configuration, an episode each time, and
keeps the one of the highest mean (Jackson et al. 2025, arXiv:2504.11453), but here each arm is pulled once
first, the bonus is in units of the spread seen so far, and intervals resample configurations and seeds, not
simulated trials. Scores are tuned per dataset and then averaged over the datasets.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from cqlbench.core.paths import data_root
from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.records.schema import RecordError
from cqlbench.reporting.aggregate import CONFIDENCE, Floats, Summary

PULLS = 100
"""Episodes that the bandit plays."""
_SAMPLES = 2_000
_BANDIT_SAMPLES, _BANDIT_TRIALS = 200, 20
_EXPLORATION = 2.0
"""UCB1's factor of the logarithm (Auer et al. 2002), which the paper's code uses too."""

Seeds = Sequence[Floats]
"""Of each configuration its seeds' scores, `[S]`; or the scores of their episodes, `[S, E]`."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores by budget, `[P]` each; `low` and `high` are the ends of the bootstrap interval, or NaN."""

    budget: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Tuning:
    """What an algorithm's sweep comes to.

    Attributes:
        algorithm: its name; of a published sweep, as the source writes it.
        datasets: full ids, which the curves are averaged over.
        configurations: how many each dataset has at least; the end of `tried`.
        unscored: configurations of some dataset that were tried and have no score.
        tried: by number of configurations tried.
        played: by number of episodes played; `None` where episodes are not known.
        published: whether others made the scores.
    """

    algorithm: str
    datasets: tuple[str, ...]
    configurations: int
    unscored: int
    tried: Curve
    played: Curve | None
    published: bool = False

    @property
    def label(self) -> str:
        """The algorithm, and whose scores they are."""
        return f"{self.algorithm} (published)" if self.published else self.algorithm


def expected_best(scores: ArrayLike, most: int | None = None) -> Floats:
    """Expected highest score of k configurations drawn without replacement, `[..., K]` for k = 1 to K.

    Σᵢ v₍ᵢ₎ · C(i − 1, k − 1) / C(n, k), v₍ᵢ₎ the i-th smallest of n (Kurenkov & Kolesnikov 2022, eq. 5).

    Args:
        scores: `[..., n]`, one of each configuration.
        most: K, at most and by default n.
    """
    ordered = np.sort(np.asarray(scores, np.float64), axis=-1)
    return ordered @ _weights(ordered.shape[-1], ordered.shape[-1] if most is None else most)


@cache
def _weights(count: int, most: int) -> Floats:
    """`[n, K]`: the probability that the i-th smallest of n is the highest of k drawn."""
    i, k = np.arange(1, count + 1)[:, None], np.arange(1, most + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = _log_choose(i - 1, k - 1) - _log_choose(count, k)
        return np.where(i >= k, np.exp(logs), 0.0)


def _log_choose(n: ArrayLike, k: ArrayLike) -> Floats:
    n, k = np.asarray(n, np.float64), np.asarray(k, np.float64)
    found: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found


def bandit(episodes: Floats, pulls: int, generator: np.random.Generator) -> Floats:
    """True score of the arm that looks best after each pull, `[R, pulls]`, of R bandits side by side.

    Each arm is pulled once, in order; then the one of the highest mean + σ·√(2 ln t / n), σ being the spread
    of all scores that the bandit has seen, t its pulls and n the arm's (UCB1, Auer et al. 2002).

    Args:
        episodes: `[R, A, E]` scores of each arm's episodes, of which a pull draws one; their mean is the
            arm's true score. Ties go to the first arm: shuffle them.
        pulls: how many.
        generator: where the draws come from.
    """
    R, A, E = episodes.shape
    rows, truths = np.arange(R), episodes.mean(-1)
    counts, sums, squares = np.zeros((R, A)), np.zeros((R, A)), np.zeros(R)
    found = np.empty((R, pulls))
    for t in range(pulls):
        arm = np.full(R, t)
        if t >= A:
            spread = np.sqrt(np.maximum(squares / t - (sums.sum(1) / t) ** 2, 0)) + 1e-9
            bonus = spread[:, None] * np.sqrt(_EXPLORATION * np.log(t) / counts)
            arm = (sums / counts + bonus).argmax(1)
        score = episodes[rows, arm, generator.integers(E, size=R)]
        counts[rows, arm] += 1
        sums[rows, arm] += score
        squares += score**2
        means = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        found[:, t] = truths[rows, means.argmax(1)]
    return found


def tried_curve(datasets: Sequence[Seeds], generator: np.random.Generator, samples: int = _SAMPLES) -> Curve:
    """Score by number of configurations tried, averaged over datasets.

    There is no interval where more than half of the configurations are tried: their best is too rarely the
    best of those drawn again.

    Args:
        datasets: of each one its configurations, of each of these its seeds' scores `[S]`.
        generator: where the bootstrap's draws come from: configurations, and seeds within each.
        samples: bootstrap samples.
    """
    most = min(map(len, datasets))
    mean = np.mean([expected_best([each.mean() for each in seeds], most) for seeds in datasets], axis=0)
    drawn = [expected_best(_means_again(seeds, samples, generator), most) for seeds in datasets]
    budget = np.arange(1, most + 1)
    low, high = np.where(2 * budget <= most, _ends(np.mean(drawn, axis=0)), nan)
    return Curve(budget, mean, low, high)


def _means_again(seeds: Seeds, samples: int, generator: np.random.Generator) -> Floats:
    """Means of configurations drawn again, each of seeds drawn again, `[samples, n]`."""
    counts, table = np.array([len(each) for each in seeds]), _padded(seeds)
    chosen = generator.integers(len(seeds), size=(samples, len(seeds)))
    again = _seeds_again(counts[chosen], table.shape[1], generator)
    inside = np.arange(table.shape[1]) < counts[chosen][..., None]
    means: Floats = (table[chosen[..., None], again] * inside).sum(-1) / counts[chosen]
    return means


def played_curve(
    datasets: Sequence[Seeds], generator: np.random.Generator, samples: int = _BANDIT_SAMPLES
) -> Curve:
    """Score by number of episodes that a bandit plays among one policy of each configuration.

    Arguments as of `tried_curve`, but of the seeds' episodes, `[S, E]`.
    """
    means, drawn = [], []
    for seeds in datasets:
        counts, table = np.array([len(each) for each in seeds]), _padded(seeds)
        every = np.tile(np.arange(len(seeds)), (samples * _BANDIT_TRIALS, 1))
        arms = generator.permuted(every, axis=1)
        policies = generator.integers(counts[arms])
        means.append(bandit(table[arms, policies], PULLS, generator).mean(0))
        chosen = generator.integers(len(seeds), size=(samples, len(seeds)))
        again = np.repeat(_seeds_again(counts[chosen], table.shape[1], generator), _BANDIT_TRIALS, axis=0)
        arms = np.repeat(chosen, _BANDIT_TRIALS, axis=0)
        places = generator.integers(counts[arms])[..., None]
        policies = np.take_along_axis(again, places, axis=-1)[..., 0]
        values = bandit(table[arms, policies], PULLS, generator)
        drawn.append(values.reshape(samples, _BANDIT_TRIALS, PULLS).mean(1))
    low, high = _ends(np.mean(drawn, axis=0))
    return Curve(np.arange(1, PULLS + 1), np.mean(means, axis=0), low, high)


def _padded(seeds: Seeds) -> Floats:
    """`[n, most seeds, ...]`, filled up with zeros."""
    table = np.zeros((len(seeds), max(map(len, seeds)), *seeds[0].shape[1:]))
    for row, each in zip(table, seeds, strict=True):
        row[: len(each)] = each
    return table


def _seeds_again(counts: NDArray[np.int64], most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Seeds drawn with replacement, `[..., most]`, of which the first `counts` count."""
    return generator.integers(np.broadcast_to(counts[..., None], (*counts.shape, most)))


def _ends(values: Floats) -> Floats:
    return np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)


def tunings(
    summaries: Mapping[tuple[str, str], Summary], scores: Mapping[tuple[str, str], Floats]
) -> tuple[Tuning, ...]:
    """The tuning of each algorithm of which every dataset has several scored configurations.

    Runs are by dataset and column, and so are their seeds' scores, `[S]`.
    """
    found = []
    places: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for place, summary in summaries.items():
        places.setdefault(summary.lead.algorithm, {}).setdefault(place[0], []).append(place)
    datasets = sorted({dataset for dataset, _ in summaries})
    for algorithm, of in places.items():
        scored = [[place for place in of.get(dataset, []) if len(scores[place])] for dataset in datasets]
        if min(map(len, scored)) < 2:
            continue
        known = [[scores[place] for place in each] for each in scored]
        episodes = [[_episodes(summaries[place]) for place in each] for each in scored]
        generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(algorithm.encode()), 3)
        found.append(
            Tuning(
                algorithm,
                tuple(datasets),
                min(map(len, scored)),
                sum(map(len, of.values())) - sum(map(len, scored)),
                tried_curve(known, generator),
                played_curve(episodes, generator) if all(_playable(each) for each in episodes) else None,
            )
        )
    return tuple(found)


def _episodes(summary: Summary) -> Floats:
    """Scores of the last evaluation's episodes, `[S, E]`, of the seeds that have all of them."""
    lasts = [record.evaluations[-1].scores for record in summary.evaluated]
    return np.array([each for each in lasts if None not in each], np.float64)


def _playable(seeds: Seeds) -> bool:
    """Whether every configuration has episodes, and as many as the others."""
    return all(len(each) for each in seeds) and len({each.shape[1] for each in seeds}) == 1


def published_path() -> Path:
    """The published sweeps: a row for each `algorithm`, `dataset` and configuration, with its `score`."""
    return data_root() / "results" / "reference" / "published_sweeps.csv"


def published_tunings(datasets: Iterable[str], path: Path | None = None) -> tuple[Tuning, ...]:
    """What published sweeps come to on these of D4RL's datasets; empty where they lack one of them.

    Their configurations have one score each, so seeds cannot be drawn again: the intervals are of
    configurations alone.

    Raises:
        RecordError: the table cannot be read.
    """
    names = tuple(datasets)
    if not all(name.startswith("d4rl/") for name in names):
        return ()
    try:
        table = pd.read_csv(path or published_path(), comment="#")
        groups = {
            key: each["score"].to_numpy(np.float64) for key, each in table.groupby(["algorithm", "dataset"])
        }
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(
            f"The published sweeps in '{path or published_path()}' cannot be read ({error})."
        ) from error
    found = []
    for algorithm in dict.fromkeys(table["algorithm"]):
        places = [(algorithm, name.removeprefix("d4rl/")) for name in names]
        if all(place in groups for place in places):
            known = [[np.array([score]) for score in groups[place]] for place in places]
            generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(algorithm.encode()), 3)
            curve = tried_curve(known, generator)
            found.append(Tuning(algorithm, names, len(curve.budget), 0, curve, None, published=True))
    return tuple(found)
