"""The pages of help say what the verbs take."""

import functools
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from cqlbench.commands.data_import import _QUIRKS
from cqlbench.commands.main import main
from cqlbench.commands.pages import PAGES, Page
from cqlbench.commands.parser import parse
from cqlbench.data.cards import SOURCES
from cqlbench.experiments.key_names import group_choices, known_keys
from cqlbench.experiments.policy_module import FORMATS
from cqlbench.records.filters import FILTERS
from cqlbench.reporting.gate.verdict import Limits
from cqlbench.reporting.report import SELECTIONS
from cqlbench.trainer.config import LOGGERS

EVERY = [[verb] for verb in PAGES] + [[verb, below] for verb, page in PAGES.items() for below in page.verbs]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_verb_has_a_page_of_its_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["train"]:
        return  # whose settings follow: test_config_help
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: cqlbench {' '.join(words)} ")
    assert len(shown.splitlines()) < 75
    assert max(map(len, shown.splitlines())) <= 110


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_page_names_a_function_that_takes_what_the_words_say(words: list[str]) -> None:
    page = functools.reduce(lambda above, name: above.verbs[name], words, Page("", verbs=PAGES))
    if page.verbs:
        return
    module, _, name = page.runs.partition(":")
    function = getattr(importlib.import_module(f"cqlbench.commands.{module}"), name)
    required = [f"{key}=1" for key, option in page.keys.items() if "required" in option]
    _, values = parse([*words, *page.takes, *required])
    signature = inspect.signature(function)
    signature.bind(None, **values)
    filters = set(FILTERS) if "filters" in signature.parameters else set()
    assert set(signature.parameters) - {"console", "filters"} == set(values)
    assert filters <= set(page.keys)


def test_choices_and_defaults_are_those_of_the_code() -> None:
    def choices(verb: str, key: str) -> set[str]:
        return set((PAGES[verb].keys | PAGES[verb].settings)[key]["choices"])

    for verb in ("bench", "finetune", "train", "paper", "gate"):
        assert set(PAGES[verb].settings) <= set(known_keys("cql")) | {"dataset", "launcher"}
    assert choices("report", "select") == choices("gate", "select") == set(SELECTIONS)
    assert choices("bench", "source") == {"auto", *SOURCES}
    assert choices("train", "logger") == set(LOGGERS)
    assert choices("export", "format") == set(FORMATS)
    assert set(PAGES["data"].verbs["import"].keys["ends"]["choices"]) == set(_QUIRKS)
    limits = {key: PAGES["gate"].keys[key]["default"] for key in ("margin", "level", "throughput")}
    assert Limits(**limits) == Limits()
    for algorithm in group_choices("algorithm"):
        assert algorithm in PAGES["bench"].settings["algorithm"]


def test_words_become_typed_values() -> None:
    _, values = parse(["gate", "--accept", "margin=3", "--baseline", "b.json", "steps=5", "--seeds=2"])
    assert (values["accept"], values["run"], values["margin"]) == (True, True, 3.0)
    assert values["baseline"] == Path("b.json")
    assert values["settings"] == ["steps=5", "seeds=2"]
    assert parse(["report", "--plots", "false"])[1]["plots"] is False
    words = ["data", "import", "f.npz", "id=my/x-v0", "action_low=[-1, -2]", "observation_keys=a,b"]
    _, values = parse([*words, "clip_actions=true"])
    assert (values["action_low"], values["observation_keys"]) == ((-1.0, -2.0), ("a", "b"))
    assert (values["clip_actions"], values["score_min"]) == (True, None)


def test_a_shell_completes_verbs_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "--margin" in script


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cqlbench.commands.main import main; main(['gate', '--help']);"
        "heavy = ('torch', 'pandas', 'gymnasium', 'matplotlib', 'rich');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
