"""Mean ranks over datasets, as a table and in words."""

import pandas as pd

from cqlbench.core.text import counted
from cqlbench.reporting.ranks import Ranks
from cqlbench.reporting.tables.format import number_text
from cqlbench.reporting.tables.render import Grid


def ranks_grid(ranks: Ranks) -> Grid:
    """A row per column of the report, the best first; letters name the groups that cannot be told apart."""
    letters = {
        clique: chr(ord("a") + place % 26) * (1 + place // 26) for place, clique in enumerate(ranks.cliques)
    }
    rows = tuple(
        (
            name,
            number_text(rank, ".2f"),
            " ".join(letter for clique, letter in letters.items() if name in clique) or "alone",
        )
        for name, rank in zip(ranks.names, ranks.ranks, strict=True)
    )
    return Grid("Mean ranks", ("Algorithm", "Mean rank", "Group"), rows, ranks_text(ranks))


def ranks_frame(ranks: Ranks | None) -> pd.DataFrame:
    """A row per column: `algorithm`, `mean_rank`, and what is the same of all; none without ranks."""
    if ranks is None:
        return pd.DataFrame()
    numbers = {"datasets": ranks.datasets, "p": ranks.p, "critical_difference": ranks.critical}
    return pd.DataFrame({"algorithm": ranks.names, "mean_rank": ranks.ranks}).assign(**numbers)


def ranks_text(ranks: Ranks) -> str:
    """What the ranks are of, and how sure."""
    tested = "so all could be chance" if ranks.by_chance else "so some differ"
    return (
        f"1 is a dataset's highest mean score; {counted(ranks.datasets, 'dataset')}. Friedman's test: "
        f"p = {ranks.p:.2g}, {tested}. Members of a group cannot be told apart: their mean ranks differ by "
        f"less than Nemenyi's critical difference of {ranks.critical:.2f}, 95 % sure for all pairs together. "
        "Seeds do not count, so few datasets tell few algorithms apart."
    )
