"""A run's settings, typed; the algorithms' own stand with the algorithms."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from cqlbench.algorithms import ALGORITHMS
from cqlbench.algorithms.algorithm import AlgorithmConfig, added
from cqlbench.trainer.config import CQLTrainerConfig


@dataclass
class BudgetConfig:
    """How much is computed. Part of a record's key: scores of different budgets never share a cell.

    Attributes:
        name: `smoke`, `quick` or `paper`.
        steps: gradient steps.
        evaluation_interval: gradient steps between evaluations; the last step is always evaluated.
        evaluation_episodes: episodes per seed at each evaluation.
        comparable: whether tables may set the scores beside published ones.
    """

    name: str = MISSING
    steps: int = MISSING
    evaluation_interval: int = MISSING
    evaluation_episodes: int = MISSING
    comparable: bool = False


@dataclass
class OnlineConfig:
    """What comes after the offline steps: collecting with the learned policy, and training on.

    Attributes:
        frames: environment frames per seed; 0 ends with the offline steps.
        environments: environments of each seed.
        frames_per_batch: frames per seed collected at a time, 0: one of each environment.
        steps_per_batch: gradient steps after each batch of frames.
        random_frames: first frames per seed, collected by uniform actions and without gradient steps.
        warmup_frames: frames per seed after the random ones, collected by the policy as it is and without
            gradient steps.
        offline_fraction: share of the dataset's rows in each batch (CORL `mixing_ratio`); `null`: each row is
            drawn from the dataset and all collected rows alike, as from one buffer that grows (CORL's CQL).
        final_offline_fraction: what it becomes, linearly; `None`: it stays, as where a command names
            `offline_fraction` and nothing else of it.
        anneal_frames: frames at which it gets there.
        algorithm: settings of the algorithm that change with the first frame, by key (CORL `cql_alpha_online`
            is `online.algorithm.conservative_weight`).
        evaluation_interval: between evaluations, in what `evaluation_clock` counts; the first batch that
            passes its end is evaluated, and the last one in any case.
        evaluation_clock: `frames` per seed, or gradient `steps`.
        backend: `gymnasium`, whose simulators' states are saved, so that a killed run goes on exactly;
            `envpool`, which is faster, and whose episodes in flight are dropped then; `auto` prefers envpool.
        timeout: seconds after which a step of the environments counts as hung; 0 waits for ever.
        start: where the offline steps have been taken already: a trainer that `cqlbench train` has saved
            (`trainer.save_trainer_file`), of the same algorithm and seeds.
    """

    frames: int = 0
    environments: int = 1
    frames_per_batch: int = 0
    steps_per_batch: int = 1
    random_frames: int = 0
    warmup_frames: int = added(0)
    offline_fraction: float | None = 0.5
    final_offline_fraction: float | None = None
    anneal_frames: int = 0
    algorithm: dict[str, Any] = field(default_factory=dict)
    evaluation_interval: int = 1_000
    evaluation_clock: str = "frames"
    backend: str = "gymnasium"
    timeout: float = 60.0
    start: str = ""


@dataclass
class ProtocolConfig:
    """How a dataset family's published scores were evaluated: what budget `paper` does. Presets set it.

    Attributes:
        steps: gradient steps.
        evaluation_interval: gradient steps between evaluations.
        evaluation_episodes: episodes per seed at each evaluation.
        actions: those that the preset's settings are for: `continuous`, `discrete`, or `any`.
        fine_tuning: whether the algorithm's settings are those of published fine-tuning.
        dataset: the name of the run's dataset, without its source.
        settings: of single datasets, by name: what `${setting:<key>,<else>}` finds in a preset. Where there
            are some, the settings of all others were not published.
    """

    steps: int = 1_000_000
    evaluation_interval: int = 5_000
    evaluation_episodes: int = 10
    actions: str = "any"
    fine_tuning: bool = False
    dataset: str = ""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class BenchConfig:
    """One run: one dataset, one algorithm, one budget, several seeds trained together.

    Attributes:
        dataset: a dataset id, a short name (`hopper-medium`), or the path of an HDF5 file or Minari folder.
        source: `auto`, `d4rl`, `minari` or `embedded`: where a short name is looked up.
        seeds: the seed batch.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        threads: CPU threads to compute with; `auto` takes `OMP_NUM_THREADS`, or one per core. Numbers do not
            depend on it.
        tf32: on CUDA, let matrix products round their factors to 10 bits of mantissa: TF32, and float16 where
            activations are kept.
        clip_actions: consent to clipping the dataset's actions to their bounds; without it they are refused.
        results: folder for records, policies, logs, tables and plots.
        rerun: train seeds that are recorded already once more, beside their records.
        checkpoint_interval: seconds between saves of a run's state, to resume it from; 0 saves none.
        resume: of a run that was not finished: `auto` resumes it from its last checkpoint; `never` starts it
            from scratch; the path of a checkpoint, or of a folder of them, resumes from that one.
        algorithm: the agent, field by field.
        protocol: what budget `paper` computes, field by field.
        budget: how much is computed, field by field.
        online: fine-tuning, field by field.
        trainer: logging and the like, field by field.
    """

    dataset: str = MISSING
    source: str = "auto"
    seeds: list[int] = MISSING
    device: str = "auto"
    threads: str = "auto"
    tf32: bool = True
    clip_actions: bool = False
    results: str = "results"
    rerun: bool = False
    checkpoint_interval: float = 60.0
    resume: str = "auto"
    algorithm: AlgorithmConfig = MISSING
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    trainer: CQLTrainerConfig = field(default_factory=CQLTrainerConfig)


def _setting(key: str, otherwise: Any, *, _root_: DictConfig) -> Any:
    """What a preset says of the run's dataset: `${setting:<key>,<else>}` in the settings of an algorithm."""
    own = _root_.protocol.settings.get(_root_.protocol.dataset) or {}
    return own.get(key, otherwise)


OmegaConf.register_new_resolver("setting", _setting, replace=True)
ConfigStore.instance().store(name="bench_schema", node=BenchConfig)
for _name, (_settings, _) in ALGORITHMS.items():
    ConfigStore.instance().store(group="algorithm/schema", name=_name, node=_settings)
