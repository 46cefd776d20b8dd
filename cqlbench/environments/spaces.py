"""How environments' spaces are laid out as numbers."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from cqlbench.core.errors import UserError
from cqlbench.environments.spec import EnvironmentSpec


def unmade(spec: EnvironmentSpec, error: Exception) -> str:
    """Why its constructor failed, in one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].split(". ")[0].rstrip(".")
    advice = "correct its id or arguments, or install the package that registers it"
    if spec.module and not isinstance(error, ImportError | gymnasium.error.Error | TypeError):
        advice = f"try other versions of {spec.module} and MuJoCo"
    if spec.extra and isinstance(error, ImportError):
        advice = f"install what it needs with `pip install 'cqlbench[{spec.extra}]'`"
    return f"Environment '{spec.id}' cannot be made here ({reason}); {advice}."


def action_bounds(
    spec: EnvironmentSpec, space: Any, discrete: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest actions, `[A]` each; zeros and ones for discrete actions.

    Raises:
        UserError: the action space is another.
    """
    if discrete and isinstance(space, gymnasium.spaces.Discrete):
        return np.zeros(int(space.n), np.float32), np.ones(int(space.n), np.float32)
    if discrete:
        raise UserError(
            f"Environment '{spec.id}' has the action space {space}, and a Discrete one is needed."
        )
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise UserError(f"Environment '{spec.id}' has the action space {space}, and a flat Box is needed.")
    return np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)


def native_actions(actions: NDArray[Any], space: Any) -> NDArray[Any]:
    """`actions`, `[n, A]`, as the simulator takes them: discrete ones by their numbers."""
    if isinstance(space, gymnasium.spaces.Discrete):
        actions = actions.argmax(axis=1) + int(space.start)
    return actions


class FlatObservations:
    """What `n` environments observe -> `[n, O]` float64, laid out as the data are.

    The parts of a dictionary are joined in the order of `observation_keys`, each row by row; a discrete part
    is one number.
    """

    def __init__(self, spec: EnvironmentSpec, space: Any) -> None:
        self._keys, self._padding = spec.observation_keys, spec.padding
        self._plain = self._keys is None and not self._padding
        if self._keys is None:
            parts = {"": space}
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise UserError(
                    f"Environment '{spec.id}' has the observation space {space}, and a flat Box is needed; "
                    "of a dictionary, the card names the parts (observation_keys)."
                )
        else:
            parts = {key: _part(spec, space, key) for key in self._keys}
        self._dtypes = [part.dtype for part in parts.values()]
        self.size = sum(int(np.prod(part.shape)) for part in parts.values()) + self._padding

    def __call__(self, observations: Any) -> NDArray[np.float64]:
        """What environments observe, row by row -> `[n, O]`."""
        if self._plain:
            return np.array(observations, np.float64)
        parts = [observations] if self._keys is None else [observations[key] for key in self._keys]
        rows = len(parts[0])
        flat = [np.asarray(part, np.float64).reshape(rows, -1) for part in parts]
        return np.concatenate([*flat, np.zeros((rows, self._padding))], axis=1)

    def one(self, observation: Any) -> NDArray[np.float64]:
        """What a single environment observes -> `[O]`, rounded to the dtypes that its space declares."""
        parts = [observation] if self._keys is None else [observation[key] for key in self._keys]
        flat = [np.asarray(part, dtype).reshape(-1) for part, dtype in zip(parts, self._dtypes, strict=True)]
        return np.concatenate([*flat, np.zeros(self._padding)])


def _part(spec: EnvironmentSpec, space: Any, key: str) -> gymnasium.Space[Any]:
    there = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {}
    part = there.get(key)
    if not isinstance(part, gymnasium.spaces.Box | gymnasium.spaces.Discrete):
        usable = [
            k for k, v in there.items() if isinstance(v, gymnasium.spaces.Box | gymnasium.spaces.Discrete)
        ]
        raise UserError(
            f"Environment '{spec.id}' observes no array '{key}', which the card's observation_keys name; it "
            f"observes {', '.join(usable) or space}."
        )
    return part
