"""CQL's losses and every parameter's gradient against float64 arithmetic written from the equations."""

import numpy as np
import pytest
import torch
from golden import cql_reference

from cqlbench.algorithms.cql import Batch, Noise, conservative_gap, losses
from cqlbench.algorithms.cql import Networks as AllNetworks
from cqlbench.algorithms.networks import ActionBox
from cqlbench.algorithms.update import TrainState, initial_state, loss_gradients
from cqlbench.config import CQLConfig

S, B, K, N, O, A = 2, 4, 2, 3, 3, 2  # noqa: E741
LOW, HIGH = np.array([-1.0, -0.4]), np.array([1.0, 2.0])


def config(**changes: object) -> CQLConfig:
    return CQLConfig(
        **({"actor_hidden": [5, 4], "critic_hidden": [4, 5], "proposals": N, "batch_size": B} | changes)
    )


def problem(settings: CQLConfig, dtype: torch.dtype) -> tuple[TrainState, Batch, Noise, ActionBox]:
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    state = initial_state(settings, O, A, list(range(S)))
    # Weights of order one: at the small initial head every gradient but the last layer's is nearly zero.
    for group in (*state.parameters.values(), state.target_critics):
        for name in group:
            group[name] = 0.6 * normal(*group[name].shape)
    low, high = torch.tensor(LOW, dtype=dtype), torch.tensor(HIGH, dtype=dtype)
    box = ActionBox.from_bounds(low, high)
    batch = Batch(
        observations=normal(S, B, O),
        actions=box.from_unit(normal(S, B, A).tanh()),
        rewards=normal(S, B),
        next_observations=normal(S, B, O),
        terminated=torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1]], dtype=dtype),
    )
    noise = Noise(
        random=normal(S, B, N, A).tanh(),
        current=normal(S, B, N, A),
        next=normal(S, B, N, A),
        actor=normal(S, B, A),
        target=normal(S, B, A),
    )
    return state, batch, noise, box


def layers(params: dict[str, torch.Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays = {name: tensor.double().numpy() for name, tensor in params.items()}
    return [(arrays[f"{i}.weight"], arrays[f"{i}.bias"].reshape(-1)) for i in range(len(arrays) // 2)]


def one_seed(
    seed: int, settings: CQLConfig, state: TrainState, batch: Batch, noise: Noise
) -> cql_reference.Problem:
    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor[seed].double().numpy()

    def critics(params: dict[str, torch.Tensor]) -> list:
        return [layers({n: t[seed, k] for n, t in params.items()}) for k in range(K)]

    return cql_reference.Problem(
        actor=layers({n: t[seed] for n, t in state.parameters["actor"].items()}),
        critics=critics(state.parameters["critics"]),
        target_critics=critics(state.target_critics),
        log_temperature=float(state.parameters["temperature"]["log"][seed]),
        observations=array(batch.observations),
        actions=array(batch.actions),
        rewards=array(batch.rewards),
        next_observations=array(batch.next_observations),
        terminated=array(batch.terminated),
        random=array(noise.random),
        current=array(noise.current),
        following=array(noise.next),
        actor_noise=array(noise.actor),
        target_noise=array(noise.target),
        low=LOW,
        high=HIGH,
        settings=settings,
    )


def flat(params: dict[str, torch.Tensor], seed: int, member: int | None = None) -> np.ndarray:
    chosen = {n: t[seed] if member is None else t[seed, member] for n, t in params.items()}
    return cql_reference.pack(layers(chosen))


def relative_error(ours: np.ndarray, golden: np.ndarray) -> float:
    return float(np.linalg.norm(ours - golden) / np.linalg.norm(golden))


SETTINGS = [
    pytest.param({}, id="corl-defaults"),
    pytest.param({"conservative_weight": 0.0, "backup_entropy": True}, id="soft-actor-critic"),
    pytest.param({"cql_temperature": 0.7, "conservative_weight": 2.5}, id="softmax-temperature"),
    pytest.param({"target_entropy": -0.5, "backup_entropy": True, "discount": 0.9}, id="entropies"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("changes", SETTINGS)
def test_losses_and_all_gradients_agree_with_the_equations(changes: dict, dtype: torch.dtype) -> None:
    settings = config(**changes)
    state, batch, noise, box = problem(settings, dtype)
    gradients, _ = loss_gradients(state, batch, noise, settings, box)
    ours = losses(
        AllNetworks(
            state.parameters["actor"],
            state.parameters["critics"],
            state.target_critics,
            state.parameters["temperature"]["log"],
        ),
        batch,
        noise,
        settings,
        box,
    )
    for seed in range(S):
        golden = cql_reference.losses_and_gradients(one_seed(seed, settings, state, batch, noise))
        found = {
            "critic": np.concatenate([flat(gradients["critics"], seed, k) for k in range(K)]),
            "actor": flat(gradients["actor"], seed),
            "temperature": gradients["temperature"]["log"][seed : seed + 1].double().numpy(),
        }
        for name, (loss, gradient) in golden.items():
            assert float(getattr(ours, name)[seed]) == pytest.approx(loss, rel=1e-5)
            assert relative_error(found[name], gradient) < 1e-5, name


def test_gap_by_hand() -> None:
    # One state, one critic, three proposals of density 1 valued 0, 0 and ln 2: log(1 + 1 + 2) − Q(data).
    values = torch.tensor([0.0, 0.0, np.log(2.0)]).view(1, 1, 1, 3)
    gap = conservative_gap(values, torch.zeros(1, 1, 3), torch.tensor([[[0.5]]]), 1.0)
    assert gap.item() == pytest.approx(np.log(4.0) - 0.5, rel=1e-6)


def test_time_limits_bootstrap_and_terminations_do_not() -> None:
    settings = config(conservative_weight=0.0)
    state, batch, noise, box = problem(settings, torch.float64)
    gradients, diagnostics = loss_gradients(state, batch, noise, settings, box)
    ended = Batch(**(vars(batch) | {"terminated": torch.ones_like(batch.terminated)}))
    _, at_the_end = loss_gradients(state, ended, noise, settings, box)
    assert torch.allclose(at_the_end["target_value"], batch.rewards.mean(1))
    assert not torch.allclose(diagnostics["target_value"], batch.rewards.mean(1))
    assert set(gradients) == {"actor", "critics", "temperature"}
