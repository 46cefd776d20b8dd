"""A trainer's state in a file."""

import io
import pickle
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torchrl.checkpoint import Checkpoint

from cqlbench.core import atomic
from cqlbench.core.errors import ConfigError

_OF_TRAINERS = b"_optim_count"
"""A key in every trainer's state, torchrl's own included."""


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Find out before training whether a trainer can be saved at `path`; what is there stays.

    Only its parents may be made here; whether it may be a `folder` itself depends on what is saved.

    Raises:
        ConfigError: it cannot, or something else is there.
    """
    reason = ""
    try:
        if not path.name:
            reason = "that names no file"
        elif path.is_dir() and not folder:
            reason = "that is a folder"
        else:
            refuse_strangers(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            probe = path.with_name(f".{path.name}.{secrets.token_hex(8)}.probe")
            probe.touch(exist_ok=False)
            probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ConfigError(f"The trainer cannot be saved at '{path}': {reason}.")


def refuse_strangers(path: Path) -> None:
    """Refuse to save a trainer in place of anything but a saved trainer.

    Raises:
        ConfigError: there is a file or folder with other content at `path`.
    """
    if not _replaceable(path):
        raise ConfigError(
            f"The trainer cannot be saved at '{path}', which exists and is not a saved trainer (and nothing"
            " else); choose another path."
        )


def _replaceable(path: Path) -> bool:
    try:
        if path.is_dir():
            names = {each.name for each in path.iterdir()}
            return not names or (names == {"manifest.json", "components"} and Checkpoint.is_checkpoint(path))
        if not path.exists() or not path.stat().st_size:
            return True
        with zipfile.ZipFile(path) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl")]
        return any(_OF_TRAINERS in each for each in pickles) or Checkpoint.is_checkpoint(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return False
    except OSError:  # whoever saves there finds out why
        return True


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Put `state` at `path`, in place of a saved trainer that may be there, whole or not at all.

    Raises:
        ConfigError: something else is at `path`, or it cannot be written.
    """
    content = io.BytesIO()
    torch.save(dict(state), content)
    try:
        refuse_strangers(path)
        atomic.replace(path, content.getvalue())
    except OSError as error:
        raise ConfigError(f"The trainer cannot be saved at {path}: {error.strerror or error}.") from error


def read_state(path: Path, **kwargs: Any) -> dict[str, Any]:
    """What `write_state` put at `path`.

    Args:
        path: the file.
        kwargs: for `torch.load`, where `weights_only` is `True` and `map_location` the CPU unless given.

    Raises:
        ConfigError: there is nothing, or something else.
    """
    if not path.exists():
        raise ConfigError(f"There is no saved trainer at {path}.")
    try:
        arguments: dict[str, Any] = {"weights_only": True, "map_location": "cpu"}
        state = torch.load(path, **(arguments | kwargs))
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"{path} is not a saved trainer, or is damaged: {reason}.") from error
    if not isinstance(state, dict) or "state" not in state:
        raise ConfigError(f"{path} is not a saved trainer: it holds no training state.")
    return state
