"""Fine-tuned runs as tables: before the first frame, after the last, and what learning cost between."""

from collections.abc import Sequence
from dataclasses import dataclass

from cqlbench.records.schema import OnlineFacts
from cqlbench.reporting.aggregate import Spread, Summary, spread
from cqlbench.reporting.published import Published, compare
from cqlbench.reporting.tables.format import (
    ABSENT,
    differing_notes,
    interval_text,
    pooled_text,
    published_text,
    spread_text,
)
from cqlbench.reporting.tables.render import Grid


@dataclass(frozen=True)
class FineTuning:
    """What became of a run's finished seeds.

    Attributes:
        facts: of a seed, for what all have in common.
        before: score of the last evaluation before the first frame.
        after: score of the last evaluation.
        gain: `after` less `before`, seed by seed.
        regret: cumulative regret (`OnlineFacts`).
        dropped_episodes: of all seeds together.
    """

    facts: OnlineFacts
    before: Spread
    after: Spread
    gain: Spread
    regret: Spread
    dropped_episodes: int


def fine_tuning(summary: Summary) -> FineTuning | None:
    """Of one run; `None` where it did not go on online, or no seed finished."""
    known = [record.online for record in summary.finished if record.online is not None]
    batches = {r.seed_batch: r.online.dropped_episodes for r in summary.finished if r.online is not None}
    if not known:
        return None
    whole = [
        (facts.offline_score, facts.online_score)
        for facts in known
        if facts.offline_score is not None and facts.online_score is not None
    ]
    return FineTuning(
        facts=known[0],
        before=spread([each.offline_score for each in known if each.offline_score is not None]),
        after=spread([each.online_score for each in known if each.online_score is not None]),
        gain=spread([after - before for before, after in whole]),
        regret=spread([each.cumulative_regret for each in known if each.cumulative_regret is not None]),
        dropped_episodes=sum(batches.values()),  # counted for each seed batch as a whole
    )


def run_grid(tuned: FineTuning) -> Grid:
    """One run's table."""
    facts = tuned.facts
    rows = [
        (f"after {facts.offline_steps:,} offline steps", *_line(tuned.before)),
        (f"after {facts.frames:,} frames per seed", *_line(tuned.after)),
        ("gain, seed by seed", *_line(tuned.gain)),
        ("cumulative regret", *_line(tuned.regret, 3)),
    ]
    caption = (
        "Cumulative regret: mean over the evaluations after the first frame of 1 − score / 100; lower is "
        "better."
    )
    return Grid("Fine-tuning", ("Policy", "Seeds", "Score ± std", "95 % interval"), tuple(rows), caption)


def suite_grid(summaries: Sequence[Summary], published: Sequence[Published]) -> Grid | None:
    """Every fine-tuned run, `before → after`, beside what others published of the same dataset.

    Args:
        summaries: of the report.
        published: scores for those that may stand beside published ones.
    """
    lines = [
        (summary, tuned, {} if summary.incomparable_because else _published(summary, published))
        for summary in summaries
        if (tuned := fine_tuning(summary)) is not None
    ]
    if not lines:
        return None
    columns = sorted({source for _, _, theirs in lines for source in theirs})
    rows = [
        (
            summary.lead.dataset.id,
            summary.label,
            f"{tuned.facts.frames:,}",
            f"{spread_text(tuned.before)} → {pooled_text(tuned.after, summary)}",
            spread_text(tuned.gain),
            interval_text(tuned.gain.low, tuned.gain.high),
            spread_text(tuned.regret, 3),
            *(theirs.get(source, ABSENT) for source in columns),
        )
        for summary, tuned, theirs in lines
    ]
    head = ("Dataset", "Algorithm", "Frames", "Before → after", "Gain", "95 % interval", "Regret", *columns)
    caption = (
        "Score ± std over seeds before the first frame and after the last one; gain: seed by seed, with its "
        "95 % interval. Regret: mean over the evaluations between of 1 − score / 100."
    )
    if columns:
        caption += " CORL's Cal-QL bounds the penalty offline only, ours in both phases."
    notes = differing_notes(summary for summary, _, _ in lines)
    return Grid("Fine-tuning", head, tuple(rows), caption, labels=2, notes=notes)


def _published(summary: Summary, scores: Sequence[Published]) -> dict[str, str]:
    def told(kind: str) -> dict[str, Published]:
        found = compare(summary.lead.dataset.id, summary.lead.algorithm, kind, spread([]), scores)
        return {each.published.source: each.published for each in found}

    before, after, regret = told("offline"), told("online"), told("regret")
    texts = {
        source: f"{published_text(before[source])} → {published_text(after[source])}"
        for source in before
        if source in after
    }
    return {
        source: f"{text}, regret {regret[source].mean:.2f}" if source in regret else text
        for source, text in texts.items()
    }


def _line(value: Spread, digits: int = 1) -> tuple[str, str, str]:
    return str(value.count), spread_text(value, digits), interval_text(value.low, value.high, digits)
