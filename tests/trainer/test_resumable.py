"""A trainer that is saved and loaded goes on as if it had never stopped."""

import json

import numpy as np
import pytest
import torch
from torchrl.checkpoint import Checkpoint, CheckpointRotation
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, PrioritizedSampler, ReplayBuffer, SamplerWithoutReplacement
from torchrl.envs import GymEnv
from torchrl.objectives import HardUpdate
from torchrl.trainers import RewardNormalizer

from cqlbench.core.errors import ConfigError
from cqlbench.trainer.trainer import CQLTrainer


class ListLogger:
    def __init__(self) -> None:
        self.rows = []

    def log_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((step, name, value))


def trainer_of(loss, buffer, **arguments) -> CQLTrainer:
    defaults = {"offline_steps": 20, "optim_steps_per_batch": 4, "progress_bar": False, "seed": 3}
    return CQLTrainer(loss_module=loss, replay_buffer=buffer, **(defaults | arguments))


def everything(state) -> list[torch.Tensor | float]:
    """Every leaf of a nested state, in order."""
    if isinstance(state, dict):
        return [leaf for value in state.values() for leaf in everything(value)]
    if isinstance(state, list | tuple):
        return [leaf for value in state for leaf in everything(value)]
    return [state]


def same(ours: dict, theirs: dict) -> bool:
    ours["state"].pop("train_seconds"), theirs["state"].pop("train_seconds")
    for state in (ours, theirs):
        state["state"]["_last_save"] = state["state"]["_stop_reason"] = None
    pairs = list(zip(everything(ours), everything(theirs), strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def stop_at(trainer: CQLTrainer, step: int) -> None:
    trainer.register_op("post_optim", lambda: trainer.request_stop("x") if trainer.clock == step else None)


@pytest.mark.parametrize("kind", ["loss", "seeds", "epochs", "own generator", "hard update"])
@pytest.mark.parametrize("stop", [8, 10])
def test_resume_is_exact(make_loss, make_buffer, tmp_path, kind, stop) -> None:
    def make(**arguments) -> CQLTrainer:
        torch.rand(7)  # what others draw from torch's stream in the meantime
        loss = make_loss(lagrange=True)
        buffer = {
            "epochs": lambda: make_buffer(sampler=SamplerWithoutReplacement()),
            "own generator": lambda: make_buffer(generator=torch.Generator().manual_seed(1)),
        }.get(kind, make_buffer)()
        if kind == "seeds":
            arguments["seed"] = [1, 2]
        if kind == "hard update":
            arguments["target_net_updater"] = HardUpdate(loss, value_network_update_interval=3)
        trainer = trainer_of(loss, buffer, logger=ListLogger(), log_interval=3, **arguments)
        trainer.places = []
        trainer.register_op("pre_optim_steps", lambda: trainer.places.append(trainer.clock))
        trainer.register_op("post_steps", lambda: trainer.places.append(trainer.clock))
        trainer.register_op("post_optim_complete_log", seen_by(trainer))
        return trainer

    def seen_by(trainer: CQLTrainer):
        return lambda steps, means: trainer.places.append((steps, means.to_dict()))

    whole = make()
    whole.train()
    first = make(save_trainer_file=tmp_path / "t")
    stop_at(first, stop)
    first.train()
    assert first.clock == stop
    rest = make().load_from_file(tmp_path / "t")
    rest.train()
    assert same(rest.state_dict(), whole.state_dict())
    assert first.places + rest.places == whole.places
    assert first.logger.rows + rest.logger.rows == whole.logger.rows


class DrawnByPriority(PrioritizedSampler):
    """Draws as torchrl's sampler does, without its compiled trees, which are not built everywhere."""

    def __init__(self) -> None:
        self._sum_tree, self._device = None, None

    def sample(self, storage, batch_size):
        drawn = np.random.uniform(size=batch_size)  # noqa: NPY002
        return torch.as_tensor(drawn * len(storage)).long(), {}

    def _ignore(self, *_arguments, **_keywords) -> None: ...

    add = extend = update_priority = mark_update = load_state_dict = _tree_device_from_storage = _ignore

    def state_dict(self) -> dict:
        return {}


def test_a_prioritised_sampler_draws_from_numpys_stream_and_resumes_exactly(make_loss, make_buffer) -> None:
    def make() -> CQLTrainer:
        np.random.seed(None)  # noqa: NPY002  (what a new process has)
        return trainer_of(make_loss(), make_buffer(sampler=DrawnByPriority()))

    whole, first, second = make(), make(), make()
    stop_at(first, 10)
    whole.train()
    first.train()
    second.load_state_dict(first.state_dict())
    second.train()
    assert same(whole.state_dict(), second.state_dict())


def test_what_was_loaded_is_not_shared(make_loss, make_buffer) -> None:
    first = trainer_of(make_loss(), make_buffer())
    stop_at(first, 8)
    first.train()
    second = trainer_of(make_loss(), make_buffer())
    second.load_state_dict(first.state_dict())
    kept = [
        leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in everything(first.state_dict())
    ]
    second.train()
    for before, after in zip(kept, everything(first.state_dict()), strict=True):
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after


def test_registered_modules_are_part_of_the_state(make_loss, make_buffer, tmp_path) -> None:
    def make(**arguments) -> CQLTrainer:
        trainer = trainer_of(make_loss(), make_buffer(), **arguments)
        normalizer = RewardNormalizer()
        trainer.register_module("normalizer", normalizer)
        trainer.register_op("process_optim_batch", normalizer.update_reward_stats)
        trainer.register_op("process_optim_batch", normalizer.normalize_reward)
        return trainer

    make(save_trainer_file=tmp_path / "t.pt").train()
    loaded = make().load_from_file(tmp_path / "t.pt")
    assert loaded._modules["normalizer"]._reward_stats["mean"] != 0
    with pytest.raises(ConfigError, match="differ in normalizer"):
        trainer_of(make_loss(), make_buffer()).load_from_file(tmp_path / "t.pt")


def test_offline_rows_are_not_copied_and_must_be_as_many(make_loss, make_buffer, tmp_path) -> None:
    trainer = trainer_of(make_loss(), make_buffer(), save_trainer_file=tmp_path / "t.pt")
    trainer.train()
    sizes = [
        leaf.shape for leaf in everything(trainer.state_dict()["replay_buffer"]) if hasattr(leaf, "shape")
    ]
    assert all(200 not in shape and 400 not in shape for shape in sizes)
    with pytest.raises(ConfigError, match="had 200 rows, and this one 100"):
        trainer_of(make_loss(), make_buffer(rows=100)).load_from_file(tmp_path / "t.pt")


def test_collected_rows_and_frames_are_part_of_the_state(make_loss, tmp_path) -> None:
    def make(**arguments) -> CQLTrainer:
        loss = make_loss(observation_size=3, action_size=1)
        env = GymEnv("Pendulum-v1")
        collector = Collector(
            env,
            loss.actor_network,
            frames_per_batch=20,
            total_frames=100,
            auto_register_policy_transforms=False,
        )
        buffer = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=8)
        return trainer_of(
            loss,
            buffer,
            collector=collector,
            total_frames=100,
            offline_steps=0,
            save_trainer_file=tmp_path / "t.pt",
            **arguments,
        )

    first = make()
    first.register_op("post_steps", lambda: first.request_stop("x") if first.clock == 60 else None)
    first.train()
    rest = make().load_from_file(tmp_path / "t.pt")
    assert (rest.collected_frames, rest.gradient_steps) == (60, 12)
    assert torch.equal(rest.replay_buffer[:]["observation"], first.replay_buffer[:]["observation"])
    rest.train()
    assert (rest.collected_frames, len(rest.replay_buffer)) == (100, 100)


# save_trainer_file, save_trainer_interval


def test_saves_come_by_gradient_steps_offline_and_at_the_end(make_loss, make_buffer, tmp_path) -> None:
    trainer = trainer_of(
        make_loss(), make_buffer(), save_trainer_file=tmp_path / "t.pt", save_trainer_interval=8
    )
    saved = []
    save = trainer._save_trainer
    trainer._save_trainer = lambda: (saved.append(trainer.clock), save())
    trainer.train()
    assert saved == [8, 16, 20]
    assert [path.name for path in tmp_path.iterdir()] == ["t.pt"]


def test_a_save_that_fails_leaves_the_one_before(make_loss, make_buffer, tmp_path, monkeypatch) -> None:
    trainer = trainer_of(make_loss(), make_buffer(), save_trainer_file=tmp_path / "t.pt")
    trainer.save_trainer(force_save=True)
    before = (tmp_path / "t.pt").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        trainer.train()
    assert (tmp_path / "t.pt").read_bytes() == before


# checkpoint, checkpoint_rotation, checkpoint_metadata


def test_a_rotation_keeps_the_last_checkpoints_by_gradient_steps(make_loss, make_buffer, tmp_path) -> None:
    trainer = trainer_of(
        make_loss(),
        make_buffer(),
        save_trainer_interval=4,
        checkpoint=Checkpoint(),
        checkpoint_rotation=CheckpointRotation(tmp_path, keep_last=2),
        checkpoint_metadata=lambda trainer: {"told": f"at {trainer.gradient_steps}"},
    )
    trainer.train()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["checkpoint-000000000016", "checkpoint-000000000020"]
    manifest = json.loads((tmp_path / kept[0] / "manifest.json").read_text())
    assert manifest["metadata"] == {"told": "at 16", "collected_frames": 0, "optim_steps": 16}


@pytest.mark.parametrize("seed", [3, [1, 2]])
def test_a_torchrl_checkpoint_resumes_exactly(make_loss, make_buffer, tmp_path, seed) -> None:
    def make(name: str) -> CQLTrainer:
        return trainer_of(
            make_loss(), make_buffer(), seed=seed, checkpoint=Checkpoint(), save_trainer_file=tmp_path / name
        )

    whole, first, rest = make("whole"), make("first"), make("rest")
    whole.train()
    stop_at(first, 8)
    first.train()
    rest.load_from_file(tmp_path / "first")
    assert rest.gradient_steps == 8
    rest.train()
    assert same(rest.state_dict(), whole.state_dict())


# load_from_file


def test_load_from_file_is_weights_only_unless_told(make_loss, make_buffer, tmp_path) -> None:
    class Odd:
        def state_dict(self) -> dict:
            return {"what": {1, 2}, "kind": ListLogger}

        def load_state_dict(self, state: dict) -> None:
            self.loaded = state

    def make(**arguments) -> tuple[CQLTrainer, Odd]:
        trainer, odd = trainer_of(make_loss(), make_buffer(), **arguments), Odd()
        trainer.register_module("odd", odd)
        return trainer, odd

    make(save_trainer_file=tmp_path / "t.pt")[0].save_trainer(force_save=True)
    trainer, odd = make()
    with pytest.raises(ConfigError, match=r"[Ww]eights"):
        trainer.load_from_file(tmp_path / "t.pt")
    assert trainer.load_from_file(tmp_path / "t.pt", weights_only=False) is trainer
    assert odd.loaded["what"] == {1, 2}


def test_another_trainers_file_is_one_sentence(make_loss, make_buffer, tmp_path) -> None:
    trainer_of(make_loss(), make_buffer(), save_trainer_file=tmp_path / "t.pt").save_trainer(force_save=True)
    with pytest.raises(ConfigError, match="does not fit this one"):
        trainer_of(make_loss(critic_hidden=[9]), make_buffer()).load_from_file(tmp_path / "t.pt")
    with pytest.raises(ConfigError, match=r"other parts.*engine"):
        trainer_of(make_loss(), make_buffer(), seed=[0]).load_from_file(tmp_path / "t.pt")


def test_a_checkpoint_never_replaces_what_was_put_beside_it(make_loss, make_buffer, tmp_path) -> None:
    trainer = trainer_of(
        make_loss(), make_buffer(), checkpoint=Checkpoint(), save_trainer_file=tmp_path / "saved"
    )
    for _ in range(2):
        trainer.save_trainer(force_save=True)
    (tmp_path / "saved" / "notes.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not a saved trainer"):
        trainer.save_trainer(force_save=True)
    assert (tmp_path / "saved" / "notes.txt").read_text() == "years of work"
