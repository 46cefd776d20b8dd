"""Units as tasks on a Ray cluster: it places them, and starts them again when a node or a worker dies."""

import logging
import os
import secrets
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cqlbench.core.errors import ConfigError
from cqlbench.core.text import counted
from cqlbench.experiments.launchers.settings import RaySettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit, run_unit
from cqlbench.records.provenance import git_state, versions

_ANSWER = 5.0
"""Seconds in which a cluster must accept a connection."""
_LOOK_AROUND = 60.0
"""Seconds in which every node must have started a worker and said what it sees."""
_GB = 10**9


class RayLauncher:
    """See `Launcher`."""

    def __init__(self, settings: RaySettings, results: Path) -> None:
        self._settings = settings
        self._units: dict[Any, int] = {}
        _connect(settings.address)
        try:
            _check_workers([node["NodeID"] for node in self._able_nodes()], results)
            nodes = self._able_nodes()  # without those that died meanwhile
        except BaseException:
            self.close()
            raise
        self.slots = sum(self._fits(node) for node in nodes)
        gpus = sum(node["Resources"].get("GPU", 0) for node in nodes)
        self.where = f"Ray, {counted(len(nodes), 'node')} with {counted(int(gpus), 'GPU')}"

    def submit(self, units: Sequence[Unit], surroundings: Surroundings) -> None:
        """See `Launcher`."""
        task = ray.remote(run_unit).options(
            num_cpus=self._settings.cpus,
            num_gpus=self._settings.gpus,
            memory=self._settings.memory * _GB or None,
            max_retries=self._settings.retries,
            retry_exceptions=False,
        )
        shared = ray.put(surroundings)
        self._units |= {task.remote(unit, shared): unit.number for unit in units}

    def wait(self, seconds: float) -> Mapping[int, Outcome]:
        """See `Launcher`."""
        waiting = list(self._units)
        if not ray.wait(waiting, timeout=seconds, fetch_local=False)[0]:
            return {}
        ready = ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)[0]
        return {self._units.pop(task): self._outcome(task) for task in ready}

    def cancel(self) -> None:
        """See `Launcher`."""
        for task in self._units:
            with suppress(RayError, ValueError):
                ray.cancel(task, force=True)  # the command gets SIGTERM as its worker ends

    def close(self) -> None:
        """See `Launcher`."""
        ray.shutdown()

    def _outcome(self, task: Any) -> Outcome:
        try:
            outcome: Outcome = ray.get(task)
        except RayError as error:
            first = next(iter(str(error).splitlines()), "")
            return Outcome(
                2,
                f"Its worker or node died {counted(self._settings.retries + 1, 'time')}, or it could not be"
                f" run there ({type(error).__name__}: {first}).",
            )
        return outcome

    def _able_nodes(self) -> list[dict[str, Any]]:
        """The nodes that have room for a unit.

        Raises:
            ConfigError: there is none: Ray would wait for one for ever.
        """
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = {
            "CPU": (self._settings.cpus, "launcher.cpus_per_run", 1),
            "GPU": (self._settings.gpus, "launcher.gpus_per_run", 1),
            "memory": (self._settings.memory, "launcher.memory", _GB),
        }
        for resource, (number, key, unit) in asked.items():
            most = max((node["Resources"].get(resource, 0) / unit for node in nodes), default=0)
            if number > most:
                raise ConfigError(f"{key}={number:g} is more than any node of the cluster has ({most:g}).")
        able = [node for node in nodes if self._fits(node)]
        if not able:
            wanted = ", ".join(f"{key}={number:g}" for number, key, _ in asked.values() if number)
            raise ConfigError(f"No node of the cluster has {wanted} together.")
        return able

    def _fits(self, node: Mapping[str, Any]) -> int:
        """How many units at a time."""
        has, settings = node["Resources"], self._settings
        fits = has.get("CPU", 0) // settings.cpus
        if settings.gpus:
            shared = has.get("GPU", 0) * (1 // settings.gpus) if settings.gpus < 1 else 0
            fits = min(fits, shared or has.get("GPU", 0) // settings.gpus)
        if settings.memory:
            fits = min(fits, has.get("memory", 0) // (settings.memory * _GB))
        return int(fits)


def _connect(address: str) -> None:
    """Connect, or start Ray on this machine.

    Raises:
        ConfigError: nobody answers.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # units without a GPU say device=cpu
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else None
    host, _, port = (named or address).removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():  # Ray itself would try for minutes
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER).close()
        except OSError as error:
            raise ConfigError(
                f"No Ray cluster answers at {named or address} ({error.strerror or error}); start one with"
                " 'ray start --head', or name another with launcher.address=."
            ) from error
    before = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            more = {"include_dashboard": False} if address == "local" else {}
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **more)
    except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"launcher.address={address} cannot be used ({first.rstrip('.:')}). Start a cluster with"
            " 'ray start --head', or say launcher.address=local."
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own handler exits with another status


def _check_workers(nodes: Sequence[str], results: Path) -> None:
    """Make sure that every node runs this code with these packages, and sees the results folder.

    Raises:
        ConfigError: naming the node and what is wrong there.
    """
    token = secrets.token_hex(8)
    probe = results / f".probe-{token}"
    results.mkdir(parents=True, exist_ok=True)
    probe.write_text(token, encoding="utf-8")
    try:
        seen = _looks(nodes, probe)
        # By name: a listing of the folder may be an old one.
        answers = [probe.with_name(f"{probe.name}-{node['name']}") for node in seen]
        answered = [answer.exists() for answer in answers]
        for answer in answers:
            answer.unlink(missing_ok=True)
    finally:
        probe.unlink(missing_ok=True)
    here = versions() | {"commit": git_state().commit or "none"}
    for node, shared in zip(seen, answered, strict=True):
        if not node["versions"]:
            raise ConfigError(f"cqlbench is not installed on {node['host']} ({node['problem']}).")
        if node["content"] != token or not shared:
            raise ConfigError(
                f"{node['host']} does not see '{results}', or cannot write to it; choose a folder that all"
                " machines share with results=."
            )
        if different := _differences(here, node["versions"]) or _differences(
            seen[0]["versions"], node["versions"], exact=True
        ):
            raise ConfigError(f"{node['host']} has other packages: {'; '.join(different)}.")


def _looks(nodes: Sequence[str], probe: Path) -> list[dict[str, Any]]:
    """What a worker of each node sees: see `_probe`. A node that dies meanwhile is none.

    Raises:
        ConfigError: one cannot be asked, or none is left.
    """
    look = ray.remote(num_cpus=0, max_retries=1)(_probe())
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    tasks = [look.options(scheduling_strategy=place).remote(str(probe)) for place in places]
    ray.wait(tasks, num_returns=len(tasks), timeout=_LOOK_AROUND)
    alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    seen: list[dict[str, Any]] = []
    for node, task in zip(nodes, tasks, strict=True):
        try:
            seen.append(ray.get(task, timeout=0))
        except RayError as error:
            if node in alive:
                late = f"started no worker within {_LOOK_AROUND:.0f} seconds"
                failed = f"cannot run tasks ({' '.join(str(error).split())})"
                why = late if isinstance(error, GetTimeoutError) else failed
                raise ConfigError(f"{alive[node]}, a node of the cluster, {why}.") from error
    if not seen:
        raise ConfigError("No node of the cluster is alive any more; start them again.")
    return seen


def _differences(here: Mapping[str, str], there: Mapping[str, str], *, exact: bool = False) -> list[str]:
    """What differs, a clause each; builds of a version (`+cpu`) may, unless it must be `exact`."""

    def build(version: str) -> str:
        return version if exact else version.partition("+")[0]

    return [
        f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} "
        + ("on another node" if exact else "here")
        for name in sorted({*here, *there})
        if build(here.get(name, "absent")) != build(there.get(name, "absent"))
    ]


def _probe() -> Callable[[str], dict[str, Any]]:
    """A function that travels by its code, so that it runs where cqlbench is missing or another one."""

    def look(probe: str) -> dict[str, Any]:
        import pathlib
        import socket
        import uuid

        seen: dict[str, Any] = {"versions": {}, "problem": "", "content": ""}
        seen |= {"host": socket.gethostname(), "name": uuid.uuid4().hex}
        try:
            from cqlbench.records.provenance import git_state, versions

            seen["versions"] = versions() | {"commit": git_state().commit or "none"}
        except Exception as error:  # noqa: BLE001 (whatever it is, the driver names it)
            seen["problem"] = f"{type(error).__name__}: {error}"
        try:
            seen["content"] = pathlib.Path(probe).read_text(encoding="utf-8")
            pathlib.Path(f"{probe}-{seen['name']}").touch()
        except OSError:
            pass
        return seen

    return look
