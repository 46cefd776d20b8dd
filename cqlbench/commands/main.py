"""The command line: what runs a verb, and its exit status, which `cqlbench --help` explains."""

import sys
import traceback
from collections.abc import Sequence

from cqlbench.commands.parser import parse
from cqlbench.core import signals
from cqlbench.core.apart import named
from cqlbench.core.errors import BUG, USER_ERROR, UserError, out_of_memory
from cqlbench.core.printing import console, incomplete, unfailing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    with unfailing() as problems:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
    if problems:
        sys.stderr.write(f"cqlbench: {incomplete(problems[0])}\n")
    return status or (USER_ERROR if problems else 0)


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    try:
        with signals.at_once():
            page, values = parse(arguments)
            # By name: help and mistakes need not wait for what is imported, and some verbs never need it.
            function = named(f"cqlbench.commands.{page.runs_with(values.get('settings', ()))}")
            return function(console(tables=page.tables), **values) or 0
    except SystemExit as done:  # argparse printed what was asked for
        if arguments[:1] == ["train"]:
            sys.stdout.write(_settings(arguments))
        return int(done.code or 0)
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
            "cqlbench: Out of memory; smaller algorithm.batch_size or networks, or fewer seeds, need less.\n"
        )
        return USER_ERROR


def _settings(arguments: Sequence[str]) -> str:
    from cqlbench.experiments.compose import default_algorithm, value_of
    from cqlbench.experiments.config_help import keys_help

    keys = keys_help(value_of(arguments, "algorithm", default_algorithm()))
    return f"\nall settings (the dataset's preset and the budget win over these defaults):\n{keys}"
