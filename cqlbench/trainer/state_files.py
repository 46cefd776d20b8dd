"""A trainer's state in a file (`CKPT_BACKEND=torch`, the default) or a folder (`CKPT_BACKEND=memmap`)."""

import io
import json
import os
import pickle
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.checkpoint import Checkpoint

from cqlbench.core import atomic
from cqlbench.core.errors import ConfigError

_TREE, _TENSORS = "state.json", "tensors"
_OF_TRAINERS = b"_optim_count"
"""A key in every trainer's state, torchrl's own included."""


def check_writable(path: Path, *, folder: bool = False) -> None:
    """Find out before training whether a trainer can be saved at `path`; what is there stays.

    Args:
        path: a file or a folder, of which only the parents may be made here.
        folder: whether it may be a folder whatever the backend.

    Raises:
        ConfigError: it cannot, something else is there, or the backend is unknown.
    """
    folder, reason = folder or _backend() == "memmap", ""
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
        ConfigError: there is a file or folder with other content at `path`, or where its old content goes.
    """
    for place in (path, atomic.previous(path)):
        if not _replaceable(place):
            raise ConfigError(
                f"The trainer cannot be saved at '{path}': '{place.name}' exists and is not a saved trainer"
                " (and nothing else); choose another path."
            )


def _replaceable(path: Path) -> bool:
    try:
        if not path.is_dir():
            return not path.exists() or not path.stat().st_size or _is_file_of_trainer(path)
        names = {each.name for each in path.iterdir()}
        if names == {_TREE, _TENSORS}:
            tensors = {each.name for each in (path / _TENSORS).iterdir()} - {"meta.json"}
            only = all(name.endswith(".memmap") for name in tensors)
            return only and _OF_TRAINERS in (path / _TREE).read_bytes()
        return not names or (names == {"manifest.json", "components"} and Checkpoint.is_checkpoint(path))
    except OSError:  # whoever saves there finds out why
        return True


def _is_file_of_trainer(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(_OF_TRAINERS in archive.read(name) for name in pickles) or Checkpoint.is_checkpoint(
                path
            )
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return False


def _backend() -> str:
    backend = os.environ.get("CKPT_BACKEND", "torch")
    if backend not in ("torch", "memmap"):
        raise ConfigError(f"CKPT_BACKEND is '{backend}', but a trainer is saved by 'torch' or 'memmap'.")
    return backend


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Put `state` at `path`, in place of a saved trainer that may be there, whole or not at all.

    Raises:
        ConfigError: the backend is unknown, it cannot hold something in `state`, something else is at `path`,
            or it cannot be written.
    """
    backend = _backend()
    try:
        refuse_strangers(path)
        if backend == "torch":
            content = io.BytesIO()
            torch.save(dict(state), content)
            atomic.replace(path, content.getvalue())
        else:
            atomic.replace_folder(path, lambda folder: _fill(folder, state))
    except OSError as error:
        raise ConfigError(f"The trainer cannot be saved at {path}: {error.strerror or error}.") from error


def read_state(path: Path, **kwargs: Any) -> dict[str, Any]:
    """What `write_state` put at `path`, by either backend.

    Args:
        path: a file or a folder.
        kwargs: for `torch.load`, where `weights_only` is `True` and `map_location` the CPU unless given.

    Raises:
        ConfigError: there is nothing, or something else.
    """
    if not path.exists() and atomic.previous(path).exists():
        path = atomic.previous(path)  # cut off between two renames of a folder
    if not path.exists():
        raise ConfigError(f"There is no saved trainer at {path}.")
    try:
        if path.is_dir():
            tree = json.loads((path / _TREE).read_text(encoding="utf-8"))
            state = _decode(tree, TensorDict.load_memmap(path / _TENSORS))
        else:
            defaults: dict[str, Any] = {"weights_only": True, "map_location": "cpu"}
            state = torch.load(path, **(defaults | kwargs))
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"{path} is not a saved trainer, or is damaged: {reason}.") from error
    if not isinstance(state, dict) or "state" not in state:
        raise ConfigError(f"{path} is not a saved trainer: it holds no training state.")
    return state


def _fill(folder: Path, state: Mapping[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    tree = _encode(dict(state), tensors)
    TensorDict(tensors, batch_size=[]).memmap(folder / _TENSORS)
    (folder / _TREE).write_text(json.dumps(tree), encoding="utf-8")


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors go to `tensors`, and all but plain values become `{kind: content}`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        tensors[name := str(len(tensors))] = value.detach().cpu()
        return {"tensor": name}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "size" if isinstance(value, torch.Size) else type(value).__name__
        return {kind: [_encode(item, tensors) for item in value]}
    raise ConfigError(
        f"A registered module's state holds a {type(value).__name__}, which CKPT_BACKEND=memmap cannot keep;"
        " use tensors, numbers, strings, lists and dicts, or CKPT_BACKEND=torch."
    )


def _decode(value: Any, tensors: TensorDict) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors.get(content).as_subclass(Tensor).clone()
    if kind == "device":
        return torch.device(content)
    if kind == "dict":
        return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
    items = [_decode(item, tensors) for item in content]
    return {"list": list, "tuple": tuple, "size": torch.Size}[kind](items)
