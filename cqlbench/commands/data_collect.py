"""`cqlbench data collect`: a dataset from a behaviour policy, for any library to read."""

from collections.abc import Sequence

from rich.console import Console

from cqlbench.commands.arguments import values_of, whole
from cqlbench.commands.parser import PAGES
from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import expanded, kind
from cqlbench.data.embedded.collect import collect_transitions
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.writers import refuse_minari_id, write_d4rl, write_minari
from cqlbench.environments.make import EnvironmentSpec

KEYS = PAGES["data"].verbs["collect"].keys


def collect(words: Sequence[str], console: Console) -> None:
    """Collect what `key=value` words ask for.

    Raises:
        ConfigError: a word that is not understood, or one that is missing.
        DatasetError: the policy does not fit the environment, or the result cannot be written.
    """
    values = values_of(words, "data collect", KEYS, ", ".join(KEYS))
    for key in ("policy", "env", "steps"):
        if key not in values:
            raise ConfigError(f"'{key}' is missing: {KEYS[key]}.")
    if not {"output", "minari"} & set(values):
        raise ConfigError("Say where the dataset goes: output=FILE.hdf5, minari=ID, or both.")
    limit = whole(values, "limit", 1) if "limit" in values else None
    spec = EnvironmentSpec(values["env"], limit)
    policy = BehaviourPolicy.load(values["policy"])
    output = expanded(values["output"]) if "output" in values else None
    if output and kind(output):
        raise ConfigError(f"{output} is there already; name another file.")
    if "minari" in values:
        refuse_minari_id(values["minari"])
    rows, seed = whole(values, "steps", 1), whole({"seed": "0", **values}, "seed", 0)
    try:
        transitions = collect_transitions(policy, spec, rows, seed, title="collecting")
    except MemoryError as error:
        raise ConfigError(f"steps={rows} do not fit into memory; collect fewer.") from error
    mean = transitions.episode_returns.mean()
    console.out(f"Collected {len(transitions):,} transitions; an episode's mean return is {mean:.1f}.")
    if output:
        write_d4rl(transitions, output)
        console.out(f"Saved {output}")
    if "minari" in values:
        name = f"cqlbench's behaviour policy {values['policy']}"
        write_minari(transitions, values["minari"], spec, algorithm_name=name)
        console.out(f"Saved the Minari dataset {values['minari']}")
