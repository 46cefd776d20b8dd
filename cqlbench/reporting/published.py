"""Published scores, each with its protocol, and how far ours are from them."""

import re
from pathlib import Path

import pandas as pd
from scipy.special import stdtrit

from cqlbench.core.paths import data_root
from cqlbench.records.schema import RecordError
from cqlbench.reporting.aggregate import CONFIDENCE, FEWEST_SEEDS

METRICS = {
    "last": "normalized_score_last",
    "best": "normalized_score_best",
    "mean10": "normalized_score_last10mean",
    "offline": "normalized_score_after_offline",
    "online": "normalized_score_after_online",
    "regret": "online_cumulative_regret",
}
"""What a publication's number must be to stand beside ours of the same selection."""
_RENAMED = {"n_seeds": "seeds", "protocol_note": "protocol", "source_path": "place"}
COLUMNS = ("source", "algorithm", "dataset", "metric", "mean", "std", *_RENAMED.values())
"""Of the table of published scores:

- `source`: who published it; `algorithm`: as the source writes it; `dataset`: D4RL's name with its version.
- `metric`: of which evaluations it is, one of `METRICS`' values.
- `mean`: over seeds, 0-100 scale; `std`: population standard deviation over seeds (ddof = 0), as most sources
  print it; `seeds`: how many. The latter two may be missing.
- `protocol`: budget, evaluation and whatever else a reader must know; `place`: where it was read.
"""


def published_path() -> Path:
    """The table of published scores."""
    return data_root() / "results" / "reference" / "published.csv"


def read_published(path: Path) -> pd.DataFrame:
    """Every published score: see `COLUMNS`.

    Raises:
        RecordError: the table cannot be read, or a line of it makes no sense.
    """
    try:
        table = pd.read_csv(
            path,
            keep_default_na=False,
            na_values={"std": [""], "n_seeds": [""]},
            dtype={"mean": "float64", "std": "float64", "n_seeds": "Int64"},
        )
        return table.rename(columns=_RENAMED)[[*COLUMNS]]
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(f"The published scores in '{path}' cannot be read ({error}).") from error


def compare(scores: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Published scores of the same D4RL dataset, to the version, the same algorithm and the same metric.

    Args:
        scores: ours; of its columns are read `dataset` (full id; only D4RL's own have published scores),
            `name` (our name of the algorithm: `td3_bc` is TD3+BC, `bc10` is 10%BC), `compared`
            (a key of `METRICS`, or empty), `count`, `mean` and `std`.
        published: the table of published scores.

    Returns:
        A row for each of `scores` and each published score beside it: the columns of both, `published` for
        their mean and `published_std`; `difference`, our mean less theirs; `uncertainty`, half of the 95 %
        interval of the difference of two means (Welch's t), NaN where either's spread is unknown or ours is
        of fewer than three seeds; `inside`, whether the difference lies within it, missing if unknown.
    """
    ours, theirs = _ours(scores), _theirs(published).drop(columns="rival")
    numbers = dict.fromkeys(("count", "mean", "std", "seeds", "published", "published_std"), "float64")
    both = ours.merge(theirs, on=["key", "plain", "metric"]).astype(numbers)
    own, other = both["count"], both["seeds"].astype("float64")
    known = (own >= FEWEST_SEEDS) & (other >= 2)
    # Squared standard errors of the two means; theirs from a population deviation.
    own_square = (both["std"] ** 2 / own).where(known)
    other_square = (both["published_std"] ** 2 / (other - 1)).where(known)
    total = own_square + other_square
    freedom = total**2 / (own_square**2 / (own - 1) + other_square**2 / (other - 1))
    half = (total**0.5 * stdtrit(freedom, 0.5 + CONFIDENCE / 2)).mask(total == 0, 0.0)
    difference = both["mean"] - both["published"]
    inside = (difference.abs() <= half).astype("boolean").mask(half.isna() | difference.isna())
    return both.assign(difference=difference, uncertainty=half, inside=inside)


def others(scores: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Published scores of algorithms that we did not run, where a score of ours may stand beside them.

    Arguments as of `compare`.

    Returns:
        A row per dataset and published score of the same metric: `dataset` (full id), `rival` (the
        algorithm as the source writes it), `published`, `published_std`, and `COLUMNS` of the score.
    """
    own = {_plain(name) for name in scores["name"].dropna()}
    places = _ours(scores)[["dataset", "key", "metric"]].drop_duplicates()
    theirs = _theirs(published)
    return places.merge(theirs[~theirs["plain"].isin(own)], on=["key", "metric"])


def _ours(scores: pd.DataFrame) -> pd.DataFrame:
    """Those that may stand beside published ones, with D4RL's name, the plain name and the metric."""
    known = scores[scores["dataset"].str.startswith("d4rl/") & (scores["compared"] != "")]
    return known.assign(
        key=known["dataset"].str.removeprefix("d4rl/"),
        plain=[_plain(name) for name in known["name"]],
        metric=known["compared"].map(METRICS),
    )


def _theirs(published: pd.DataFrame) -> pd.DataFrame:
    names = {"mean": "published", "std": "published_std", "dataset": "key", "algorithm": "rival"}
    theirs = published.rename(columns=names)
    return theirs.assign(plain=[_plain(name) for name in theirs["rival"]])


def _plain(name: str) -> str:
    """Without case and signs, a leading percentage last."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(\d+)%(.+)", r"\2\1", name.lower()))
