"""From a dataset's buffer to what the gradient step reads."""

import numpy as np
import pytest
from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.data.buffer import buffer_for
from cqlbench.data.load import provide
from cqlbench.data.transitions import Transitions
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.experiments.plan import make_plan
from cqlbench.experiments.run import bench, make_engine


def three_kinds_of_end() -> Transitions:
    generator = np.random.default_rng(0)
    states = generator.normal(size=(7, 3)).astype(np.float32)
    return Transitions(
        observations=states[:-1],
        actions=generator.uniform(-1, 1, (6, 2)).astype(np.float32),
        rewards=np.arange(6, dtype=np.float32),
        next_observations=states[1:],
        terminated=np.array([0, 1, 0, 0, 0, 0], bool),
        truncated=np.array([0, 0, 0, 1, 0, 0], bool),
        episode_starts=np.array([0, 2, 4]),
    )


def test_training_reads_the_buffers_rows_and_only_terminations_end_a_value(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path))
    source = three_kinds_of_end()
    read = Columns.of(buffer_for("test/ends-v0", "key", lambda: source).replay_buffer(4))
    for name in ("observations", "actions", "rewards", "next_observations"):
        np.testing.assert_array_equal(getattr(read, name).numpy(), getattr(source, name))
    assert read.terminated.tolist() == [False, True, False, False, False, False]


def test_cal_ql_trains_beside_the_returns_of_preprocessed_rewards(world) -> None:
    words = ["dataset=tiny-hopper", "budget=smoke", "algorithm.reward_scale=2", "algorithm.reward_bias=-3"]
    plan = make_plan([*words, "algorithm=calql"])
    dataset = provide(plan.resolution, clip_actions=False)
    columns = make_engine(plan, dataset).dataset
    rewards = 2.0 * columns.rewards.double().numpy() - 3.0
    starts = {*dataset.episode_starts.tolist(), dataset.rows}
    expected, following = np.zeros(dataset.rows), 0.0
    for row in reversed(range(dataset.rows)):
        following = rewards[row] + (0.0 if row + 1 in starts else plan.config.algorithm.discount * following)
        expected[row] = following
    assert columns.extra["returns_to_go"].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert make_engine(make_plan(words), dataset).dataset.extra == {}


def test_sizes_that_cannot_fit_are_refused_before_a_dataset_is_fetched(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("cqlbench.experiments.run.provide", lambda *_, **__: pytest.fail("it was fetched"))
    words = ["algorithm=sac_n", "algorithm.critics=1000000", "seeds=100", f"results={tmp_path}/results"]
    plan = make_plan(["dataset=hopper-medium", "source=embedded", "budget=smoke", "device=cpu", *words])
    with pytest.raises(ConfigError, match="GB"):
        bench(plan, Console(quiet=True))
