"""A script written for torchrl's `CQLTrainer` runs with ours when its import is changed."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).with_name("torchrl_script.py")
THEIRS = "from torchrl.trainers.algorithms import CQLTrainer\n"
OURS = "from cqlbench import CQLTrainer\n"


def run(line: str, folder: Path, frame_skip: int, async_collection: bool = False) -> SimpleNamespace:
    """What the script leaves behind with `line` as its import."""
    source = SCRIPT.read_text(encoding="utf-8")
    assert source.count(THEIRS) == 1
    script = ModuleType("script")
    exec(compile(source.replace(THEIRS, line), str(SCRIPT), "exec"), script.__dict__)
    trainer = script.run(folder, frame_skip, async_collection)
    assert type(trainer).__module__.startswith(line.split()[1].partition(".")[0])
    return SimpleNamespace(
        trainer=trainer,
        logged={path.stem for path in (folder / "log" / "scalars").iterdir()},
        saved=sorted(path.name for path in (folder / "checkpoints").iterdir()),
    )


pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{warning}")
    for warning in (
        "CQLTrainer is an experimental",
        "The 'post_loss' hook stage",
        "Converting a tensor with req",
    )
]


def test_it_counts_logs_and_saves_what_torchrls_trainer_does(tmp_path: Path) -> None:
    theirs, ours = (run(line, tmp_path / line.split()[1], 2) for line in (THEIRS, OURS))
    for name in ("collected_frames", "_optim_count"):
        assert getattr(ours.trainer, name) == getattr(theirs.trainer, name), name
    assert {"r_training", "r_max", "r_total", "action_norm_std", "obs_norm", "utd_ratio"} <= theirs.logged
    assert not theirs.logged - ours.logged
    histories = [
        {name: len(values) for name, values in each.trainer._log_dict.items()} for each in (theirs, ours)
    ]
    for name in ("r_training", "loss_qvalue", "loss_actor_bc", "grad_norm", "optim_steps"):
        assert histories[1][name] == histories[0][name], name
    assert len(theirs.saved) > 2
    assert ours.saved == theirs.saved


def test_it_logs_what_torchrls_trainer_does_while_collecting_asynchronously(tmp_path: Path) -> None:
    theirs, ours = (run(line, tmp_path / line.split()[1], 2, True) for line in (THEIRS, OURS))
    assert not theirs.logged - ours.logged
    for each in (theirs, ours):  # rows, whatever the frame skip
        assert each.trainer.collected_frames <= each.trainer.replay_buffer.write_count
