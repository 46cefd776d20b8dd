"""Values of all critics of all seeds, with the backward pass written out.

The critics see 3N + 1 actions per state, so their activations are most of a step's memory traffic. Written
out, each activation is made once, rectified in place, and its gradient overwrites a buffer that is there
already. On a CPU the work is cut into jobs for threads of one core each (`sharing`), done in blocks whose
activations fit the caches: a fifth of the step's time.

Shape letters: G = S·K critics, R rows, I inputs, H hidden.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cqlbench.algorithms.networks.sharing import evenly, is_shared, share

BLOCK_NUMBERS = 1 << 19
"""Numbers in one activation (2 MiB) of a block on a CPU; measured, flat from half to double."""
_LEAST_SHARED, _LEAST = 3 << 14, 1 << 18
"""Numbers in one activation that a job has at least, on one core and divided by OpenMP."""
_JOBS = 8
"""Jobs that large products make at least. No number of threads is among these: last digits depend on them."""


@dataclass(frozen=True)
class _Job:
    """Some rows of some critics, block by block; `part` counts the jobs of the same critics."""

    part: int
    critics: slice
    blocks: list[slice]


class EnsembleValues(torch.autograd.Function):
    """`values(inputs, first, *rest) -> [G, R, 1]`: ReLU networks as batched matrix products.

    `inputs` is `[G, R, I]`, its last column 1, so that `first`, `[G, I, H]`, holds weight and bias in one.
    `rest` is weight `[G, in, out]` and bias `[G, 1, out]` of each further layer.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, first: Tensor, *rest: Tensor) -> Tensor:
        """Keeps the rectified activations: where one is positive, the gradient passes."""
        jobs = _jobs(inputs, first)
        values = inputs.new_empty(*inputs.shape[:2], 1)
        kept: list[list[Tensor]] = [[] for _ in jobs]

        def compute(number: int) -> None:
            of, activations = jobs[number].critics, kept[number]
            for rows in jobs[number].blocks:
                activation = torch.bmm(inputs[of, rows], first[of]).relu_()
                activations.append(activation)
                for weight, bias in zip(rest[0:-2:2], rest[1:-2:2], strict=True):
                    activation = torch.baddbmm(bias[of], activation, weight[of]).relu_()
                    activations.append(activation)
                values[of, rows] = torch.baddbmm(rest[-1][of], activation, rest[-2][of])

        share(compute, len(jobs))
        ctx.save_for_backward(inputs, first, *rest, *itertools.chain.from_iterable(kept))
        ctx.jobs, ctx.parameters = jobs, len(rest)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of those arguments that need one."""
        inputs, first, *saved = ctx.saved_tensors
        jobs: list[_Job] = ctx.jobs
        rest, kept = saved[: ctx.parameters], iter(saved[ctx.parameters :])
        activations = [[list(itertools.islice(kept, len(rest) // 2)) for _ in job.blocks] for job in jobs]
        needs_inputs, *needs = ctx.needs_input_grad
        of_inputs = torch.empty_like(inputs) if needs_inputs else None
        parts = jobs[-1].part + 1
        found = [  # [part, …], summed in the end
            each.new_zeros(parts, *each.shape) if needed else None
            for each, needed in zip((first, *rest), needs, strict=True)
        ]

        def compute(number: int) -> None:
            job, of = jobs[number], jobs[number].critics
            of_first, *of_rest = (None if each is None else each[job.part] for each in found)
            for rows, of_block in zip(job.blocks, activations[number], strict=True):
                gradient = _through_hidden(gradients[0][of, rows], of_block, rest, of_rest, of)
                if of_inputs is not None:
                    of_inputs[of, rows] = torch.bmm(gradient, first[of].transpose(1, 2))
                if of_first is not None:
                    _add_product(of_first[of], inputs[of, rows], gradient)

        share(compute, len(jobs))
        sums = (None if each is None else each.sum(0) if parts > 1 else each[0] for each in found)
        return (of_inputs, *sums)


def _through_hidden(
    gradient: Tensor,
    activations: Sequence[Tensor],
    rest: Sequence[Tensor],
    found: Sequence[Tensor | None],
    of: slice,
) -> Tensor:
    """Back from a block's values to its first activation, adding to the parameters' gradients on the way."""
    spare: Tensor | None = None
    for layer in reversed(range(len(activations))):
        weight, activation = rest[2 * layer][of], activations[layer]
        of_weight, of_bias = found[2 * layer], found[2 * layer + 1]
        if of_weight is not None and of_bias is not None:
            _add_product(of_weight[of], activation, gradient)
            of_bias[of].add_(gradient.sum(1, keepdim=True))  # `+=` would copy the sum onto itself
        if layer == len(activations) - 1:
            below = gradient * weight.transpose(1, 2)  # an outer product: the layer has one output
        else:
            if spare is None or spare.shape != activation.shape:
                spare = torch.empty_like(activation)
            below = spare
            torch.bmm(gradient, weight.transpose(1, 2), out=below)
            spare = gradient
        torch.ops.aten.threshold_backward.grad_input(below, activation, 0, grad_input=below)
        gradient = below
    return gradient


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """`total += leftᵀ @ right`."""
    torch.baddbmm(total, left.transpose(1, 2), right, out=total)


def _jobs(inputs: Tensor, first: Tensor) -> list[_Job]:
    G, R, _ = inputs.shape
    H = first.shape[2]
    if inputs.device.type != "cpu":
        return [_Job(0, slice(0, G), [slice(0, R)])]
    critics = -(-(_LEAST_SHARED if is_shared() else _LEAST) // (R * H))
    groups = evenly(G, max(1, G // critics))  # a critic left over would be multiplied by another kernel
    parts = max(1, min(-(-_JOBS // len(groups)), R * H // _LEAST))
    rows = max(1, min(BLOCK_NUMBERS // (critics * H), -(-R // parts)))
    blocks = [slice(row, min(row + rows, R)) for row in range(0, R, rows)]
    per_part = -(-len(blocks) // parts)
    cut = [blocks[at : at + per_part] for at in range(0, len(blocks), per_part)]
    return [_Job(part, group, of_part) for part, of_part in enumerate(cut) for group in groups]
