"""Configurations of one algorithm as rows, by the settings in which they differ."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan

import numpy as np

from cqlbench.reporting.report import Report
from cqlbench.reporting.tables.format import ABSENT, number_text
from cqlbench.reporting.tables.render import Grid

_FEW = 4
"""So many datasets have a column each beside the settings; of more, only the mean has one."""


def settings_grids(report: Report, texts: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, Grid]]:
    """A table of each algorithm that has several configurations with a score, by the algorithm.

    `texts` are the scores by column and dataset.
    """
    columns: dict[str, list[str]] = {}
    for (_, column), summary in report.summaries.items():
        names = columns.setdefault(summary.lead.algorithm, [])
        if column in report.settings and column not in names and any(map(len, report.scores[column])):
            names.append(column)
    for algorithm, names in columns.items():
        if names:
            yield algorithm, _grid(report, algorithm, names, texts)


def _grid(report: Report, algorithm: str, names: Sequence[str], texts: Mapping[tuple[str, str], str]) -> Grid:
    keys = [*dict.fromkeys(key for name in names for key in report.settings[name])]
    means = {
        name: float(np.mean([each.mean() if len(each) else np.nan for each in report.scores[name]]))
        for name in names
    }
    shown = report.datasets if len(report.datasets) <= _FEW else ()
    last = ("Mean",) if len(report.datasets) > 1 else ()
    rows = tuple(
        (
            *(report.settings[name].get(key, ABSENT) for key in keys),
            *(texts[name, dataset] for dataset in shown),
            *(number_text(means[name]) for _ in last),
        )
        for name in sorted(names, key=lambda name: (isnan(means[name]), -means[name]))
    )
    caption = "A row per configuration, the highest mean first: the settings that differ, and the scores."
    head = (*keys, *shown, *last)
    return Grid(f"{algorithm} by its settings", head, rows, caption, labels=len(keys))
