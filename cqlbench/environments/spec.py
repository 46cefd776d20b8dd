"""What environments are before they are made, and what they return."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import UserError


class EnvironmentSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an evaluation or collection environment is, before it is made.

    Attributes:
        id: gymnasium id, such as `Hopper-v4`.
        max_episode_steps: the time limit, in steps; `None` takes the registered one.
        kwargs: constructor arguments.
        module: the Python module that registers the environment with gymnasium; empty: gymnasium itself.
        extra: the extra of cqlbench that brings that module.
        observation_keys: of observations that are dictionaries, the parts that are joined, in this order.
        wrappers: what is put around it, innermost first, besides what `gymnasium.make` applies by itself: the
            `name`, `entry_point` (`module:class`) and `kwargs` of each `gymnasium.Wrapper`.
        padding: how many zeros are appended to each observation, for sensors that read 0 in the data.

    Raises:
        UserError: the time limit is not positive.
    """

    id: str
    max_episode_steps: Annotated[int, msgspec.Meta(ge=1)] | None = None
    kwargs: Mapping[str, Any] = msgspec.field(default_factory=dict)
    module: str = ""
    extra: str = ""
    observation_keys: tuple[str, ...] | None = None
    wrappers: tuple[Mapping[str, Any], ...] = ()
    padding: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise UserError(
                f"The time limit of '{self.id}' is {self.max_episode_steps} steps, and at least 1 is needed."
            )


@dataclass(frozen=True)
class Step:
    """What `n` environments return. `observations` of an ended episode are the state really reached.

    The environment that ended starts its next episode at the following `step`, which ignores its action
    and returns the first observation with reward 0 (gymnasium's `NEXT_STEP` autoreset, also envpool's).

    A task that ends itself in the very step of its time limit is both terminated and truncated in gymnasium,
    and truncated only in envpool.

    Attributes:
        observations: `[n, O]` float64.
        rewards: `[n]` float64.
        terminated: `[n]` bool.
        truncated: `[n]` bool.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    @classmethod
    def empty(cls, environments: int, observation_size: int) -> "Step":
        """Zeros to be filled in."""
        flags = np.zeros((2, environments), np.bool_)
        return cls(np.zeros((environments, observation_size)), np.zeros(environments), flags[0], flags[1])


class VectorEnvironment(Protocol):
    """`n` environments stepped together, each with its own seed."""

    backend: str
    """`envpool` or `gymnasium`."""
    action_low: NDArray[np.float32]
    """`[A]`; with discrete actions zeros"""
    action_high: NDArray[np.float32]
    """`[A]`; with discrete actions ones"""
    observation_size: int
    """`O`"""

    def reset(self) -> NDArray[np.float64]:
        """First observations, `[n, O]`: of the seeds' first episodes, then of the episodes after those."""

    def step(self, actions: NDArray[np.float32], where: NDArray[np.bool_] | None = None) -> Step:
        """Apply `actions`, `[n, A]`; of discrete ones the largest entry counts.

        With `where`, `[n]`, only there: the other environments stand still, and their rows mean nothing.
        """

    def reset_some(self, where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Begin the next episodes where `where`, `[n]`; `[n, O]`, whose other rows mean nothing.

        An episode that has just ended need not be reset by a `step` then.
        """

    def interrupted(self) -> tuple[Step, NDArray[np.bool_], NDArray[np.bool_]]:
        """What the step or reset did that raised, or that the caller no longer waits for: it goes no further.

        Returns:
            what it returned so far; where that is, `[n]`; and where it broke off, `[n]`.
        """

    def replace(self, where: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """Put simulators made anew, with the seeds `[n]`, where `where`; they need a `reset_some`.

        Raises:
            UserError: they cannot be made.
        """

    def state(self) -> list[Any] | None:
        """What following steps and episodes depend on, as JSON has it; `None` where it is out of reach."""

    def set_state(self, state: list[Any]) -> None:
        """Go on where `state` was taken, bit by bit, in environments of the same spec and number.

        Raises:
            UserError: it is of other environments.
        """

    def close(self) -> None:
        """Free threads and simulators. May be called twice."""


def time_limit(spec: EnvironmentSpec) -> dict[str, int]:
    """The constructor argument that sets it."""
    return {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}


@contextlib.contextmanager
def quiet_construction() -> Iterator[None]:
    """No line per environment about superseded ids, XML attributes and rounded bounds.

    The ids are the published protocol's (D4RL is scored on v4): the advice to upgrade is not for our users.
    """
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def remove_leftovers(environment: Any) -> None:
    """Remove the file that gymnasium-robotics' mazes leave in the temporary folder; they have read it."""
    if path := getattr(environment.unwrapped, "tmp_xml_file_path", ""):
        Path(path).unlink(missing_ok=True)
