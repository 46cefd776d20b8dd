"""`cqlbench export`: a run's policy as one file that torch (or ONNX) runs without cqlbench."""

from collections.abc import Mapping
from pathlib import Path

from cqlbench.commands.arguments import truth, values_of
from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError
from cqlbench.experiments.policy_module import FORMATS, exported
from cqlbench.records.find import find_policy
from cqlbench.records.policy import SavedPolicy

_KEYS = ("run", "seed", "results", "format", "output", "overwrite")


def from_words(words: list[str]) -> Path:
    """Export the policy that `run=`, `seed=`, `results=`, `format=`, `output=` and `overwrite=` name.

    Returns:
        The file written.

    Raises:
        UserError: a word that is none of these, no such run, a missing package, a file that is there
            already, or no place to write.
    """
    values = values_of(words, "export", _KEYS)
    output = Path(values["output"]) if "output" in values else None
    by_suffix = {suffix: name for name, suffix in FORMATS.items()}
    if output and "format" not in values and output.suffix not in by_suffix:
        endings = ", ".join(f"{suffix} ({name})" for name, suffix in FORMATS.items())
        raise ConfigError(f"output={output} must end in one of {endings}, or say format=.")
    kind = values.get("format") or (by_suffix[output.suffix] if output else "export")
    if kind not in FORMATS:
        raise ConfigError(f"There is no format '{kind}'; there is {', '.join(FORMATS)}.")
    saved = policy_of(values)
    path = output or Path(f"{saved.notes['run'].replace('/', '-')}-seed{saved.notes['seed']}{FORMATS[kind]}")
    overwrite = truth(values, "overwrite")
    outputs.check_file(path, overwrite)
    content = exported(saved, kind)
    outputs.write_file(path, content, overwrite)
    print(f"Policy   {path} ({kind}: {saved.observation_size} observations -> {saved.action_size} actions)")  # noqa: T201
    return path


def policy_of(values: Mapping[str, str]) -> SavedPolicy:
    """The policy that `run=`, `seed=` and `results=` name.

    Raises:
        UserError: no run was named, or there is no such policy.
    """
    if "run" not in values:
        raise ConfigError("No run was named; say run=<the run as bench prints it>.")
    seed = values.get("seed")
    if seed is not None and not seed.isdecimal():
        raise ConfigError(f"seed={seed} must be a whole number.")
    where = Path(values.get("results", "results"))
    return SavedPolicy.load(find_policy(where, values["run"], None if seed is None else int(seed)))
