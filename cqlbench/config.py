"""Typed configuration. Field names are the field's terms; the docstrings give paper symbols and sources.

Sources: "CQL" is Kumar et al. 2020 (arXiv:2006.04779); "SAC" is Haarnoja et al. 2018 (arXiv:1812.05905).
Defaults are those of CORL's gym-mujoco v2 configs (see `benchmarks/algorithm/cql.yaml`).
"""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class CQLConfig:
    """One CQL(H) agent. Everything that changes a gradient is here.

    Attributes:
        name: the name in tables and record keys.
        discount: γ.
        polyak_rate: τ of the target network (CORL `tau`).
        batch_size: B, transitions per gradient step.
        actor_hidden: hidden layer sizes of the actor.
        critic_hidden: hidden layer sizes of every critic.
        critics: K, size of the critic ensemble.
        orthogonal_init: orthogonal weights with gain √2 and zero biases (CORL); otherwise `nn.Linear`'s init.
        actor_learning_rate: Adam's rate for the actor.
        critic_learning_rate: Adam's rate for the critics.
        temperature_learning_rate: Adam's rate for the log entropy temperature.
        entropy_temperature: SAC's α: its starting value.
        learn_entropy_temperature: tune it automatically (SAC section 5); otherwise it stays where it starts.
        target_entropy: `None` means −A, SAC appendix D.
        backup_entropy: subtract the entropy term in the target (SAC eq. 3); CORL and the paper's code do not.
        conservative_weight: α of CQL eq. 4 (CORL `cql_alpha`); 0 gives soft actor-critic.
        proposals: N, sampled actions per proposal distribution (CQL appendix F: 10).
        cql_temperature: softmax temperature of the logsumexp (CORL `cql_temp`).
        normalize_observations: subtract the dataset's mean, divide by its standard deviation + 1e-3 (CORL).
        normalize_rewards: divide rewards by the range of episode returns, times 1000 (CORL
            `normalize_reward`).
    """

    name: str = "cql"
    discount: float = 0.99
    polyak_rate: float = 0.005
    batch_size: int = 256
    actor_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critic_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critics: int = 2
    orthogonal_init: bool = True
    actor_learning_rate: float = 3e-5
    critic_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-5
    entropy_temperature: float = 1.0
    learn_entropy_temperature: bool = True
    target_entropy: float | None = None
    backup_entropy: bool = False
    conservative_weight: float = 10.0
    proposals: int = 10
    cql_temperature: float = 1.0
    normalize_observations: bool = True
    normalize_rewards: bool = False


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
class BenchConfig:
    """One `cqlbench bench` run: one dataset, one algorithm, one budget, several seeds trained together.

    Attributes:
        dataset: a dataset id, a short name (`hopper-medium`), or the path of an HDF5 file or Minari folder.
        source: `auto`, `d4rl`, `minari` or `embedded`: where a short name is looked up.
        seeds: the seed batch.
        device: `auto`, `cpu`, `cuda` or `cuda:<n>`.
        results: folder for records, tables and plots.
    """

    dataset: str = MISSING
    source: str = "auto"
    seeds: list[int] = MISSING
    device: str = "auto"
    results: str = "results"
    algorithm: CQLConfig = field(default_factory=CQLConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
