"""The command line: one verb, then `key=value` words.

    cqlbench bench dataset=hopper-medium

`--key value` and `--key=value` mean the same as `key=value`.

Exit status: 0 done; 1 a seed failed (`bench`, `finetune`, `train`, `paper`) or the gate found a regression;
2 the user can put it right (one sentence on standard error) or the gate cannot say; 70 a bug of cqlbench's
(with its traceback); 130 interrupted; 143 terminated.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cqlbench
from cqlbench.core import signals
from cqlbench.core.errors import BUG, ConfigError, UserError, out_of_memory
from cqlbench.core.printing import unfailing

if TYPE_CHECKING:
    from rich.console import Console

_USAGE = """\
usage: cqlbench VERB [key=value ...]

verbs:
  bench          train CQL on a dataset, evaluate, record and report it
  finetune       the same, and go on with frames from the environment
  train          the same as bench, and log it; 'cqlbench train --help' explains every setting
  report         tables, plots and a page of recorded runs, beside published scores where they may stand
  paper          run or resume a whole suite of datasets, and report it
  gate           run a suite and compare it with its accepted baseline
  results        list, show RUN, diff RUN1 RUN2 or export recorded runs
  export         write a run's policy as one file that runs without cqlbench
  watch          write a video of an episode of a run's policy
  data           list, fetch, check, show, import and collect datasets; 'cqlbench data' says more
  speed          measure the gradient step against this machine's matrix products and torchrl

bench keys (defaults in brackets; the last value of a setting counts):
  dataset=       dataset id, short name (hopper-medium), HDF5 file or local Minari folder
  source=        where a short name is looked up: auto, d4rl, minari, embedded [auto]
  budget=        smoke, quick or paper [paper on CUDA, quick on a CPU]
  seeds=         a count (3) or a list (0,1,2) [the budget's]
  steps=         gradient steps [the budget's]
  device=        auto, cpu, cuda, cuda:N [auto]
  threads=       CPU threads to compute with [auto: OMP_NUM_THREADS, or the cores]
  tf32=          on CUDA, whether matrix products may round to TF32 [true]
  clip_actions=  true consents to clipping a dataset's actions to their bounds [false]
  results=       folder for records and reports [results]
  rerun=         true trains seeds that are recorded already once more [false]
  resume=        of an interrupted run: auto resumes it; never starts it from scratch; or a checkpoint [auto]
  checkpoint_interval=   seconds between saves of what is done; 0 saves nothing [60]
  algorithm=     cql, calql or sac: a file of benchmarks/algorithm [cql]
  preset=        the dataset's settings from benchmarks/preset [the dataset card's]
  algorithm.*=, budget.*=   any field of cqlbench/config.py, e.g. algorithm.conservative_weight=5

finetune keys: those of bench, and
  online=        how it goes on: smoke, quick or paper [the budget's]
  online.*=      any field of it, e.g. online.frames=50000 online.offline_fraction=0.25

train keys: those of bench, and
  logger=        csv, tensorboard, wandb, mlflow, trackio, none [csv; bench: none]
  trainer.*=     any other setting of the trainer, e.g. trainer.log_interval=100
  --print-config   print the composed settings and run nothing
  --multirun, -m   run every combination of values, e.g. -m algorithm.conservative_weight=1,5 seeds=0,1

report keys:
  select=        which evaluations are scored: last, best (oracle) or mean10 [last]
  output=        folder for the report [the results folder's report]
  plots=         false: tables only [true]
  results=       where the records are [results]
  dataset=       ids, short names or patterns ('embedded/*'), with commas
  algorithm=, budget=, config=   names, with commas; of a config hash the beginning will do
  since=, until=   days or times (UTC)

paper keys: those of bench but dataset= and source=, and
  suite=         a file of benchmarks/suite, which has its budget too
  select=, plots=   as of report, which goes to the results folder's report/<suite>

gate keys: those of paper (select= [mean10]), and
  baseline=      the accepted baseline [the results folder's baselines/<suite>.json]
  accept=        true makes the baseline of this checkout's runs [false]
  run=           false compares what is recorded and trains nothing [true: what this commit has not recorded]
  margin=        a drop in points that is small enough [5]
  level=         bootstrap probability above which a drop is sure [0.9]
  throughput=    lowest ratio of gradient steps per second to the accepted ones; 0 only notes it [0]
  output=        folder for gate.md and gate.xml [the results folder's report/gate-<suite>]
  It exits with 0 for no regression, 1 for a regression, 2 if it cannot say.

results keys:
  results=       where the records are [results]; list and export take report's dataset= to until=
  output=        of export: the file, .csv or .parquet [results.csv]
  overwrite=     of export: true replaces a file that exists already [false]

export keys:
  run=           the run as bench prints it, or its end (quick-1f2e3d4c5b6a)
  seed=          whose policy [the run's first]
  results=       where the run is [results]
  format=        export (torch.export), torchscript or onnx [by the output's ending, or export]
  output=        the file [named after the run, in this folder]
  overwrite=     true replaces a file that exists already [false]

watch keys:
  run=, seed=, results=, overwrite=   as above
  video=         the file, .mp4 or .gif
  episode=       which of the first evaluation's episodes [0]

data check ID, data show ID: clip_actions=, source=, results= as above
data import FILE:
  id=            the name it gets, such as my/robot-v0
  env=           the gymnasium environment it was recorded in [a Minari dataset's own, or none]
  max_episode_steps=, score_min=, score_max=, observation_keys=a,b, clip_actions=, licence=
  actions=       discrete or continuous [what they look like]; action_count=6: so many discrete ones
  columns=       '{observations: obs, terminals: done}': our columns' names, and those of the file
  ends=          of doubtful end flags: trusted, time_limits (terminals mark them too), inverted
  action_low=, action_high=   bounds of continuous actions: a number, or one for each [-1,1]

speed keys:
  device=, results=   as above
  rounds=        times that everything is timed, in turns [9]
  memory_steps=  length of the run whose memory is watched; 0 skips it [20000]
  tf32=          on CUDA, whether products may round to TF32 [true]

exit status: 0 done; 1 a seed failed (gate: a regression); 2 an error that you can put right (gate: or it
  cannot say); 70 a bug of cqlbench, with its traceback; 130 interrupted; 143 terminated
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    with unfailing() as problems:
        status = _run(arguments)
    if problems:
        sys.stderr.write(
            f"cqlbench: Standard output cannot be written ({problems[0]}); what it says is incomplete.\n"
        )
    return status or (2 if problems else 0)


def _run(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_USAGE)
        return 0 if words else 2
    if words[0] == "--version":
        sys.stdout.write(f"cqlbench {cqlbench.__version__}\n")
        return 0
    if words[0] not in _VERBS:
        sys.stderr.write(f"cqlbench: There is no command '{words[0]}'; there is {', '.join(_VERBS)}.\n")
        return 2
    if {"-h", "--help"} & set(words[1:]) and words[0] != "data":  # which has a usage of its own
        sys.stdout.write(_train_help() if words[0] == "train" else _USAGE)
        return 0
    try:
        with signals.at_once():
            return _VERBS[words[0]](key_value_words(words[1:])) or 0
    except UserError as error:
        sys.stderr.write(f"cqlbench: {error}\n")
        return error.status
    except signals.Stopped as stopped:
        sys.stderr.write(f"\ncqlbench: {stopped}\n")
        return stopped.status
    except Exception as error:  # noqa: BLE001, and then status 1 would be taken for a failed seed or a regression
        if not out_of_memory(error):
            traceback.print_exc()
            return BUG
        sys.stderr.write(
            "cqlbench: Out of memory; smaller algorithm.batch_size, algorithm.proposals or networks, or fewer"
            " seeds, need less.\n"
        )
        return 2


def key_value_words(words: Sequence[str]) -> list[str]:
    """`--key value` and `--key=value` as `key=value`; options that take no value stay as they are.

    A value's leading `~` is replaced: not every shell does that behind a `=`.

    Raises:
        ConfigError: a key without a value, one of `_ONCE` given twice, or `~user` without a home folder.
    """
    found: list[str] = []
    rest = iter(words)
    for each in rest:
        option = _SHORT.get(each, each)
        key, equals, value = option.removeprefix("--").partition("=")
        if option in _FLAGS or not (equals or option.startswith("--")):
            found.append(option)
            continue
        if not equals and (value := next(rest, "--")).startswith("--"):
            raise ConfigError(f"'{each}' has no value; say {key}=VALUE or --{key} VALUE.")
        if option.startswith("--"):
            key = key.replace("-", "_")
        if key in _ONCE and key in (word.partition("=")[0] for word in found):
            raise ConfigError(f"{key}= is given twice; give it once.")
        found.append(f"{key}={_at_home(key, value)}")
    return found


def _at_home(key: str, value: str) -> str:
    path = os.path.expanduser(value)  # noqa: PTH111, a Path would change other values
    if path.startswith("~"):
        raise ConfigError(f"{key}={value} names a user who has no home folder here; write the whole path.")
    return path


def _train_help() -> str:
    from cqlbench.experiments.config_help import keys_help

    usage = "usage: cqlbench train [--print-config] [--multirun] [key=value ...]\n\n"
    return f"{usage}keys (the dataset's preset and the budget win over these defaults):\n{keys_help()}"


def _bench(words: list[str], *, online: bool = False) -> int:
    # Imported here: `--help` and a mistyped command need not wait for torch.
    from rich.console import Console

    from cqlbench.experiments.plan import make_plan
    from cqlbench.experiments.run import bench, status_of

    return status_of(bench(make_plan(words, online=online), Console(soft_wrap=True, highlight=False)))


def _finetune(words: list[str]) -> int:
    return _bench(words, online=True)


def _train(words: list[str]) -> int:
    from rich.console import Console

    from cqlbench.commands.train import train

    return train(words, Console(soft_wrap=True, highlight=False))


def _export(words: list[str]) -> None:
    from cqlbench.commands.export import from_words

    from_words(words)


def _watch(words: list[str]) -> None:
    from cqlbench.commands.watch import from_words

    from_words(words)


def _report(words: list[str]) -> None:
    from cqlbench.commands.report import report

    report(words, _table_console())


def _paper(words: list[str]) -> int:
    from cqlbench.commands.paper import paper

    return paper(words, _table_console())


def _gate(words: list[str]) -> int:
    from cqlbench.commands.gate import gate

    return gate(words, _table_console())


def _results(words: list[str]) -> None:
    from cqlbench.commands.results import results

    results(words, _table_console())


def _table_console() -> "Console":
    """A terminal has its width; a file or a pipe has room for wide tables."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _data(words: list[str]) -> None:
    from rich.console import Console

    from cqlbench.commands.data import data

    data(words, Console(soft_wrap=True, highlight=False))


def _speed(words: list[str]) -> None:
    from rich.console import Console

    from cqlbench.commands.speed import speed

    speed(words, Console(soft_wrap=True, highlight=False))


_VERBS: dict[str, Callable[[list[str]], int | None]] = {
    "bench": _bench,
    "finetune": _finetune,
    "train": _train,
    "report": _report,
    "paper": _paper,
    "gate": _gate,
    "results": _results,
    "export": _export,
    "watch": _watch,
    "data": _data,
    "speed": _speed,
}
_FLAGS = ("--print-config", "--multirun", "--help", "--accept")
_SHORT = {"-m": "--multirun"}
_ONCE = ("dataset", "run", "suite", "baseline", "results", "output")
"""What a command works on, and where: a second one would take the first one's place without a word, as
settings do."""
