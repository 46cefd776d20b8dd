"""What a Minari dataset's `metadata.json` says of its actions, and of the environment it was recorded in."""

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import Bound
from cqlbench.data.readers.minari_folder import metadata_of
from cqlbench.environments.spec import EnvironmentSpec

# Wrappers that only watch. Those of the published mujoco datasets are among them.
_WATCHING = (
    "DataCollector", "HumanRendering", "Monitor", "OrderEnforcing", "PassiveEnvChecker",
    "RecordEpisodeStatistics", "RecordVideo", "RenderCollection",
)  # fmt: skip
_KNOWN = ("gymnasium.", "minari.", "stable_baselines3.")


def space_of(folder: Path, name: str) -> gymnasium.Space[Any] | None:
    """The `observation` or `action` space that a dataset's metadata name; `None`: they name none.

    Raises:
        DatasetError: they cannot be read, or minari does not know the space.
    """
    text = metadata_of(folder).get(f"{name}_space")
    from minari.serialization import deserialize_space  # a tenth of every command's start otherwise

    try:
        return deserialize_space(text) if text else None
    except (AssertionError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DatasetError(f"The {name} space of {folder} makes no sense ({error!r}).") from error


def discrete_actions(folder: Path) -> bool:
    """Whether the actions of the Minari dataset in `folder`, or of its `data` folder, are discrete.

    Raises:
        DatasetError: its metadata cannot be read.
    """
    return isinstance(space_of(folder, "action"), gymnasium.spaces.Discrete)


def action_bounds(folder: Path) -> tuple[Bound, Bound] | None:
    """The bounds of the action space of the Minari dataset in `folder`, or of its `data` folder.

    `None`: it names none, or some that are not finite.

    Raises:
        DatasetError: its metadata cannot be read.
    """
    space = space_of(folder, "action")
    if not isinstance(space, gymnasium.spaces.Box) or not space.is_bounded():
        return None
    low, high = (tuple(np.ravel(bound).astype(float).tolist()) for bound in (space.low, space.high))
    return (low[0], high[0]) if len(set(low)) == len(set(high)) == 1 else (low, high)


def environment_of(folder: Path) -> EnvironmentSpec | None:
    """The environment that the Minari dataset in `folder`, or of its `data` folder, names for evaluation.

    Else the one that it was recorded in; `None`: it names none, or nothing readable.
    """
    try:
        recorded = _environment_specs(folder)[0]
        limit = recorded.get("max_episode_steps")
        kwargs: dict[str, Any] = dict(recorded.get("kwargs") or {})
        environment_id = str(recorded["id"])
        package = str(recorded.get("entry_point") or "").partition(":")[0].partition(".")[0]
    except (DatasetError, ValueError, TypeError, AttributeError, LookupError):
        return None
    kwargs.pop("render_mode", None)
    steps = int(limit) if isinstance(limit, int | float) and limit >= 1 else None
    return EnvironmentSpec(environment_id, steps, kwargs, "" if package == "gymnasium" else package)


def why_unlike_the_recording(folder: Path) -> str:
    """Why the environment of `environment_of` is not the one that the dataset was recorded in: its wrappers.

    One sentence; empty if none was named that `gymnasium.make` does not apply by itself and that may change
    what an agent sees, does or earns.
    """
    names: list[str] = []
    with contextlib.suppress(DatasetError, ValueError, TypeError, AttributeError, LookupError):
        for recorded in _environment_specs(folder):
            wrappers = [
                (str(one["name"]), str(one["entry_point"])) for one in recorded["additional_wrappers"]
            ]
            own = _registered_wrappers(str(recorded["id"]), str(recorded.get("entry_point") or ""))
            if wrappers[: len(own)] == own:
                wrappers = wrappers[len(own) :]
            names += [
                name for name, place in wrappers if not (name in _WATCHING and place.startswith(_KNOWN))
            ]
    if not names:
        return ""
    return (
        f"The dataset was recorded under wrappers ({', '.join(dict.fromkeys(names))}) that are not applied "
        "here; register an environment that has them, and import the dataset with env=."
    )


def _registered_wrappers(environment_id: str, entry_point: str) -> list[tuple[str, str]]:
    with contextlib.suppress(ImportError, ValueError, gymnasium.error.Error):
        importlib.import_module(entry_point.partition(":")[0].partition(".")[0])
        wrappers = gymnasium.spec(environment_id).additional_wrappers
        return [(wrapper.name, wrapper.entry_point) for wrapper in wrappers]
    return []


def _environment_specs(folder: Path) -> list[dict[str, Any]]:
    """The specifications of the environments for evaluation and for recording, as far as there are any."""
    metadata = metadata_of(folder)
    return [json.loads(text) for text in map(metadata.get, ("eval_env_spec", "env_spec")) if text]
