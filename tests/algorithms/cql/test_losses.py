"""CQL's losses and every parameter's gradient against float64 arithmetic written from the equations."""

import dataclasses

import numpy as np
import pytest
import torch
from golden import cql_reference

from cqlbench.algorithms.algorithm import Batch, Networks, Noise, Spaces
from cqlbench.algorithms.cql import CQL, CQLConfig
from cqlbench.algorithms.cql.losses import calibrate, conservative_gap, losses
from cqlbench.algorithms.networks import ActionBox, Params
from cqlbench.algorithms.step import TrainState, initial_state
from cqlbench.algorithms.step import loss_gradients as stage_gradients
from cqlbench.core.errors import ConfigError

S, B, N, O, A = 2, 4, 3, 3, 2  # noqa: E741
LOW, HIGH = np.array([-1.0, -0.4]), np.array([1.0, 2.0])


def config(**changes: object) -> CQLConfig:
    return CQLConfig(
        **({"actor_hidden": [5, 4], "critic_hidden": [4, 5], "proposals": N, "batch_size": B} | changes)
    )


def problem(settings: CQLConfig, dtype: torch.dtype) -> tuple[TrainState, Batch, Noise, ActionBox]:
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    low, high = torch.tensor(LOW, dtype=dtype), torch.tensor(HIGH, dtype=dtype)
    box = ActionBox.from_bounds(low, high)
    state = initial_state(CQL(settings, Spaces(O, box)), list(range(S)))
    # Weights of order one: at the small initial head every gradient but the last layer's is nearly zero.
    for group in (*state.parameters.values(), state.targets["critics"]):
        for name in group:
            group[name] = 0.6 * normal(*group[name].shape)
    batch = Batch(
        observations=normal(S, B, O),
        actions=box.from_unit(normal(S, B, A).tanh()),
        rewards=normal(S, B),
        next_observations=normal(S, B, O),
        terminated=torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1]], dtype=dtype),
    )
    noise = {
        "random": normal(S, B, N, A).tanh(),
        "current": normal(S, B, N, A),
        "next": normal(S, B, N, A),
        "actor": normal(S, B, A),
        "target": normal(S, B, N if settings.max_q_backup else 1, A),
    }
    if settings.calibrated:
        returns = 2 * normal(S, B)
        returns[:, 1] = -torch.inf
        batch = dataclasses.replace(batch, extra={"returns_to_go": returns})
    return state, batch, noise, box


def loss_gradients(
    state: TrainState, batch: Batch, noise: Noise, settings: CQLConfig, box: ActionBox
) -> tuple[dict[str, Params], dict[str, torch.Tensor]]:
    [stage] = CQL(settings, Spaces(O, box)).stages()
    return stage_gradients(stage, state, batch, noise)


def layers(params: dict[str, torch.Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays = {name: tensor.double().numpy() for name, tensor in params.items()}
    return [(arrays[f"{i}.weight"], arrays[f"{i}.bias"].reshape(-1)) for i in range(len(arrays) // 2)]


def one_seed(
    seed: int, settings: CQLConfig, state: TrainState, batch: Batch, noise: Noise
) -> cql_reference.Problem:
    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor[seed].double().numpy()

    def critics(params: dict[str, torch.Tensor]) -> list:
        return [layers({n: t[seed, k] for n, t in params.items()}) for k in range(settings.critics)]

    return cql_reference.Problem(
        actor=layers({n: t[seed] for n, t in state.parameters["actor"].items()}),
        critics=critics(state.parameters["critics"]),
        target_critics=critics(state.targets["critics"]),
        log_temperature=float(state.parameters["temperature"]["log"][seed]),
        log_multiplier=float(state.parameters["multiplier"]["log"][seed]),
        observations=array(batch.observations),
        actions=array(batch.actions),
        rewards=array(batch.rewards),
        next_observations=array(batch.next_observations),
        terminated=array(batch.terminated),
        random=array(noise["random"]),
        current=array(noise["current"]),
        following=array(noise["next"]),
        actor_noise=array(noise["actor"]),
        target_noise=array(noise["target"]),
        low=LOW,
        high=HIGH,
        settings=settings,
        returns_to_go=array(batch.extra["returns_to_go"]) if batch.extra else None,
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
    pytest.param({"entropy_multiplier": 0.3, "backup_entropy": True}, id="entropy-multiplier"),
    pytest.param({"importance_sampled": False, "cql_temperature": 1.3}, id="no-importance-weights"),
    pytest.param({"variant": "rho", "cql_temperature": 0.8}, id="cql-rho"),
    pytest.param({"lagrange": True, "target_action_gap": 0.8}, id="lagrange"),
    pytest.param({"gap_clip_min": -200.0, "gap_clip_max": 3.0}, id="clipped"),
    pytest.param({"gap_clip_min": 3.5, "lagrange": True, "target_action_gap": 5.0}, id="clipped-lagrange"),
    pytest.param({"max_q_backup": True, "backup_entropy": True}, id="max-q-backup"),
    pytest.param({"bc_steps": 1}, id="bc-warm-up"),
    pytest.param({"critics": 4, "critic_hidden": [4, 3, 5]}, id="four-deep-critics"),
    pytest.param(
        {
            "lagrange": True,
            "target_action_gap": 0.8,
            "max_q_backup": True,
            "gap_clip_min": -200.0,
            "conservative_weight": 5.0,
        },
        id="antmaze",
    ),
    pytest.param({"calibrated": True, "cql_temperature": 0.7}, id="calibrated"),
    pytest.param(
        {"calibrated": True, "importance_sampled": False, "cql_temperature": 1.3},
        id="calibrated-no-importance-weights",
    ),
    pytest.param(
        {
            "calibrated": True,
            "lagrange": True,
            "target_action_gap": 0.8,
            "max_q_backup": True,
            "gap_clip_min": -200.0,
            "conservative_weight": 5.0,
        },
        id="calibrated-antmaze",
    ),
]


@pytest.mark.parametrize("changes", SETTINGS)
def test_losses_and_all_gradients_agree_with_the_equations(changes: dict) -> None:
    settings = config(**changes)
    state, batch, noise, box = problem(settings, torch.float32)
    gradients, _ = loss_gradients(state, batch, noise, settings, box)
    ours = losses(
        Networks(state.parameters, state.targets, state.steps),
        batch,
        noise,
        settings,
        box,
    )
    for seed in range(S):
        golden = cql_reference.losses_and_gradients(one_seed(seed, settings, state, batch, noise))
        found = {
            "critic": np.concatenate([flat(gradients["critics"], seed, k) for k in range(settings.critics)]),
            "actor": flat(gradients["actor"], seed),
            "temperature": gradients["temperature"]["log"][seed : seed + 1].double().numpy(),
        }
        if settings.lagrange:
            found["multiplier"] = gradients["multiplier"]["log"][seed : seed + 1].double().numpy()
        else:
            assert ours.multiplier is None
            assert golden.pop("multiplier")[0] == 0
        for name, (loss, gradient) in golden.items():
            assert float(getattr(ours, name)[seed]) == pytest.approx(loss, rel=1e-5)
            if name in found:
                assert relative_error(found[name], gradient) < 1e-5, name


def test_calibration_bounds_the_policys_values_and_stops_their_gradients() -> None:
    # One state, one critic, N = 1, bound 1: the uniform and that of π(·|s) are below, that of π(·|s′) above.
    values = torch.tensor([0.0, 0.5, 2.0]).view(1, 1, 1, 3).requires_grad_()
    bounded, fraction = calibrate(values, torch.ones(1, 1))
    bounded.sum().backward()
    assert bounded.flatten().tolist() == [0.0, 1.0, 2.0]
    assert values.grad.flatten().tolist() == [1.0, 0.0, 1.0]
    assert fraction.tolist() == [0.5]


@pytest.mark.parametrize(
    "changes", [{}, {"importance_sampled": False}, {"lagrange": True, "gap_clip_min": -1.0}]
)
def test_calibration_without_known_returns_is_cql_exactly(changes: dict) -> None:
    settings = config(**changes, calibrated=True)
    state, batch, noise, box = problem(settings, torch.float32)
    unknown = dataclasses.replace(batch, extra={"returns_to_go": torch.full((S, B), -torch.inf)})
    plain = dataclasses.replace(batch, extra={})
    found, diagnostics = loss_gradients(state, unknown, noise, settings, box)
    expected, without = loss_gradients(state, plain, noise, config(**changes), box)
    assert diagnostics.pop("calibrated_fraction").tolist() == [0.0] * S
    assert set(diagnostics) == set(without)
    for ours, theirs in ((diagnostics, without), *((found[group], expected[group]) for group in expected)):
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name
    known, _ = loss_gradients(state, batch, noise, settings, box)
    assert not torch.allclose(known["critics"]["0.weight"], expected["critics"]["0.weight"])


def test_the_calibrated_fraction_counts_the_values_that_were_bounded() -> None:
    settings = config(calibrated=True)
    state, batch, noise, box = problem(settings, torch.float64)
    _, diagnostics = loss_gradients(state, batch, noise, settings, box)
    for seed in range(S):
        golden = one_seed(seed, settings, state, batch, noise)
        below = [
            cql_reference.q_value(critic, golden.observations[b], action) < golden.returns_to_go[b]
            for critic in golden.critics
            for b in range(B)
            for action, _ in cql_reference.proposals(golden, b)[N:]
        ]
        assert diagnostics["calibrated_fraction"][seed].item() == pytest.approx(np.mean(below))
        assert 0 < np.mean(below) < 0.75, "some are bounded, some are not, and one row in four has no bound"


def test_calibration_needs_returns() -> None:
    settings = config(calibrated=True)
    state, batch, noise, box = problem(settings, torch.float32)
    with pytest.raises(ConfigError, match="needs 'returns_to_go'"):
        loss_gradients(state, dataclasses.replace(batch, extra={}), noise, settings, box)


def test_gap_by_hand() -> None:
    # One state, one critic, three proposals of density 1 valued 0, 0 and ln 2: log(1 + 1 + 2) − Q(data).
    values = torch.tensor([0.0, 0.0, np.log(2.0)]).view(1, 1, 1, 3)
    gap = conservative_gap(values, torch.zeros(1, 1, 3), torch.tensor([[[0.5]]]), config())
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


@pytest.mark.parametrize("multiplier", [0.5, 1.0, 2.0, 4.0, 10.0])
def test_the_penalty_is_multiplied_by_the_multiplier_itself(multiplier: float) -> None:
    settings = config(lagrange=True, conservative_weight=3.0, target_action_gap=0.0)
    state, batch, noise, box = problem(settings, torch.float64)
    state.parameters["multiplier"]["log"] = torch.full((S,), multiplier, dtype=torch.float64).log()

    def critic_gradient(**changes: object) -> torch.Tensor:
        changed = config(**(vars(settings) | changes))
        gradients, _ = loss_gradients(state, batch, noise, changed, box)
        return torch.cat([tensor.flatten() for tensor in gradients["critics"].values()])

    without = critic_gradient(conservative_weight=0.0)
    penalty = critic_gradient(lagrange=False) - without
    coefficient = torch.dot(critic_gradient() - without, penalty) / penalty.square().sum()
    assert coefficient.item() == pytest.approx(multiplier, rel=1e-9)


def test_bc_warm_up_ends() -> None:
    settings = config(bc_steps=2)
    state, batch, noise, box = problem(settings, torch.float64)
    _, warm = loss_gradients(state, batch, noise, settings, box)
    state.steps.fill_(3)
    _, after = loss_gradients(state, batch, noise, settings, box)
    _, never = loss_gradients(state, batch, noise, config(), box)
    assert torch.equal(after["actor_loss"], never["actor_loss"])
    assert not torch.allclose(warm["actor_loss"], after["actor_loss"])


def test_dataset_actions_on_the_edge_of_the_box_have_a_finite_density() -> None:
    settings = config(bc_steps=1)
    state, batch, noise, box = problem(settings, torch.float32)
    edge = torch.tensor(HIGH, dtype=torch.float32).expand(S, B, A).clone()
    edge[:, ::2] = torch.tensor(LOW, dtype=torch.float32)
    batch = Batch(**(vars(batch) | {"actions": edge}))
    gradients, diagnostics = loss_gradients(state, batch, noise, settings, box)
    assert torch.isfinite(diagnostics["actor_loss"]).all()
    assert all(torch.isfinite(tensor).all() for tensor in gradients["actor"].values())
