"""Choosing among policies without the environment: what each signal chooses, and how right that was.

Configurations are ranked, not their seeds: a signal and a true return are means over seeds first.
"""

import zlib
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from cqlbench.core.seeding import Purpose, numpy_generator
from cqlbench.reporting.aggregate import CONFIDENCE, Floats, Spread, spread
from cqlbench.reporting.tuning import expected_best

SIGNALS = {
    "fqe": ("fitted Q evaluation", 1),
    "critic_value": ("critic's own value", 1),
    "td_error": ("TD error, smallest", -1),
    "cloning_distance": ("distance from the data, smallest", -1),
}
"""Column -> what it is called, and whether more of it is better (1) or less (-1)."""
RANDOM = "random choice"
TRUTHS = {"return": "undiscounted", "discounted_return": "discounted"}
"""Column of true returns -> what it is called."""
TOP = (1, 3)
"""How many of the best ranked are tried for `regret`."""
_SAMPLES = 2_000


@dataclass(frozen=True, eq=False)
class Choice:
    """What is chosen among the policies of one dataset, and what is known of it.

    Attributes:
        dataset: full id.
        discount: γ of `fqe` and of the discounted returns.
        policies: a row per policy: `label` (its configuration), `run`, `seed`, and where known the columns of
            `SIGNALS` and `TRUTHS`, otherwise NaN.
        chosen: the label of the configuration of the highest `fqe`.
        estimate: its value over the seeds. It knows of their scatter, not of the estimate's bias.
        quality: a row per `truth` and `signal` that are known, of `count` configurations: what it chooses
            (`chosen`) and that one's true return (`value`); Spearman's `rho`; `regret_1`, `regret_3`; and, of
            discounted values, their mean absolute `error`; each with its interval, `rho_low` and so on.
    """

    dataset: str
    discount: float
    policies: pd.DataFrame
    chosen: str
    estimate: Spread
    quality: pd.DataFrame


def spearman(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of `[..., n]` and `[..., n]`; NaN where either has one value only."""
    ranks = [rankdata(each, axis=-1) for each in (first, second)]
    a, b = (each - each.mean(-1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return found


def regret(signal: Floats, truth: Floats, top: int) -> Floats:
    """(max V − max V over the `top` of the highest signal) / (max V − min V), of `[..., n]`.

    Fu et al. 2021 (arXiv:2103.16596), normalised by the range; NaN where all V agree.
    """
    order = np.argsort(-signal, axis=-1, kind="stable")[..., :top]
    best = np.take_along_axis(truth, order, axis=-1).max(-1)
    return _share_lost(best, truth)


def _share_lost(best: Floats, truth: Floats) -> Floats:
    high, low = truth.max(-1), truth.min(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(high > low, (high - best) / (high - low), nan)
    return found


def choose(dataset: str, policies: pd.DataFrame, discount: float) -> Choice:
    """What the signals say of a dataset's policies: see `Choice`."""
    columns = [*SIGNALS, *TRUTHS]
    means = policies.groupby("label", sort=False)[columns].mean()
    chosen = str(means["fqe"].idxmax())
    rows: list[dict[str, Any]] = []
    for truth in TRUTHS:
        for signal, (_, sign) in SIGNALS.items():
            known = means[[signal, truth]].dropna()
            if len(known) > 1:
                with_error = signal == "fqe" and truth == "discounted_return"
                rows.append({"truth": truth, "signal": signal} | _quality(known, sign, with_error))
        true = means[truth].dropna().to_numpy(np.float64)
        if len(true) > 1:
            rows.append({"truth": truth, "signal": RANDOM, "count": len(true)} | _by_chance(true))
    estimate = spread(policies.loc[policies["label"] == chosen, "fqe"])
    measures = ["rho", *(f"regret_{top}" for top in TOP), "error"]
    ends = (f"{name}{end}" for name in measures for end in ("", "_low", "_high"))
    names = ["truth", "signal", "count", "chosen", "value", *ends]
    return Choice(dataset, discount, policies, chosen, estimate, pd.DataFrame(rows).reindex(columns=names))


def _quality(known: pd.DataFrame, sign: int, with_error: bool) -> dict[str, Any]:
    signal, truth = known.iloc[:, 0].to_numpy(np.float64), known.iloc[:, 1].to_numpy(np.float64)
    place = int(np.argmax(sign * signal))
    found: dict[str, Any] = {"count": len(known), "chosen": known.index[place], "value": truth[place]}
    generator = numpy_generator(0, Purpose.BOOTSTRAP, zlib.crc32(" ".join(known.columns).encode()), 4)
    again = generator.integers(len(known), size=(_SAMPLES, len(known)))
    for name, values in _values(sign * signal, truth).items():
        found[name] = float(values)
    for name, values in _values(sign * signal[again], truth[again]).items():
        found[f"{name}_low"], found[f"{name}_high"] = _ends(values)
    if with_error:
        errors = np.abs(signal - truth)
        found["error"] = float(errors.mean())
        found["error_low"], found["error_high"] = _ends(errors[again].mean(-1))
    return found


def _values(signal: Floats, truth: Floats) -> dict[str, Floats]:
    return {"rho": spearman(signal, truth)} | {f"regret_{top}": regret(signal, truth, top) for top in TOP}


def _by_chance(truth: Floats) -> dict[str, Any]:
    """What is expected of a random order."""
    best = expected_best(truth)
    regrets = {f"regret_{top}": float(_share_lost(best[min(top, len(best)) - 1], truth)) for top in TOP}
    return {"chosen": "", "value": float(truth.mean()), "rho": 0.0} | regrets


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return nan, nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
