"""`cqlbench data collect`: a dataset from a behaviour policy, for any library to read."""

from pathlib import Path

from rich.console import Console

from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import kind
from cqlbench.core.text import counted
from cqlbench.data.embedded.collect import collect_transitions
from cqlbench.data.embedded.policy import BehaviourPolicy
from cqlbench.data.writers import refuse_minari_id, write_d4rl, write_minari
from cqlbench.environments.make import EnvironmentSpec


def collect(
    console: Console,
    policy: str,
    env: str,
    steps: int,
    seed: int,
    limit: int | None,
    output: Path | None,
    minari: str | None,
) -> None:
    """Collect that many transitions into an HDF5 file, a Minari dataset, or both.

    Raises:
        ConfigError: nowhere to write, or too many transitions for the memory.
        DatasetError: the policy does not fit the environment, or the result cannot be written.
    """
    if not output and not minari:
        raise ConfigError("Say where the dataset goes: output=FILE.hdf5, minari=ID, or both.")
    spec, behaviour = EnvironmentSpec(env, limit), BehaviourPolicy.load(policy)
    if output and kind(output):
        raise ConfigError(f"{output} is there already; name another file.")
    if minari:
        refuse_minari_id(minari)
    try:
        transitions = collect_transitions(behaviour, spec, steps, seed, title="collecting")
    except MemoryError as error:
        raise ConfigError(f"steps={steps} do not fit into memory; collect fewer.") from error
    ends = transitions.episode_ends
    whole = transitions.terminated[ends] | transitions.truncated[ends]
    of_them = "more steps make whole ones"
    if whole.any():
        of_them = f"the whole ones' mean return is {transitions.episode_returns[whole].mean():.1f}"
    console.out(
        f"Collected {len(transitions):,} transitions in {counted(len(whole), 'episode')}, of which"
        f" {(~whole).sum()} were cut off by the end of the recording; {of_them}."
    )
    if output:
        write_d4rl(transitions, output)
        console.out(f"Saved {output}")
    if minari:
        write_minari(transitions, minari, spec, algorithm_name=f"cqlbench's behaviour policy {policy}")
        console.out(f"Saved the Minari dataset {minari}")
