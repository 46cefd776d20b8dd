"""Adam on joined parameters is torch's, and leaves dead seeds alone."""

import pytest
import torch

from cqlbench.algorithms.gpu.adam import BETAS, EPSILON, adam


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_it_is_torchs_for_the_seeds_that_are_alive(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    state = [torch.rand(3, 40, generator=generator) for _ in range(3)]
    gradients = torch.randn(3, 40, generator=generator)
    gradients[1] = float("nan")
    alive = torch.tensor([True, False, True])
    ours, theirs = ([tensor.clone() for tensor in state] for _ in range(2))
    count = torch.tensor(7.0)
    adam(ours[0], gradients, ours[1], ours[2], alive, count, torch.tensor(3e-4), decay)
    update = torch._fused_adamw_ if decay else torch._fused_adam_
    for seed in (0, 2):
        parameters, first, second = ([tensor[seed]] for tensor in theirs)
        update(
            parameters, [gradients[seed]], first, second, [], [count],
            lr=3e-4, beta1=BETAS[0], beta2=BETAS[1], weight_decay=decay, eps=EPSILON, amsgrad=False,
            maximize=False,
        )  # fmt: skip
    for mine, torchs in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-6, atol=1e-9)
    assert all(torch.equal(mine[1], before[1]) for mine, before in zip(ours, state, strict=True))
