"""Fine-tuned runs: before the first frame, after the last, and what learning cost between."""

from typing import NamedTuple

from cqlbench.records.schema import OnlineFacts
from cqlbench.reporting.aggregate import Spread, Summary, spread
from cqlbench.reporting.tables.format import interval_text, spread_text
from cqlbench.reporting.tables.render import Grid


class FineTuning(NamedTuple):
    """What became of a run's finished seeds.

    Attributes:
        facts: of a seed, for what all have in common.
        before: score of the last evaluation before the first frame.
        after: score of the last evaluation.
        gain: `after` less `before`, seed by seed.
        regret: cumulative regret (`OnlineFacts`).
    """

    facts: OnlineFacts
    before: Spread
    after: Spread
    gain: Spread
    regret: Spread


def fine_tuning(summary: Summary) -> FineTuning | None:
    """Of one run; `None` where it did not go on online, or no seed finished."""
    known = [record.online for record in summary.finished if record.online is not None]
    if not known:
        return None
    ends = [(facts.offline_score, facts.online_score) for facts in known]
    return FineTuning(
        facts=known[0],
        before=spread(before for before, _ in ends),
        after=spread(after for _, after in ends),
        gain=spread(after - before for before, after in ends if before is not None and after is not None),
        regret=spread(facts.cumulative_regret for facts in known),
    )


def run_grid(tuned: FineTuning) -> Grid:
    """One run's table."""
    lines = {
        f"after {tuned.facts.offline_steps:,} offline steps": (tuned.before, "z,.1f"),
        f"after {tuned.facts.frames:,} frames per seed": (tuned.after, "z,.1f"),
        "gain, seed by seed": (tuned.gain, "z,.1f"),
        "cumulative regret": (tuned.regret, "z,.3f"),
    }
    rows = tuple(
        (name, str(value.count), spread_text(value, form), interval_text(value.low, value.high, form))
        for name, (value, form) in lines.items()
    )
    caption = (
        "Cumulative regret: mean over the evaluations after the first frame of 1 − score / 100; lower is "
        "better."
    )
    return Grid("Fine-tuning", ("Policy", "Seeds", "Score ± std", "95 % interval"), rows, caption)
