"""Typed configuration. Field names are the field's terms; the docstrings give paper symbols and sources.

Sources: "CQL" is Kumar et al. 2020 (arXiv:2006.04779); "SAC" is Haarnoja et al. 2018 (arXiv:1812.05905);
"Cal-QL" is Nakamoto et al. 2023 (arXiv:2303.05479).
Defaults are those of CORL's gym-mujoco v2 configs (see `benchmarks/algorithm/cql.yaml`).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class CQLConfig:
    """One CQL(H) agent. Everything that changes a gradient is here.

    With discrete actions there are critics only: what sizes or moves the actor, the entropy temperature and
    the proposals is not read, and options that need them are refused (`cqlbench.algorithms.cql.discrete`).

    Attributes:
        name: the name in tables and record keys.
        discount: γ.
        polyak_rate: τ of the target network (CORL `tau`).
        batch_size: B, transitions per gradient step.
        actor_hidden: hidden layer sizes of the actor.
        critic_hidden: hidden layer sizes of every critic.
        critics: K, size of the critic ensemble.
        orthogonal_critics: orthogonal weights with gain √2 and zero biases (CORL `orthogonal_init`);
            otherwise `nn.Linear`'s init, with Xavier weights and a zero bias in the last layer.
        orthogonal_actor: the same for the actor, which CORL's CQL leaves at `nn.Linear`'s init, and its
            Cal-QL does not.
        last_layer_gain: gain of the last layer's weights in actor and critics (CORL: 0.01 in CQL, √2 in
            Cal-QL).
        actor_learning_rate: Adam's rate for the actor.
        critic_learning_rate: Adam's rate for the critics.
        temperature_learning_rate: Adam's rate for the log entropy temperature.
        multiplier_learning_rate: Adam's rate for the log Lagrange multiplier.
        max_gradient_norm: clip the gradient norm of each network of each seed to this; `None` clips nothing.
        entropy_temperature: SAC's α: its starting value.
        learn_entropy_temperature: tune it automatically (SAC section 5); otherwise it stays where it starts.
        entropy_multiplier: factor of the entropy temperature wherever it is used (CORL `alpha_multiplier`).
        target_entropy: `None` means −A (SAC appendix D), plus the log of the action box's scale where it is
            not [-1, 1].
        backup_entropy: subtract the entropy term in the target (SAC eq. 3); CORL and the paper's code do not.
        max_q_backup: the target is the largest of N next actions' min over critics (CQL appendix F,
            "max Q backup"; CORL `cql_max_target_backup`).
        target_update_period: gradient steps between polyak updates.
        bc_steps: the actor's first steps maximise the log-probability of the dataset's action instead of Q
            (CORL `bc_steps`).
        variant: `H`, CQL(H) (CQL eq. 4), or `rho`, CQL(ρ) with the current policy as prior (CQL section 3.2,
            appendix A): the penalty is the N policy samples' mean Q under softmax(Q) weights.
        importance_sampled: logsumexp of Q − log density over 3N proposals (CQL appendix F); otherwise of Q
            over the 3N proposals and the dataset's action (the paper's code, `min_q_version` 2).
        conservative_weight: factor of the gap (CORL `cql_alpha`, the paper's code `min_q_weight`); 0 gives
            soft actor-critic. The squared error has no factor ½ here (CORL, the paper's code), so this is
            twice the α of CQL eq. 4.
        proposals: N, sampled actions per proposal distribution (CQL appendix F: 10).
        cql_temperature: softmax temperature of the logsumexp (CORL `cql_temp`).
        gap_clip_min: lower bound of each state's gap (CORL `cql_clip_diff_min`); `None` is no bound.
        gap_clip_max: upper bound of each state's gap (CORL `cql_clip_diff_max`); `None` is no bound.
        lagrange: learn a multiplier α′ of the penalty by dual gradient descent (CQL eq. 30).
        target_action_gap: τ, the gap that the multiplier aims at (CORL `cql_target_action_gap`).
        initial_log_multiplier: log α′ at the start (CORL: 1).
        calibrated: Cal-QL: in the gap, the values of the policy's proposals are at least the return-to-go of
            the row's own episode (Cal-QL eq. 5.1).
        sparse_rewards: with `calibrated`: episodes that end on the lowest reward go on failing for ever, so
            their returns-to-go are reward/(1 − γ) (CORL `is_sparse_reward`).
        normalize_observations: subtract the dataset's mean, divide by its standard deviation + 1e-3 (CORL).
        normalize_rewards: divide rewards by the range of episode returns, times 1000 (CORL
            `normalize_reward`).
        reward_scale: then multiply rewards by this,
        reward_bias: and add this (CORL `reward_scale`, `reward_bias`).
    """

    name: str = "cql"
    discount: float = 0.99
    polyak_rate: float = 0.005
    batch_size: int = 256
    actor_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critic_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critics: int = 2
    orthogonal_critics: bool = True
    orthogonal_actor: bool = False
    last_layer_gain: float = 0.01
    actor_learning_rate: float = 3e-5
    critic_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-5
    multiplier_learning_rate: float = 3e-4
    max_gradient_norm: float | None = None
    entropy_temperature: float = 1.0
    learn_entropy_temperature: bool = True
    entropy_multiplier: float = 1.0
    target_entropy: float | None = None
    backup_entropy: bool = False
    max_q_backup: bool = False
    target_update_period: int = 1
    bc_steps: int = 0
    variant: str = "H"
    importance_sampled: bool = True
    conservative_weight: float = 10.0
    proposals: int = 10
    cql_temperature: float = 1.0
    gap_clip_min: float | None = None
    gap_clip_max: float | None = None
    lagrange: bool = False
    target_action_gap: float = -1.0
    initial_log_multiplier: float = 1.0
    calibrated: bool = False
    sparse_rewards: bool = False
    normalize_observations: bool = True
    normalize_rewards: bool = False
    reward_scale: float = 1.0
    reward_bias: float = 0.0


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


Clock = Literal["frames", "steps"]


@dataclass
class OnlineConfig:
    """What comes after the offline steps: collecting with the learned policy, and training on.

    Attributes:
        frames: environment frames per seed; 0 ends with the offline steps.
        environments: of each seed.
        frames_per_batch: frames per seed collected at a time, 0: one of each environment,
        steps_per_batch: and gradient steps after each of them.
        random_frames: per seed, first, by uniform actions and without gradient steps.
        offline_fraction: share of the dataset's rows in each batch (CORL `mixing_ratio`).
        final_offline_fraction: what it becomes, linearly; `None`: it stays, as where a command names
            `offline_fraction` and nothing else of it.
        anneal_frames: frames at which it gets there.
        conservative_weight: instead of the algorithm's (CORL `cql_alpha_online`); `None` keeps that.
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
    offline_fraction: float = 0.5
    final_offline_fraction: float | None = None
    anneal_frames: int = 0
    conservative_weight: float | None = None
    evaluation_interval: int = 1_000
    evaluation_clock: str = "frames"
    backend: str = "gymnasium"
    timeout: float = 60.0
    start: str = ""


@dataclass
class CQLTrainerConfig:
    """Hydra's counterpart of `CQLTrainer`: `trainer: cqlbench` in a defaults list, one field per argument.

    The last four are further fields of torchrl's `CQLTrainerConfig`. What a run from the command line takes
    from its dataset, algorithm or budget cannot be set there twice.

    Attributes:
        engine: dataset, algorithm and seeds, as the fused step takes them.
        collector: a torchrl collector, to collect and train; `None` trains offline.
        total_frames: environment frames to collect; 0 offline, `None` the collector's own.
        offline_steps: gradient steps on the buffer, before or without collection.
        frame_skip: factor of the frame count, as in torchrl.
        optim_steps_per_batch: gradient steps per collected batch, `None` a pass over the buffer; offline,
            between hooks (evaluation is one).
        online_steps_per_batch: gradient steps per collected batch, where they are not as many.
        loss_module: a torchrl `LossModule`, or any callable that returns loss components.
        optimizer: `None` is one Adam with a parameter group per network.
        logger: `csv`, `tensorboard`, `wandb`, `mlflow`, `trackio` or `none`; in Python any torchrl logger.
            `cqlbench train` takes `csv` where none is named.
        clip_grad_norm: `clip_norm` bounds gradient norms, by seed; `false`: it bounds each derivative.
        clip_norm: the bound; `None` clips nothing, and norms are logged.
        progress_bar: show steps/s, time left and the latest score.
        seed: an integer or a list: the seed batch.
        save_trainer_interval: gradient steps between checkpoints.
        save_trainer_file: where checkpoints go, in place of a saved trainer but of nothing else.
        checkpoint: a torchrl `Checkpoint` to save with.
        checkpoint_rotation: a torchrl `CheckpointRotation`, which keeps the last few.
        checkpoint_metadata: called with the trainer, gives what is saved beside a rotated checkpoint.
        log_interval: gradient steps between logged values.
        replay_buffer: the dataset, as any torchrl buffer; offline training never extends it.
        enable_logging: log statistics of the batches trained on.
        log_rewards: those of their rewards.
        log_actions: those of their actions.
        log_observations: those of their observations.
        target_net_updater: `None` is polyak averaging; or a torchrl `SoftUpdate` or `HardUpdate`.
        async_collection: collect while training.
        log_timings: log the time that each part of the loop takes.
        auto_log_optim_steps: log the number of gradient steps.
        actor_network: makes the policy of a `loss_module` that lacks one.
        qvalue_network: makes the critic of a `loss_module` that lacks one.
        create_env_fn: for other parts of the config to refer to.
        hooks: torchrl hooks with `register`, each called with the trainer.
    """

    engine: Any = None
    collector: Any = None
    total_frames: int | None = 0
    offline_steps: int = 0
    frame_skip: int = 1
    optim_steps_per_batch: int | None = 1_000
    online_steps_per_batch: Any = None
    loss_module: Any = None
    optimizer: Any = None
    logger: Any = None
    clip_grad_norm: bool = True
    clip_norm: float | None = None
    progress_bar: bool = True
    seed: Any = None
    save_trainer_interval: int = 10_000
    save_trainer_file: str | None = None
    checkpoint: Any = None
    checkpoint_rotation: Any = None
    checkpoint_metadata: Any = None
    log_interval: int = 10_000
    replay_buffer: Any = None
    enable_logging: bool = True
    log_rewards: bool = True
    log_actions: bool = True
    log_observations: bool = False
    target_net_updater: Any = None
    async_collection: bool = False
    log_timings: bool = False
    auto_log_optim_steps: bool = True
    actor_network: Any = None
    qvalue_network: Any = None
    create_env_fn: Any = None
    hooks: Any = None
    _target_: str = "cqlbench.trainer.hydra.make_cql_trainer"


LOGGERS = ("none", "csv", "tensorboard", "wandb", "mlflow", "trackio")
"""What a run from the command line can log to; torchrl's names."""

TRAINER_DECIDED = {
    "engine": "dataset and algorithm decide it",
    "collector": "online and its environment decide it",
    "total_frames": "online.frames decides it",
    "offline_steps": "budget.steps decides it",
    "online_steps_per_batch": "online.steps_per_batch decides it",
    "frame_skip": "the environment decides it",
    "loss_module": "algorithm decides it",
    "optimizer": "algorithm and its learning rates decide it",
    "seed": "seeds decides it",
    "clip_grad_norm": "algorithm.max_gradient_norm decides it",
    "clip_norm": "algorithm.max_gradient_norm decides it",
    "checkpoint": "only Python can make it",
    "checkpoint_rotation": "only Python can make it",
    "checkpoint_metadata": "only Python can make it",
    "replay_buffer": "dataset decides it",
    "target_net_updater": "algorithm.polyak_rate decides it",
    "async_collection": "a run collects and trains in turns",
    "actor_network": "algorithm decides it",
    "qvalue_network": "algorithm decides it",
    "create_env_fn": "online and its environment decide it",
    "hooks": "only Python can make it",
}
"""Fields of the trainer that a run from the command line has from elsewhere, and from where: all that
can change a score is among them, so no setting of the trainer belongs to a run's identity."""


@dataclass
class ProtocolConfig:
    """How a dataset family's published scores were evaluated: what budget `paper` does. Presets set it.

    Attributes:
        steps: gradient steps.
        evaluation_interval: gradient steps between evaluations.
        evaluation_episodes: episodes per seed at each evaluation.
        actions: those that the preset's settings are for: `continuous`, `discrete`, or `any`.
    """

    steps: int = 1_000_000
    evaluation_interval: int = 5_000
    evaluation_episodes: int = 10
    actions: str = "any"


@dataclass
class BenchConfig:
    """One run: one dataset, one algorithm, one budget, several seeds trained together.

    Attributes:
        dataset: a dataset id, a short name (`hopper-medium`), or the path of an HDF5 file or Minari folder.
        source: `auto`, `d4rl`, `minari` or `embedded`: where a short name is looked up.
        seeds: the seed batch.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        threads: CPU threads to compute with; `auto` takes `OMP_NUM_THREADS`, or one per core. Numbers do not
            depend on it, except in their last digits without a penalty (SAC) and with discrete actions.
        tf32: on CUDA, let matrix products round their factors to TF32 (10 bits of mantissa).
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
    algorithm: CQLConfig = field(default_factory=CQLConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    trainer: CQLTrainerConfig = field(default_factory=CQLTrainerConfig)


ConfigStore.instance().store(name="bench_schema", node=BenchConfig)
ConfigStore.instance().store(group="trainer", name="cqlbench", node=CQLTrainerConfig)
