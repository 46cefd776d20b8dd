"""What other programs call D4RL's columns: near names in a file, and mappings that a user gives."""

import collections
import difflib
from collections.abc import Collection, Iterable, Mapping

import yaml

from cqlbench.core.errors import ConfigError

REQUIRED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations")

_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "observations": ("observation", "obs", "states", "state", "s"),
    "actions": ("action", "acts", "act", "a"),
    "rewards": ("reward", "rews", "rew", "r"),
    "terminals": ("terminal", "terminations", "terminated", "dones", "done", "is_terminal"),
    "timeouts": ("timeout", "truncations", "truncated", "truncation", "time_limits"),
    "next_observations": (
        "next_observation", "next_obs", "observations_next", "obs_next", "new_obs", "obs2",
        "next_states", "next_state",
    ),
}  # fmt: skip
_OURS = {name: ours for ours, others in _ELSEWHERE.items() for name in (ours, *others)}


def near(missing: Iterable[str], present: Collection[str], guess: bool = False) -> dict[str, str]:
    """Columns that the file probably has under another name: ours -> the file's, the whole path in a group.

    With `guess`, similar spellings count too.
    """
    by_name = {name.rpartition("/")[2].lower(): name for name in sorted(present, key=len, reverse=True)}
    strange = [name for name in by_name if name not in _OURS] if guess else []
    found = {}
    for ours in missing:
        candidates = [name for name in (ours, *_ELSEWHERE[ours]) if name in by_name]
        candidates = candidates or difflib.get_close_matches(ours, strange, n=1, cutoff=0.8)
        if candidates:
            found[ours] = by_name[candidates[0]]
    return found


def as_key(columns: Mapping[str, str]) -> str:
    """The import's key that says so."""
    return "columns='{" + ", ".join(f"{ours}: {theirs or 'null'}" for ours, theirs in columns.items()) + "}'"


def parsed(text: str) -> dict[str, str]:
    """`{action: acts, timeouts: null}` -> our name of a column: the file's, empty where it is not to be read.

    Raises:
        ConfigError: it is no mapping of columns, or names one twice.
    """
    try:
        node = yaml.compose(text)
    except yaml.YAMLError:
        node = None
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ConfigError(
            f"columns={text} must be a mapping from our names to the file's, such as "
            f"{as_key({'observations': 'obs', 'actions': 'acts'})}."
        )
    columns: dict[str, str] = {}
    for name, value in ((key.value, value) for key, value in node.value):
        ours = _OURS.get(str(name))
        if ours is None or ours in columns:
            what = "the unknown column" if ours is None else "a column's second name"
            raise ConfigError(
                f"columns= names {what} '{name}' (choose from {', '.join(_ELSEWHERE)}, each once)."
            )
        empty = value.tag == "tag:yaml.org,2002:null"
        if not (empty or value.tag == "tag:yaml.org,2002:str") or (empty and ours in REQUIRED[:3]):
            raise ConfigError(f"columns= must say what the file calls '{ours}'.")
        columns[ours] = "" if empty else value.value
    read = collections.Counter(columns.get(ours, ours) for ours in _ELSEWHERE)
    for theirs in filter(None, columns.values()):
        if read[theirs] > 1:
            raise ConfigError(
                f"columns= reads the file's '{theirs}' as two columns; say null for one, or another name."
            )
    return columns
