"""A gate as a document (terminal, Markdown) and as JUnit XML."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from cqlbench.reporting.gate.training import Signal
from cqlbench.reporting.gate.verdict import Gate, Line
from cqlbench.reporting.report import SELECTIONS
from cqlbench.reporting.tables.format import ABSENT
from cqlbench.reporting.tables.render import Document, Grid

_NUMBERS = (
    "accepted", "now", "drop", "95 % interval", "P(drop)", "identical", "parts at", "training", "speed",
)  # fmt: skip
_STRONGEST = 5
"""Of the diagnostics that changed, so many are shown for each run."""
_VERDICTS = {"regression": "failure", "algorithm changed": "failure", "cannot say": "error"}


def document(gate: Gate) -> Document:
    """All that a gate says."""
    lines = (*gate.lines, gate.whole)
    rows = tuple((line.name, line.verdict, *_numbers(line)) for line in lines)
    limits = gate.limits
    return Document(
        title=f"Gate {gate.suite}: {gate.verdict}",
        warnings=tuple(f"{line.name}: {line.reason}" for line in lines if line.reason),
        grids=(
            Grid(
                title="Scores",
                columns=("Dataset", "Verdict", *(f"{name[0].upper()}{name[1:]}" for name in _NUMBERS)),
                rows=rows,
                caption=(
                    f"Scores: {SELECTIONS[gate.selection]}, 0-100 scale, mean over seeds. Identical: seeds "
                    "with the accepted score to the last bit. Parts at: the gradient step from which "
                    "training differs in a bit, on machines of one kind only. Training: diagnostics at fixed "
                    "steps that changed. Speed: gradient steps per matrix product of the machine, over the "
                    "accepted ones."
                ),
                bold=frozenset((row, 1) for row, line in enumerate(lines) if line.verdict != "no change"),
                foot=1,
                labels=2,
            ),
            *_changes(gate),
        ),
        notes=(
            f"A regression is a drop of more than {limits.margin:g} points whose bootstrap probability is "
            f"above {limits.level:g}; with D > 1 datasets, above 1 - {1 - limits.level:g}/(D + 1) for each "
            "and for the suite; a rise must be ten times as sure. The same seeds are drawn together.",
            f"Training has changed where a diagnostic differs more, in either direction, than seeds of one "
            f"algorithm do in {limits.false_alarms:.2g} of gates (Student's t, all diagnostics together)."
            if limits.false_alarms
            else "Diagnostics of training are not judged.",
            f"A ratio of speeds below {limits.throughput:g} is a regression too."
            if limits.throughput
            else "Speed is told and not judged.",
            *(f"{line.name}: {note}." for line in lines for note in line.notes),
        ),
    )


def junit(gate: Gate) -> bytes:
    """One test case per dataset and one for the suite; what changed is a failure, no verdict an error."""
    lines = (*gate.lines, gate.whole)
    counts = {"tests": len(lines)} | {
        f"{kind}s": sum(_VERDICTS.get(line.verdict) == kind for line in lines)
        for kind in ("failure", "error")
    }
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root, "testsuite", {"name": f"gate {gate.suite}", **{name: str(n) for name, n in counts.items()}}
    )
    for line in lines:
        case = ET.SubElement(suite, "testcase", {"classname": f"gate.{gate.suite}", "name": line.name})
        kind = _VERDICTS.get(line.verdict)
        if kind:
            ET.SubElement(case, kind, {"message": line.reason}).text = _said(line)
        else:
            ET.SubElement(case, "system-out").text = _said(line)
    ET.indent(root)
    whole: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return whole + b"\n"


def _changes(gate: Gate) -> Iterator[Grid]:
    rows = [(line.name, each) for line in gate.lines for each in line.changed[:_STRONGEST]]
    if rows:
        columns = ("Dataset", "Diagnostic", "Step", "Accepted", "Now", "Std", "Difference in std", "p")
        caption = (
            f"At most {_STRONGEST} for each dataset, the surest first: means over seeds of the mean since "
            "the record's row before. Std: over seeds. p: of seeds of one algorithm."
        )
        yield Grid("Training", columns, tuple(_signal(*row) for row in rows), caption, labels=2)


def _signal(name: str, each: Signal) -> tuple[str, ...]:
    distance = f"{(each.after - each.before) / each.std:+.1f}" if each.std else ABSENT
    numbers = (f"{number:.4g}" for number in (each.before, each.after, each.std))
    return (name, each.name, f"{each.step:,}", *numbers, distance, f"{each.probability:.1g}")


def _numbers(line: Line) -> Iterator[str]:
    drop = line.drop
    if drop is None:
        yield from (ABSENT,) * 5
    else:
        yield from (f"{drop.before:.1f}", f"{drop.after:.1f}", f"{drop.drop:.1f}")
        yield from (f"[{drop.low:.1f}, {drop.high:.1f}]", f"{drop.probability:.3f}")
    yield "{}/{}".format(*line.identical) if line.identical else ABSENT
    yield line.parts or ABSENT
    yield f"{len(line.changed)}/{line.signals}" if line.signals else ABSENT
    yield ABSENT if line.speed is None else f"{line.speed:.2f}"


def _said(line: Line) -> str:
    numbers = ", ".join(f"{name} {number}" for name, number in zip(_NUMBERS, _numbers(line), strict=True))
    return " ".join(filter(None, (numbers, *(f"({note})" for note in line.notes))))
