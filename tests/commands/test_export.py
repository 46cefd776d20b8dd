"""An exported policy needs torch (or an ONNX runtime) alone, and acts as the evaluated policy does."""

import importlib.util
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from cqlbench.algorithms.cql import CQLConfig
from cqlbench.algorithms.networks import ActionBox, ActionSpace, DiscreteActions
from cqlbench.algorithms.networks.transformer import init_transformer
from cqlbench.commands.main import main
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.engine import Engine
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.experiments.policy_module import FORMATS, Policy, exported, module_of
from cqlbench.records.policy import SavedPolicy

PROGRAM = """
import pathlib, sys, warnings
sys.modules["cqlbench"] = None  # importing it would fail
warnings.simplefilter("ignore")
import numpy as np
import torch

for path in sorted(pathlib.Path().glob("policy*")):
    extra = {"cqlbench.json": ""}
    if path.suffix == ".onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(path)
        act = lambda x: session.run(None, {"observation": x})[0]
    elif path.suffix == ".pt":
        module = torch.jit.load(path, _extra_files=extra)
        act = lambda x: module(torch.from_numpy(x)).numpy()
    else:
        module = torch.export.load(path, extra_files=extra).module()
        act = lambda x: module(torch.from_numpy(x)).numpy()
    assert path.suffix == ".onnx" or "dataset" in str(extra["cqlbench.json"])
    x = np.load("observations.npy")[int(path.stem[-1])]
    np.savez("actions-" + path.name, all=act(x), one=act(x[:1]))
"""
HAS_ONNX = all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime")))
KINDS = [kind for kind in FORMATS if kind != "onnx" or HAS_ONNX]


def train(actions: ActionSpace) -> Engine:
    """Two seeds after 60 steps; the policy of neither is constant."""
    generator = torch.Generator().manual_seed(0)
    observations = 3 + 2 * torch.randn(2, 100, 4, generator=generator)
    discrete = isinstance(actions, DiscreteActions)
    taken = torch.eye(2)[(observations[0, :, 0] > 3).long()] if discrete else observations[0, :, :2].tanh()
    rewards = observations[0, :, 2]
    engine = Engine(
        CQLConfig(
            actor_hidden=[16, 16],
            critic_hidden=[8],
            batch_size=8,
            proposals=2,
            actor_learning_rate=0.05,
            critic_learning_rate=0.02,
        ),
        Columns(observations[0], taken, rewards, observations[1], rewards > 6),
        ObservationNormalizer(np.full(4, 3, np.float32), np.full(4, 1.7, np.float32)),
        RewardTransform(),
        actions,
        (3, 5),
        torch.device("cpu"),
    )
    for step in range(60):
        engine.step(step)
    return engine


@pytest.fixture
def trained() -> Engine:
    return train(ActionBox.from_bounds(-torch.ones(2), torch.ones(2)))


def saved(engine: Engine, position: int) -> SavedPolicy:
    arrays, notes = engine.policy(position)
    return SavedPolicy(arrays, {"run": "a/b-c", "seed": 5, "dataset": "a", **notes})


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
@pytest.mark.parametrize("kind", ["export", "torchscript"])
def test_a_decision_transformers_file_acts_as_its_module(kind: str) -> None:
    params = init_transformer((3, 2, 8), 2, 9, [torch.Generator().manual_seed(0)])
    arrays = {name: each[0].numpy() for name, each in params.items()}
    arrays |= {"observation_mean": np.full(3, 0.5, np.float32), "observation_scale": np.ones(3, np.float32)}
    arrays |= {"action_low": np.array([-1, 0], np.float32), "action_high": np.array([2, 1], np.float32)}
    notes = {"head": "sequence", "context": 5, "heads": 2, "asked_return": 3.0, "return_scale": 0.1}
    policy = SavedPolicy(arrays, notes)
    content = io.BytesIO(exported(policy, kind))
    loaded = torch.jit.load(content) if kind == "torchscript" else torch.export.load(content).module()
    generator = torch.Generator().manual_seed(1)
    for batch, steps in ((3, 4), (1, 5)):
        sizes = (3, 2)
        seen, acted = (torch.randn(batch, steps, size, generator=generator) for size in sizes)
        inputs = (
            seen,
            acted,
            torch.rand(batch, steps, generator=generator),
            torch.arange(steps).expand(batch, -1),
        )
        torch.testing.assert_close(loaded(*inputs), module_of(policy)(*inputs))


def test_a_program_without_cqlbench_gets_the_evaluators_actions(trained, tmp_path: Path) -> None:
    observations = np.random.default_rng(0).normal(3, 2, (2, 40, 4)).astype(np.float32)
    np.save(tmp_path / "observations.npy", observations)
    expected = {}
    for head, engine, positions in (("box", trained, (0, 1)), ("discrete", train(DiscreteActions(2)), (1,))):
        evaluated = engine.act(torch.from_numpy(observations)).numpy()
        assert evaluated.std(axis=1).min() > 0.01, "a policy that looks at its observation"
        for position, kind in itertools.product(positions, KINDS):
            name = f"policy-{head}{position}{FORMATS[kind]}"
            (tmp_path / name).write_bytes(exported(saved(engine, position), kind))
            expected[name] = evaluated[position]
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, cwd=tmp_path)
    for name, actions in expected.items():
        found = np.load(tmp_path / f"actions-{name}.npz")
        for key, rows in (("all", 40), ("one", 1)):
            np.testing.assert_allclose(found[key], actions[:rows], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_box_that_is_not_the_unit_box(trained) -> None:
    policy = saved(trained, 0)
    low, high = np.array([-3.0, 1.0], np.float32), np.array([1.0, 2.0], np.float32)
    wide = SavedPolicy({**policy.arrays, "action_low": low, "action_high": high}, policy.notes)
    x = torch.linspace(0, 6, 20).view(5, 4)
    unit = Policy(policy)(x).numpy()
    np.testing.assert_allclose(
        Policy(wide)(x).numpy(), low + (high - low) * (unit + 1) / 2, rtol=1e-5, atol=1e-6
    )


def export(world: Path, *words: str) -> int:
    return main(["export", *words, "--results", str(world / "results")])


def test_the_command_finds_a_run_by_what_bench_prints(world, bench, capfd, monkeypatch) -> None:
    monkeypatch.chdir(world)
    _, out, _ = bench("dataset=tiny-hopper", "seeds=[4,6]")
    run = next(line.split()[1] for line in out.splitlines() if line.startswith("Run "))
    assert export(world, "--run", run, "--seed", "6", "--output", "p.pt") == 0
    assert "torchscript: 11 observations -> 3 actions" in capfd.readouterr().out
    assert export(world, f"run={run.rpartition('/')[2]}") == 0
    written = Path(capfd.readouterr().out.split()[1])
    written.write_bytes(b"mine")
    assert export(world, f"run={run}") == 2
    assert "overwrite=true" in capfd.readouterr().err
    assert written.read_bytes() == b"mine"
    assert export(world, f"run={run}", "overwrite=true") == 0
    assert written.name == f"{run.replace('/', '-')}-seed4.pt2"
    extra = {"cqlbench.json": ""}
    torch.export.load(written, extra_files=extra)
    notes = json.loads(extra["cqlbench.json"])
    assert (notes["run"], notes["seed"], notes["step"]) == (run, 4, 6)
    assert notes["config"]["algorithm"]["batch_size"] == 8
    assert msgspec.convert(notes["environment"], EnvironmentSpec) == EnvironmentSpec(
        "Hopper-v4", max_episode_steps=50
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "required: --run"),
        (["run=x"], "There is no run 'x'"),
        (
            ["run=x", "format=tf"],
            "--format: invalid choice: 'tf' (choose from 'export', 'torchscript', 'onnx')",
        ),
        (["run=x", "seed=a"], "--seed: 'a' must be a whole number"),
        (["run=x", "output=p.xyz"], ".pt2 (export), .pt (torchscript), .onnx (onnx)"),
        (["run=x", "output=p"], ".pt2 (export), .pt (torchscript), .onnx (onnx)"),
        (["rum=x"], "'rum' (choose from run=, seed=, "),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, capsys, words: list[str], sentence: str) -> None:
    assert export(tmp_path, *words) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1


def test_onnx_without_its_packages_is_one_sentence(trained, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", type(sys)("onnx"))
    with pytest.raises(Exception, match=r"format=onnx needs onnxscript: pip install 'cqlbench\[onnx\]'"):
        exported(saved(trained, 0), "onnx")
