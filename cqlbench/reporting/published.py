"""Published scores, each with its protocol, and how far ours are from them."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from cqlbench.core.paths import data_root
from cqlbench.records.schema import RecordError
from cqlbench.reporting.aggregate import CONFIDENCE, FEWEST_SEEDS, Spread

METRICS = {
    "last": "normalized_score_last",
    "best": "normalized_score_best",
    "mean10": "normalized_score_last10mean",
    "offline": "normalized_score_after_offline",
    "online": "normalized_score_after_online",
    "regret": "online_cumulative_regret",
}
"""What a publication's number must be to stand beside ours of the same selection."""


@dataclass(frozen=True)
class Published:
    """One published score.

    Attributes:
        source: who published it.
        algorithm: as the source writes it.
        dataset: D4RL's name, version included.
        metric: of which evaluations it is: `normalized_score_last`, `_best`, `_last10mean`, ...
        mean: over seeds, 0-100 scale.
        std: population standard deviation over seeds (ddof = 0), as most sources print it; `None`: not told.
        seeds: how many; `None`: not told.
        protocol: budget, evaluation and whatever else a reader must know.
        place: where it was read.
    """

    source: str
    algorithm: str
    dataset: str
    metric: str
    mean: float
    std: float | None
    seeds: int | None
    protocol: str
    place: str


@dataclass(frozen=True)
class Comparison:
    """A published score beside ours.

    Attributes:
        published: theirs.
        difference: our mean less theirs; `None` where we have none.
        uncertainty: half of the 95 % interval of the difference of two means (Welch's t);
            `None` where either's spread is unknown or ours is of fewer than three seeds.
    """

    published: Published
    difference: float | None
    uncertainty: float | None

    @property
    def inside(self) -> bool | None:
        """Whether the difference lies within the combined uncertainty; `None`: cannot be said."""
        if self.difference is None or self.uncertainty is None:
            return None
        return abs(self.difference) <= self.uncertainty


def published_path() -> Path:
    """The table of published scores."""
    return data_root() / "results" / "reference" / "published.csv"


@cache
def read_published(path: Path) -> tuple[Published, ...]:
    """Every published score of the table.

    Raises:
        RecordError: it cannot be read, or a line of it makes no sense.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(
                Published(
                    source=row["source"],
                    algorithm=row["algorithm"],
                    dataset=row["dataset"],
                    metric=row["metric"],
                    mean=float(row["mean"]),
                    std=float(row["std"]) if row["std"] else None,
                    seeds=int(row["n_seeds"]) if row["n_seeds"] else None,
                    protocol=row["protocol_note"],
                    place=row["source_path"],
                )
                for row in csv.DictReader(file)
            )
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(f"The published scores in '{path}' cannot be read ({error}).") from error


def compare(
    dataset: str, algorithm: str, selection: str, ours: Spread, scores: Sequence[Published]
) -> tuple[Comparison, ...]:
    """Published scores of the same D4RL dataset, to the version, the same algorithm and the same selection.

    Args:
        dataset: full dataset id; only D4RL's own have published scores.
        algorithm: our name of it; case and signs do not matter (`td3_bc` is TD3+BC).
        selection: `last`, `best` or `mean10`; of a fine-tuned run's last evaluation before its first frame
            `offline`, after its last one `online`; `regret`: of the phase between.
        ours: our score.
        scores: the published ones.
    """
    source, _, name = dataset.partition("/")
    if source != "d4rl":
        return ()
    return tuple(
        _compared(ours, each)
        for each in scores
        if (each.dataset, each.metric) == (name, METRICS[selection])
        and _plain(each.algorithm) == _plain(algorithm)
    )


def _compared(ours: Spread, published: Published) -> Comparison:
    if ours.mean is None:
        return Comparison(published, None, None)
    difference = ours.mean - published.mean
    theirs, count = published.std, published.seeds or 0
    if ours.std is None or ours.count < FEWEST_SEEDS or theirs is None or count < 2:
        return Comparison(published, difference, None)
    # Squared standard errors of the two means; theirs from a population deviation.
    squares = np.array([ours.std**2 / ours.count, theirs**2 / (count - 1)])
    total = float(squares.sum())
    if total == 0:
        return Comparison(published, difference, 0.0)
    freedom = total**2 / float((squares**2 / np.array([ours.count - 1, count - 1])).sum())
    half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * total**0.5
    return Comparison(published, difference, half)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9%]", "", name.lower())
