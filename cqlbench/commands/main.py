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
from cqlbench.commands.parser import PAGES, help_of, parser
from cqlbench.core import signals
from cqlbench.core.errors import BUG, ConfigError, UserError, out_of_memory
from cqlbench.core.printing import unfailing

if TYPE_CHECKING:
    from rich.console import Console


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
        sys.stdout.write(help_of(words[1:]))
        return 0 if words else 2
    if words[0].startswith("--print-completion"):
        return _print_completion(words)
    if words[0] == "--version":
        sys.stdout.write(f"cqlbench {cqlbench.__version__}\n")
        return 0
    if words[0] not in _VERBS:
        sys.stderr.write(f"cqlbench: There is no command '{words[0]}'; there is {', '.join(_VERBS)}.\n")
        return 2
    if {"-h", "--help"} & set(words[1:]) or (len(words) == 1 and PAGES[words[0]].verbs):
        sys.stdout.write(help_of(words) + (_settings(words) if words[0] == "train" else ""))
        return 0 if len(words) > 1 else 2
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


def _settings(words: Sequence[str]) -> str:
    from cqlbench.experiments.compose import default_algorithm, word
    from cqlbench.experiments.config_help import keys_help

    keys = keys_help(word(words, "algorithm", default_algorithm()))
    return f"\nall settings (the dataset's preset and the budget win over these defaults):\n{keys}"


def _print_completion(words: Sequence[str]) -> int:
    """The completion script of the shell that is named."""
    import shtab

    given = parser().parse_args(words)
    sys.stdout.write(shtab.complete(parser(), given.print_completion))
    return 0


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
}
_FLAGS = ("--print-config", "--multirun", "--help", "--accept")
_SHORT = {"-m": "--multirun"}
_ONCE = ("dataset", "run", "suite", "baseline", "results", "output")
"""What a command works on, and where: a second one would take the first one's place without a word, as
settings do."""
