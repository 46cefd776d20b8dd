"""What a seed gets at a step is a function of (seed, step) alone."""

import torch

from cqlbench.algorithms.algorithm import Draw
from cqlbench.engine.streams import (
    CHUNK,
    EXPLORATION_CHUNK,
    ExplorationStream,
    IndexStream,
    NoiseStream,
)

CPU = torch.device("cpu")


def draws(batch_size: int, proposals: int, action_size: int) -> dict[str, Draw]:
    proposed, single = (batch_size, proposals, action_size), (batch_size, action_size)
    return {
        "current": Draw("normal", proposed),
        "random": Draw("uniform", proposed),
        "actor": Draw("normal", single),
    }


DRAWS = draws(4, 3, 2)


def test_noise_does_not_depend_on_company_or_on_the_steps_before() -> None:
    together, alone = NoiseStream([7, 2], DRAWS, CPU), NoiseStream([2], DRAWS, CPU)
    for step in (0, 1, CHUNK, 3 * CHUNK + 5, 2):
        ours, theirs = together(step), alone(step)
        assert {name: tensor.shape[1:] for name, tensor in theirs.items()} == {
            name: draw.shape for name, draw in DRAWS.items()
        }
        for name, tensor in theirs.items():
            assert torch.equal(ours[name][1], tensor[0]), (step, name)


def test_noise_is_uniform_and_normal_and_never_repeats() -> None:
    stream = NoiseStream([0], draws(64, 10, 3), CPU)
    steps = [{k: v.clone() for k, v in stream(step).items()} for step in range(2 * CHUNK)]
    random = torch.cat([noise["random"].flatten() for noise in steps])
    normal = torch.cat([noise[k].flatten() for noise in steps for k in ("current", "actor")])
    assert random.min() >= -1
    assert random.max() < 1
    assert abs(random.mean()) < 0.01
    assert abs(random.var() - 1 / 3) < 0.01
    assert abs(normal.mean()) < 0.01
    assert abs(normal.var() - 1) < 0.01
    assert len(normal.unique()) > 0.99 * len(normal)


def test_indices_cover_the_dataset_evenly_whatever_the_company() -> None:
    together, alone = IndexStream([5, 0], 256, 10, CPU), IndexStream([0], 256, 10, CPU)
    counts = torch.zeros(10)
    for step in range(4 * CHUNK):
        assert torch.equal(together(step)[1], alone(step)[0])
        counts += torch.bincount(alone(step)[0], minlength=10)
    expected = 4 * CHUNK * 256 / 10
    assert (counts - expected).abs().max() < 6 * expected**0.5


def test_exploration_does_not_depend_on_company_or_on_the_steps_before() -> None:
    together, alone = ExplorationStream([7, 2], 3, 2, CPU), ExplorationStream([2], 3, 2, CPU)
    for step in (0, 1, EXPLORATION_CHUNK, 3 * EXPLORATION_CHUNK + 5, 2):
        assert torch.equal(together.normals(step)[1], alone.normals(step)[0])
        assert torch.equal(together.uniforms(step)[1], alone.uniforms(step)[0])
    steps = range(2 * EXPLORATION_CHUNK)
    normal = torch.stack([alone.normals(step) for step in steps])
    uniform = torch.stack([alone.uniforms(step) for step in steps])
    assert abs(normal.mean()) < 0.06
    assert abs(normal.var() - 1) < 0.08
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02
    for drawn in (normal, uniform):
        assert len(drawn.unique()) > 0.99 * drawn.numel()
