"""A gate as a document (terminal, Markdown) and as JUnit XML."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from cqlbench.reporting.gate.verdict import Gate, Line
from cqlbench.reporting.report import SELECTIONS
from cqlbench.reporting.tables.format import ABSENT
from cqlbench.reporting.tables.render import Document, Grid


def document(gate: Gate) -> Document:
    """All that a gate says."""
    lines = (*gate.lines, gate.whole)
    rows = tuple(_row(line) for line in lines)
    limits = gate.limits
    return Document(
        title=f"Gate {gate.suite}: {gate.verdict}",
        warnings=tuple(f"{line.name}: {line.reason}" for line in lines if line.reason),
        grids=(
            Grid(
                title="Drop of scores",
                columns=(
                    "Dataset",
                    "Verdict",
                    "Accepted",
                    "Now",
                    "Drop",
                    "95 % interval",
                    "P(drop)",
                    "Speed",
                ),
                rows=rows,
                caption=(
                    f"Scores: {SELECTIONS[gate.selection]}, 0-100 scale, mean over seeds. Speed: gradient "
                    "steps per second over the accepted ones, on machines of one kind only."
                ),
                bold=frozenset((row, 1) for row, line in enumerate(lines) if line.verdict != "no regression"),
                foot=1,
                labels=2,
            ),
        ),
        notes=(
            f"A regression is a drop of more than {limits.margin:g} points whose bootstrap probability is "
            f"above {limits.level:g}; with D > 1 datasets, above 1 - {1 - limits.level:g}/(D + 1) for each "
            "and for the suite. Seeds are drawn again on both sides.",
            f"A ratio of speeds below {limits.throughput:g} is a regression too."
            if limits.throughput
            else "Speed is told and not judged.",
            *(f"{line.name}: {note}." for line in lines for note in line.notes),
        ),
    )


def junit(gate: Gate) -> bytes:
    """One test case per dataset and one for the suite; a regression is a failure, no verdict an error."""
    lines = (*gate.lines, gate.whole)
    counts = {
        "tests": len(lines),
        "failures": sum(line.verdict == "regression" for line in lines),
        "errors": sum(line.verdict == "cannot say" for line in lines),
    }
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root, "testsuite", {"name": f"gate {gate.suite}", **{name: str(n) for name, n in counts.items()}}
    )
    for line in lines:
        case = ET.SubElement(suite, "testcase", {"classname": f"gate.{gate.suite}", "name": line.name})
        kind = {"regression": "failure", "cannot say": "error"}.get(line.verdict)
        if kind:
            ET.SubElement(case, kind, {"message": line.reason}).text = _said(line)
        else:
            ET.SubElement(case, "system-out").text = _said(line)
    ET.indent(root)
    whole: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return whole + b"\n"


def _row(line: Line) -> tuple[str, ...]:
    return (line.name, line.verdict, *_numbers(line))


def _numbers(line: Line) -> Iterator[str]:
    drop = line.drop
    if drop is None:
        yield from (ABSENT,) * 5
    else:
        yield from (f"{drop.before:.1f}", f"{drop.after:.1f}", f"{drop.drop:.1f}")
        yield from (f"[{drop.low:.1f}, {drop.high:.1f}]", f"{drop.probability:.3f}")
    yield ABSENT if line.speed is None else f"{line.speed:.2f}"


def _said(line: Line) -> str:
    names = ("accepted", "now", "drop", "95 % interval", "P(drop)", "speed")
    numbers = ", ".join(f"{name} {number}" for name, number in zip(names, _numbers(line), strict=True))
    return " ".join(filter(None, (numbers, *(f"({note})" for note in line.notes))))
