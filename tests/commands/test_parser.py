"""The pages of help say what the verbs take."""

import subprocess
import sys

import pytest

from cqlbench.commands import gate
from cqlbench.commands.data import VERBS
from cqlbench.commands.data_check import _IMPORT_KEYS
from cqlbench.commands.main import _VERBS, main
from cqlbench.commands.parser import CHOICES, PAGES, help_of
from cqlbench.experiments.key_names import group_choices, known_keys
from cqlbench.records.filters import FILTERS
from cqlbench.reporting.report import SELECTIONS
from cqlbench.trainer.config import LOGGERS

EVERY = [[verb] for verb in PAGES] + [[verb, below] for verb, page in PAGES.items() for below in page.verbs]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_verb_has_a_page_of_its_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["train"]:
        return  # whose settings follow: test_config_help
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown == help_of(words)
    assert shown.startswith(f"usage: cqlbench {' '.join(words)} ")
    assert len(shown.splitlines()) < 75
    assert max(map(len, shown.splitlines())) <= 110


def test_the_pages_are_of_the_verbs_and_keys_that_there_are() -> None:
    assert set(PAGES) == set(_VERBS)
    assert set(PAGES["data"].verbs) == set(VERBS)
    settings = set(known_keys("cql")) | {"dataset", "suite", "select", "plots"}
    for verb in ("bench", "finetune", "train", "paper"):
        assert set(PAGES[verb].keys) <= settings
    assert set(PAGES["gate"].keys) == {*gate.KEYS, "suite", "results"} - {"accept"}
    assert set(PAGES["data"].verbs["import"].keys) == set(_IMPORT_KEYS)
    assert set(PAGES["report"].keys) == {"select", "plots", "output", "results", *FILTERS}
    assert set(CHOICES["select"]) == set(SELECTIONS)
    assert set(CHOICES["logger"]) == set(LOGGERS)
    for algorithm in group_choices("algorithm"):
        assert algorithm in PAGES["bench"].keys["algorithm"]


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
