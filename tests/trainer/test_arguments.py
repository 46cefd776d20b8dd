"""Arguments that make no sense together are one sentence each."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.checkpoint import Checkpoint, CheckpointRotation
from torchrl.data import ImmutableDatasetWriter, LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.trainer import CQLTrainer


@pytest.mark.parametrize(
    "name", ["optim_steps_per_batch", "log_interval", "frame_skip", "save_trainer_interval"]
)
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_counts_must_be_positive_whole_numbers(make_engine, name, value) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' makes no sense"):
        CQLTrainer(engine=make_engine(), **({"offline_steps": 5} | {name: value}))


@pytest.mark.parametrize("name", ["offline_steps", "total_frames"])
def test_totals_must_not_be_negative(make_engine, name) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' makes no sense"):
        CQLTrainer(engine=make_engine(), **({"offline_steps": 5} | {name: -1}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"total_frames": 10}, "'total_frames' is 10, but there is no collector"),
        ({"offline_steps": 0}, "nothing to do"),
        ({"collector": object()}, "'total_frames' is 0"),
        ({"async_collection": True}, "'async_collection' needs a collector"),
        ({"loss_module": None}, "nothing to train"),
        ({"replay_buffer": None}, "needs a 'replay_buffer'"),
        ({"optim_steps_per_batch": None}, "only with a collector, or pass a number"),
        (
            {"optim_steps_per_batch": None, "offline_steps": 0, "collector": object(), "total_frames": 9},
            "'SamplerWithoutReplacement' and no prefetch, or pass a number",
        ),
        ({"checkpoint_rotation": CheckpointRotation("r", keep_last=1)}, "needs a 'checkpoint'"),
        ({"checkpoint": Checkpoint()}, "'checkpoint' needs a place"),
        ({"checkpoint_metadata": dict}, "needs a 'checkpoint_rotation'"),
        ({"logger": "csv"}, "'logger' must be"),
    ],
)
def test_a_contradiction_is_one_sentence(make_loss, make_buffer, changes, sentence) -> None:
    arguments = {"loss_module": make_loss(), "replay_buffer": make_buffer(), "offline_steps": 5}
    with pytest.raises(ConfigError, match=sentence):
        CQLTrainer(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": 3},
        {"loss_module": 3},
        {"replay_buffer": [1, 2]},
        {"optimizer": "adam"},
        {"target_net_updater": 0.005},
        {"checkpoint": "x"},
        {"checkpoint_rotation": "r"},
        {"checkpoint_metadata": {"a": 1}},
        {"save_trainer_file": 3},
        {"clip_norm": 0.0},
        {"clip_norm": "1"},
        {"seed": [-1, 0]},
        {"seed": 2**70},
        {"seed": [[1]]},
    ],
)
def test_a_value_of_the_wrong_kind_is_named(make_loss, make_buffer, changes) -> None:
    arguments = {"loss_module": make_loss(), "replay_buffer": make_buffer(), "offline_steps": 5}
    with pytest.raises(ConfigError, match=f"'{next(iter(changes))}' makes no sense"):
        CQLTrainer(**(arguments | changes))


@pytest.mark.parametrize("seed", [np.int64(3), [np.uint8(3)]])
def test_numpys_whole_numbers_are_whole_numbers(make_loss, make_buffer, seed) -> None:
    trainer = CQLTrainer(
        loss_module=make_loss(),
        replay_buffer=make_buffer(),
        seed=seed,
        offline_steps=np.int32(4),
        optim_steps_per_batch=np.int64(2),
        progress_bar=False,
    )
    trainer.train()
    assert (trainer.gradient_steps, type(trainer.clock)) == (4, int)


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss_module", len), ("replay_buffer", ReplayBuffer()), ("seed", 1), ("clip_norm", 1)],
)
def test_an_engine_has_its_own(make_engine, name, value) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' and 'engine' exclude each other"):
        CQLTrainer(engine=make_engine(), offline_steps=1, **{name: value})


def test_a_file_that_cannot_be_written_is_found_at_construction(make_engine, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be saved at .* that is a folder"):
        CQLTrainer(engine=make_engine(), offline_steps=1, save_trainer_file=tmp_path)


def test_a_rotation_and_a_file_exclude_each_other(make_engine, tmp_path) -> None:
    rotation = CheckpointRotation(tmp_path, keep_last=1)
    arguments = {"checkpoint": Checkpoint(), "checkpoint_rotation": rotation, "save_trainer_file": "t.pt"}
    with pytest.raises(ConfigError, match="exclude each other"):
        CQLTrainer(engine=make_engine(), offline_steps=1, **arguments)


def test_a_collector_needs_a_buffer_that_takes_rows(make_loss, make_buffer) -> None:
    buffer = ReplayBuffer(storage=make_buffer().storage, writer=ImmutableDatasetWriter(), batch_size=8)
    with pytest.raises(ConfigError, match="whose dataset takes none"):
        CQLTrainer(loss_module=make_loss(), replay_buffer=buffer, collector=object(), total_frames=10)


def test_an_empty_buffer_is_one_sentence(make_loss, make_buffer) -> None:
    trainer = CQLTrainer(
        loss_module=make_loss(), replay_buffer=make_buffer(rows=0), offline_steps=1, progress_bar=False
    )
    with pytest.raises(ConfigError, match="The replay buffer is empty"):
        trainer.train()
    with pytest.raises(ConfigError, match="The replay buffer is empty"):
        CQLTrainer(loss_module=make_loss(), replay_buffer=make_buffer(rows=0), offline_steps=1, seed=[0])


def test_a_missing_batch_size_is_one_sentence_unless_the_loss_has_one(make_loss, make_buffer) -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    arguments = {"replay_buffer": make_buffer(None), "offline_steps": 1}
    with pytest.raises(ConfigError, match="has no batch_size"):
        CQLTrainer(loss_module=lambda batch: batch, optimizer=torch.optim.SGD([weight]), **arguments)
    assert CQLTrainer(loss_module=make_loss(), **arguments).batch_size == 8


def test_a_buffer_that_prefetches_is_not_saved(make_loss, make_buffer, tmp_path) -> None:
    arguments = {"loss_module": make_loss(), "replay_buffer": make_buffer(prefetch=2), "offline_steps": 1}
    CQLTrainer(**arguments)
    with pytest.raises(ConfigError, match="prefetches"):
        CQLTrainer(**arguments, save_trainer_file=tmp_path / "t.pt")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 7}, "batch_size is 7 and the loss's 8"),
        ({"sampler": SamplerWithoutReplacement()}, "'RandomSampler' and no transforms"),
    ],
)
def test_a_buffer_that_the_fused_step_cannot_draw_from(make_loss, make_buffer, arguments, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        CQLTrainer(loss_module=make_loss(), replay_buffer=make_buffer(**arguments), offline_steps=1, seed=[0])


def test_a_buffer_without_a_column_is_one_sentence(make_loss) -> None:
    buffer = ReplayBuffer(storage=LazyTensorStorage(10))
    buffer.extend(TensorDict({"observation": torch.zeros(5, 4)}, [5]))
    with pytest.raises(ConfigError, match="lack a column"):
        CQLTrainer(loss_module=make_loss(), replay_buffer=buffer, offline_steps=1, seed=[0])


def test_every_argument_is_mapped_to_its_tests_and_they_exist() -> None:
    folder = Path(__file__).parent
    table = (folder.parent / "README.md").read_text(encoding="utf-8").partition("## Every argument of")[2]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    mapped = {name for first, _ in rows for name in re.findall(r"`(\w+)`", first)}
    assert set(inspect.signature(CQLTrainer).parameters) <= mapped
    paths = [path for part in ("trainer", "engine") for path in (folder.parent / part).rglob("test_*.py")]
    tests = "".join(path.read_text(encoding="utf-8") for path in paths)
    for first, named in rows:
        found = re.findall(r"`(test_\w+)`", named)
        assert found, first
        assert [name for name in found if f"def {name}(" not in tests] == [], first
