"""A decision transformer of torch's own modules, sequences padded with zeros behind their end, as CORL's.

corl-team/CORL@eeeeef2, algorithms/offline/dt.py: what its `DecisionTransformer` computes, without dropout.
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, size: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(size, heads, 0.0, batch_first=True)
        self.wide = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        self.later = ~torch.tril(torch.ones(tokens, tokens)).bool()

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        normed = self.norm1(x)
        told, _ = self.attention(
            normed, normed, normed, attn_mask=self.later, key_padding_mask=padding, need_weights=False
        )
        x = x + told
        return x + self.wide(self.norm2(x))


class Transformer(nn.Module):
    """`[B, L, O]`, `[B, L, A]`, `[B, L]`, `[B, L]`, padded `[B, L]` bool -> `[B, L, A]` within ±1."""

    def __init__(
        self, sizes: tuple[int, int, int], blocks: int, heads: int, context: int, steps: int
    ) -> None:
        super().__init__()
        O, A, D = sizes  # noqa: E741
        self.observe, self.act, self.to_go = nn.Linear(O, D), nn.Linear(A, D), nn.Linear(1, D)
        self.time = nn.Embedding(steps, D)
        self.tokens, self.out = nn.LayerNorm(D), nn.LayerNorm(D)
        self.blocks = nn.ModuleList(Block(D, heads, 3 * context) for _ in range(blocks))
        self.head = nn.Sequential(nn.Linear(D, A), nn.Tanh())

    def forward(self, seen: Tensor, acted: Tensor, to_go: Tensor, steps: Tensor, padded: Tensor) -> Tensor:
        B, L, _ = seen.shape
        time = self.time(steps)
        tokens = [self.to_go(to_go.unsqueeze(-1)) + time, self.observe(seen) + time, self.act(acted) + time]
        x = torch.stack(tokens, 1).permute(0, 2, 1, 3).reshape(B, 3 * L, -1)
        padding = torch.stack([padded] * 3, 1).permute(0, 2, 1).reshape(B, 3 * L)
        x = self.tokens(x)
        for block in self.blocks:
            x = block(x, padding)
        return self.head(self.out(x)[:, 1::3])


def filled(module: Transformer, params: dict[str, Tensor], seed: int) -> Transformer:
    """The module with one seed's parameters of ours, `[in, out]` and `[1, out]`."""
    names = {"observe": module.observe, "act": module.act, "return": module.to_go, "head": module.head[0]}
    norms = {"tokens": module.tokens, "out": module.out}
    state = {module.time.weight: params["time.weight"][seed]}
    for number, block in enumerate(module.blocks):
        names |= {
            f"{number}.project": block.attention.out_proj,
            f"{number}.widen": block.wide[0],
            f"{number}.narrow": block.wide[2],
        }
        norms |= {f"{number}.norm1": block.norm1, f"{number}.norm2": block.norm2}
        state[block.attention.in_proj_weight] = params[f"{number}.attend.weight"][seed].T
        state[block.attention.in_proj_bias] = params[f"{number}.attend.bias"][seed, 0]
    for name, layer in names.items():
        state[layer.weight] = params[f"{name}.weight"][seed].T
        state[layer.bias] = params[f"{name}.bias"][seed, 0]
    for name, layer in norms.items():
        state[layer.weight] = params[f"{name}.norm.weight"][seed, 0]
        state[layer.bias] = params[f"{name}.norm.bias"][seed, 0]
    assert len(state) == len(list(module.parameters()))
    with torch.no_grad():
        for parameter, value in state.items():
            parameter.copy_(value)
    return module
