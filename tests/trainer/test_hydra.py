"""`CQLTrainerConfig` is the trainer's constructor, field by field, and Hydra makes a trainer of it."""

import dataclasses
import functools
import inspect
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymEnv
from torchrl.modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator

import cqlbench
from cqlbench.core.errors import ConfigError
from cqlbench.trainer import hydra
from cqlbench.trainer.hydra import make_cql_trainer
from cqlbench.trainer.trainer import CQLTrainer

FIELDS = {
    field.name: field.default
    for field in dataclasses.fields(cqlbench.CQLTrainerConfig)
    if field.name != "_target_"
}


def torchrls_config() -> type:
    """Imported when it is asked for: its hundreds of registered configs slow every later composition down."""
    from torchrl.trainers.algorithms.configs.trainers import CQLTrainerConfig

    return CQLTrainerConfig


OF_TORCHRLS_CONFIG = {"actor_network", "qvalue_network", "create_env_fn", "hooks"}


def test_its_fields_and_defaults_are_the_constructors() -> None:
    signature = inspect.signature(CQLTrainer.__init__).parameters
    own = {name: default for name, default in FIELDS.items() if name not in OF_TORCHRLS_CONFIG}
    assert {name: each.default for name, each in signature.items() if name != "self"} == own


def test_it_has_every_field_of_torchrls_config() -> None:
    theirs = {field.name for field in dataclasses.fields(torchrls_config())} - {"_target_"}
    assert theirs <= FIELDS.keys()
    assert theirs >= OF_TORCHRLS_CONFIG


def test_hydra_makes_a_trainer_of_the_registered_config(make_engine) -> None:
    GlobalHydra.instance().clear()
    with initialize(config_path=None, version_base="1.3"):
        config = compose(
            overrides=["+trainer=cqlbench", "trainer.offline_steps=4", "trainer.progress_bar=false"]
        )
    engine = make_engine()
    trainer = instantiate(config.trainer, engine=engine)
    assert isinstance(trainer, CQLTrainer)
    assert trainer.engine is engine
    trainer.train()
    assert trainer.gradient_steps == 4


def make_actor() -> ProbabilisticActor:
    body = nn.Sequential(MLP(in_features=3, out_features=2, num_cells=[8]), NormalParamExtractor())
    module = TensorDictModule(body, in_keys=["observation"], out_keys=["loc", "scale"])
    return ProbabilisticActor(module, in_keys=["loc", "scale"], distribution_class=TanhNormal)


def make_critic() -> ValueOperator:
    return ValueOperator(MLP(in_features=4, out_features=1, num_cells=[8]), in_keys=["observation", "action"])


TORCHRL_CONFIG = {
    "total_frames": 60,
    "optim_steps_per_batch": 2,
    "loss_module": {
        "_target_": "torchrl.trainers.algorithms.configs.objectives._make_cql_loss",
        "_partial_": True,
        "target_entropy": -1.0,
        "gamma": 0.9,
    },
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
    "target_net_updater": {"_target_": "torchrl.objectives.SoftUpdate", "_partial_": True, "tau": 0.01},
    "replay_buffer": {
        "_target_": "torchrl.data.ReplayBuffer",
        "storage": {"_target_": "torchrl.data.LazyTensorStorage", "max_size": 100},
        "batch_size": 8,
    },
    "hooks": [{"_target_": "torchrl.trainers.CountFramesLog", "frame_skip": 1}],
    "create_env_fn": {"_target_": "torchrl.envs.GymEnv", "env_name": "Pendulum-v1"},
    "logger": None,
    "log_rewards": False,
    "progress_bar": False,
    "save_trainer_file": None,
    "seed": 1,
    "clip_norm": None,
}


@pytest.mark.filterwarnings("ignore:CQLTrainer is an experimental", "ignore:The 'post_loss' hook stage")
@pytest.mark.parametrize("ours", [False, True])
def test_a_config_for_torchrls_trainer_makes_ours_by_its_target_alone(ours: bool) -> None:
    config = cqlbench.CQLTrainerConfig if ours else torchrls_config()
    trainer = instantiate(
        TORCHRL_CONFIG | {"_target_": config._target_},
        collector=functools.partial(
            Collector,
            GymEnv("Pendulum-v1"),
            make_actor(),
            frames_per_batch=20,
            total_frames=60,
            auto_register_policy_transforms=False,
        ),
        actor_network=functools.partial(make_actor),
        qvalue_network=functools.partial(make_critic),
    )
    assert isinstance(trainer, CQLTrainer) is ours
    trainer.train()
    assert (trainer.collected_frames, trainer._optim_count) == (60, 6)
    assert trainer._log_dict["n_frames"] == [20, 40, 60]
    assert len(trainer._log_dict["loss_cql"]) == 3


def test_a_hook_that_cannot_be_registered_is_one_sentence(make_loss, make_buffer) -> None:
    parts = {"loss_module": make_loss(), "replay_buffer": make_buffer(), "offline_steps": 1}
    with pytest.raises(ConfigError, match="'hooks' has 3"):
        make_cql_trainer(**parts, hooks=[3])


def test_none_as_total_frames_is_the_collectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hydra, "CQLTrainer", lambda **arguments: arguments)
    collector = SimpleNamespace(total_frames=70)
    assert make_cql_trainer(collector=collector, total_frames=None)["total_frames"] == 70


def test_partial_functions_are_given_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hydra, "CQLTrainer", lambda **arguments: arguments)
    loss = torch.nn.Linear(2, 1)
    buffer = object()
    given = make_cql_trainer(
        loss_module=functools.partial(lambda: loss),
        optimizer=functools.partial(torch.optim.SGD, lr=0.1),
        target_net_updater=functools.partial(lambda module: ("updater", module)),
        collector=functools.partial(lambda replay_buffer: ("collector", replay_buffer)),
        replay_buffer=buffer,
        async_collection=True,
        clip_norm=None,
        log_interval=10_000,
    )
    assert given["loss_module"] is loss
    assert given["optimizer"].param_groups[0]["params"][0] is loss.weight
    assert given["target_net_updater"] == ("updater", loss)
    assert given["collector"] == ("collector", buffer)
    assert set(given) == {
        "loss_module", "optimizer", "target_net_updater", "collector", "replay_buffer", "async_collection"
    }  # fmt: skip
