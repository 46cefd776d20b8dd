"""What each verb is, what runs it and what it takes.

Nothing heavy is imported here: `--help` and a mistyped verb need not wait for torch.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cqlbench.commands.values import names, number, numbers, truth, whole
from cqlbench.core.paths import benchmarks_dir, yaml_names

Option = str | dict[str, Any]
"""A key's meaning, or keyword arguments of `ArgumentParser.add_argument`."""
Keys = dict[str, Option]


@dataclass(frozen=True)
class Page:
    """A verb.

    Attributes:
        purpose: what it does, in one line.
        runs: `module:function` of this package. The function takes a console and what the words say, by name.
        launched: the same where a launcher makes the runs.
        takes: positional arguments: name -> how it is written; `...` at its end: one or more;
            `...]`: or none.
        keys: its own.
        settings: of its runs, for help: Hydra reads them, and others; empty: it makes no runs.
        more: sentences at the end.
        tables: whether wide tables are printed.
    """

    purpose: str
    runs: str = ""
    takes: Mapping[str, str] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)
    settings: Keys = field(default_factory=dict)
    more: str = ""
    tables: bool = False
    launched: str = ""
    verbs: "Mapping[str, Page]" = field(default_factory=dict)

    def runs_with(self, settings: Sequence[str]) -> str:
        """What runs it with these settings of runs."""
        launched = self.launched and any(each.startswith(("launcher=", "launcher.")) for each in settings)
        return self.launched if launched else self.runs


def _key(meaning: str, kind: Callable[[str], Any] = str, **more: Any) -> dict[str, Any]:
    return {"help": meaning, "type": kind, **more}


def _truth(meaning: str, default: bool = False, **more: Any) -> dict[str, Any]:
    shown = f"{meaning} [{str(default).lower()}]"
    return _key(shown, truth, default=default, metavar="{true,false}", **more)


_ALONE: dict[str, Any] = {"nargs": "?", "const": True}
"""`--key` alone is true."""
_SOURCES = ("auto", "d4rl", "minari", "embedded", "imported")
_SELECTIONS = ("last", "best", "mean10")
_RESULTS: Keys = {"results": _key("the results folder [%(default)s]", Path, default=Path("results"))}
_OVERWRITE: Keys = {"overwrite": _truth("replace a file that exists already")}
_BOLDS = ("interval", "95%-of-best")
_SCORES: Keys = {
    "select": _key("which evaluations are scored [%(default)s]", choices=_SELECTIONS, default="last"),
}
_SELECT: Keys = {
    **_SCORES,
    "bold": _key(
        "what is bold beside a row's highest mean: means inside its 95 %% interval, or of 95 %% of it "
        "[%(default)s]",
        choices=_BOLDS,
        default="interval",
    ),
    "plots": _truth("false: tables only", True),
}
_FILTERS: Keys = {
    name: _key(meaning, default=argparse.SUPPRESS)
    for name, meaning in {
        "dataset": "ids, short names or patterns ('embedded/*'), with commas",
        "algorithm": "names, with commas",
        "budget": "names, with commas",
        "config": "beginnings of config hashes, with commas",
        "since": "a day or time (UTC)",
        "until": "a day or time (UTC)",
    }.items()
}
_POLICY: Keys = {
    "run": _key("the run as bench prints it, or its end (quick-1f2e3d4c5b6a)", required=True),
    "seed": _key("whose policy [the run's first]", whole(0)),
    **_RESULTS,
}
_SOURCE: Keys = {"source": _key("where a short name is looked up [auto]", choices=_SOURCES, default="auto")}
_CLIPPING = "consents to clipping a dataset's actions to their bounds"
_CONSENT: Keys = {"clip_actions": _truth(_CLIPPING)}
_ROWS: Keys = {"rows": _key("that rows belong together, however odd they look", choices=("trusted",))}
_LIMIT = "time limit of an episode, in steps"

_DATASET: Keys = {
    "dataset": "dataset id, short name (hopper-medium), HDF5 file or Minari folder",
    "source": _key("where a short name is looked up [auto]", choices=_SOURCES),
}
_TRAINING: Keys = {
    "budget": "smoke, quick or paper [paper on CUDA, quick on a CPU]",
    "seeds": "a count (3) or a list (0,1,2) [the budget's]",
    "steps": "gradient steps [the budget's]",
    "algorithm": f"of benchmarks/algorithm [cql]: {', '.join(yaml_names(benchmarks_dir() / 'algorithm'))}",
    "preset": "the dataset's settings from benchmarks/preset [the dataset card's]",
    "device": "auto, cpu, cuda, cuda:N [auto]",
    "threads": "CPU threads to compute with [auto: OMP_NUM_THREADS, or the cores]",
    "tf32": "on CUDA, whether matrix products may round to TF32 [true]",
    "clip_actions": f"true {_CLIPPING} [false]",
    "results": "folder for records and reports [results]",
    "rerun": "true trains seeds that are recorded already once more [false]",
    "resume": "of an interrupted run: auto resumes it; never starts from scratch; or a checkpoint [auto]",
    "checkpoint_interval": "seconds between saves of what is done; 0 saves nothing [60]",
}
_LAUNCHER: Keys = {
    "launcher": "local, ray or slurm makes the runs, as launcher.<key>= says (docs/cluster.md) [this process]"
}
_LOGGERS = ("csv", "tensorboard", "wandb", "mlflow", "trackio", "none")
_SETTINGS = "Any other setting goes along, such as algorithm.batch_size=64; 'cqlbench train --help' has all."
_SUITE: Keys = {"suite": "a file of benchmarks/suite, which has its budget too"}

WELCOME = """\
cqlbench: train CQL and its baselines on offline data, all seeds at once, and get a number you can trust.
  cqlbench demo                         see it work: data, training, evaluation, a report; a minute or two
  cqlbench bench dataset=hopper-medium  train, evaluate and record one run; minutes on a laptop
  cqlbench doctor                       what this machine has, and what can be run and played here
  cqlbench --help                       every command; 'cqlbench data list' has every dataset
"""
"""What `cqlbench` alone prints."""

PAGES: Mapping[str, Page] = {
    "demo": Page(
        "see it work: data, training, evaluation and a report in a minute or two",
        "demo:demo",
        settings={key: _TRAINING[key] for key in ("seeds", "steps", "device", "threads", "results")},
        more="Nothing is downloaded. Exit status 1: a seed failed.",
        tables=True,
    ),
    "doctor": Page(
        "what this machine has: versions, devices, simulators, caches, and what can be played",
        "doctor:doctor",
        keys={"results": _key("the results folder [%(default)s]", Path, default=Path("results"))},
        more="Exit status 2: something that every run needs is missing or broken.",
    ),
    "bench": Page(
        "train an algorithm on a dataset, evaluate, record and report it",
        "train:bench",
        settings=_DATASET | _TRAINING,
        more=f"{_SETTINGS} Exit status 1: a seed failed.",
    ),
    "finetune": Page(
        "the same, and go on with frames from the environment",
        "train:finetune",
        settings=_DATASET | {"online": "how it goes on: smoke, quick or paper [the budget's]"} | _TRAINING,
        more=f"{_SETTINGS} online.frames=50000 and the like are its own. Exit status 1: a seed failed.",
    ),
    "train": Page(
        "the same as bench, and log it; sweeps",
        "train:train",
        keys={
            "print_config": _truth("print the composed settings and run nothing", **_ALONE),
            "multirun": _truth("run every combination of values: -m steps=100,200 seeds=0,1", **_ALONE),
        },
        settings=_DATASET | {"logger": _key("where logs go [csv]", choices=_LOGGERS)} | _TRAINING | _LAUNCHER,
        launched="launched:train",
    ),
    "report": Page(
        "tables, plots and a page of recorded runs, beside published scores where they may stand",
        "report:report",
        keys=_SELECT
        | {"output": _key("folder for the report [report in the results folder]", Path)}
        | _RESULTS
        | _FILTERS,
        tables=True,
    ),
    "compare": Page(
        "say how recorded algorithms, or configurations of one, differ over the datasets that both have",
        "compare:compare",
        keys=_SCORES
        | {"output": _key("folder for the comparison and the diagram of mean ranks [none]", Path)}
        | _RESULTS
        | _FILTERS,
        more="cqlbench compare algorithm=cql,iql",
        tables=True,
    ),
    "paper": Page(
        "run or resume a whole suite, with one algorithm or several, and report it",
        "paper:paper",
        keys=_SUITE | _SELECT,
        settings=_TRAINING | {"algorithm": "names, with commas, or all [the suite's, or cql]"} | _LAUNCHER,
        more=f"Its report: report/<suite> of the results folder. {_SETTINGS} Exit status 1: a seed failed.",
        tables=True,
        launched="launched:paper",
    ),
    "sweep": Page(
        "run or resume an algorithm's configurations of benchmarks/sweep, and report them",
        "sweep:sweep",
        keys=_SELECT | {"draw": _key("configurations of each algorithm [the sweep's]", whole(1))},
        settings=_DATASET
        | _TRAINING
        | {"algorithm": f"names, with commas [cql]: {', '.join(yaml_names(benchmarks_dir() / 'sweep'))}"}
        | _LAUNCHER,
        more=f"Its report: report/sweep of the results folder. {_SETTINGS} Exit status 1: a seed failed.",
        tables=True,
        launched="launched:sweep",
    ),
    "select": Page(
        "choose among recorded policies without the environment, and say how right that is",
        "select:select",
        {"runs": "[RUN...]"},
        {
            "steps": _key("gradient steps of fitted Q evaluation [%(default)s]", whole(1), default=5_000),
            "discount": _key("of the values [%(default)s]", number(0, 1), default=0.99),
            "play": _key(
                "episodes that each policy plays for its true discounted return [%(default)s]",
                whole(0),
                default=0,
            ),
            "device": _key("auto, cpu, cuda, cuda:N [%(default)s]", default="auto"),
            "plots": _truth("false: tables only", True),
            "output": _key("folder for the report [report/selection in the results folder]", Path),
        }
        | _RESULTS
        | _FILTERS,
        more="Runs are named as bench prints them, or by the filters. Each dataset's policies are ranked by"
        " fitted Q evaluation; beside it stand what their own critics, their distance from the data and"
        " chance choose, and the returns that were recorded.",
        tables=True,
    ),
    "status": Page("how far suites are that a launcher runs", "status:status", keys=_RESULTS, tables=True),
    "gate": Page(
        "run a suite and compare it with its accepted baseline",
        "gate:gate",
        keys=_SUITE
        | {
            "baseline": _key("the accepted baseline [the results folder's baselines/<suite>.json]", Path),
            "accept": _truth("make the baseline of this checkout's runs", **_ALONE),
            "run": _truth("train what this commit has not recorded; false compares what is recorded", True),
            "select": _key("which evaluations are scored [mean10, or the baseline's]", choices=_SELECTIONS),
            "margin": _key("a drop in points that is small enough [%(default)g]", number(0), default=5.0),
            "level": _key(
                "bootstrap probability above which a drop is sure [%(default)g]", number(0.5, 1), default=0.9
            ),
            "throughput": _key(
                "lowest ratio of speed, in the machine's matrix products, to the accepted one; 0 only notes "
                "slower training [%(default)g]",
                number(0, 1),
                default=0.0,
            ),
            "false_alarms": _key(
                "share of gates of one algorithm whose training may be called changed; 0 judges scores alone "
                "[%(default)g]",
                number(0, 1),
                default=0.01,
            ),
            "output": _key(
                "folder for gate.md and gate.xml [report/gate-<suite> of the results folder]", Path
            ),
        },
        settings={"results": _TRAINING["results"]},
        more="Settings of bench go along, but dataset= and source=. Exit status 0: no change; 1: a"
        " regression, or the algorithm changed; 2: it cannot say; 70: a run crashed.",
        tables=True,
    ),
    "results": Page(
        "recorded runs: list, show, diff, export",
        verbs={
            "list": Page("a line per run", "results:list_runs", keys=_RESULTS | _FILTERS, tables=True),
            "show": Page(
                "a run's tables again", "results:show", takes={"run": "RUN"}, keys=_RESULTS, tables=True
            ),
            "diff": Page(
                "two runs' scores, and what differs in how they were made",
                "results:diff",
                takes={"first": "RUN1", "second": "RUN2"},
                keys=_RESULTS,
                tables=True,
            ),
            "export": Page(
                "a row per evaluation, for pandas and others",
                "results:export",
                keys={
                    "output": _key(".csv or .parquet file [%(default)s]", Path, default=Path("results.csv"))
                }
                | _OVERWRITE
                | _RESULTS
                | _FILTERS,
                tables=True,
            ),
        },
    ),
    "export": Page(
        "write a run's policy as one file that runs without cqlbench",
        "export:export",
        keys=_POLICY
        | {
            "format": _key(
                "of the file [by the output's ending, or export]",
                choices=("export", "torchscript", "onnx"),
                dest="form",
            ),
            "output": _key("the file [named after the run, in this folder]", Path),
        }
        | _OVERWRITE,
    ),
    "watch": Page(
        "write a video of an episode of a run's policy",
        "watch:watch",
        keys=_POLICY
        | {
            "video": _key("the file, .mp4 or .gif", Path, required=True),
            "episode": _key("which of the first evaluation's episodes [%(default)s]", whole(0), default=0),
        }
        | _OVERWRITE,
    ),
    "data": Page(
        "datasets: list, fetch, check, show, import, collect",
        verbs={
            "list": Page(
                "datasets: sizes, endpoints, whether they can be played and compared",
                "data:list_datasets",
                keys={
                    "source": _key("where they come from", choices=_SOURCES[1:]),
                    "family": "such as gym-mujoco",
                    "cached": _truth("whether it is on this machine") | {"default": None},
                },
            ),
            "fetch": Page(
                "download datasets, by id or short name", "data:fetch_datasets", {"names": "ID..."}, _SOURCE
            ),
            "check": Page(
                "the checks before training, one by one",
                "data_check:check",
                {"name": "ID"},
                _CONSENT | _SOURCE | _ROWS,
            ),
            "show": Page(
                "a dataset's facts, and a figure of it",
                "data_check:show",
                {"name": "ID"},
                _CONSENT | _SOURCE | _RESULTS,
            ),
            "import": Page(
                "a file or Minari folder of your own",
                "data_import:import_data",
                {"file": "FILE"},
                {
                    "id": _key("the name it gets, such as my/robot-v0", dest="name", required=True),
                    "env": "the gymnasium environment it was recorded in [a Minari dataset's own, or none]",
                    "max_episode_steps": _key(_LIMIT, whole(1)),
                    "score_min": _key("return that counts as 0", number()),
                    "score_max": _key("return that counts as 100", number()),
                    "observation_keys": _key("parts of dictionary observations, with commas", names),
                    "actions": _key(
                        "of which kind they are [what they look like]", choices=("discrete", "continuous")
                    ),
                    "action_count": _key("so many discrete actions", whole(1)),
                    "action_low": _key("bounds of actions: a number, or one for each [-1]", numbers),
                    "action_high": _key("the same [1]", numbers),
                    "columns": "'{observations: obs, terminals: done}': our columns' names, and the file's",
                    "clip_actions": _truth(_CLIPPING),
                    "ends": _key(
                        "of doubtful end flags: right; terminals mark time limits too; the other way round",
                        choices=("trusted", "time_limits", "inverted"),
                    ),
                    **_ROWS,
                    "licence": _key("of the data", default=""),
                },
            ),
            "collect": Page(
                "record a behaviour policy, for any library to read",
                "data_collect:collect",
                keys={
                    "policy": _key("a shipped behaviour policy, or the path of an npz file", required=True),
                    "env": _key("gymnasium id of the environment", required=True),
                    "steps": _key("transitions to collect", whole(1), required=True),
                    "seed": _key("of environments and action noise [%(default)s]", whole(0), default=0),
                    "limit": _key(f"{_LIMIT} [the environment's own]", whole(1)),
                    "output": _key("an HDF5 file in D4RL's schema", Path),
                    "minari": "id of a Minari dataset to make, such as mine/hopper-v0",
                },
            ),
        },
    ),
}
