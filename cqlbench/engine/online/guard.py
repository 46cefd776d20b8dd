"""Environments that may fail: what raises, hangs or returns a NaN is found out, and replaced."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cqlbench.core.seeding import Purpose, environment_seeds
from cqlbench.environments.make import EnvironmentSpec, Step, choose_backend, make_environments

DEFAULT_TIMEOUTS = {"gymnasium": 60.0, "envpool": 0.0}
"""Seconds. Another thread takes a watched step, which costs 20 to 40 microseconds, a fifth of a step of one
Hopper in Python. A pool's steps are C++ that waits for nothing."""

_SEEDS_OF_ENVIRONMENTS = 2
"""Their place among the streams of collection, behind those of exploration."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Outcome:
    """What a step or reset came to.

    Attributes:
        step: what the environments returned; a reset's observations, with nothing else.
        good: `[n]` bool: where it did; `None`: wherever it was asked for.
        broken: `[n]` bool: where it failed; `None`: nowhere. Neither good nor broken: not tried.
        reason: of the failure, to be put behind the environment's name.
    """

    step: Step
    good: NDArray[np.bool_] | None = None
    broken: NDArray[np.bool_] | None = None
    reason: str = ""


class EnvironmentGuard:
    """`E` environments for each of `S` seeds, `n = S * E`, seed by seed.

    A step or reset of all of them may take `timeout` seconds; 0: any; `None`: `DEFAULT_TIMEOUTS`.

    Raises:
        UserError: the environment cannot be made.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        seeds: Sequence[int],
        environments: int,
        backend: str,
        timeout: float | None,
    ) -> None:
        self._seeds, self._each = tuple(seeds), environments
        backend = choose_backend(spec, backend)
        self._timeout = DEFAULT_TIMEOUTS[backend] if timeout is None else timeout
        self._worker = _Worker() if self._timeout else None
        self.generations = np.zeros(len(self._seeds) * environments, np.int64)
        self.environments = make_environments(spec, self.environment_seeds(), backend)

    def step(self, actions: NDArray[np.float32], where: NDArray[np.bool_] | None = None) -> Outcome:
        """See `VectorEnvironment.step`. A step that fails part of the way is to be asked for again there."""
        return self._outcome(lambda: self.environments.step(actions, where), where)

    def reset_some(self, where: NDArray[np.bool_]) -> Outcome:
        """See `VectorEnvironment.reset_some`."""

        def reset() -> Step:
            return replace(Step.empty(len(where), 0), observations=self.environments.reset_some(where))

        return self._outcome(reset, where)

    def replace(self, where: NDArray[np.bool_]) -> None:
        """New simulators with new seeds where `where`, which need a reset."""
        self.generations[where] += 1
        self.environments.replace(where, self.environment_seeds())

    def close(self) -> None:
        """Free threads and simulators."""
        if self._worker is not None:
            self._worker.dismiss()
        self.environments.close()

    def environment_seeds(self) -> list[int]:
        """`[n]`, functions of (seed, environment, how often it was replaced)."""
        seeds = []
        for index, generation in enumerate(self.generations.tolist()):
            seed, e = self._seeds[index // self._each], index % self._each
            place = Purpose.COLLECTION, self._each, _SEEDS_OF_ENVIRONMENTS, generation
            seeds.append(environment_seeds(seed, *place)[e])
        return seeds

    def _outcome(self, act: Callable[[], Step], where: NDArray[np.bool_] | None) -> Outcome:
        try:
            step = act() if self._worker is None else self._worker.run(act, self._timeout)
        except _HungError:
            self._worker = _Worker()
            reason = f"did not answer within {self._timeout:g} s"
        except Exception as error:  # noqa: BLE001  # whatever an environment raises is its failure
            lines = str(error).strip().splitlines()
            reason = f"raised {type(error).__name__}" + (f" ({lines[0].rstrip('.')})" if lines else "")
        else:
            if np.abs(step.observations).max() <= _LARGEST and np.abs(step.rewards).max() <= _LARGEST:
                return Outcome(step)
            asked = np.ones(len(step.rewards), np.bool_) if where is None else where
            finite = _finite(step)
            if not (asked & ~finite).any():
                return Outcome(step)
            return Outcome(step, asked & finite, asked & ~finite, "returned a NaN or an infinity")
        step, good, broken = self.environments.interrupted()
        finite = _finite(step)
        return Outcome(step, good & finite, broken | (good & ~finite), reason)


def _finite(step: Step) -> NDArray[np.bool_]:
    """`[n]`: whose numbers are finite, in single precision too."""
    finite: NDArray[np.bool_] = np.all(np.abs(step.observations) <= _LARGEST, axis=1)
    finite &= np.abs(step.rewards) <= _LARGEST
    return finite


class _HungError(Exception):
    pass


class _Worker:
    """A thread that takes steps. What hangs cannot be ended: it is left alone, and dies with the program."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Step] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="environments").start()

    def run(self, act: Callable[[], Step], timeout: float) -> Step:
        """What `act` returns, or raises.

        Raises:
            _HungError: it does neither within `timeout` seconds. This worker is of no use any more.
        """
        self._work.put(act)
        try:
            step, error = self._done.get(timeout=timeout)
        except queue.Empty:
            self.dismiss()
            raise _HungError from None
        if error is not None:
            raise error
        return step  # type: ignore[no-any-return]

    def dismiss(self) -> None:
        """End the thread after the work in hand."""
        self._work.put(None)

    def _serve(self) -> None:
        while (act := self._work.get()) is not None:
            try:
                self._done.put((act(), None))
            except BaseException as error:  # noqa: BLE001  # the thread that waits raises it
                self._done.put((None, error))
