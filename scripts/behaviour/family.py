"""The behaviour policies of one environment's datasets, chosen from one training run.

D4RL's terms (Fu et al. 2020, section 5.2), by the score of the stochastic policy:

- `random`: the policy before training;
- `expert`: the best of the run's last fifth, by when it should have levelled off;
- `medium`: the first that makes a third of the way from random to where the run levelled off, and not by
  chance: with the four after it, it makes that on average;
- `replay1`, `replay2`, …: evenly spaced between `random` and `medium`. Equal shares of all of these stand for
  the replay buffer of a run that stopped at `medium`.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from behaviour.learner import Snapshot
from cqlbench.core.errors import ConfigError

PARTS = ("random", "medium", "expert")
"""Of every family; how many replay policies it has depends on the run."""
REPLAY_POLICIES = 8
"""With `random` and `medium`."""
_IN_A_ROW = 5


@dataclass(frozen=True)
class Scored:
    """A snapshot and its normalised score, by the episodes that policies are chosen by."""

    snapshot: Snapshot
    score: float


def choose(run: Sequence[Scored], name: str) -> dict[str, Snapshot]:
    """The family of a run.

    Args:
        run: its snapshots in their order, the untrained one first.
        name: `<task>-v<k>`; the policies are called `<task>-<part>-v<k>`.

    Raises:
        ConfigError: the run is too short, or learned nothing.
    """
    if len(run) < 5:
        raise ConfigError(f"A family is chosen from at least 5 snapshots, and this run has {len(run)}.")
    last = run[-(len(run) // 5) :]
    start, level = run[0].score, statistics.fmean(each.score for each in last)
    third = start + (level - start) / 3
    if not level > start:
        raise ConfigError(f"The run learned nothing: it began at score {start:.1f} and ended at {level:.1f}.")
    medium = next(
        index for index, each in enumerate(run) if each.score >= third and _lasting(run, index, third)
    )
    count = min(REPLAY_POLICIES, medium + 1)
    spread = [round(part * medium / (count - 1)) for part in range(count)]
    chosen = (run[0], run[medium], max(last, key=lambda each: each.score))
    parts = dict(zip(PARTS, chosen, strict=True))
    parts |= {f"replay{number}": run[index] for number, index in enumerate(spread[1:-1], 1)}
    return {member(name, part): each.snapshot for part, each in parts.items()}


def member(name: str, part: str) -> str:
    """What one policy of the family `<task>-v<k>` is called."""
    task, _, version = name.rpartition("-v")
    return f"{task}-{part}-v{version}"


def _lasting(run: Sequence[Scored], index: int, level: float) -> bool:
    return statistics.fmean(each.score for each in run[index : index + _IN_A_ROW]) >= level
