"""The command line: one verb, then `key=value` words.

    cqlbench bench dataset=hopper-medium

Exit status: 0 done, 2 the user can put it right (one sentence on standard error), 130 interrupted,
143 terminated.
"""

import sys
from collections.abc import Callable, Sequence

import cqlbench
from cqlbench import stopping
from cqlbench.errors import UserError

_USAGE = """\
usage: cqlbench VERB [key=value ...]

verbs:
  bench          train CQL on a dataset, evaluate, record and report it
  train-policy   train the behaviour policy of an embedded dataset from its recipe
  speed          measure the gradient step against this machine's matrix products and torchrl

bench keys (defaults in brackets):
  dataset=       dataset id, short name (hopper-medium), HDF5 file or local Minari folder
  source=        where a short name is looked up: auto, d4rl, minari, embedded [auto]
  budget=        smoke, quick or paper [paper on CUDA, quick on a CPU]
  seeds=         a count (3) or a list (0,1,2) [the budget's]
  steps=         gradient steps [the budget's]
  device=        auto, cpu, cuda, cuda:N [auto]
  tf32=          on CUDA, whether matrix products may round to TF32 [true]
  results=       folder for records and reports [results]
  resume=        auto: go on where an interrupted run of the same settings stands; never; a checkpoint [auto]
  checkpoint_interval=   seconds between saves of what is done; 0 saves nothing [60]
  preset=        the dataset's settings from benchmarks/preset [the dataset card's]
  algorithm.*=, budget.*=   any field of cqlbench/config.py, e.g. algorithm.conservative_weight=5

train-policy keys:
  recipe=        name of a recipe in datasets/policies, or the path of one
  output=        folder for the policy [datasets/policies]

speed keys:
  device=, results=   as above
  rounds=        times that everything is timed, in turns [9]
  memory_steps=  length of the run whose memory is watched; 0 skips it [20000]
  tf32=          on CUDA, whether products may round to TF32 [true]
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_USAGE)
        return 0 if words else 2
    if words[0] == "--version":
        sys.stdout.write(f"cqlbench {cqlbench.__version__}\n")
        return 0
    verbs: dict[str, Callable[[list[str]], None]] = {
        "bench": _bench,
        "train-policy": _train_policy,
        "speed": _speed,
    }
    if words[0] not in verbs:
        sys.stderr.write(f"cqlbench: There is no command '{words[0]}'; there is {', '.join(verbs)}.\n")
        return 2
    if {"-h", "--help"} & set(words[1:]):
        sys.stdout.write(_USAGE)
        return 0
    try:
        with stopping.at_once():
            verbs[words[0]](words[1:])
    except UserError as error:
        sys.stderr.write(f"cqlbench: {error}\n")
        return 2
    except stopping.Stopped as stopped:
        sys.stderr.write(f"\ncqlbench: {stopped}\n")
        return stopped.status
    return 0


def _bench(words: list[str]) -> None:
    # Imported here: `--help` and a mistyped command need not wait for torch.
    from rich.console import Console

    from cqlbench.plan import make_plan
    from cqlbench.runner import bench

    bench(make_plan(words), Console(soft_wrap=True, highlight=False))


def _speed(words: list[str]) -> None:
    from rich.console import Console

    from cqlbench.speed.command import speed

    speed(words, Console(soft_wrap=True, highlight=False))


def _train_policy(words: list[str]) -> None:
    from cqlbench.behaviour_recipe import from_words

    from_words(words)


if __name__ == "__main__":
    sys.exit(main())
