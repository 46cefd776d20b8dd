"""What a Minari dataset's `metadata.json` says of its actions, and of the environment it was recorded in."""

import contextlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from cqlbench.core.errors import DatasetError
from cqlbench.data.cards import Bound
from cqlbench.data.readers.minari_folder import metadata_of
from cqlbench.environments.spec import EnvironmentSpec

# Wrappers that only watch. Those of the published mujoco datasets are among them.
_WATCHING = (
    "DataCollector", "HumanRendering", "Monitor", "OrderEnforcing", "PassiveEnvChecker",
    "RecordEpisodeStatistics", "RecordVideo", "RenderCollection",
)  # fmt: skip
# What they do depends on all that they saw while the data were recorded, which is nowhere kept.
_WITH_STATISTICS = ("NormalizeObservation", "NormalizeReward")
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


def environment_of(folder: Path) -> tuple[EnvironmentSpec | None, str]:
    """The environment that the Minari dataset in `folder`, or of its `data` folder, names for evaluation.

    Else the one that it was recorded in; either with the wrappers that are recorded with it.

    Returns:
        It, or `None`: none is named, or nothing readable. Then which wrappers of the recording it lacks, as
        one sentence; empty if none that may change what an agent sees, does or earns.
    """
    try:
        metadata = metadata_of(folder)
        texts = filter(None, map(metadata.get, ("eval_env_spec", "env_spec")))
        played, *recorded = map(json.loads, texts)
        limit = played.get("max_episode_steps")
        kwargs: dict[str, Any] = dict(played.get("kwargs") or {})
        environment_id = str(played["id"])
        package = str(played.get("entry_point") or "").partition(":")[0].partition(".")[0]
        wrappers = _wrappers(played)
        lost = [wrapper["name"] for wrapper in wrappers if not _can_be_made(wrapper, package)]
        for each in recorded:
            lost += [wrapper["name"] for wrapper in _wrappers(each) if wrapper not in wrappers]
    except (DatasetError, ValueError, TypeError, AttributeError, LookupError):
        return None, ""
    kwargs.pop("render_mode", None)
    steps = int(limit) if isinstance(limit, int | float) and limit >= 1 else None
    module = "" if package == "gymnasium" else package
    if not lost:
        return EnvironmentSpec(environment_id, steps, kwargs, module, wrappers=wrappers), ""
    return (
        EnvironmentSpec(environment_id, steps, kwargs, module),
        f"The dataset was recorded under wrappers ({', '.join(dict.fromkeys(lost))}) that cannot be applied "
        "here; register an environment that has them, and import the dataset with env=.",
    )


def _wrappers(recorded: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Those that `gymnasium.make` does not apply by itself and that do more than watch."""
    names = ("name", "entry_point", "kwargs")
    wrappers = [{name: one[name] for name in names} for one in recorded.get("additional_wrappers") or ()]
    own = _registered_wrappers(str(recorded["id"]), str(recorded.get("entry_point") or ""))
    if [(one["name"], one["entry_point"]) for one in wrappers[: len(own)]] == own:
        wrappers = wrappers[len(own) :]
    return tuple(
        one for one in wrappers if not (one["name"] in _WATCHING and one["entry_point"].startswith(_KNOWN))
    )


def _can_be_made(wrapper: Mapping[str, Any], package: str) -> bool:
    """Whether its class is here, its arguments are recorded, and they are all that it depends on.

    If it comes with the environment's `package`, whoever makes the environment says that this is missing.
    """
    try:
        made = load_env_creator(wrapper["entry_point"])
    except (ImportError, AttributeError, ValueError) as error:
        return isinstance(error, ImportError) and wrapper["entry_point"].partition(".")[0] == package
    known = isinstance(made, type) and issubclass(made, gymnasium.Wrapper)
    return known and wrapper["kwargs"] is not None and wrapper["name"] not in _WITH_STATISTICS


def _registered_wrappers(environment_id: str, entry_point: str) -> list[tuple[str, str]]:
    with contextlib.suppress(ImportError, ValueError, gymnasium.error.Error):
        importlib.import_module(entry_point.partition(":")[0].partition(".")[0])
        wrappers = gymnasium.spec(environment_id).additional_wrappers
        return [(wrapper.name, wrapper.entry_point) for wrapper in wrappers]
    return []
