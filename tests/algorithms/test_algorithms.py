"""What holds for every algorithm of `ALGORITHMS`, proved for each: an author of one writes none of these."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from golden.fifty_steps import O, columns
from torch import Tensor

from cqlbench.algorithms import ALGORITHMS, algorithm_of
from cqlbench.algorithms.algorithm import Algorithm, AlgorithmConfig, Rows, Spaces
from cqlbench.algorithms.networks import ActionBox, DiscreteActions
from cqlbench.core.errors import ConfigError
from cqlbench.data.preprocess import ObservationNormalizer, RewardTransform
from cqlbench.engine import seed_groups
from cqlbench.engine.engine import Engine
from cqlbench.experiments.policy_module import SequencePolicy, module_of
from cqlbench.records.policy import SavedPolicy

BOX = ActionBox.from_bounds(-torch.ones(2), 2 * torch.ones(2))
ACTIONS = {"box": BOX, "discrete": DiscreteActions(2)}
CASES = [
    pytest.param(settings, each.actions, id=f"{name}-{each.actions}")
    for name, (settings, classes) in ALGORITHMS.items()
    for each in classes
]
EVERY = pytest.mark.parametrize(("settings", "kind"), CASES)
CPU = torch.device("cpu")


def small(settings: type[AlgorithmConfig]) -> AlgorithmConfig:
    names = {field.name for field in fields(settings)}
    sizes = {name: [8, 6] for name in names if name.endswith("hidden")}
    few = {"proposals": 2, "embedding_size": 8, "heads": 2, "blocks": 2, "context": 3}
    return settings(**sizes, batch_size=8, **{name: value for name, value in few.items() if name in names})


def engine_of(
    settings: type[AlgorithmConfig],
    kind: str,
    seeds: Sequence[int],
    device: torch.device = CPU,
    config: AlgorithmConfig | None = None,
) -> Engine:
    config, actions = config or small(settings), ACTIONS[kind]
    data = columns(discrete=kind == "discrete", calibrated=False)
    lasts = np.arange(len(data.rewards)) % 20 == 19
    rows = Rows(data.actions.numpy(), data.rewards.numpy(), data.terminated.numpy(), lasts, -1.0)
    own = algorithm_of(config, Spaces(O, actions)).columns()
    data = replace(data, extra={name: torch.from_numpy(of(rows)) for name, of in own.items()})
    normalizer = ObservationNormalizer(np.full(O, 3, np.float32), np.full(O, 2, np.float32))
    return Engine(config, data, normalizer, RewardTransform(), actions, seeds, device)


def train(engine: Engine, first: int, last: int) -> Engine:
    for step in range(first, last):
        engine.step(step)
    return engine


def of_seed(engine: Engine, seed: int) -> list[Tensor]:
    position = engine.seeds.index(seed)
    return [tensor[position] for tensor in engine.state.tensors() if tensor.dim()]


def assert_close(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Tensor by tensor: single elements may differ more, where Adam divides one small number by another."""
    for one, other in zip(ours, theirs, strict=True):
        assert (one.double() - other.double()).norm() <= 1e-3 * other.double().norm() + 1e-6


@EVERY
def test_a_seed_trains_alike_in_any_company_and_order(settings: type[AlgorithmConfig], kind: str) -> None:
    together, permuted, alone = (
        train(engine_of(settings, kind, seeds), 0, 30) for seeds in ([3, 0, 8], [8, 3, 0], [0])
    )
    assert_close(of_seed(together, 0), of_seed(alone, 0))
    for seed in together.seeds:
        assert_close(of_seed(together, seed), of_seed(permuted, seed))
    assert not torch.allclose(of_seed(together, 3)[0], of_seed(together, 8)[0])


@EVERY
def test_no_bit_depends_on_the_number_of_threads(
    settings: type[AlgorithmConfig], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_groups, "_LEAST", 1)  # so that such networks are divided, too
    config = small(settings)
    wide = {name: [64, 64] for name in vars(config) if name.endswith("hidden")}
    config, engines, before = replace(config, **wide, batch_size=128), [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            engines.append(train(engine_of(settings, kind, [0, 1, 2], config=config), 0, 3))
        finally:
            torch.set_num_threads(before)
    one, two = engines
    assert all(map(torch.equal, one.state.tensors(), two.state.tensors()))
    assert one.drain_diagnostics() == two.drain_diagnostics()


@EVERY
@pytest.mark.parametrize("stop", [1, 21])
def test_what_is_stopped_anywhere_goes_on_to_the_bit(
    settings: type[AlgorithmConfig], kind: str, stop: int
) -> None:
    whole = train(engine_of(settings, kind, [0, 1]), 0, 30)
    stopped = train(engine_of(settings, kind, [0, 1]), 0, stop)
    resumed = engine_of(settings, kind, [0, 1])
    resumed.load_state_dict(stopped.state_dict())
    train(resumed, stop, 30)
    for one, other in zip(whole.state.tensors(), resumed.state.tensors(), strict=True):
        assert torch.equal(one, other)
    assert whole.drain_diagnostics() == resumed.drain_diagnostics()


@EVERY
def test_a_seed_that_diverges_is_frozen_and_the_others_go_on(
    settings: type[AlgorithmConfig], kind: str
) -> None:
    engine, healthy = engine_of(settings, kind, [0, 1]), train(engine_of(settings, kind, [0, 1]), 0, 10)
    group = next(iter(engine.state.parameters.values()))
    next(iter(group.values()))[0] = float("nan")
    train(engine, 0, 10)
    assert engine.finite_seeds() == [False, True]
    assert all(map(torch.equal, of_seed(engine, 1), of_seed(healthy, 1)))


@EVERY
def test_the_saved_policy_acts_as_the_engine_does(settings: type[AlgorithmConfig], kind: str) -> None:
    engine = train(engine_of(settings, kind, [0, 1]), 0, 5)
    observations = 3 + torch.linspace(-2, 2, 2 * 20 * O).sin().view(2, 20, O)
    acted = engine.act(observations)
    for position in range(2):
        arrays, notes = engine.policy(position)
        module, seen = module_of(SavedPolicy(arrays, notes)), observations[position]
        if isinstance(module, SequencePolicy):  # an episode's first action, as the engine's
            one, asked = seen.unsqueeze(1), torch.zeros(20, 1)
            exported = module(one, torch.zeros(20, 1, 2), asked, asked.long())
        else:
            exported = module(seen)
        torch.testing.assert_close(exported, acted[position], rtol=1e-5, atol=1e-6)
    assert acted.shape == (2, 20, 2)


@EVERY
def test_exploring_stays_within_the_actions(settings: type[AlgorithmConfig], kind: str) -> None:
    engine = engine_of(settings, kind, [0, 1])
    normals = 3 * torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0))
    taken = engine.sample_actions(torch.full((2, 20, O), 3.0), normals)
    if kind == "box":
        assert ((BOX.low <= taken) & (taken <= BOX.high)).all()
    else:
        assert (taken.sum(-1) == 1).all()


@EVERY
def test_it_keeps_nothing_to_itself(settings: type[AlgorithmConfig], kind: str) -> None:
    engine = train(engine_of(settings, kind, [0]), 0, 3)
    assert set(vars(engine.algorithm)) == {"config", "spaces"}
    assert list(small(settings).problems()) == []
    assert isinstance(engine.algorithm, Algorithm)


@EVERY
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_graph_of_steps_is_those_steps(settings: type[AlgorithmConfig], kind: str) -> None:
    graphed, single = (engine_of(settings, kind, [0, 1], torch.device("cuda")) for _ in range(2))
    done = 0
    while done < 64:
        done += graphed.advance(done, 64 - done)
    train(single, 0, 64)
    for one, other in zip(graphed.state.tensors(), single.state.tensors(), strict=True):
        assert torch.equal(one, other)


def test_actions_that_an_algorithm_is_not_for_are_refused() -> None:
    settings, (only,) = ALGORITHMS["sac"]
    other = "discrete" if only.actions == "box" else "box"
    with pytest.raises(ConfigError, match="algorithm=sac"):
        algorithm_of(small(settings), Spaces(O, ACTIONS[other]))
