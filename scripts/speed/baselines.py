"""What the step is compared with: torchrl's step, and a plain eager one.

Each is a function that takes one step; nothing here is used in training.
"""

import itertools
import warnings
from collections.abc import Callable

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.nn import functional

from cqlbench.core.seeding import Purpose, torch_generator
from cqlbench.engine.engine import LAUNCH_SECONDS, Engine
from cqlbench.trainer.steppers import TORCHRL_CQL_COMPONENTS
from speed.workload import ACTION_SIZE, OBSERVATION_SIZE, Workload

Step = Callable[[], None]


def ours(workload: Workload, device: torch.device) -> Callable[[int], None]:
    """The project's own steps, so many at a call: indices, gather, noise, losses, Adam and target update."""
    return steps_of(workload.engine(device))


def steps_of(engine: Engine) -> Callable[[int], None]:
    """The steps of an engine, so many at a call."""
    taken, engine.launch_seconds = 0, LAUNCH_SECONDS

    def steps(count: int) -> None:
        nonlocal taken
        end = taken + count
        while taken < end:
            taken += engine.advance(taken, end - taken)

    return steps


def plain(workload: Workload, device: torch.device) -> Step:
    """One seed, as single-file implementations write it: modules, two optimisers, no sharing of work."""
    if workload.seeds != 1:
        raise ValueError("The plain step trains one seed.")
    return _Plain(workload, device).step


class _Plain:
    def __init__(self, workload: Workload, device: torch.device) -> None:
        self.config = workload.config()
        self.generator = torch_generator(0, Purpose.NOISE, device=device)
        self.batch = workload.batch(device)
        hidden = list(workload.hidden)
        critic = [OBSERVATION_SIZE + ACTION_SIZE, *hidden, 1]
        self.actor = modules([OBSERVATION_SIZE, *hidden, 2 * ACTION_SIZE]).to(device)
        self.critics = nn.ModuleList(modules(critic) for _ in range(workload.critics)).to(device)
        self.targets = nn.ModuleList(modules(critic) for _ in range(workload.critics)).to(device)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_temperature = torch.zeros((), device=device, requires_grad=True)
        self.optimizers = [
            torch.optim.Adam(self.actor.parameters(), self.config.actor_learning_rate),
            torch.optim.Adam(self.critics.parameters(), self.config.critic_learning_rate),
            torch.optim.Adam([self.log_temperature], self.config.temperature_learning_rate),
        ]

    def sample(self, states: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(states).chunk(2, -1)
        normals = torch.empty_like(mean).normal_(generator=self.generator)
        log_std = log_std.clamp(-20, 2)
        u = mean + log_std.exp() * normals
        density = -0.5 * normals.square() - log_std - 0.9189385
        squash = 2 * (0.6931472 - u - functional.softplus(-2 * u))
        return u.tanh(), (density - squash).sum(-1)

    def step(self) -> None:
        columns = (column[0] for column in vars(self.batch).values() if isinstance(column, Tensor))
        states, actions, rewards, following, ended = columns
        new_actions, log_density = self.sample(states)
        temperature = self.log_temperature.exp().detach()
        temperature_loss = -(self.log_temperature * (log_density.detach() - ACTION_SIZE)).mean()
        values = torch.stack([self.value(critic, states, new_actions) for critic in self.critics]).amin(0)
        actor_loss = (temperature * log_density - values).mean()
        with torch.no_grad():
            next_actions, _ = self.sample(following)
            next_values = torch.stack([self.value(c, following, next_actions) for c in self.targets]).amin(0)
            targets = rewards + self.config.discount * (1 - ended) * next_values
        critic_loss = self.critic_loss(states, actions, following, targets)
        for optimizer, loss in zip(self.optimizers, (actor_loss, critic_loss, temperature_loss), strict=True):
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            for target, source in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                target.lerp_(source, self.config.polyak_rate)

    @staticmethod
    def value(critic: nn.Module, states: Tensor, actions: Tensor) -> Tensor:
        value: Tensor = critic(torch.cat([states, actions], -1))
        return value.squeeze(-1)

    def critic_loss(self, states: Tensor, actions: Tensor, following: Tensor, targets: Tensor) -> Tensor:
        B, N = len(states), self.config.proposals
        repeated = states.repeat_interleave(N, 0)
        random = torch.empty(B * N, ACTION_SIZE, device=states.device)
        random.uniform_(-1, 1, generator=self.generator)
        with torch.no_grad():
            current, current_density = self.sample(repeated)
            later, later_density = self.sample(following.repeat_interleave(N, 0))
        uniform_density = torch.full((B * N,), -ACTION_SIZE * 0.6931472, device=states.device)
        loss = torch.zeros((), device=states.device)
        for critic in self.critics:
            data = self.value(critic, states, actions)
            groups = [
                (self.value(critic, repeated, proposed) - density).view(B, N)
                for proposed, density in (
                    (random, uniform_density),
                    (current, current_density),
                    (later, later_density),
                )
            ]
            gap = torch.cat(groups, 1).logsumexp(1) - data
            loss = loss + (data - targets).square().mean() + self.config.conservative_weight * gap.mean()
        return loss


def torchrl(workload: Workload, device: torch.device) -> Step:
    """The step of torchrl's own `CQLLoss` as it comes, Adam, `SoftUpdate`; one seed."""
    return _torchrl(workload, device, deactivate_vmap=False)


def torchrl_without_vmap(workload: Workload, device: torch.device) -> Step:
    """The same with `deactivate_vmap=True`, usually its faster form."""
    return _torchrl(workload, device, deactivate_vmap=True)


def _torchrl(workload: Workload, device: torch.device, *, deactivate_vmap: bool) -> Step:
    if workload.seeds != 1:
        raise ValueError("torchrl's step trains one seed.")
    from torchrl.data import Bounded
    from torchrl.modules import NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import CQLLoss, SoftUpdate

    config = workload.config()
    spec = Bounded(-torch.ones(ACTION_SIZE), torch.ones(ACTION_SIZE), (ACTION_SIZE,), device=device)
    hidden = list(workload.hidden)
    body = nn.Sequential(modules([OBSERVATION_SIZE, *hidden, 2 * ACTION_SIZE]), NormalParamExtractor())
    module = TensorDictModule(body, in_keys=["observation"], out_keys=["loc", "scale"])
    actor = ProbabilisticActor(module, spec=spec, in_keys=["loc", "scale"], distribution_class=TanhNormal)
    critic = ValueOperator(_TwoInputs(hidden), in_keys=["observation", "action"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = CQLLoss(
            actor.to(device),
            critic.to(device),
            loss_function="l2",
            action_spec=spec,
            num_random=config.proposals,
            min_q_weight=config.conservative_weight,
            deactivate_vmap=deactivate_vmap,
        )
        loss.make_value_estimator(gamma=config.discount)
        updater = SoftUpdate(loss, tau=config.polyak_rate)
    optimizer = torch.optim.Adam(loss.parameters(), config.critic_learning_rate)
    batch = _torchrl_batch(workload, device)

    def step() -> None:
        losses = loss(batch)
        total = sum(value for name, value in losses.items() if name in TORCHRL_CQL_COMPONENTS)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        updater.step()

    return step


def _torchrl_batch(workload: Workload, device: torch.device) -> TensorDict:
    batch = workload.batch(device)
    ended = batch.terminated[0].bool().unsqueeze(-1)
    return TensorDict(
        {
            "observation": batch.observations[0],
            "action": batch.actions[0],
            "next": {
                "observation": batch.next_observations[0],
                "reward": batch.rewards[0].unsqueeze(-1),
                "terminated": ended,
                "done": ended,
            },
        },
        [workload.batch_size],
        device=device,
    )


class _TwoInputs(nn.Module):
    def __init__(self, hidden: list[int]) -> None:
        super().__init__()
        self.body = modules([OBSERVATION_SIZE + ACTION_SIZE, *hidden, 1])

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        value: Tensor = self.body(torch.cat([observation, action], -1))
        return value


def modules(sizes: list[int]) -> nn.Sequential:
    """A ReLU MLP."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
