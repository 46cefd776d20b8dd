"""`launcher=` and its keys: read, checked, and kept apart from a run's own words."""

import pytest

from cqlbench.core.errors import ConfigError
from cqlbench.experiments.launchers.settings import LocalSettings, RaySettings, split


def test_runs_keep_their_own_words() -> None:
    assert split(["budget=smoke"]) == (["budget=smoke"], None)
    words, settings = split(["launcher.at_once=2", "budget=smoke", "launcher=local", "launcher.dry_run=true"])
    assert words == ["budget=smoke"]
    assert settings == LocalSettings(at_once=2, dry_run=True)
    assert settings.name == "local"
    assert settings.device == "auto"


def test_a_unit_gets_what_is_asked_for() -> None:
    _, settings = split(["launcher=ray", "launcher.gpus_per_run=0.25", "launcher.address=ray://head:10001"])
    assert settings == RaySettings(gpus_per_run=0.25, address="ray://head:10001")
    assert (settings.gpus, settings.cpus, settings.device) == (0.25, 1, "cuda")
    assert split(["launcher=ray", "launcher.cpus_per_run=3"])[1].device == "cpu"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["launcher=kubernetes"], "kubernetes"),
        (["launcher=ray", "launcher.gpu_per_run=1"], "did you mean launcher.gpus_per_run"),
        (["launcher=local", "launcher.gpus_per_run=1"], "launcher=local"),
        (["launcher=local", "launcher.workers=2"], "choose from launcher.seeds_per_run, "),
        (["launcher.retries=3"], "needs a launcher"),
        (["launcher=local", "launcher.at_once=0"], "at least 1"),
        (["launcher=local", "launcher.retries=-1"], "at least 0"),
        (["launcher=local", "launcher.retries=often"], "launcher.retries=often"),
        (["launcher=ray", "launcher.gpus_per_run=1.5"], "whole number"),
        (["launcher=ray", "launcher.gpus_per_run=nan"], "at least 0"),
        (["launcher=ray", "launcher.address=nowhere"], "launcher.address"),
        (["launcher=slurm", "launcher.time=1"], "launcher.notice"),
        (["launcher=slurm", "launcher.gpus_per_run=0.5"], "launcher.gpus_per_run=0.5"),
        (["launcher=ray", "threads=2"], "launcher.cpus_per_run"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split(words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
