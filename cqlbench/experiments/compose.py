"""Command-line arguments -> a typed, checked config, composed by Hydra from `benchmarks/`."""

import copy
import dataclasses
import functools
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cqlbench.algorithms import learns_online
from cqlbench.algorithms.algorithm import AlgorithmConfig
from cqlbench.core.errors import ConfigError
from cqlbench.core.paths import benchmarks_dir
from cqlbench.core.text import flat
from cqlbench.evaluation.evaluator import Clock
from cqlbench.experiments.config import BenchConfig
from cqlbench.experiments.key_names import GROUPS, RENAMED, SHORTHANDS, check_key, group_choices
from cqlbench.trainer.config import LOGGERS

TEXT = (
    "dataset", "source", "device", "threads", "results", "resume", "online.start",
    "trainer.save_trainer_file",
)  # fmt: skip
"""Keys whose values are taken as they stand, whatever Hydra's grammar would make of them."""
_CHANGING = ("algorithm", "budget.", "protocol.", "online")
_HIGHEST_SEED = 2**32 - 1
_MOST_SEEDS = 1_000


@dataclasses.dataclass(frozen=True)
class Composed:
    """A config and where it departs from what was published.

    Attributes:
        changes: the arguments that changed the algorithm, the budget or the protocol; a key set to the
            value that it has anyway is none of them.
        algorithm: a file in `benchmarks/algorithm`.
        online: how it goes on after the offline steps: a file in `benchmarks/online`.
    """

    config: BenchConfig
    changes: tuple[str, ...]
    algorithm: str
    online: str


def compose_bench(
    arguments: Sequence[str], default_budget: str, preset: str = "", *, online: bool = False, name: str = ""
) -> Composed:
    """The config of a bench run.

    Args:
        arguments: `key=value` overrides in Hydra's grammar; `steps=` is short for `budget.steps=`, `seeds=`
            also takes a count (`3` is `[0,1,2]`) or a plain list (`0,1,2`).
        default_budget: the budget when `arguments` name none.
        preset: the dataset's own settings, a file in `benchmarks/preset`; budget and arguments win over it.
        online: fine-tune as the budget does, unless `arguments` say how.
        name: the dataset's, without its source.

    Raises:
        ConfigError: an argument that is no override, an unknown key (with the nearest valid one), a value of
            the wrong type or out of range, seeds that are missing or repeat.
    """
    overrides = [_expand(argument) for argument in arguments]
    algorithm = value_of(overrides, "algorithm", default_algorithm())
    for override in overrides:
        check_key(override, algorithm)
    if not any(override.startswith("dataset=") and override != "dataset=''" for override in overrides):
        raise ConfigError("No dataset was named; say for instance dataset=hopper-medium.")
    if "online.evaluation_clock=steps" in overrides and not _named(overrides, "online.evaluation_interval"):
        raise ConfigError(
            "online.evaluation_clock=steps needs online.evaluation_interval too: the budget's is in frames."
        )
    sequel = "none"
    if online and not _named(overrides, "online"):
        sequel, choices = value_of(arguments, "budget", default_budget), group_choices("online")
        if sequel not in choices:
            known = " or ".join(choices[1:])
            raise ConfigError(f"Budget '{sequel}' has no fine-tuning; say online={known}.")

    def composed(these: Sequence[str]) -> BenchConfig:
        groups = {"budget": default_budget, "online": sequel, "preset": preset, "protocol.dataset": name}
        return _compose(_completed(these, groups))

    config = composed(overrides)
    if online and not config.online.frames:
        raise ConfigError("Fine-tuning requires frames: online.frames is 0 (bench trains offline only).")
    check(config)
    changes = _changes(overrides, config, composed)
    return Composed(config, changes, algorithm, value_of(overrides, "online", sequel))


def _completed(overrides: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    """`overrides`, and those that come with them: `groups` where none is named."""
    named = [f"{key}={choice}" for key, choice in groups.items() if choice and not _named(overrides, key)]
    completed = [*named, *overrides]
    sequel = ("online.final_offline_fraction", "online.anneal_frames")
    if _named(overrides, "online.offline_fraction") and not any(_named(overrides, key) for key in sequel):
        completed.append(f"{sequel[0]}=null")  # where the budget's goes is no sequel to the named one
    return completed


def _changes(
    overrides: Sequence[str], config: BenchConfig, composed: Callable[[Sequence[str]], BenchConfig]
) -> tuple[str, ...]:
    """The overrides without which the config would be another one."""
    final = flat(dataclasses.asdict(config))
    settings = {each for each in overrides if each.startswith(_CHANGING) and "." in each.partition("=")[0]}
    kept = [each for each in overrides if each not in settings]
    # Most settings are found by what is different without any of them, others by what they keep in place.
    while len(kept) < len(overrides):
        found = flat(dataclasses.asdict(composed(kept)))
        wrong = {key for key, value in final.items() if found.get(key) != value}
        if "online.final_offline_fraction" in wrong:  # naming the first fraction moves it
            wrong.add("online.offline_fraction")
        needed = [each for each in overrides if each in kept or each.partition("=")[0] in wrong]
        if needed == kept:
            break
        kept = needed
    return tuple(each for each in kept if each.startswith(_CHANGING))


def _named(overrides: Sequence[str], key: str) -> bool:
    return any(override.startswith(f"{key}=") for override in overrides)


def value_of(arguments: Sequence[str], key: str, default: str) -> str:
    """The last value that `arguments` give `key`."""
    values = [value.strip() for name, _, value in (each.partition("=") for each in arguments) if name == key]
    return values[-1] if values else default


_AT_LEAST = {
    0: (
        "checkpoint_interval", "online.frames", "online.random_frames", "online.warmup_frames",
        "online.anneal_frames", "online.timeout",
    ),
    1: (
        "budget.evaluation_interval", "budget.evaluation_episodes", "online.environments",
        "online.frames_per_batch", "online.steps_per_batch", "online.evaluation_interval",
        "trainer.optim_steps_per_batch", "trainer.log_interval", "trainer.save_trainer_interval",
    ),
}  # fmt: skip
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "protocol.actions": ("any", "continuous", "discrete"),
    "online.backend": ("auto", "envpool", "gymnasium"),
    "online.evaluation_clock": get_args(Clock),
    "trainer.logger": (*LOGGERS, None),
}
_MULTIPLES = (
    ("online.frames_per_batch", "online.environments"),
    ("online.frames", "online.frames_per_batch"),
    ("online.random_frames", "online.frames_per_batch"),
    ("online.warmup_frames", "online.frames_per_batch"),
    ("budget.evaluation_interval", "trainer.optim_steps_per_batch"),  # between batches of steps
)


def check(config: BenchConfig) -> None:
    """Refuse values that make no sense, before anything is fetched or trained.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    problem = next(_problems(config), None)
    if problem:
        raise ConfigError(problem)


def _problems(config: BenchConfig) -> Iterator[str]:
    if not config.seeds:
        yield "The seed list is empty; say for instance seeds=3 or seeds=[0,1,2]."
    for seed, times in Counter(config.seeds).items():
        if times > 1:
            yield f"Seed {seed} stands more than once in seeds={config.seeds}."
        if not 0 <= seed <= _HIGHEST_SEED:
            yield f"Seed {seed} is not between 0 and {_HIGHEST_SEED}."
    if not config.resume.strip():
        yield "resume is empty; say auto, never, or the path of a checkpoint."
    yield from (f"algorithm.{problem}" for problem in config.algorithm.problems())
    values = flat(dataclasses.asdict(config))
    least_of = {key: least for least, keys in _AT_LEAST.items() for key in keys}
    for key, least in {"budget.steps": 0 if config.online.frames else 1, **least_of}.items():
        if values[key] is None or not (math.isfinite(values[key]) and values[key] >= least):
            yield f"{key}={values[key]} must be a number of at least {least}."
    for key in ("online.offline_fraction", "online.final_offline_fraction"):
        if values[key] is not None and not 0 <= values[key] <= 1:
            yield f"{key}={values[key]} must be between 0 and 1."
    final = config.online.final_offline_fraction
    if config.online.offline_fraction is None and final is not None:
        yield (
            f"online.final_offline_fraction={final} requires online.offline_fraction, which is null: batches"
            " are drawn as from one buffer."
        )
    for key, choices in _CHOICES.items():
        if values[key] not in choices:
            yield f"Unknown {key} '{values[key]}' (choose from {', '.join(filter(None, choices))})."
    for key, unit in _MULTIPLES:
        if values[key] % values[unit]:
            yield f"{key}={values[key]} must be a multiple of {unit}={values[unit]}."
    online = config.online
    if 0 < online.frames <= online.random_frames + online.warmup_frames:
        yield (
            f"online.random_frames={online.random_frames} and online.warmup_frames={online.warmup_frames}"
            f" leave nothing of online.frames={online.frames}."
        )
    if config.online.frames and not learns_online(config.algorithm):
        yield f"algorithm={config.algorithm.name} learns from datasets only: it is not fine-tuned."
    yield from (f"online.algorithm.{problem}" for problem in _online_settings(config).problems())


def _online_settings(config: BenchConfig) -> AlgorithmConfig:
    """The algorithm's settings from the first frame on, each of its field's type."""
    settings = OmegaConf.structured(config.algorithm)
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(settings, config.online.algorithm))
    except OmegaConfBaseException as error:
        raise ConfigError(f"online.algorithm: {str(error).splitlines()[0].rstrip('.')}.") from error
    changed = cast("AlgorithmConfig", merged)
    config.online.algorithm = {key: getattr(changed, key) for key in config.online.algorithm}
    return changed


def _expand(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        raise ConfigError(
            f"'{argument}' is no setting; settings look like key=value, such as dataset=hopper-medium."
        )
    value = value.strip()
    if key == "seeds":
        if re.fullmatch(r"[1-9]\d{0,5}", value):
            if int(value) > _MOST_SEEDS:
                raise ConfigError(
                    f"seeds={value} is a count, of at most {_MOST_SEEDS:,}; for one seed say seeds=[{value}]."
                )
            value = str(list(range(int(value))))
        elif not value.startswith("["):
            value = f"[{value}]" if value != "0" else "[]"
        value = value.replace(" ", "")
    elif key in TEXT:
        value = "'" + value.replace("'", "\\'") + "'"  # paths hold what Hydra's grammar would trip over
    if key in RENAMED:
        sys.stderr.write(
            f"cqlbench: {key} is called {RENAMED[key]} now; the old name goes with the next version.\n"
        )
    return f"{(SHORTHANDS | RENAMED).get(key, key)}={value}"


def default_algorithm() -> str:
    """The algorithm where none is named."""
    defaults = OmegaConf.load(benchmarks_dir() / "bench.yaml").defaults
    return str(next(each["algorithm"] for each in defaults if "algorithm" in each))


def _compose(overrides: list[str]) -> BenchConfig:
    folder = benchmarks_dir()
    chosen = tuple(each for each in overrides if each.partition("=")[0] in GROUPS)
    try:
        composed = copy.deepcopy(_composed_files(folder, _last_change(folder), chosen))
        for override in OverridesParser.create().parse_overrides([e for e in overrides if e not in chosen]):
            if override.is_sweep_override():
                raise ConfigError(f"{override.input_line} names several values, and a run has one of each.")
            key = override.key_or_group
            # A dictionary's keys are new.
            OmegaConf.update(composed, key, override.value(), force_add=key.startswith("online.algorithm."))
        config = cast("BenchConfig", OmegaConf.to_object(composed))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_sentence(error, overrides)) from error
    config.online.frames_per_batch = config.online.frames_per_batch or config.online.environments
    return config


@functools.lru_cache(maxsize=128)
def _composed_files(folder: Path, _last_change: int, chosen: tuple[str, ...]) -> DictConfig:
    """The files that `chosen` names of each group; composing them takes longer than all the rest."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("bench", list(chosen))


def _last_change(folder: Path) -> int:
    """When something in `folder` was changed: a notebook's user may edit a file between two runs."""
    return max(path.stat().st_mtime_ns for path in (folder, *folder.rglob("*")))


def _one_sentence(error: Exception, overrides: list[str]) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).partition("\n")[0].strip().rstrip(".")
    key = str(getattr(cause, "full_key", None) or "").partition("[")[0]  # seeds[0] is of seeds
    at_fault = next((o for o in overrides if key and o.startswith(f"{key}=")), None)
    if at_fault and text.endswith("could not be converted to Integer"):
        return f"{at_fault}: whole numbers are expected, written out, such as 1000000."
    return f"{at_fault}: {text}." if at_fault else f"The configuration is not valid: {text}."
