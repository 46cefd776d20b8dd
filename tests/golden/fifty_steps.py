"""Fifty gradient steps of every algorithm and option, and what they computed when this file was written.

    python tests/golden/fifty_steps.py    # writes fifty_steps.json anew: only where numbers are meant to move

Digests are of all bits of parameters, targets, both moments and diagnostics. They hold for one version of
torch on processors with the same vector instructions; elsewhere the sums must agree.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cqlbench.algorithms.cql import CalQLConfig, CQLConfig
from cqlbench.algorithms.networks import ActionBox, DiscreteActions
from cqlbench.algorithms.sac import SACConfig
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.engine.diagnostics import Reader
from cqlbench.engine.engine import Engine

PATH = Path(__file__).with_suffix(".json")
STEPS = 50
SEEDS = (0, 3, 7)
T, O, A = 300, 5, 2  # noqa: E741
SMALL: dict[str, Any] = {"actor_hidden": [9, 7], "critic_hidden": [8, 6], "batch_size": 12, "proposals": 3}

CASES: dict[str, dict[str, Any]] = {
    "cql": {},
    "cql-orthogonal": {"orthogonal_actor": True, "orthogonal_critics": False, "last_layer_gain": 2**0.5},
    "cql-learning-rates": {"actor_learning_rate": 1e-3, "critic_learning_rate": 3e-3, "polyak_rate": 0.05},
    "cql-softmax-temperature": {"cql_temperature": 0.7, "conservative_weight": 2.5},
    "cql-entropies": {"target_entropy": -0.5, "backup_entropy": True, "discount": 0.9},
    "cql-entropy-multiplier": {"entropy_multiplier": 0.3, "backup_entropy": True},
    "cql-fixed-entropy": {"learn_entropy_temperature": False, "entropy_temperature": 0.2},
    "cql-no-importance-weights": {"importance_sampled": False, "cql_temperature": 1.3},
    "cql-rho": {"variant": "rho", "cql_temperature": 0.8},
    "cql-lagrange": {"lagrange": True, "target_action_gap": 0.8},
    "cql-clipped-gap": {"gap_clip_min": -20.0, "gap_clip_max": 3.0},
    "cql-max-q-backup": {"max_q_backup": True, "backup_entropy": True},
    "cql-bc-warm-up": {"bc_steps": 20, "target_update_period": 3},
    "cql-clipped-gradients": {"max_gradient_norm": 1.0},
    "cql-four-deep-critics": {"critics": 4, "critic_hidden": [4, 3, 5]},
    "cql-rewards": {"reward_scale": 10.0, "reward_bias": -5.0},
    "cql-quick": {"actor_hidden": [128, 128], "critic_hidden": [128, 128], "batch_size": 128, "proposals": 4},
    "calql": {"calibrated": True},
    "calql-antmaze": {
        "calibrated": True,
        "lagrange": True,
        "target_action_gap": 0.8,
        "max_q_backup": True,
        "gap_clip_min": -200.0,
        "conservative_weight": 5.0,
    },
    "sac": {"conservative_weight": 0.0, "backup_entropy": True},
    "sac-quick": {
        "conservative_weight": 0.0,
        "backup_entropy": True,
        "actor_hidden": [128, 128],
        "critic_hidden": [128, 128],
        "batch_size": 128,
    },
    "discrete-cql": {},
    "discrete-cql-clipped": {
        "gap_clip_max": 0.5,
        "critics": 3,
        "target_update_period": 4,
        "max_gradient_norm": 0.5,
    },
    "discrete-dqn": {"conservative_weight": 0.0},
}


def columns(*, discrete: bool, calibrated: bool) -> Columns:
    """Rows that do not depend on anybody's random numbers."""

    def wave(*shape: int, pitch: float) -> Tensor:
        return torch.from_numpy(np.sin(pitch * np.arange(1, np.prod(shape) + 1)).astype(np.float32)).view(
            shape
        )

    choices = (torch.arange(T) * 7 % 5) % A
    actions = torch.nn.functional.one_hot(choices, A).float() if discrete else 0.9 * wave(T, A, pitch=0.7)
    returns = 5 * wave(T, pitch=0.03)
    returns[::11] = -torch.inf
    return Columns(
        observations=3 + 2 * wave(T, O, pitch=1.3),
        actions=actions,
        rewards=wave(T, pitch=2.9),
        next_observations=3 + 2 * wave(T, O, pitch=1.7),
        terminated=torch.arange(T) % 9 == 4,
        extra={"returns_to_go": returns} if calibrated else {},
    )


def engine_of(name: str) -> Engine:
    """The engine of a case, before its first step."""
    discrete, settings = name.startswith("discrete"), SMALL | CASES[name]
    config: SACConfig = CQLConfig(**settings)
    if name.startswith("sac"):  # the golden numbers are those of CQL without its penalty
        shared = {key: value for key, value in vars(config).items() if key in vars(SACConfig())}
        config = SACConfig(**shared)
    elif name.startswith("calql"):
        config = CalQLConfig(**vars(config))
    return Engine(
        config,
        columns(discrete=discrete, calibrated=name.startswith("calql")),
        ObservationNormalizer(np.full(O, 3, np.float32), np.full(O, 2, np.float32)),
        RewardTransform(scale=config.reward_scale, bias=config.reward_bias),
        DiscreteActions(A) if discrete else ActionBox.from_bounds(-torch.ones(A), 2 * torch.ones(A)),
        SEEDS,
        torch.device("cpu"),
    )


def compute(name: str) -> dict[str, list[Any]]:
    """After the steps of a case, each tensor's digest and, by seed, its sum of magnitudes."""
    engine = engine_of(name)
    for step in range(STEPS):
        engine.step(step)
    state = engine.state
    tensors = {
        f"{kind}.{group}.{part}": tensor
        for kind, groups in (
            ("parameters", state.parameters),
            ("targets", state.targets),
            ("first_moments", state.first_moments),
            ("second_moments", state.second_moments),
        )
        for group, parts in groups.items()
        for part, tensor in parts.items()
    }
    tensors |= {f"last.{key}": value for key, value in engine.latest_diagnostics().items()}
    means = engine.drain_diagnostics(Reader.EVALUATION)
    tensors |= {f"mean.{key}": torch.tensor(value) for key, value in means.items()}
    tensors["act"] = engine.act(3 + torch.ones(len(SEEDS), 4, O) * torch.arange(4).view(1, 4, 1))
    return {key: [_digest(tensors[key]), *_sums(tensors[key])] for key in sorted(tensors)}


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:12]


def _sums(tensor: Tensor) -> list[float]:
    sums = tensor.double().abs().reshape(len(SEEDS), -1).sum(1).tolist()
    return [float(f"{number:.6g}") for number in sums]


def machine() -> dict[str, str]:
    """What the last digits depend on."""
    return {"torch": torch.__version__, "vectors": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    lines = [f'"machine": {json.dumps(machine())}']
    for name in CASES:
        rows = (f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in compute(name).items())
        lines.append(f"{json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n}")
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
