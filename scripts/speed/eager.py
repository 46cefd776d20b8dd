"""Eager steps of one seed, as single-file implementations (CORL's) write them: what the fused ones replace.

Behaviour cloning, TD3+BC, IQL and AWAC are modules, one per critic, and `torch.optim.Adam`; so is CQL, in
`speed.baselines`. The others are the project's own losses with one seed, `torch.optim.Adam` and a loop over
targets: without sharing a step between seeds, fused Adam and fused polyak averages, but with what a loss
fuses.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cqlbench.algorithms.algorithm import Networks
from cqlbench.engine.streams import NoiseStream
from speed import baselines
from speed.baselines import Step, modules
from speed.workload import ACTION_SIZE, OBSERVATION_SIZE, Workload, engine_of, made_up

_GAMMA, _POLYAK, _RATE = 0.99, 0.005, 3e-4


def eager(config: Any, device: torch.device) -> Step:
    """One step of one seed of the algorithm of these settings."""
    if config.name == "cql":
        return baselines.plain(Workload(1, tuple(config.critic_hidden)), device)
    if config.name in _MODULES:
        agent: _BC | _TD3BC | _IQL | _AWAC = _MODULES[config.name](config, device)
        return agent.step
    return _OwnLosses(config, device).step


def of_modules(name: str) -> bool:
    """Whether the eager step of the algorithm is made of plain modules."""
    return name == "cql" or name in _MODULES


class _OwnLosses:
    def __init__(self, config: Any, device: torch.device) -> None:
        self.engine = engine_of(config, 1, device)
        self.state, algorithm = self.engine.state, self.engine.algorithm
        self.noise = NoiseStream((0,), algorithm.draws(), self.engine.device)
        self.stages, self.taken = algorithm.stages(), 0
        for group in self.state.parameters.values():
            for each in group.values():
                each.requires_grad_()
        self.optimizers = [
            torch.optim.Adam(
                [
                    {
                        "params": list(self.state.parameters[group].values()),
                        "lr": float(rate(torch.zeros(()))) if callable(rate) else rate,
                    }
                    for group, rate in stage.rates.items()
                ],
                weight_decay=stage.weight_decay,
            )
            for stage in self.stages
        ]

    def step(self) -> None:
        state = self.state
        batch, noise = self.engine.batch(self.taken), self.noise(self.taken)
        for stage, optimizer in zip(self.stages, self.optimizers, strict=True):
            if self.taken % stage.every != stage.first:
                continue
            networks = Networks(state.parameters, state.targets, state.steps)
            _descend(optimizer, stage.loss(networks, batch, noise)[0].sum())
            for group in stage.targets:
                _follow(state.targets[group].values(), state.parameters[group].values())
        self.taken += 1


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def _follow(targets: Any, sources: Any) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, _POLYAK)


class _Agent:
    """An actor, some critics with targets, and rows to draw batches from."""

    def __init__(self, config: Any, device: torch.device, critics: int = 2) -> None:
        self.config, self.columns, self.taken = config, made_up(device=device).tensors(), 0
        hidden = list(config.hidden)
        inputs = OBSERVATION_SIZE + ACTION_SIZE
        self.actor = modules([OBSERVATION_SIZE, *hidden, ACTION_SIZE]).to(device)
        self.critics = nn.ModuleList(modules([inputs, *hidden, 1]) for _ in range(critics)).to(device)
        self.target_actor, self.target_critics = copy.deepcopy((self.actor, self.critics))
        self.log_std = torch.zeros(ACTION_SIZE, device=device, requires_grad=True)
        self.actor_optimizer = torch.optim.Adam([*self.actor.parameters(), self.log_std], _RATE)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), _RATE) if critics else None

    def batch(self) -> list[Tensor]:
        rows = self.columns[0]
        indices = torch.randint(len(rows), (self.config.batch_size,), device=rows.device)
        *batch, ended = (column[indices] for column in self.columns)
        return [*batch, ended.float()]

    @staticmethod
    def values(critics: nn.ModuleList, states: Tensor, actions: Tensor) -> list[Tensor]:
        inputs = torch.cat([states, actions], -1)
        return [critic(inputs).squeeze(-1) for critic in critics]

    def log_density(self, states: Tensor, actions: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
        normals = (actions - head(self.actor(states))) * (-self.log_std).exp()
        return (-0.5 * normals.square() - self.log_std - 0.9189385).sum(-1)

    def descend_critics(self, states: Tensor, actions: Tensor, targets: Tensor) -> None:
        found = self.values(self.critics, states, actions)
        assert self.critic_optimizer is not None
        _descend(self.critic_optimizer, sum(functional.mse_loss(each, targets) for each in found))  # type: ignore[arg-type]


class _BC(_Agent):
    def __init__(self, config: Any, device: torch.device) -> None:
        super().__init__(config, device, critics=0)

    def step(self) -> None:
        states, actions, *_ = self.batch()
        _descend(self.actor_optimizer, functional.mse_loss(self.actor(states).tanh(), actions))


class _TD3BC(_Agent):
    def step(self) -> None:
        config = self.config
        states, actions, rewards, following, ended = self.batch()
        with torch.no_grad():
            noise = (torch.randn_like(actions) * config.policy_noise).clamp(
                -config.noise_clip, config.noise_clip
            )
            smoothed = (self.target_actor(following).tanh() + noise).clamp(-1, 1)
            first, second = self.values(self.target_critics, following, smoothed)
            targets = rewards + _GAMMA * (1 - ended) * torch.min(first, second)
        self.descend_critics(states, actions, targets)
        self.taken += 1
        if self.taken % config.policy_period:
            return
        own = self.actor(states).tanh()
        values = self.critics[0](torch.cat([states, own], -1))
        weight = config.value_weight / values.detach().abs().mean()
        _descend(self.actor_optimizer, functional.mse_loss(own, actions) - weight * values.mean())
        _follow(self.target_critics.parameters(), self.critics.parameters())
        _follow(self.target_actor.parameters(), self.actor.parameters())


class _IQL(_Agent):
    def __init__(self, config: Any, device: torch.device) -> None:
        super().__init__(config, device)
        self.value = modules([OBSERVATION_SIZE, *config.hidden, 1]).to(device)
        self.value_optimizer = torch.optim.Adam(self.value.parameters(), _RATE)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.actor_optimizer, config.decay_steps)

    def step(self) -> None:
        config = self.config
        states, actions, rewards, following, ended = self.batch()
        with torch.no_grad():
            next_value = self.value(following).squeeze(-1)
            bound = torch.min(*self.values(self.target_critics, states, actions))
        advantage = bound - self.value(states).squeeze(-1)
        weight = (config.expectile - (advantage < 0).float()).abs()
        _descend(self.value_optimizer, (weight * advantage.square()).mean())
        self.descend_critics(states, actions, rewards + _GAMMA * (1 - ended) * next_value)
        _follow(self.target_critics.parameters(), self.critics.parameters())
        weights = (config.inverse_temperature * advantage.detach()).exp().clamp(max=config.largest_weight)
        density = self.log_density(states, actions, torch.tanh)
        _descend(self.actor_optimizer, -(weights * density).mean())
        self.schedule.step()


class _AWAC(_Agent):
    def sample(self, states: Tensor) -> Tensor:
        mean: Tensor = self.actor(states)
        return (mean + self.log_std.exp() * torch.randn_like(mean)).clamp(-1, 1)

    def step(self) -> None:
        config = self.config
        states, actions, rewards, following, ended = self.batch()
        with torch.no_grad():
            next_values = self.values(self.target_critics, following, self.sample(following))
            targets = rewards + _GAMMA * (1 - ended) * torch.min(*next_values)
        self.descend_critics(states, actions, targets)
        with torch.no_grad():
            value = torch.min(*self.values(self.critics, states, self.sample(states)))
            advantage = torch.min(*self.values(self.critics, states, actions)) - value
            weights = (advantage / config.temperature).exp().clamp(max=config.largest_weight)
        density = self.log_density(states, actions, nn.Identity())
        _descend(self.actor_optimizer, -(weights * density).mean())
        _follow(self.target_critics.parameters(), self.critics.parameters())


_MODULES: dict[str, Any] = {"bc": _BC, "bc10": _BC, "td3_bc": _TD3BC, "iql": _IQL, "awac": _AWAC}
