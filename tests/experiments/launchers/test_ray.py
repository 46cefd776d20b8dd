"""Units on Ray's own cluster of simulated nodes: placed, packed, started again; mistakes named in seconds."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_records import all_records

pytest.importorskip("ray")
import ray
from ray.cluster_utils import Cluster

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.launchers import probe
from cqlbench.experiments.launchers import ray as ours
from cqlbench.experiments.launchers.launcher import connect
from cqlbench.experiments.launchers.ray import RayLauncher
from cqlbench.experiments.launchers.settings import RaySettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's own threads and files


def finished(launcher: RayLauncher, count: int, seconds: float = 60) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    deadline = time.monotonic() + seconds
    while len(outcomes) < count:
        assert time.monotonic() < deadline, f"{len(outcomes)} of {count}"
        outcomes |= launcher.wait(0.2)
    return outcomes


def outcome_of(results: Path) -> list[tuple]:
    """What neither clocks nor machines decide in the records."""
    return sorted(
        (record.seed, record.seed_batch, record.diagnostics, [each.returns for each in record.evaluations])
        for record in all_records(results)
    )


def programs(text: str, count: int) -> Sequence[Unit]:
    return [Unit(number, f"unit {number}", ("-c", text, str(number))) for number in range(1, count + 1)]


def running(folder: Path) -> list[dict]:
    found = []
    for path in (folder / "running").glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except OSError:
            continue
    return found


def test_units_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One test, for a cluster takes seconds to start, and so do workers for each connection.
    config = {"prestart_worker_first_driver": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": config})
    try:
        nodes = [cluster.add_node(num_cpus=4, num_gpus=2, wait=False) for _ in range(2)]
        cluster.wait_for_nodes()
        refuses_what_no_node_has(cluster.address, tmp_path)
        engine = connect(RaySettings(address=cluster.address, gpus_per_run=0.5), tmp_path / "half")
        try:
            refuses_other_workers(tmp_path / "other", monkeypatch)
            packs_half_gpus(engine, tmp_path / "half")
        finally:
            engine.close()
        starts_again_what_was_lost(cluster, nodes[1], tmp_path / "lost")
    finally:
        ray.shutdown()
        cluster.shutdown()


def refuses_what_no_node_has(address: str, folder: Path) -> None:
    for key, number in (("gpus_per_run", 3), ("cpus_per_run", 64), ("memory", 10_000)):
        began = time.monotonic()
        with pytest.raises(ConfigError, match=f"launcher.{key}={number} is more than any node"):
            connect(RaySettings(address=address, **{key: number}), folder)
        assert time.monotonic() - began < 10
        assert not ray.is_initialized()


def refuses_other_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]

    def check(*nodes: str) -> None:
        probe.check_workers(folder, lambda path: ours._looks(nodes, path))

    with monkeypatch.context() as patch:
        patch.setattr(probe, "versions", lambda: {"cqlbench": "0.0.9"})
        with pytest.raises(ConfigError, match=r"other packages: .*cqlbench is .* there and 0.0.9 here"):
            check(nodes[0])
    look = probe.looker()
    with monkeypatch.context() as patch:
        patch.setattr(ours, "looker", lambda: lambda path: look(f"/proc/elsewhere/{Path(path).name}"))
        with pytest.raises(ConfigError, match="does not see"):
            check(nodes[0])
    check(nodes[0], "e" * 56)  # the other one has just died
    assert list(folder.iterdir()) == []


def packs_half_gpus(engine: RayLauncher, folder: Path) -> None:
    """Eight units of half a GPU at a time, and never more; an error of ours is named, not tried again."""
    assert engine.slots == 8
    assert "4 GPUs" in engine.where
    # Each says when it began and ended, and which GPU it was given.
    text = (
        "import os, sys, time, pathlib; began = time.time(); time.sleep(2);"
        "life = (began, time.time(), os.environ['CUDA_VISIBLE_DEVICES']);"
        "pathlib.Path(f'{sys.argv[1]}.txt').write_text(' '.join(map(str, life)));"
        "sys.argv[1] == '9' and (print('cqlbench: Gone.'), sys.exit(2))"
    )
    engine.submit(programs(text, 9), Surroundings(str(folder), working=str(folder)))
    outcomes = finished(engine, 9)
    assert {number: each.status for number, each in outcomes.items() if each.status} == {9: 2}
    assert outcomes[9].message.startswith("Gone.")
    assert [path.read_text().count("# ") for path in (folder / "logs").iterdir()] == [1] * 9
    lives = [path.read_text().split() for path in folder.glob("*.txt")]
    moments = sorted({float(life[0]) for life in lives})
    at_once = [sum(float(life[0]) <= moment < float(life[1]) for life in lives) for moment in moments]
    assert 3 <= max(at_once) <= 8  # all eight where the machine is quick enough to start them
    assert {life[2] for life in lives} == {"0", "1"}


def starts_again_what_was_lost(cluster: Cluster, node: Any, folder: Path) -> None:
    """What a node or a worker takes along is started again."""
    engine = connect(RaySettings(address=cluster.address, cpus_per_run=2), folder)
    try:
        assert engine.slots == 4
        text = "import sys, time, pathlib; time.sleep(2); open(f'{sys.argv[1]}.txt', 'a').write('x')"
        engine.submit(programs(text, 6), Surroundings(str(folder), working=str(folder)))
        while len(running(folder)) < 4:
            time.sleep(0.05)
        os.kill(running(folder)[0]["pid"], signal.SIGKILL)
        cluster.remove_node(node, allow_graceful=False)
        outcomes = finished(engine, 6)
    finally:
        engine.close()
    assert {each.status for each in outcomes.values()} == {0}
    assert sorted(path.stem for path in folder.glob("*.txt")) == list("123456")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_where_nobody_answers_is_refused_within_seconds(tmp_path: Path, address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9"):
        connect(RaySettings(address=address), tmp_path)
    assert time.monotonic() - began < 10


def test_builds_of_a_version_may_differ_from_the_drivers_but_not_among_workers() -> None:
    cpu, gpu = {"torch": "2.13.0+cpu"}, {"torch": "2.13.0+cu130"}
    assert probe._differences(cpu, gpu) == []
    assert len(probe._differences(cpu, gpu, exact=True)) == 1
    assert probe._differences(cpu, {"torch": "2.12.0+cpu"}) == [
        "torch is 2.12.0+cpu there and 2.13.0+cpu here"
    ]


def test_ray_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"cqlbench\[ray\]"):
        connect(RaySettings(), tmp_path)


TRIALS = 20
WORDS = [
    "suite=mine", "seeds=8", "launcher.seeds_per_run=1", "steps=30", "budget.evaluation_interval=10",
    "algorithm=bc", "algorithm.batch_size=8", "plots=false", "checkpoint_interval=0.2",
]  # fmt: skip


def start(world: Path, results: Path, *words: str) -> subprocess.Popen:
    program = Path(__file__).parent / "tiny_world.py"
    return subprocess.Popen(
        [sys.executable, str(program), str(world), "paper", *WORDS, *words, f"results={results}"],
        env=os.environ | {"CQLBENCH_TINY_SECONDS": "0.2"},
        stdout=(results.parent / f"{results.name}.out").open("a"),
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
@pytest.mark.timeout(10_000)
def test_suites_that_lose_nodes_workers_and_drivers_have_the_records_of_the_one_that_did_not(
    world: Path, suite_file: Path
) -> None:
    assert start(world, world / "whole", "launcher=local", "launcher.at_once=2").wait() == 0
    whole = outcome_of(world / "whole")
    assert len(whole) == 8
    generator = np.random.default_rng(0)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=2)
        resumed = 0
        for number in range(TRIALS):
            results = world / f"trial-{number}"
            suffer(cluster, world, results, generator)
            assert outcome_of(results) == whole, (world / f"{results.name}.out").read_text()
            assert not [
                *results.rglob("*.lease"),
                *results.rglob("checkpoints*"),
                *results.rglob("*.run-2.json"),
            ]
            resumed += sum(bool(record.resumed_at) for record in all_records(results))
        assert resumed >= TRIALS
    finally:
        cluster.shutdown()


def half_done(results: Path) -> bool:
    """Whether there is a run that has saved something, so that it can be resumed."""
    with contextlib.suppress(FileNotFoundError):  # a folder that was removed just then
        return any(results.rglob("step-*.checkpoint"))
    return False


def suffer(cluster: Cluster, world: Path, results: Path, generator: np.random.Generator) -> None:
    """A suite that loses a worker, a node and its driver at random moments, and is started again."""
    words = ["launcher=ray", f"launcher.address={cluster.address}"]
    node, folder = cluster.add_node(num_cpus=2), results / "suites" / "mine"
    driver = start(world, results, *words)
    for loss in generator.permutation(["worker", "node", "driver"]):
        while not half_done(results):
            assert driver.poll() is None, (world / f"{results.name}.out").read_text()
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 3))
        if loss == "worker" and (workers := running(folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(generator.choice(workers)["pid"], signal.SIGKILL)
        elif loss == "node":
            cluster.remove_node(node, allow_graceful=False)
        elif loss == "driver":
            driver.kill()
            driver.wait()
            driver = start(world, results, *words)
    assert driver.wait(timeout=600) == 0, (world / f"{results.name}.out").read_text()
