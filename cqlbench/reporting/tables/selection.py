"""What is chosen without the environment, as tables."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import pandas as pd

from cqlbench.records.store import safe_name
from cqlbench.reporting.report import rows_of
from cqlbench.reporting.selection import RANDOM, SIGNALS, TRUTHS, Choice
from cqlbench.reporting.tables.format import ABSENT, interval_text, number_text
from cqlbench.reporting.tables.render import Grid

_HEAD = (
    "True return", "Signal", "Chooses", "Its return", "Spearman's ρ", "Regret@1", "Regret@3", "|error|",
)  # fmt: skip


def selection_grids(choices: Sequence[Choice]) -> dict[str, Grid]:
    """A table of each dataset by a name fit for a file."""
    return {f"selection-{safe_name(each.dataset.rpartition('/')[2])}": _grid(each) for each in choices}


def _grid(choice: Choice) -> Grid:
    rows = [_row(each) for each in rows_of(choice.quality)]
    if not rows:
        rows = [(ABSENT, SIGNALS["fqe"][0], choice.chosen, *[ABSENT] * 5)]
    estimate = choice.estimate
    interval = "" if isnan(estimate.low) else f" {interval_text(estimate.low, estimate.high)}"
    runs = choice.policies["label"].nunique()
    caption = (
        f"Chosen by fitted Q evaluation among {runs} configurations ({len(choice.policies)} policies): "
        f"{choice.chosen}, estimated at {number_text(estimate.mean)}{interval} (discounted, γ = "
        f"{choice.discount:g}; the interval is of its seeds and knows nothing of the estimator's bias). "
        "Configurations are ranked by means over seeds. Regret@k: how far the best of the k ranked highest "
        "falls short, as a share of the range of true returns. In brackets 95 % bootstrap intervals over "
        "configurations."
    )
    fitted = [each for each in rows_of(choice.quality) if each.signal == "fqe"]
    which = " and ".join(TRUTHS[each.truth] for each in fitted if each.rho_low <= 0)
    doubt = (
        f"Fitted Q evaluation does not rank these configurations better than chance would ({which} returns)."
    )
    notes = (doubt,) if which else ()
    title = f"Choosing without the environment: {choice.dataset}"
    return Grid(title, _HEAD, tuple(rows), caption, labels=3, notes=notes)


def _row(row: Any) -> tuple[str, ...]:
    name = RANDOM if row.signal == RANDOM else SIGNALS[row.signal][0]

    def text(measure: str, form: str = "z,.2f") -> str:
        value, low, high = (getattr(row, f"{measure}{end}") for end in ("", "_low", "_high"))
        both = "" if isnan(low) else f" {interval_text(low, high, form)}"
        return f"{number_text(value, form)}{both}"

    measures = (text("rho"), text("regret_1"), text("regret_3"), text("error", "z,.1f"))
    return (TRUTHS[row.truth], name, row.chosen or ABSENT, number_text(row.value), *measures)


def selection_csv(choices: Sequence[Choice]) -> dict[str, str]:
    """Every policy, and how right each signal was, as tidy tables by file name; none without choices."""
    if not choices:
        return {}
    tables = {
        "policies": pd.concat([each.policies.assign(dataset=each.dataset) for each in choices]),
        "selection": pd.concat([each.quality.assign(dataset=each.dataset) for each in choices]),
    }
    return {
        f"{name}.csv": table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        for name, table in tables.items()
    }
