"""A finished run as tables, for the terminal and in Markdown, with all that a reader needs to judge them."""

from collections.abc import Iterator, Sequence

from cqlbench.core.text import counted
from cqlbench.records.schema import EvaluationProtocol, Record
from cqlbench.records.seed_result import LATE_EVALUATIONS, SeedResult
from cqlbench.reporting import training
from cqlbench.reporting.aggregate import FEWEST_SEEDS, Summary
from cqlbench.reporting.fine_tuning import fine_tuning, run_grid
from cqlbench.reporting.tables.format import ABSENT, differing_notes, interval_text, number_text, pooled_text
from cqlbench.reporting.tables.render import Document, Grid


def report(summary: Summary) -> Document:
    """What to say about a run."""
    record = summary.lead
    finished = f"{len(summary.finished)} of {counted(len(summary.seeds), 'seed')} finished"
    title = (
        f"{summary.label} on {record.dataset.id}, budget {record.budget.name}: "
        f"{record.budget.steps:,} steps, {finished}"
    )
    grids = [_scores(summary), _seeds(summary)]
    if training.unevaluated(summary):
        grids = [training.run_grid(summary)]
    elif tuned := fine_tuning(summary):
        grids.insert(0, run_grid(tuned))
    return Document(title, tuple(_warnings(summary)), tuple(grids), tuple(_notes(summary)))


def _scores(summary: Summary) -> Grid:
    algorithm, data, behaviour = summary.lead.algorithm, summary.lead.dataset, summary.behaviour_label
    returns = summary.over("last_return")
    notes = differing_notes([summary])
    if summary.curve is not None and not summary.curve.normalised:
        last = (str(returns.count), pooled_text(returns, summary), interval_text(returns.low, returns.high))
        rows = [(f"{algorithm}, last", *last)]
        rows.append((behaviour, ABSENT, number_text(data.behaviour_return_mean), ABSENT))
        columns: tuple[str, ...] = ("Policy", "Seeds", "Return ± std", "95 % interval")
        caption = "Returns as the environment gives them; no score is known."
        return Grid("Returns", columns, tuple(rows), caption, notes=notes)
    longest = _longest(summary)
    named = {"last": "last"}
    if longest > 1:
        named |= {f"last {min(longest, LATE_EVALUATIONS)} mean": "late", "best (oracle)": "best"}
    lines = []
    for name, field in named.items():
        score = summary.over(field)
        texts = (pooled_text(score, summary), interval_text(score.low, score.high))
        beside = pooled_text(returns, summary) if field == "last" else ""
        lines.append((f"{algorithm}, {name}", str(score.count), *texts, beside))
    score_text, return_text = number_text(data.behaviour_score), number_text(data.behaviour_return_mean)
    lines.append((behaviour, ABSENT, score_text, ABSENT, return_text))
    columns = ("Policy", "Seeds", "Score ± std", "95 % interval", "Return ± std")
    return Grid("Scores", columns, tuple(lines), _normalisation(summary.lead.protocol), notes=notes)


def _normalisation(protocol: EvaluationProtocol | None) -> str:
    if protocol is None:
        return "No policy was evaluated."
    if protocol.score_min is None:
        return "No score endpoints are known."
    low, high = number_text(protocol.score_min), number_text(protocol.score_max)
    return f"Scores are normalised to 0-100: 0 is a return of {low}, 100 one of {high}."


def _seeds(summary: Summary) -> Grid:
    late = min(_longest(summary), LATE_EVALUATIONS)
    columns = ("Seed", "Status", "Step", "Last", f"Last {late}", "Oracle best", "Return", "Length")
    caption = (
        f"Scores: last evaluation, mean of the last {late}, and best one, which only an oracle can pick. "
        "Return and length (steps) are means of the last evaluation."
    )
    rows = tuple(
        (
            str(line.seed), line.status, number_text(line.step, ","), number_text(line.last),
            number_text(line.late), number_text(line.best), number_text(line.last_return),
            number_text(line.last_length),
        )
        for line in summary.seeds
    )  # fmt: skip
    return Grid("Seeds", columns, rows, caption)


def _longest(summary: Summary) -> int:
    return max(1, *(result.evaluations for result in summary.seeds))


def _warnings(summary: Summary) -> Iterator[str]:
    if summary.incomparable_because:
        yield f"Not comparable with published scores: {_sentence(summary.incomparable_because)}"
    reasons: dict[tuple[str, str], list[SeedResult]] = {}
    for result in summary.seeds:
        if result.reason is not None:
            reasons.setdefault((result.status, result.reason), []).append(result)
    for (status, reason), whose in reasons.items():
        numbers = ", ".join(str(result.seed) for result in whose)
        everyone = status == "finished" and len(whose) == len(summary.seeds)
        yield reason if everyone else f"Seed{'s' if len(whose) > 1 else ''} {numbers} {status}: {reason}"
    for result in summary.seeds:
        if result.reason is None and result.last_return is None:
            yield f"Seed {result.seed}: an episode of the last evaluation has no finite return; not pooled."


def _notes(summary: Summary) -> Iterator[str]:
    record = summary.lead
    yield from dict.fromkeys(
        text for each in summary.records if each.online for text in each.online.incidents
    )
    if record.protocol is not None:
        yield from _protocol_notes(record.protocol)
    if not training.unevaluated(summary):
        yield (
            "Over seeds: ± is the sample standard deviation (ddof = 1), the interval is Student's t of the "
            f"mean (95 %, none for fewer than {FEWEST_SEEDS} seeds). 'Best (oracle)' is each seed's best "
            "evaluation, which cannot be picked without the environment."
        )
    yield from _dataset_notes(record)
    yield from dict.fromkeys(_speed_note(each) for each in summary.records if each.throughput)
    yield from _origin_notes(summary.records)


def environment_text(protocol: EvaluationProtocol, after: str, kwargs: bool = True) -> str:
    """Where and how the episodes were played; `after` stands before the number of episodes."""
    place = protocol.environment
    simulator = f", MuJoCo {place.mujoco_version}" if place.mujoco_version else ""
    arguments = "".join(f", {name}={value}" for name, value in place.kwargs.items() if kwargs)
    return (
        f"{place.id}{arguments} on {place.backend} {place.backend_version}{simulator}{after} "
        f"{counted(protocol.episodes, 'episode')} per seed and evaluation, "
        f"{'deterministic' if protocol.deterministic else 'sampled'} actions"
    )


def _protocol_notes(protocol: EvaluationProtocol) -> Iterator[str]:
    if protocol.score_min is None or protocol.score_max is None:
        because = f" ({protocol.endpoints_source})" if protocol.endpoints_source else ""
        yield f"No score endpoints are known{because}: returns are not normalised."
    else:
        yield (
            f"Score: 0 at return {protocol.score_min:.10g}, 100 at return {protocol.score_max:.10g}. "
            f"Source: {protocol.endpoints_source}"
        )
    limit = protocol.max_episode_steps
    most = "no time limit" if limit is None else f"at most {limit:,} steps"
    yield f"Evaluation: {environment_text(protocol, ';')}, {most}."


def _dataset_notes(record: Record) -> Iterator[str]:
    data = record.dataset
    facts = ""
    if data.rows is not None:
        facts = (
            f"{data.rows:,} transitions in {data.episodes or 0:,} episodes, {data.dropped_rows:,} "
            f"rows dropped, content {(data.content_hash or ABSENT)[:12]}. "
        )
    yield f"Dataset: {facts}{data.resolution}"
    yield from data.notes
    if data.behaviour_source is not None:
        score = "" if data.behaviour_score is None else f", score {number_text(data.behaviour_score)}"
        compared = "Compared with" if record.protocol else "The data,"
        value = number_text(data.behaviour_return_mean)
        yield _sentence(f"{compared} {data.behaviour_source}: return {value}{score}")


def _speed_note(record: Record) -> str:
    speed, machine, seeds = record.throughput, record.machine, len(record.seed_batch)
    assert speed is not None
    together = f" for {seeds} seeds together ({_rate(speed.seed_steps_per_second)} seed steps/s)"
    return (
        f"Speed: {_rate(speed.steps_per_second)} gradient steps/s{together if seeds > 1 else ''} on "
        f"{machine.gpu or f'{machine.cpu}, ' + counted(machine.cores, 'core')}; "
        f"{_duration(speed.total_seconds)} in all, {_duration(speed.evaluation_seconds)} in evaluation."
    )


def _origin_notes(records: Sequence[Record]) -> Iterator[str]:
    origins: dict[str, list[int]] = {}
    for record in records:
        commit = record.git.commit or ""
        code = f", commit {commit[:12]}{' with local changes' if record.git.dirty else ''}" if commit else ""
        versions = record.versions
        text = f"cqlbench {versions.get('cqlbench', '?')}{code}, torch {versions.get('torch', '?')}"
        origins.setdefault(text, []).append(record.seed)
    for text, seeds in origins.items():
        whose = f" (seeds {', '.join(map(str, seeds))})" if len(origins) > 1 else ""
        yield f"Made with {text}, config {records[0].config_hash}{whose}."


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
