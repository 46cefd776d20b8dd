"""The reading of arguments, pages of help and shell completion, all by argparse."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import cqlbench
from cqlbench.commands.pages import PAGES, WELCOME, Option, Page
from cqlbench.core.errors import USER_ERROR, ConfigError

_ONCE = ("dataset", "run", "suite", "baseline", "results", "output")
"""What a command works on, and where: a second one would take the first one's place without a word, as
settings do."""
_FORMS = "--key value, --key=value and key=value mean the same. "
_EPILOG = (
    "'cqlbench VERB --help' explains a verb. Exit status: 0 done; 1 a seed failed (gate: it changed); 2 an"
    " error that you can put right (gate: or it cannot say); 70 a bug of cqlbench, with its traceback; 130"
    " interrupted; 143 terminated."
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """A mistake in the arguments.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message}; see '{self.prog} --help'.")


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, *_rest: Any) -> None:
        import shtab

        sys.stdout.write(shtab.complete(parser, shell))
        parser.exit()


def parse(arguments: Sequence[str]) -> tuple[Page, dict[str, Any]]:
    """The verb that `arguments` begin with, and the others' values by name; `settings` are `key=value`.

    Raises:
        ConfigError: an argument that is not understood.
        SystemExit: help, the version, a completion script or what there is to try first was printed.
    """
    whole, page, rest = _parser(), Page("", verbs=PAGES), list(arguments)
    while rest and rest[0] in page.verbs:
        page = page.verbs[rest.pop(0)]
    names = arguments[: len(arguments) - len(rest)]
    if not arguments:
        sys.stdout.write(WELCOME)
        raise SystemExit(USER_ERROR)
    if page.verbs and not rest:
        with suppress(SystemExit):
            whole.parse_args([*names, "--help"])
        raise SystemExit(USER_ERROR)
    options, settings = read_arguments(page, rest) if page.runs else (rest, [])
    found, others = whole.parse_known_args([*names, *options])
    if others:
        raise _unknown(page, others[0])
    return page, (vars(found) | {"settings": settings} if page.settings else vars(found))


def read_arguments(page: Page, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments as argparse takes them, `--key=value` each, and the settings of runs, `key=value` each.

    Raises:
        ConfigError: a key without a value, an unknown one, one of `_ONCE` given twice, or `~user` without a
            home folder.
    """
    names, options, settings, keys = list[str](), list[str](), list[str](), list[str]()
    for argument in _key_value_arguments(page, arguments):
        key, equals, value = argument.partition("=")
        if equals:
            keys.append(key)
        if argument.startswith("-"):
            options.append(argument)
        elif equals and key in page.keys:
            if not value:
                raise ConfigError(f"'{key}' has no value; say {key}=VALUE.")
            options.append(f"--{key.replace('_', '-')}={value}")
        elif page.settings:
            settings.append(argument)
        elif not equals or "/" in key:  # a path may hold an equals sign
            names.append(argument)
        else:
            raise _unknown(page, key)
    for key in _ONCE:
        if keys.count(key) > 1:
            raise ConfigError(f"{key}= is given twice; give it once.")
    return [*names, *options], settings


def _key_value_arguments(page: Page, arguments: Sequence[str]) -> Iterator[str]:
    """`--key value` and `--key=value` as `key=value`; options that take no value stay as they are."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        option = page.keys.get(key)
        alone = key == "help" or (isinstance(option, dict) and "nargs" in option)
        if not argument.startswith("--") or (alone and not equals):
            yield _at_home(argument)
            continue
        if not equals and (value := next(rest, "--")).startswith("--"):
            if key not in page.keys | page.settings and "." not in key:
                raise _unknown(page, argument)
            raise ConfigError(f"'{argument}' has no value; say {key}=VALUE or {argument} VALUE.")
        yield _at_home(f"{key}={value}")


def _unknown(page: Page, argument: str) -> ConfigError:
    known = (*page.verbs, *page.takes.values(), *(f"{key}=" for key in page.keys | page.settings))
    return ConfigError(f"Unknown argument '{argument}' (choose from {', '.join(known)}).")


def _at_home(argument: str) -> str:
    """The argument, a leading `~` of its value replaced: not every shell does that behind a `=`."""
    value = argument.partition("=")[2] if "=" in argument else argument
    path = os.path.expanduser(value)  # noqa: PTH111, a Path would change other values
    if path.startswith("~"):
        raise ConfigError(f"{argument} names a user who has no home folder here; write the whole path.")
    return argument.removesuffix(value) + path


def _parser() -> Parser:
    whole = Parser("cqlbench", epilog=_EPILOG, allow_abbrev=False)
    whole.add_argument("--version", action="version", version=f"cqlbench {cqlbench.__version__}")
    whole.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        default=argparse.SUPPRESS,
        help="a script for this shell",
    )
    _add_verbs(whole, PAGES)
    return whole


def _add_verbs(whole: argparse.ArgumentParser, pages: Mapping[str, Page]) -> None:
    verbs = whole.add_subparsers(title="verbs", metavar="VERB", prog=whole.prog)
    for name, page in pages.items():
        takes = ["VERB ..."] if page.verbs else [*page.takes.values(), "[key=value ...]"]
        one = verbs.add_parser(
            name,
            help=page.purpose,
            description=page.purpose[0].upper() + page.purpose[1:] + ".",
            epilog=("" if page.verbs else _FORMS) + page.more,
            usage=f"{whole.prog} {name} {' '.join(takes)}",
            allow_abbrev=False,
        )
        if page.verbs:
            _add_verbs(one, page.verbs)
        for place, metavar in page.takes.items():
            one.add_argument(place, metavar=metavar, nargs=_count(metavar))
        for key, option in page.keys.items():
            _add_key(one, key, option)
        settings = one.add_argument_group("settings of the run") if page.settings else one
        for key, option in page.settings.items():
            _add_key(settings, key, option, default=argparse.SUPPRESS)


def _count(metavar: str) -> str | None:
    return "*" if metavar.endswith("...]") else "+" if metavar.endswith("...") else None


def _add_key(group: Any, key: str, option: Option, **more: Any) -> None:
    option = {"help": option} if isinstance(option, str) else option
    names = ["-m"] if key == "multirun" else []
    if "choices" not in option:
        more["metavar"] = key.upper()
    group.add_argument(*names, f"--{key.replace('_', '-')}", **{"dest": key} | more | dict(option))
