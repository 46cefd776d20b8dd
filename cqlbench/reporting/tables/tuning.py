"""Score by online tuning budget as a table, and the curves as CSV."""

from collections.abc import Sequence
from math import isnan

import pandas as pd

from cqlbench.reporting.tables.format import ABSENT, interval_text, number_text
from cqlbench.reporting.tables.render import Grid
from cqlbench.reporting.tuning import Curve, Tuning

_TRIED = (1, 2, 4, 8)
_PLAYED = (10, 100)
_CAPTION = (
    "Expected score of the best of k configurations tried (Kurenkov & Kolesnikov 2022), tuned per dataset "
    "and averaged over the datasets. Episodes: the score of what a bandit keeps that has played so many with "
    "a policy of each configuration. In brackets the 95 % interval of the bootstrap over configurations and "
    "seeds, none where more than half of the configurations are tried. The score that chooses is the one "
    "that is reported, so large k flatter, most where seeds are few."
)


def tuning_grid(tunings: Sequence[Tuning], reference: str, behaviour: float) -> Grid:
    """A row per algorithm, and one of the data; `reference` and `behaviour` as of `Report`."""
    head = ("Algorithm", "Configurations", *(f"k = {k}" for k in _TRIED), "all")
    some_played = any(tuning.played for tuning in tunings)
    if some_played:
        head += tuple(f"{pulls} episodes" for pulls in _PLAYED)
    rows = []
    for tuning in tunings:
        unscored = f" ({tuning.unscored} without a score)" if tuning.unscored else ""
        texts = [_at(tuning.tried, k) for k in (*_TRIED, tuning.configurations)]
        if some_played:
            texts += [_at(tuning.played, pulls) if tuning.played else ABSENT for pulls in _PLAYED]
        rows.append((tuning.label, f"{tuning.configurations}{unscored}", *texts))
    rows.append((reference, ABSENT, *([number_text(behaviour)] * (len(head) - 2))))
    return Grid("Score by tuning budget", head, tuple(rows), _CAPTION, foot=1)


def _at(curve: Curve, budget: int) -> str:
    places = [place for place, each in enumerate(curve.budget) if each == budget]
    if not places:
        return ABSENT
    mean, low, high = (each[places[0]] for each in (curve.mean, curve.low, curve.high))
    return number_text(mean) if isnan(low) else f"{number_text(mean)} {interval_text(low, high)}"


def tuning_frame(tunings: Sequence[Tuning]) -> pd.DataFrame:
    """A row per point: `algorithm`, `published`, `kind`, `budget`, `score`, `low`, `high`.

    Of the kind `configurations`, the budget counts those tried; of `episodes`, those that a bandit played.
    """
    frames = [pd.DataFrame(columns=["algorithm", "published", "kind", "budget", "score", "low", "high"])]
    for tuning in tunings:
        for kind, curve in (("configurations", tuning.tried), ("episodes", tuning.played)):
            if curve is not None:
                points = pd.DataFrame(vars(curve)).rename(columns={"mean": "score"})
                whose = points.assign(algorithm=tuning.algorithm, published=tuning.published)
                frames.append(whose.assign(kind=kind))
    return pd.concat(frames[1:] or frames)
