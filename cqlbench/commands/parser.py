"""What each verb takes, as argparse shows it: a page of help per verb, and shell completion."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    """The help of one verb.

    Attributes:
        purpose: what it does, in one line.
        keys: key -> meaning; the default in brackets.
        flags: options without a value -> meaning.
        takes: positional arguments, as they are written.
        more: sentences at the end.
        verbs: verbs below it.
    """

    purpose: str
    keys: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    takes: str = ""
    more: str = ""
    verbs: "Mapping[str, Page]" = field(default_factory=dict)


CHOICES: Mapping[str, tuple[str, ...]] = {
    "source": ("auto", "d4rl", "minari", "embedded"),
    "select": ("last", "best", "mean10"),
    "format": ("export", "torchscript", "onnx"),
    "logger": ("csv", "tensorboard", "wandb", "mlflow", "trackio", "none"),
    "actions": ("discrete", "continuous"),
    "ends": ("trusted", "time_limits", "inverted"),
}
"""Values that are completed and shown; whoever uses one checks it."""

_RESULTS = {"results": "folder for records and reports [results]"}
_TRAINING = {
    "budget": "smoke, quick or paper [paper on CUDA, quick on a CPU]",
    "seeds": "a count (3) or a list (0,1,2) [the budget's]",
    "steps": "gradient steps [the budget's]",
    "algorithm": "cql, calql, sac, bc: a file of benchmarks/algorithm [cql]",
    "preset": "the dataset's settings from benchmarks/preset [the dataset card's]",
    "device": "auto, cpu, cuda, cuda:N [auto]",
    "threads": "CPU threads to compute with [auto: OMP_NUM_THREADS, or the cores]",
    "tf32": "on CUDA, whether matrix products may round to TF32 [true]",
    "clip_actions": "true consents to clipping a dataset's actions to their bounds [false]",
    **_RESULTS,
    "rerun": "true trains seeds that are recorded already once more [false]",
    "resume": "of an interrupted run: auto resumes it; never starts from scratch; or a checkpoint [auto]",
    "checkpoint_interval": "seconds between saves of what is done; 0 saves nothing [60]",
}
_DATASET = {
    "dataset": "dataset id, short name (hopper-medium), HDF5 file or Minari folder",
    "source": "where a short name is looked up [auto]",
}
_FILTERS = {
    "dataset": "ids, short names or patterns ('embedded/*'), with commas",
    "algorithm": "names, with commas",
    "budget": "names, with commas",
    "config": "beginnings of config hashes, with commas",
    "since": "a day or time (UTC)",
    "until": "a day or time (UTC)",
}
_POLICY = {
    "run": "the run as bench prints it, or its end (quick-1f2e3d4c5b6a)",
    "seed": "whose policy [the run's first]",
    "results": "where the run is [results]",
}
_OVERWRITE = {"overwrite": "true replaces a file that exists already [false]"}
_SETTINGS = "Any other setting goes along, such as algorithm.batch_size=64; 'cqlbench train --help' has all."
_SUITE = {"suite": "a file of benchmarks/suite, which has its budget too"}
_SELECT = {"select": "which evaluations are scored [last]", "plots": "false: tables only [true]"}
_CLIP = {"clip_actions": _TRAINING["clip_actions"], "source": _DATASET["source"]}

PAGES: Mapping[str, Page] = {
    "bench": Page(
        "train an algorithm on a dataset, evaluate, record and report it",
        _DATASET | _TRAINING,
        more=f"{_SETTINGS} Exit status 1: a seed failed.",
    ),
    "finetune": Page(
        "the same, and go on with frames from the environment",
        _DATASET | {"online": "how it goes on: smoke, quick or paper [the budget's]"} | _TRAINING,
        more=f"{_SETTINGS} online.frames=50000 and the like are its own. Exit status 1: a seed failed.",
    ),
    "train": Page(
        "the same as bench, and log it; sweeps",
        _DATASET | {"logger": "where logs go [csv]"} | _TRAINING,
        {
            "--print-config": "print the composed settings and run nothing",
            "--multirun": "(-m) run every combination of values: -m algorithm.batch_size=64,256 seeds=0,1",
        },
    ),
    "report": Page(
        "tables, plots and a page of recorded runs, beside published scores where they may stand",
        _SELECT
        | {"output": "folder for the report [the results folder's report]"}
        | {"results": "where the records are [results]"}
        | _FILTERS,
    ),
    "paper": Page(
        "run or resume a whole suite of datasets, and report it",
        _SUITE | _SELECT | _TRAINING,
        more=f"Its report: report/<suite> of the results folder. {_SETTINGS} Exit status 1: a seed failed.",
    ),
    "gate": Page(
        "run a suite and compare it with its accepted baseline",
        _SUITE
        | {
            "baseline": "the accepted baseline [the results folder's baselines/<suite>.json]",
            "run": "false compares what is recorded [true: train what this commit has not recorded]",
            "select": "which evaluations are scored [mean10, or the baseline's]",
            "margin": "a drop in points that is small enough [5]",
            "level": "bootstrap probability above which a drop is sure [0.9]",
            "throughput": "lowest ratio of speed to the accepted one; 0 only notes slower training [0]",
            "output": "folder for gate.md and gate.xml [the results folder's report/gate-<suite>]",
        }
        | _RESULTS,
        {"--accept": "make the baseline of this checkout's runs"},
        more="Settings of bench go along, but dataset= and source=. Exit status 0: no regression; 1: a"
        " regression; 2: it cannot say; 70: a run crashed.",
    ),
    "results": Page(
        "recorded runs: list, show, compare, export",
        verbs={
            "list": Page("a line per run", {"results": "where the records are [results]"} | _FILTERS),
            "show": Page("a run's tables again", {"results": "where the records are [results]"}, takes="RUN"),
            "diff": Page(
                "two runs' scores, and what differs in how they were made",
                {"results": "where the records are [results]"},
                takes="RUN1 RUN2",
            ),
            "export": Page(
                "a row per evaluation, for pandas and others",
                {"output": "the file, .csv or .parquet [results.csv]"}
                | _OVERWRITE
                | {"results": "where the records are [results]"}
                | _FILTERS,
            ),
        },
    ),
    "export": Page(
        "write a run's policy as one file that runs without cqlbench",
        _POLICY
        | {
            "format": "of the file [by the output's ending, or export]",
            "output": "the file [named after the run, in this folder]",
        }
        | _OVERWRITE,
    ),
    "watch": Page(
        "write a video of an episode of a run's policy",
        _POLICY
        | {
            "video": "the file, .mp4 or .gif",
            "episode": "which of the first evaluation's episodes [0]",
        }
        | _OVERWRITE,
    ),
    "data": Page(
        "datasets: list, fetch, check, show, import, collect",
        verbs={
            "list": Page(
                "datasets: sizes, endpoints, whether they can be played and compared",
                {
                    "source": "d4rl, minari, embedded or imported",
                    "family": "such as gym-mujoco",
                    "cached": "true or false: whether it is on this machine",
                },
            ),
            "fetch": Page(
                "download datasets, by id or short name", {"source": _DATASET["source"]}, takes="ID..."
            ),
            "check": Page("the checks before training, one by one", _CLIP, takes="ID"),
            "show": Page("a dataset's facts, and a figure of it", _CLIP | _RESULTS, takes="ID"),
            "import": Page(
                "a file or Minari folder of your own",
                {
                    "id": "the name it gets, such as my/robot-v0",
                    "env": "the gymnasium environment it was recorded in [a Minari dataset's own, or none]",
                    "max_episode_steps": "time limit of an episode, in steps",
                    "score_min": "return that counts as 0",
                    "score_max": "return that counts as 100",
                    "observation_keys": "parts of dictionary observations, in order, with commas",
                    "actions": "discrete or continuous [what they look like]",
                    "action_count": "so many discrete actions",
                    "action_low": "bounds of continuous actions: a number, or one for each [-1]",
                    "action_high": "the same [1]",
                    "columns": "'{observations: obs, terminals: done}': our columns' names, and the file's",
                    "clip_actions": _TRAINING["clip_actions"],
                    "ends": "of doubtful end flags: trusted; time_limits: terminals mark them too; inverted",
                    "licence": "of the data",
                },
                takes="FILE",
            ),
            "collect": Page(
                "record a behaviour policy, for any library to read",
                {
                    "policy": "a shipped behaviour policy, or the path of an npz file",
                    "env": "gymnasium id of the environment",
                    "steps": "transitions to collect",
                    "seed": "of environments and action noise [0]",
                    "limit": "time limit of an episode, in steps [the environment's own]",
                    "output": "an HDF5 file in D4RL's schema",
                    "minari": "id of a Minari dataset to make, such as mine/hopper-v0",
                },
            ),
        },
    ),
}
_FORMS = "--key value, --key=value and key=value mean the same. "
_EPILOG = (
    "'cqlbench VERB --help' explains a verb. Exit status: 0 done; 1 a seed failed (gate: a regression); 2 an"
    " error that you can put right (gate: or it cannot say); 70 a bug of cqlbench, with its traceback; 130"
    " interrupted; 143 terminated."
)


def parser() -> argparse.ArgumentParser:
    """The whole command line, for help and completion; verbs read their words themselves."""
    whole = argparse.ArgumentParser("cqlbench", epilog=_EPILOG, allow_abbrev=False)
    whole.add_argument("--version", action="store_true", help="show the version")
    whole.add_argument("--print-completion", choices=("bash", "zsh", "tcsh"), help="a script for this shell")
    _add_verbs(whole, PAGES)
    return whole


def help_of(words: list[str]) -> str:
    """The page of the verb, and the verb below it, that `words` begin with."""
    page, chosen = parser(), PAGES
    for word in words:
        if word not in chosen:
            break
        page = next(a for a in page._actions if isinstance(a, argparse._SubParsersAction)).choices[word]
        chosen = chosen[word].verbs
    return page.format_help()


def _add_verbs(whole: argparse.ArgumentParser, pages: Mapping[str, Page]) -> None:
    verbs = whole.add_subparsers(title="verbs", metavar="VERB")
    for name, page in pages.items():
        words = "VERB ..." if page.verbs else f"{page.takes} [key=value ...]".strip()
        described = page.purpose[0].upper() + page.purpose[1:] + "."
        one = verbs.add_parser(
            name,
            help=page.purpose,
            description=described,
            epilog=("" if page.verbs else _FORMS) + page.more,
            usage=f"{whole.prog} {name} {words}",
            allow_abbrev=False,
        )
        if page.takes:
            one.add_argument("names", metavar=page.takes, nargs="*")
        for key, meaning in page.keys.items():
            shown = CHOICES.get(key)
            one.add_argument(
                f"--{key.replace('_', '-')}",
                metavar="{" + ",".join(shown) + "}" if shown else key.upper(),
                choices=shown,
                help=meaning,
            )
        for flag, meaning in page.flags.items():
            one.add_argument(flag, action="store_true", help=meaning)
        if page.verbs:
            _add_verbs(one, page.verbs)
