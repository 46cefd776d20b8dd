"""The operations of this package on CUDA, by their names, as Triton kernels.

Shape letters: G networks, R rows, I inputs, N outputs of a layer. Tensors are contiguous; the first layer's
inputs `[S, R, I]` are shared by the `G / S` networks of a seed. Each number is summed by one program in a
fixed order, so results are the same in every run.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cqlbench.algorithms.gpu.adam import BETAS, EPSILON
from cqlbench.algorithms.gpu.half import LEAST, MANY, TOP
from cqlbench.algorithms.gpu.sampling import HALF_LOG_2PI, LOG_2

LARGEST = tl.constexpr(65504.0)
"""float16's largest number."""

_THIN = 64
"""A weight with at most so many rows or columns is thin: cuBLAS has no good kernel for its gradient."""


@triton.jit
def _layer(
    x, w, b, out, R, members, w_stride, b_stride,
    I: tl.constexpr, N: tl.constexpr, HIDDEN: tl.constexpr,
    BR: tl.constexpr, BN: tl.constexpr, BI: tl.constexpr,
):  # fmt: skip
    across: tl.constexpr = (N + BN - 1) // BN
    tile, g = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows, columns = (tile // across) * BR + tl.arange(0, BR), (tile % across) * BN + tl.arange(0, BN)
    inner = tl.arange(0, BI)
    x += (g // members) * R * I
    w += g * w_stride
    total = tl.zeros((BR, BN), tl.float32)
    for start in range(0, I, BI):
        at = start + inner
        left = tl.load(x + rows[:, None] * I + at[None, :], (rows < R)[:, None] & (at < I)[None, :], 0.0)
        right = tl.load(
            w + at[:, None] * N + columns[None, :], (at < I)[:, None] & (columns < N)[None, :], 0.0
        )
        total = tl.dot(left, right.to(left.dtype), total, input_precision="tf32")
    total += tl.load(b + g * b_stride + columns, columns < N, 0.0)[None, :]
    if HIDDEN:  # comparisons that pass NaN on: a diverged seed must show
        total = tl.where(total < 0, 0.0, total)
        total = tl.where(total > LARGEST, LARGEST, total)
    at = out + g * R * N + rows[:, None] * N + columns[None, :]
    tl.store(at, total.to(out.dtype.element_ty), (rows < R)[:, None] & (columns < N)[None, :])


@triton.jit
def _back(
    gradient, unit, w, activation, below, sums, R, G, w_stride,
    I: tl.constexpr, N: tl.constexpr, BR: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    across: tl.constexpr = (I + BI - 1) // BI
    tile, g = tl.program_id(0), tl.program_id(1).to(tl.int64)
    block = tile // across
    rows, columns = block * BR + tl.arange(0, BR), (tile % across) * BI + tl.arange(0, BI)
    inner = tl.arange(0, BN)
    gradient += g * R * N
    w += g * w_stride
    total = tl.zeros((BR, BI), tl.float32)
    if N == 1:
        of_row = tl.load(gradient + rows, rows < R, 0.0).to(tl.float32)
        of_column = tl.load(w + columns, columns < I, 0.0).to(tl.float16).to(tl.float32)
        total = of_row[:, None] * of_column[None, :]
    else:
        for start in range(0, N, BN):
            at = start + inner
            within = (rows < R)[:, None] & (at < N)[None, :]
            left = tl.load(gradient + rows[:, None] * N + at[None, :], within, 0.0)
            within = (at < N)[:, None] & (columns < I)[None, :]
            right = tl.load(w + columns[None, :] * N + at[:, None], within, 0.0)
            total = tl.dot(left, right.to(left.dtype), total)
    here = (rows < R)[:, None] & (columns < I)[None, :]
    at = g * R * I + rows[:, None] * I + columns[None, :]
    total = tl.where(tl.load(activation + at, here, 0.0) > 0, total, 0.0)
    tl.store(sums + (block * G + g) * I + columns, tl.sum(total, 0) * tl.load(unit + g), columns < I)
    total = tl.where(total > LARGEST, LARGEST, tl.where(total < -LARGEST, -LARGEST, total))
    tl.store(below + at, total.to(below.dtype.element_ty), here)


@triton.jit
def _thin(
    thin, wide, unit, sums, R, G, members,
    T: tl.constexpr, N: tl.constexpr, CHUNK: tl.constexpr,
    BR: tl.constexpr, BT: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    chunk, columns = tl.program_id(0), tl.program_id(1) * BN + tl.arange(0, BN)
    g = tl.program_id(2).to(tl.int64)
    few = tl.arange(0, BT)
    thin += (g // members) * R * T
    wide += g * R * N
    total = tl.zeros((BT, BN), tl.float32)
    for start in range(0, CHUNK, BR):
        rows = chunk * CHUNK + start + tl.arange(0, BR)
        left = tl.load(thin + rows[None, :] * T + few[:, None], (rows < R)[None, :] & (few < T)[:, None], 0.0)
        right = tl.load(
            wide + rows[:, None] * N + columns[None, :], (rows < R)[:, None] & (columns < N)[None, :], 0.0
        )
        total = tl.dot(left, right.to(left.dtype), total, input_precision="tf32")
    at = sums + ((chunk * G + g) * T + few[:, None]) * N + columns[None, :]
    tl.store(at, total * tl.load(unit + g), (few < T)[:, None] & (columns < N)[None, :])


def _power(size: int, least: int, most: int) -> int:
    return max(least, min(most, triton.next_power_of_2(size)))


def layer(inputs: Tensor, weight: Tensor, bias: Tensor, hidden: bool) -> Tensor:
    """See `half.layer`."""
    inputs = inputs.contiguous()
    (S, R, I), (G, _, N) = inputs.shape, weight.shape
    out = inputs.new_empty(G, R, N, dtype=torch.float16 if hidden else torch.float32)
    BR, BN, BI = 128, _power(N, 16, 128), _power(I, 16, 64)
    _layer[(triton.cdiv(R, BR) * triton.cdiv(N, BN), G)](
        inputs, weight, bias, out, R, G // S, weight.stride(0), bias.stride(0),
        I, N, hidden, BR, BN, BI, num_warps=8 if R > MANY else 4, num_stages=3,
    )  # fmt: skip
    return out


def layer_back(gradient: Tensor, unit: Tensor, weight: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
    """See `half.layer_back`."""
    gradient = gradient.contiguous()
    (G, R, N), I = gradient.shape, activation.shape[2]
    BR, BI, BN = 64, _power(I, 16, 128 if R > MANY else 64), _power(N, 16, 64)
    below = torch.empty_like(activation)
    blocks = triton.cdiv(R, BR)
    sums = unit.new_empty(blocks, G, 1, I)
    _back[(blocks * triton.cdiv(I, BI), G)](
        gradient, unit, weight, activation, below, sums, R, G, weight.stride(0),
        I, N, BR, BI, BN, num_warps=4, num_stages=3,
    )  # fmt: skip
    return below, sums.sum(0)


def weight_back(inputs: Tensor, gradient: Tensor, unit: Tensor) -> Tensor:
    """See `half.weight_back`."""
    inputs, gradient = inputs.contiguous(), gradient.contiguous()
    (_, _, I), (_, _, N) = inputs.shape, gradient.shape
    if I <= _THIN:
        return _thin_product(inputs, gradient, unit)
    if N <= _THIN:
        return _thin_product(gradient, inputs, unit).transpose(1, 2)
    if inputs.dtype == torch.float32:
        of_each = inputs.repeat_interleave(len(gradient) // len(inputs), 0)
        return torch.bmm(of_each.transpose(1, 2), gradient * unit)
    product: Any = torch.bmm
    return product(inputs.transpose(1, 2), gradient, out_dtype=torch.float32).mul_(unit)


def _thin_product(thin: Tensor, wide: Tensor, unit: Tensor) -> Tensor:
    (S, R, T), (G, _, N) = thin.shape, wide.shape
    rows, BN = (1024 if R > MANY else 256), _power(N, 16, 128)
    chunks = triton.cdiv(R, rows)
    sums = unit.new_empty(chunks, G, T, N)
    _thin[(chunks, triton.cdiv(N, BN), G)](
        thin, wide, unit, sums, R, G, G // S,
        T, N, rows, 64, _power(T, 16, _THIN), BN, num_warps=4, num_stages=3,
    )  # fmt: skip
    return sums.sum(0)


@triton.jit
def _scaled(
    gradient, halves, units, sums, R: tl.constexpr, N: tl.constexpr,
    TOP: tl.constexpr, LEAST: tl.constexpr, BR: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, BR), tl.arange(0, BN)
    gradient += g * R * N
    halves += g * R * N
    largest = tl.zeros((BR, BN), tl.float32)
    total = tl.zeros((BR, BN), tl.float32)
    for start in range(0, R, BR):
        here = (start + row < R)[:, None] & (column < N)[None, :]
        value = tl.load(gradient + (start + row)[:, None] * N + column[None, :], here, 0.0)
        largest = tl.where(tl.abs(value) <= largest, largest, tl.abs(value))  # NaN passes
        total += value
    tl.store(sums + g * N + column, tl.sum(total, 0), column < N)
    unit = tl.maximum(tl.max(tl.max(largest, 1), 0), LEAST) / TOP
    tl.store(units + g, unit)
    for start in range(0, R, BR):
        here = (start + row < R)[:, None] & (column < N)[None, :]
        at = (start + row)[:, None] * N + column[None, :]
        value = tl.load(gradient + at, here, 0.0) / unit
        tl.store(halves + at, value.to(tl.float16), here)


def scaled(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `half.scaled`."""
    gradient = gradient.contiguous()
    G, R, N = gradient.shape
    halves = torch.empty_like(gradient, dtype=torch.float16)
    units, sums = gradient.new_empty(G, 1, 1), gradient.new_empty(G, 1, N)
    BN = triton.next_power_of_2(N)
    BR = max(1, min(4096, triton.next_power_of_2(R)) // BN)
    _scaled[(G,)](gradient, halves, units, sums, R, N, TOP, LEAST, BR, BN, num_warps=16)
    return halves, units, sums


@triton.jit
def _adam(
    parameters, gradients, first_moments, second_moments, alive, count, rate, P, decay,
    BETA1: tl.constexpr, BETA2: tl.constexpr, EPSILON: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at, seed = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1).to(tl.int64)
    here = (at < P) & (tl.load(alive + seed) != 0)
    at += seed * P
    steps = tl.load(count).to(tl.float64)
    size = tl.load(rate)
    first_left = 1 - tl.exp(steps * tl.log(tl.full((), BETA1, tl.float64)))
    second_left = 1 - tl.exp(steps * tl.log(tl.full((), BETA2, tl.float64)))
    value, gradient = tl.load(parameters + at, here, 0.0), tl.load(gradients + at, here, 0.0)
    first, second = tl.load(first_moments + at, here, 0.0), tl.load(second_moments + at, here, 0.0)
    first += (gradient - first) * (1 - BETA1)
    second += (gradient * gradient - second) * (1 - BETA2)
    root = tl.sqrt_rn(second) / tl.sqrt(second_left).to(tl.float32) + EPSILON
    value = value * (1 - size * decay) - (size / first_left).to(tl.float32) * first / root
    tl.store(parameters + at, value, here)
    tl.store(first_moments + at, first, here)
    tl.store(second_moments + at, second, here)


def adam(
    parameters: Tensor,
    gradients: Tensor,
    first_moments: Tensor,
    second_moments: Tensor,
    alive: Tensor,
    count: Tensor,
    rate: Tensor,
    decay: float,
) -> None:
    """See `adam.adam`."""
    S, P = parameters.shape
    _adam[(triton.cdiv(P, 1024), S)](
        parameters, gradients, first_moments, second_moments, alive, count, rate, P, decay,
        *BETAS, EPSILON, 1024, num_warps=4,
    )  # fmt: skip


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _sample(
    mean, log_std, normals, centre, half_range, actions, densities, rows, N,
    A: tl.constexpr, BA: tl.constexpr, BR: tl.constexpr, LOG_2: tl.constexpr, HALF_LOG_2PI: tl.constexpr,
):  # fmt: skip
    row, action = tl.program_id(0) * BR + tl.arange(0, BR), tl.arange(0, BA)
    here = (row < rows)[:, None] & (action < A)[None, :]
    of_state, of_row = (row // N)[:, None] * A + action[None, :], row[:, None] * A + action[None, :]
    log_deviation, normal = tl.load(log_std + of_state, here, 0.0), tl.load(normals + of_row, here, 0.0)
    u = tl.load(mean + of_state, here, 0.0) + tl.exp(log_deviation) * normal
    half = tl.load(half_range + action, action < A, 1.0)[None, :]
    middle = tl.load(centre + action, action < A, 0.0)[None, :]
    tl.store(actions + of_row, middle + half * _tanh(u), here)
    below = -2 * u
    softplus = tl.maximum(below, 0.0) + tl.log(1 + tl.exp(-tl.abs(below)))
    density = (
        -0.5 * normal * normal - log_deviation - HALF_LOG_2PI - 2 * (LOG_2 - u - softplus) - tl.log(half)
    )
    tl.store(densities + row, tl.sum(tl.where(here, density, 0.0), 1), row < rows)


def sample(
    mean: Tensor, log_std: Tensor, normals: Tensor, centre: Tensor, half_range: Tensor
) -> tuple[Tensor, Tensor]:
    """See `sampling.sample`."""
    mean, log_std, normals = (each.contiguous() for each in (mean, log_std, normals))
    R, N, A = normals.shape
    actions, densities = torch.empty_like(normals), normals.new_empty(R, N)
    BA = triton.next_power_of_2(A)
    BR = max(1, 256 // BA)
    _sample[(triton.cdiv(R * N, BR),)](
        mean,
        log_std,
        normals,
        centre,
        half_range,
        actions,
        densities,
        R * N,
        N,
        A,
        BA,
        BR,
        LOG_2,
        HALF_LOG_2PI,
    )
    return actions, densities


@triton.jit
def _sample_back(
    of_actions, of_density, mean, log_std, normals, half_range, of_mean, of_log_std, rows,
    A: tl.constexpr, BA: tl.constexpr, BR: tl.constexpr,
):  # fmt: skip
    row, action = tl.program_id(0) * BR + tl.arange(0, BR), tl.arange(0, BA)
    here = (row < rows)[:, None] & (action < A)[None, :]
    at = row[:, None] * A + action[None, :]
    deviation = tl.exp(tl.load(log_std + at, here, 0.0)) * tl.load(normals + at, here, 0.0)
    unit = _tanh(tl.load(mean + at, here, 0.0) + deviation)
    half = tl.load(half_range + action, action < A, 1.0)[None, :]
    density = tl.load(of_density + row, row < rows, 0.0)[:, None]
    of_u = tl.load(of_actions + at, here, 0.0) * half * (1 - unit * unit) + density * 2 * unit
    tl.store(of_mean + at, of_u, here)
    tl.store(of_log_std + at, of_u * deviation - density, here)


def sample_back(
    of_actions: Tensor, of_density: Tensor, mean: Tensor, log_std: Tensor, normals: Tensor, half_range: Tensor
) -> tuple[Tensor, Tensor]:
    """See `sampling.sample_back`."""
    of_actions, of_density, mean, log_std, normals = (
        each.contiguous() for each in (of_actions, of_density, mean, log_std, normals)
    )
    R, A = mean.shape
    of_mean, of_log_std = torch.empty_like(mean), torch.empty_like(mean)
    BA = triton.next_power_of_2(A)
    BR = max(1, 256 // BA)
    _sample_back[(triton.cdiv(R, BR),)](
        of_actions, of_density, mean, log_std, normals, half_range, of_mean, of_log_std, R, A, BA, BR
    )
    return of_mean, of_log_std
