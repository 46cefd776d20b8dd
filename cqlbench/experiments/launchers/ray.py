"""Units as tasks on a Ray cluster: it places them, and starts them again when a node or a worker dies."""

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, LocalRayletDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.text import counted
from cqlbench.experiments.launchers.probe import Seen, check_workers, looker
from cqlbench.experiments.launchers.settings import RaySettings
from cqlbench.experiments.launchers.unit import Outcome, Surroundings, Unit, run_unit

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
            able = [node["NodeID"] for node in self._able_nodes()]
            check_workers(results, lambda probe: _looks(able, probe))
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
        except LocalRayletDiedError as error:
            raise UserError(
                "The node of the cluster that this process was connected to has died; the same command"
                " resumes on the others."
            ) from error
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
    if client := (named or address).startswith("ray://"):
        _show_token()
    try:
        try:
            _init(address)
        except ConnectionError:
            if not client:
                raise
            _init(address)  # a server starts a process for each client, and busy ones not always in time
    except (ConnectionError, ImportError, RuntimeError, ValueError, RayError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = (
            "If it asks for a token, this machine needs it too: as ~/.ray/auth_token or RAY_AUTH_TOKEN."
            if client
            else "Start a cluster with 'ray start --head', or say launcher.address=local."
        )
        raise ConfigError(
            f"launcher.address={address} cannot be used ({first.rstrip('.:')}). {advice}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own handler exits with another status


def _looks(nodes: Sequence[str], probe: Path) -> list[Seen]:
    """What a worker of each node sees: see `looker`. A node that dies meanwhile is none.

    Raises:
        ConfigError: one cannot be asked, or none is left.
    """
    look = ray.remote(num_cpus=0, max_retries=1)(looker())
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    tasks = [look.options(scheduling_strategy=place).remote(str(probe)) for place in places]
    ray.wait(tasks, num_returns=len(tasks), timeout=_LOOK_AROUND)
    alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    seen: list[Seen] = []
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


def _init(address: str) -> None:
    more = {"include_dashboard": False} if address == "local" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **more)


def _show_token() -> None:
    """Have Ray's client show the token that there is, as `ray.init` does for all other addresses.

    `ray start` asks for one as soon as its user has one, and does not answer clients without it: they give
    up after half a minute.
    """
    with suppress(ImportError):  # older ones ask for none
        from ray._private.authentication import authentication_token_setup as setup

        setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
