"""Units on Ray's own cluster of simulated nodes: placed, packed, started again; mistakes named in seconds."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments.launchers.forked import Forked, Server
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


@contextlib.contextmanager
def cluster_of_two() -> Iterator[tuple[Cluster, list[Any]]]:
    """A head without room for units, and two nodes that can be removed."""
    config = {"prestart_worker_first_driver": False}  # workers take a second each to start
    head = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False}
    cluster = Cluster(initialize_head=True, head_node_args=head | {"_system_config": config})
    try:
        nodes = [new_node(cluster) for _ in range(2)]
        cluster.wait_for_nodes()
        yield cluster, nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


def new_node(cluster: Cluster, tries: int = 3) -> Any:
    """Ray gives a node half a minute to start, in which a busy machine may not manage it."""
    try:
        return cluster.add_node(num_cpus=4, num_gpus=2)
    except Exception:
        if tries == 1:
            raise
        return new_node(cluster, tries - 1)


@pytest.mark.timeout(900)  # a busy machine takes its time to start workers
def test_units_on_a_cluster(world: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One test, for a cluster takes seconds to start, and so do workers for each connection.
    with Server(world, WORDS) as server, cluster_of_two() as (cluster, nodes):
        refuses_what_no_node_has(cluster.address, world)
        engine = connect(RaySettings(address=cluster.address, gpus_per_run=0.5), world / "half")
        try:
            refuses_other_workers(world / "other", monkeypatch)
            packs_half_gpus(engine, world / "half")
        finally:
            engine.close()
        survive(cluster, nodes, world, server, trials=1)


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


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_where_nobody_answers_is_refused_within_seconds(tmp_path: Path, address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9"):
        connect(RaySettings(address=address), tmp_path)
    assert time.monotonic() - began < 10


def test_a_server_that_does_not_answer_clients_is_asked_twice(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def refuse(**settings: object) -> None:
        asked.append(settings["address"])
        raise ConnectionError("ray client connection timeout")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ours, "_show_token", lambda: None)  # for this process's other clusters
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match="auth_token"):
            connect(RaySettings(address=address), tmp_path)
    assert asked == [address] * 2


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


@pytest.mark.slow
@pytest.mark.timeout(10_000)
def test_suites_lose_nodes_workers_and_drivers_at_many_moments(world: Path, suite_file: Path) -> None:
    with Server(world, WORDS) as server, cluster_of_two() as (cluster, nodes):
        survive(cluster, nodes, world, server, trials=20)


# Units wait more than they compute, so that there is always something to lose.
WORDS = [
    "suite=mine", "steps=24", "budget.evaluation_interval=8", "algorithm=bc", "algorithm.batch_size=8",
    "plots=false", "checkpoint_interval=0.2",
]  # fmt: skip
UNITS = ["seeds=8", "launcher.seeds_per_run=1", "launcher.cpus_per_run=2"]
STEP = 0.1
LONGEST = 0.8


def start(server: Server, results: Path, *words: str) -> Forked:
    words = ("paper", *WORDS, *UNITS, *words, f"results={results}")
    with printed(results).open("a") as output:
        return Forked(server.path, list(words), output.fileno(), CQLBENCH_TINY_SECONDS=f"{STEP}")


def printed(results: Path) -> Path:
    return results.with_suffix(".out")


def survive(cluster: Cluster, nodes: list[Any], world: Path, server: Server, trials: int) -> None:
    """Suites that lose a worker, a node and their driver at random moments have the records of one on
    `launcher=local` that did not."""
    undisturbed = start(server, world / "whole", "launcher=local", "launcher.at_once=4")
    generator, resumed, whole = np.random.default_rng(trials), 0, list[tuple]()
    for number in range(trials):
        results = world / f"trial-{number}"
        suffer(cluster, nodes, server, results, generator)
        if not whole:
            assert undisturbed.wait() == 0, printed(world / "whole").read_text()
            whole = outcome_of(world / "whole")
            assert len(whole) == 8
        assert outcome_of(results) == whole, printed(results).read_text()
        left = [path for kind in ("*.lease", "checkpoints*", "*.run-2.json") for path in results.rglob(kind)]
        assert left == []
        resumed += sum(bool(record.resumed_at) for record in all_records(results))
    assert resumed >= trials


def suffer(
    cluster: Cluster, nodes: list[Any], server: Server, results: Path, generator: np.random.Generator
) -> None:
    """A suite that loses a worker, a node and its driver at random moments; it is started again."""
    words = ["launcher=ray", f"launcher.address={cluster.address}"]
    if len(nodes) < 2:
        nodes.append(new_node(cluster))
    driver = start(server, results, *words)
    for loss in generator.permutation(["worker", "node", "driver"]):
        moment = generator.uniform(0, LONGEST)
        while not half_done(results):
            assert driver.poll() is None, printed(results).read_text()
            time.sleep(0.05)
        time.sleep(moment)
        while not (workers := at_work(results)):
            assert driver.poll() is None, printed(results).read_text()
            time.sleep(0.05)
        if loss == "worker":
            with contextlib.suppress(ProcessLookupError):
                os.kill(generator.choice(workers), signal.SIGKILL)
        elif loss == "node":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        elif loss == "driver":
            driver.kill()
            driver.wait()
            driver = start(server, results, *words)
    assert driver.wait(timeout=600) == 0, printed(results).read_text()


def half_done(results: Path) -> bool:
    """Whether there is a run that has saved something, so that it can be resumed."""
    with contextlib.suppress(FileNotFoundError):  # a folder that was removed just then
        return any(results.rglob("step-*.checkpoint"))
    return False


def at_work(results: Path) -> list[int]:
    """Workers that run a unit, but for those that died and could not say so."""
    found = []
    for about in running(results / "suites" / "mine"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(about["pid"], 0)
            found.append(about["pid"])
    return sorted(found)
