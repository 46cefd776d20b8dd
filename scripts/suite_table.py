"""README's table of the embedded suite and the documentation's plots, from a report of it.

`make gallery ARGS=report=results/report` after `cqlbench report dataset='embedded/*' budget=quick`.
"""

import math
import re
from pathlib import Path

import pandas as pd
import yaml

from cqlbench.algorithms import ALGORITHMS

_READ = ["dataset", "algorithm", "mean", "std", "best"]
_ROOT = Path(__file__).resolve().parents[1]
PLOTS = (
    "scores", "learning-curves", "aggregates", "iqm-curves", "performance-profiles",
    "probability-of-improvement", "critical-difference",
)  # fmt: skip
"""The plots of a report that the documentation shows."""


def table(report: Path) -> str:
    """A row per algorithm and one of the data's own scores, a column per dataset: mean ± std, best bold."""
    scores = pd.read_csv(report / "tables" / "scores.csv")
    suite = yaml.safe_load((_ROOT / "benchmarks" / "suite" / "embedded_locomotion.yaml").read_text())
    recorded = set(scores["dataset"])
    datasets = [each for each in suite["datasets"] if each in recorded]
    datasets += sorted(recorded - set(datasets))
    cells = {
        (dataset, algorithm): _cell(mean, std, best)
        for dataset, algorithm, mean, std, best in scores[_READ].itertuples(index=False)
    }
    behaviour = scores.groupby("dataset")["behaviour"].first()
    names = [re.sub(r"^embedded/|-v0$", "", dataset) for dataset in datasets]
    rows = [["behaviour policy", *(f"{behaviour[dataset]:.1f}" for dataset in datasets)]]
    rows += [
        [f"`{algorithm}`", *(cells.get((dataset, algorithm), "–") for dataset in datasets)]
        for algorithm in ALGORITHMS
    ]
    head = f"||{'|'.join(names)}|\n|{'---|' * (len(names) + 1)}\n"
    return head + "".join(f"|{'|'.join(row)}|\n" for row in rows)


def write(report: Path) -> None:
    """Put the table in its place in the README."""
    path = _ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    head, mark, rest = text.partition("<!-- embedded suite -->\n")
    said = re.sub(r"^(\|.*\n)+", "", rest.lstrip(), flags=re.MULTILINE, count=1)
    path.write_text(f"{head}{mark}\n{table(report)}{said}", encoding="utf-8")


def _cell(mean: float, std: float, best: bool) -> str:
    if math.isnan(mean):
        return "–"
    score = f"{round(mean, 1) + 0.0:.1f} ± {std:.1f}"  # no -0.0
    return f"**{score}**" if best else score
