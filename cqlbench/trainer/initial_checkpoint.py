"""A saved trainer as the place from which another run starts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cqlbench.core.errors import ConfigError
from cqlbench.engine.engine import Engine
from cqlbench.trainer.state_files import read_state


@dataclass(frozen=True)
class SavedStart:
    """The seed batch of a trainer that `CQLTrainer.save_trainer` has saved.

    Attributes:
        path: where.
        steps: gradient steps that it had taken.
        digest: digits that stand for its parameters, moments and targets.
    """

    path: Path
    steps: int
    digest: str
    _engine: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file or folder at `path`.

        Raises:
            ConfigError: there is none, it is damaged, or it is of a trainer of a single loss module.
        """
        state = read_state(path.expanduser())
        engine = state.get("engine")
        if engine is None:
            raise ConfigError(f"{path} is of a trainer without a seed batch: save one with `cqlbench train`.")
        if "of" not in engine:
            raise ConfigError(
                f"{path} was saved by an older cqlbench, which did not say of what: save it again."
            )
        if "online" in engine:
            raise ConfigError(f"{path} was saved while fine-tuning: start from one that was trained offline.")
        digest = hashlib.sha256()
        for tensor in _tensors(engine["train_state"]):
            digest.update(tensor.contiguous().numpy(force=True).tobytes())
        return cls(path, int(engine["train_state"]["steps"]), digest.hexdigest()[:12], engine)

    def load_into(self, engine: Engine) -> None:
        """Give `engine` the saved parameters, moments and targets.

        Raises:
            ConfigError: it has other networks, seeds or data.
        """
        try:
            engine.begin_from(self._engine)
        except ConfigError as error:
            raise ConfigError(
                f"{self.path} does not fit this run. {error} Use the dataset, networks and seeds of the run"
                " that saved it."
            ) from error


def _tensors(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [tensor for name in sorted(tree) for tensor in _tensors(tree[name])]
    return [tree]
