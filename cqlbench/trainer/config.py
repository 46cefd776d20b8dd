"""The trainer's settings: Hydra's counterpart of `CQLTrainer`."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore


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


ConfigStore.instance().store(group="trainer", name="cqlbench", node=CQLTrainerConfig)
