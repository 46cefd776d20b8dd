"""Which snapshots of a run become an environment's behaviour policies."""

import numpy as np
import pytest
from behaviour.family import Scored, choose
from behaviour.learner import Snapshot

from cqlbench.core.errors import ConfigError


def run(*scores: float) -> list[Scored]:
    box = np.ones(1, np.float32)
    return [Scored(Snapshot(10 * index, {}, -box, box), score) for index, score in enumerate(scores)]


def test_each_part_is_the_snapshot_that_its_definition_names() -> None:
    # The last fifth, 60 and 66, levels off at 63; from 3, a third of the way is 23.
    chosen = choose(run(3, 4, 10, 22, 24, 40, 70, 65, 60, 66), "ant-v2")
    steps = {name: snapshot.steps for name, snapshot in chosen.items()}
    assert steps == {
        "ant-random-v2": 0,
        "ant-medium-v2": 40,
        "ant-expert-v2": 90,
        **{f"ant-replay{number}-v2": 10 * number for number in (1, 2, 3)},
    }


def test_a_lucky_snapshot_is_not_medium() -> None:
    chosen = choose(run(0, 2, 50, 3, 4, 6, 30, 40, 35, 60, 66, 60, 60, 60, 60), "ant-v2")
    assert chosen["ant-medium-v2"].steps == 60


def test_a_long_way_to_medium_is_spread_over_eight() -> None:
    chosen = choose(run(*range(101)), "ant-v0")
    between = [f"replay{number}" for number in range(1, 7)]
    replay = [chosen[f"ant-{part}-v0"].steps for part in ("random", *between, "medium")]
    assert "ant-replay7-v0" not in chosen
    assert max(np.diff(replay)) - min(np.diff(replay)) <= 10


def test_a_run_that_learned_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="learned nothing"):
        choose(run(5, 5, 5, 5, 5), "ant-v0")
    with pytest.raises(ConfigError, match="at least 5"):
        choose(run(1, 2), "ant-v0")
