"""A world of its own for every test that needs one: cache, results, and an embedded dataset of 600 rows."""

import copy
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cqlbench.data.embedded.policy import BehaviourPolicy

# Tests started in the background have SIGINT ignored, and by nohup SIGHUP; cqlbench respects that.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)

TINY_CARD = """
[defaults]
source = "embedded"
endpoints_source = "made up"
licence = "MIT"

[card."embedded/tiny-hopper-v0"]
environment = { id = "Hopper-v4", max_episode_steps = 50 }
score_min = -20.272305
score_max = 3234.3
policies = ["tiny"]
rows = 600
collection_seed = 0
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an offline machine, and cards that know `embedded/tiny-hopper-v0` only."""
    monkeypatch.setenv("CQLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CQLBENCH_OFFLINE", "1")
    cards, policies = tmp_path / "cards", tmp_path / "policies"
    cards.mkdir()
    (cards / "tiny.toml").write_text(TINY_CARD)
    generator = np.random.default_rng(0)
    layers = {}
    for layer, (size_in, size_out) in enumerate([(11, 8), (8, 6)]):
        layers[f"{layer}.weight"] = generator.normal(0, 0.3, (size_in, size_out)).astype(np.float32)
        layers[f"{layer}.bias"] = np.zeros(size_out, np.float32)
    box = np.ones(3, np.float32)
    evaluation = {"stochastic": {"episodes": 7, "return_mean": 11.0, "score_mean": 0.96}}
    BehaviourPolicy.from_arrays(layers, -box, box, evaluation=evaluation).save(policies / "tiny.npz")
    monkeypatch.setattr("cqlbench.data.cards.cards_dir", lambda: cards)
    monkeypatch.setattr("cqlbench.data.embedded.policy.policies_dir", lambda: policies)
    return tmp_path


@pytest.fixture
def suite_file(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only suite there is: `mine`, of `embedded/tiny-hopper-v0`."""
    path = world / "tree" / "suite" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("title: Tiny\nbudget: smoke\ndatasets:\n  - embedded/tiny-hopper-v0\n")
    monkeypatch.setattr("cqlbench.experiments.suite.benchmarks_dir", lambda: world / "tree")
    return path


_composed: dict[tuple[object, ...], object] = {}


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' dataset is kept once a test has collected it."""
    return tmp_path_factory.mktemp("collected") / "buffers"


@pytest.fixture
def shortcuts(world: Path, collected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out most of a short run's time: nothing is drawn or timed, and every config is composed and the
    dataset collected once for all tests."""
    from cqlbench.engine.engine import Engine
    from cqlbench.experiments import api, compose

    buffers = world / "cache" / "buffers"
    if not collected.exists():
        api.load_dataset("embedded/tiny-hopper-v0")
        shutil.copytree(buffers, collected)
    elif not buffers.exists():
        shutil.copytree(collected, buffers)

    monkeypatch.setattr("cqlbench.reporting.run.learning_curve", lambda _summary, _kind: b"")
    monkeypatch.setattr(Engine, "seconds_per_step", lambda _self: 0.1)
    monkeypatch.setattr("cqlbench.engine.product_rate._SECONDS", 0.0)

    plain = compose._compose

    def remembered(overrides: list[str]) -> object:
        places = [each for each in overrides if each.startswith("results=")]
        rest = [each for each in overrides if each not in places]
        key = (compose.benchmarks_dir(), *rest)
        if key not in _composed:
            _composed[key] = plain(rest)
        config = copy.deepcopy(_composed[key])
        for place in places:
            config.results = place.removeprefix("results='").removesuffix("'")
        return config

    monkeypatch.setattr(compose, "_compose", remembered)


@pytest.fixture
def bench(
    world: Path, shortcuts: None, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`bench("key=value", ...)` -> exit status, standard output, standard error of the real command."""
    from cqlbench.commands.main import main

    def run(*words: str, verb: str = "bench") -> tuple[int, str, str]:
        small = ["budget=smoke", f"results={world / 'results'}", "algorithm.batch_size=8", "steps=6"]
        named = {word.partition("=")[0] for word in words}
        defaults = [word for word in small if word.partition("=")[0] not in named]
        capfd.readouterr()
        status = main([verb, *defaults, *words])
        out = capfd.readouterr()
        return status, out.out, out.err

    return run
