"""`CQLTrainerConfig` is the trainer's constructor, field by field, and Hydra makes a trainer of it."""

import dataclasses
import functools
import inspect

import pytest
import torch
from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate

import cqlbench
from cqlbench.training import trainer_config
from cqlbench.training.trainer import CQLTrainer
from cqlbench.training.trainer_config import make_cql_trainer

FIELDS = {
    field.name: field.default
    for field in dataclasses.fields(cqlbench.CQLTrainerConfig)
    if field.name != "_target_"
}


def test_its_fields_and_defaults_are_the_constructors() -> None:
    signature = inspect.signature(CQLTrainer.__init__).parameters
    assert {name: each.default for name, each in signature.items() if name != "self"} == FIELDS


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


def test_partial_functions_are_given_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_config, "CQLTrainer", lambda **arguments: arguments)
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
