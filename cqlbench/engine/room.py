"""Whether a run fits the memory, said before anything is allocated."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch

from cqlbench.algorithms.config import CQLConfig
from cqlbench.core.errors import ConfigError
from cqlbench.engine.streams import CHUNK, NoiseShape

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def check_room(
    config: CQLConfig,
    observation_size: int,
    action_size: int,
    seeds: int,
    device: torch.device,
    *,
    discrete: bool,
) -> None:
    """Refuse sizes that cannot fit.

    Raises:
        ConfigError: naming the keys, the least that they need, and what is free.
    """
    needed, free = (
        least_bytes(config, observation_size, action_size, seeds, discrete=discrete),
        free_bytes(device),
    )
    if free is not None and needed > free:
        raise ConfigError(
            f"Training needs at least {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free:"
            f" make algorithm.batch_size={config.batch_size}, algorithm.proposals={config.proposals}, the"
            f" networks or the number of seeds ({seeds}) smaller."
        )


def least_bytes(
    config: CQLConfig, observation_size: int, action_size: int, seeds: int, *, discrete: bool
) -> int:
    """What a run cannot do without, the dataset apart.

    Training state, noise and indices drawn ahead, and the critics' activations, which a gradient step keeps
    for its backward pass.
    """
    B, K, N = config.batch_size, config.critics, config.proposals if config.conservative_weight else 0
    if discrete:
        critic, actor = _mlp([observation_size, *config.critic_hidden, action_size]), 0
        noise, values = 0, 1
    else:
        critic = _mlp([observation_size + action_size, *config.critic_hidden, 1])
        actor = _mlp([observation_size, *config.actor_hidden, 2 * action_size])
        noise = B * action_size * (3 * N + 1 + NoiseShape.of(config, action_size).target_actions)
        values = (3 * N if config.variant == "H" else N) + 1
    # Values and gradients, two moments, and the critics' targets.
    state = 4 * (K * critic + actor) + K * critic
    activations = K * B * values * sum(config.critic_hidden)
    return seeds * (4 * (state + CHUNK * noise + activations) + 8 * CHUNK * B)


def free_bytes(device: torch.device) -> int | None:
    """Memory that can be had on `device`, swap included; `None` where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    if "MemAvailable" not in kilobytes:
        return None
    limits = [1024 * kilobytes["MemAvailable"], *_below_limit()]
    return min(limits) + 1024 * kilobytes.get("SwapFree", 0)


def _below_limit() -> list[int]:
    """What a container's limit (cgroup v2) leaves, cached files not counted as used; empty without one."""
    try:
        limit, used = (
            (_CGROUP / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current")
        )
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        pages = {name: int(count) for name, _, count in (line.partition(" ") for line in lines)}
        return [int(limit) - int(used) + pages["active_file"] + pages["inactive_file"]]
    except (OSError, ValueError, KeyError):  # "max", for instance
        return []


def _mlp(sizes: Sequence[int]) -> int:
    return sum((before + 1) * after for before, after in itertools.pairwise(sizes))
