"""CQL's settings.

"CQL" is Kumar et al. 2020 (arXiv:2006.04779), "Cal-QL" Nakamoto et al. 2023 (arXiv:2303.05479).
Defaults are those of CORL's gym-mujoco v2 configs (see `benchmarks/algorithm/cql.yaml`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cqlbench.algorithms.algorithm import at_least, positive
from cqlbench.algorithms.sac import SACConfig


@dataclass
class CQLConfig(SACConfig):
    """One CQL(H) agent. Everything that changes a gradient is here.

    With discrete actions there are critics only: what sizes or moves the actor, the entropy temperature and
    the proposals is not read, and options that need them are refused (`cqlbench.algorithms.cql.discrete`).

    Attributes:
        multiplier_learning_rate: Adam's rate for the log Lagrange multiplier.
        max_q_backup: the target is the largest of N next actions' min over critics (CQL appendix F,
            "max Q backup"; CORL `cql_max_target_backup`).
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
    """

    FIXED = SACConfig.FIXED | {"initial_log_multiplier", "calibrated", "sparse_rewards"}

    name: str = "cql"
    actor_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    critic_hidden: list[int] = field(default_factory=lambda: [256, 256, 256])
    orthogonal_critics: bool = True
    actor_learning_rate: float = 3e-5
    temperature_learning_rate: float = 3e-5
    backup_entropy: bool = False
    normalize_observations: bool = True
    multiplier_learning_rate: float = 3e-4
    max_q_backup: bool = False
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

    def problems(self) -> Iterator[str]:
        """See `AlgorithmConfig.problems`."""
        yield from super().problems()
        yield from at_least(self, 1, "proposals")
        yield from at_least(self, 0, "conservative_weight", "bc_steps")
        yield from positive(self, "cql_temperature")
        if self.variant not in ("H", "rho"):
            yield f"variant={self.variant} must be H or rho."
        low, high = self.gap_clip_min, self.gap_clip_max
        if low is not None and high is not None and low >= high:
            yield f"gap_clip_min={low} must be below gap_clip_max={high}."
        if self.calibrated and self.conservative_weight == 0:
            yield (
                "calibrated=true changes the penalty, and algorithm.conservative_weight=0 leaves none: raise "
                "the weight."
            )
        if self.calibrated and self.variant != "H":
            yield f"calibrated=true is Cal-QL, which is a CQL(H): leave out algorithm.variant={self.variant}."
        if self.sparse_rewards and not self.calibrated:
            yield "sparse_rewards=true is about Cal-QL's returns: say algorithm.calibrated=true too."
        if self.sparse_rewards and self.discount == 1:
            yield "sparse_rewards=true sums a reward for ever: algorithm.discount must be below 1."


@dataclass
class CalQLConfig(CQLConfig):
    """One Cal-QL agent: CQL(H) whose penalty pushes no value below the return-to-go of the row's own episode.

    Every layer of actor and critics starts orthogonal with gain √2 (CORL's `cal_ql.py`).
    """

    name: str = "calql"
    calibrated: bool = True
    orthogonal_actor: bool = True
    last_layer_gain: float = 2**0.5
