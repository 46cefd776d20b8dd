"""`CQLTrainer` collecting for a seed batch: clocks, rows, resumption, and torchrl's own collectors."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.collectors import Collector

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import ActionBox
from cqlbench.core.errors import ConfigError
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.engine.online.collector import collector_of
from cqlbench.engine.online.mixture import OnlinePhase
from cqlbench.engine.online.rows import OnlineRows
from cqlbench.engine.streams import ExplorationStream
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.trainer.envpool_env import EnvpoolEnv
from cqlbench.trainer.trainer import CQLTrainer

PENDULUM = EnvironmentSpec("Pendulum-v1", 20)
LOW, HIGH = np.full(1, -2, np.float32), np.full(1, 2, np.float32)
CPU = torch.device("cpu")


def make_engine(
    *seeds: int, folder: Path | None = None, offline: bool = True, frames: int = 64, **changes: Any
) -> Engine:
    small = {"actor_hidden": [8], "critic_hidden": [8], "batch_size": 8, "proposals": 2}
    generator = torch.Generator().manual_seed(0)
    columns = Columns(
        observations=torch.randn(50, 3, generator=generator),
        actions=torch.randn(50, 1, generator=generator).tanh() * 2,
        rewards=torch.full((50,), 1000.0),
        next_observations=torch.randn(50, 3, generator=generator),
        terminated=torch.zeros(50, dtype=torch.bool),
        extra={"returns_to_go": torch.zeros(50)} if changes.get("calibrated") else {},
    )
    phase = {name: changes.pop(name) for name in ("offline_fraction",) if name in changes}
    if "conservative_weight" in changes:
        phase["changes"] = {"conservative_weight": changes.pop("conservative_weight")}
    algorithm = {name: value for name, value in changes.items() if name in vars(CQLConfig())}
    environments = changes.get("environments", 1)
    rows = OnlineRows(len(seeds), frames, 3, 1, environments, folder)
    return Engine(
        CQLConfig(**(small | algorithm)),
        columns if offline else None,
        ObservationNormalizer.identity(3),
        RewardTransform(),
        ActionBox.from_bounds(torch.from_numpy(LOW), torch.from_numpy(HIGH)),
        seeds or (0,),
        CPU,
        OnlinePhase(rows, **phase),
    )


def make_trainer(engine: Engine, frames: int = 24, **arguments: Any) -> CQLTrainer:
    collecting = {
        name: arguments.pop(name)
        for name in ("environments", "frames_per_batch", "random_frames")
        if name in arguments
    }
    collector = collector_of(engine, PENDULUM, backend="gymnasium", timeout=0, **collecting)
    defaults = {"offline_steps": 4, "optim_steps_per_batch": 2, "online_steps_per_batch": 1}
    given = defaults | {"progress_bar": False, "total_frames": frames, "collector": collector} | arguments
    return CQLTrainer(engine=engine, **given)


def parameters(engine: Engine) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in engine.state.tensors()]


def test_frames_are_counted_per_seed_and_steps_follow_them() -> None:
    engine = make_engine(3, 1)
    trainer = make_trainer(engine, frames_per_batch=4, online_steps_per_batch=3)
    clocks: list[tuple[int, int]] = []
    trainer.register_op(
        "post_steps", lambda: clocks.append((trainer.gradient_steps, trainer.collected_frames))
    )
    trainer.train()
    assert clocks == [(2, 0), (4, 0), *((4 + 3 * batch, 4 * batch) for batch in range(1, 7))]
    assert engine.online is not None
    assert engine.online.rows.rows == 24
    assert (engine.online.rows.columns["rewards"][:, :24] <= 0).all(), "Pendulum's"


def test_random_frames_come_first_and_train_nothing() -> None:
    engine = make_engine(0, 1)
    trainer = make_trainer(engine, random_frames=10)
    trainer.train()
    assert trainer.gradient_steps == 4 + 24 - 10 + 1
    assert engine.online is not None
    actions = engine.online.rows.columns["actions"][:, :10, 0]
    uniforms = ExplorationStream(engine.seeds, 1, 1, CPU)
    for frame in range(10):
        expected = -2 + 4 * uniforms.uniforms(frame)[:, 0, 0]
        torch.testing.assert_close(actions[:, frame], expected)


def test_hooks_see_the_collected_batch_in_torchrls_layout() -> None:
    trainer = make_trainer(make_engine(0, 1), frames=4)
    seen: list[Any] = []
    trainer.register_op("pre_steps_log", lambda batch: seen.append(batch) or {})
    trainer.train()
    assert [batch.batch_size for batch in seen] == [torch.Size([2, 1])] * 4
    assert seen[0]["next", "reward"].shape == (2, 1, 1)


def test_a_seed_learns_online_what_it_would_learn_alone() -> None:
    together, alone = make_engine(5, 1), make_engine(1)
    for engine in (together, alone):
        make_trainer(engine).train()
    assert together.online is not None
    assert alone.online is not None
    for name, column in alone.online.rows.columns.items():
        torch.testing.assert_close(together.online.rows.columns[name][1:], column, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(together.state.tensors(), alone.state.tensors(), strict=True):
        if ours.dim():
            torch.testing.assert_close(ours[1:], theirs, rtol=1e-3, atol=1e-4)


def test_without_a_dataset_it_learns_from_what_it_collects() -> None:
    engine = make_engine(0, offline=False, conservative_weight=0.0)
    trainer = make_trainer(engine, offline_steps=0, random_frames=8)
    trainer.train()
    assert trainer.gradient_steps == 24 - 8 + 1
    assert all(torch.isfinite(tensor).all() for tensor in engine.state.tensors())


def test_the_online_weight_takes_the_place_of_the_algorithms() -> None:
    engine = make_engine(0, conservative_weight=0.0)
    trainer = make_trainer(engine)
    names: list[set[str]] = []
    trainer.register_op("post_steps", lambda: names.append(set(engine.drain_diagnostics())))
    trainer.train()
    assert "conservative_gap" in names[0]
    assert "conservative_gap" not in names[-1]


def test_calibrated_values_are_bounded_by_the_returns_of_ended_episodes() -> None:
    engine = make_engine(0, calibrated=True, offline_fraction=0.0, offline=False)
    trainer = make_trainer(engine, frames=40, offline_steps=0)
    trainer.train()
    bounds = engine.batch(100).extra["returns_to_go"]
    assert torch.isfinite(bounds).all(), "both episodes of 20 steps have ended"
    assert (bounds <= 0).all()


@pytest.mark.parametrize(("stop_at", "environments"), [(3, 1), (4, 1), (7, 2), (19, 1), (19, 2), (27, 2)])
def test_a_stopped_trainer_goes_on_bit_by_bit(tmp_path: Path, stop_at: int, environments: int) -> None:
    sizes = {"environments": environments, "frames_per_batch": 2}
    whole = make_engine(0, 1, folder=tmp_path / "whole", environments=environments, calibrated=True)
    make_trainer(whole, online_steps_per_batch=2, **sizes).train()

    folder = tmp_path / "stopped"
    first = make_engine(0, 1, folder=folder, environments=environments, calibrated=True)
    trainer = make_trainer(first, online_steps_per_batch=2, **sizes)

    def stop() -> None:
        if trainer.gradient_steps == stop_at:
            raise KeyboardInterrupt

    saved: dict[str, Any] = {}

    def save() -> None:
        if trainer.gradient_steps == (27 if stop_at == 27 else max(stop_at - 3, 1)):
            torch.save(trainer.state_dict(), tmp_path / "state.pt")
            saved["at"] = trainer.gradient_steps

    trainer.register_op("post_optim", save)
    trainer.register_op("post_optim", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert saved

    second = make_engine(0, 1, folder=folder, environments=environments, calibrated=True)
    again = make_trainer(second, online_steps_per_batch=2, **sizes)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again.train()

    assert again.gradient_steps == 4 + 24
    assert all(map(torch.equal, parameters(second), parameters(whole)))
    assert second.online is not None
    assert whole.online is not None
    for name, column in whole.online.rows.columns.items():
        assert torch.equal(second.online.rows.columns[name], column), name


class SeedPolicy(TensorDictModuleBase):
    """Every seed's policy as a module, for torchrl's collectors."""

    in_keys = ("observation",)
    out_keys = ("action",)

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine, self.calls = engine, 0

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        observations, seeds = tensordict["observation"], len(self.engine.seeds)
        rows = observations.view(seeds, -1, observations.shape[-1])
        normals = torch.randn(*rows.shape[:2], 1, generator=torch.Generator().manual_seed(self.calls))
        self.calls += 1
        return tensordict.set(
            "action", self.engine.sample_actions(rows, normals).view(*observations.shape[:-1], 1)
        )


@pytest.fixture
def torchrl_collector() -> Iterator[Callable[[Engine], Collector]]:
    made: list[Collector] = []

    def make(engine: Engine) -> Collector:
        environment = EnvpoolEnv(PENDULUM, engine.seeds, 2)
        frames = 2 * len(engine.seeds) * 3
        made.append(
            Collector(
                environment,
                SeedPolicy(engine),
                frames_per_batch=frames,
                total_frames=-1,
                auto_register_policy_transforms=False,
            )
        )
        return made[-1]

    yield make
    for collector in made:
        collector.shutdown(raise_on_error=False)


def test_a_torchrl_collector_of_envpool_collects_for_every_seed(
    torchrl_collector: Callable[[Engine], Collector],
) -> None:
    engine = make_engine(0, 1, environments=2)
    trainer = CQLTrainer(
        engine=engine,
        collector=torchrl_collector(engine),
        total_frames=24,
        offline_steps=2,
        optim_steps_per_batch=2,
        progress_bar=False,
    )
    trainer.train()
    assert trainer.collected_frames == 24, "four batches of 6 frames per seed"
    assert trainer.gradient_steps == 2 + 4 * 2
    assert engine.online is not None
    rows = engine.online.rows.columns
    # Rows of one environment follow each other in steps of two.
    following, ended = rows["next_observations"][:, :24], rows["ended"][:, :24]
    goes_on = ~ended[:, :-2]
    assert goes_on.any()
    assert torch.equal(following[:, :-2][goes_on], rows["observations"][:, 2:24][goes_on])


def test_an_environment_of_another_box_is_refused(
    torchrl_collector: Callable[[Engine], Collector],
) -> None:
    engine = make_engine(0, 1, environments=2)
    engine.actions = ActionBox.from_bounds(-torch.ones(1), torch.ones(1))
    with pytest.raises(ConfigError, match="actions"):
        CQLTrainer(engine=engine, collector=torchrl_collector(engine), total_frames=12, offline_steps=1)


def test_an_engine_without_a_place_for_rows_takes_no_collector() -> None:
    engine = make_engine(0)
    engine.online = None
    with pytest.raises(ConfigError, match="online"):
        make_trainer(engine)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"environments": 2, "frames_per_batch": 2}, "environments"),
        ({"frame_skip": 2}, "frame_skip"),
        ({"frames": 100}, "total_frames"),
        ({"frames": 25, "frames_per_batch": 4}, "total_frames"),
    ],
)
def test_collection_that_does_not_fit_the_engines_rows_is_refused(arguments: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        make_trainer(make_engine(0), **arguments)


def test_an_offline_state_does_not_go_into_an_engine_that_is_online() -> None:
    engine = make_engine(0)
    offline = engine.state_dict()
    make_trainer(engine, frames=2).train()
    with pytest.raises(ConfigError, match="offline"):
        engine.load_state_dict(offline)
