"""CQL(H) written down from the equations in float64: plain loops, numpy only, nothing from the package.

Losses are functions of one network's flat parameters with everything else held fixed, so the gradient of
each is what a central difference of it says: no automatic differentiation, no stop-gradient to get wrong.
"""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np


@dataclass
class Problem:
    """One seed's networks, batch and noise as float64 arrays; networks are lists of (W [in,out], b [out])."""

    actor: list
    critics: list  # K lists
    target_critics: list
    log_temperature: float
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    random: np.ndarray  # [B, N, A] in [-1, 1)
    current: np.ndarray
    following: np.ndarray
    actor_noise: np.ndarray  # [B, A]
    target_noise: np.ndarray
    low: np.ndarray
    high: np.ndarray
    settings: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            discount=0.99,
            backup_entropy=False,
            conservative_weight=10.0,
            cql_temperature=1.0,
            target_entropy=None,
        )
    )


def forward(network, x):
    for layer, (weight, bias) in enumerate(network):
        if layer:
            x = np.maximum(x, 0.0)
        x = x @ weight + bias
    return x


def q_value(critic, observation, action):
    return float(forward(critic, np.concatenate([observation, action]))[0])


def policy_sample(actor, observation, normal, low, high):
    """One action of the tanh-squashed Gaussian and its log-density, by the change of variables."""
    size = len(low)
    head = forward(actor, observation)
    mean, log_std = head[:size], np.clip(head[size:], -20.0, 2.0)
    action, log_density = np.empty(size), 0.0
    for i in range(size):
        std = math.exp(log_std[i])
        u = mean[i] + std * normal[i]
        half = (high[i] - low[i]) / 2
        action[i] = (high[i] + low[i]) / 2 + half * math.tanh(u)
        gaussian = -((u - mean[i]) ** 2) / (2 * std**2) - math.log(std) - 0.5 * math.log(2 * math.pi)
        log_density += gaussian - math.log(half * (1 / math.cosh(u)) ** 2)
    return action, log_density


def bellman_target(problem, b):
    s = problem.settings
    state = problem.next_observations[b]
    action, log_density = policy_sample(
        problem.actor, state, problem.target_noise[b], problem.low, problem.high
    )
    value = min(q_value(critic, state, action) for critic in problem.target_critics)
    if s.backup_entropy:
        value -= math.exp(problem.log_temperature) * log_density
    return problem.rewards[b] + s.discount * (1.0 - problem.terminated[b]) * value


def proposals(problem, b):
    """(action, log density) of the 3N proposals at state b: uniform, π(·|s), π(·|s′)."""
    low, high = problem.low, problem.high
    pairs = []
    for n in range(problem.random.shape[1]):
        action = low + (problem.random[b, n] + 1) / 2 * (high - low)
        pairs.append((action, -float(np.sum(np.log(high - low)))))
    for states, normals in (
        (problem.observations, problem.current),
        (problem.next_observations, problem.following),
    ):
        pairs.extend(policy_sample(problem.actor, states[b], x, low, high) for x in normals[b])
    return pairs


def gap(problem, critic, b, pairs):
    """Temperature · logsumexp((Q − log density)/temperature) − Q(s, a_data), every proposal valued at s."""
    t = problem.settings.cql_temperature
    state = problem.observations[b]
    terms = [(q_value(critic, state, action) - log_density) / t for action, log_density in pairs]
    top = max(terms)
    return t * (top + math.log(sum(math.exp(x - top) for x in terms))) - q_value(
        critic, state, problem.actions[b]
    )


def critic_parts(problem):
    """Everything in the critic's loss that does not depend on the critics: targets and proposals."""
    size = len(problem.rewards)
    targets = [bellman_target(problem, b) for b in range(size)]
    pairs = [proposals(problem, b) for b in range(size)]
    return targets, pairs


def critic_loss(problem, critics, parts):
    targets, pairs = parts
    size = len(problem.rewards)
    loss = 0.0
    for critic in critics:
        errors = [
            (q_value(critic, problem.observations[b], problem.actions[b]) - targets[b]) ** 2
            for b in range(size)
        ]
        loss += sum(errors) / size
        if problem.settings.conservative_weight:
            gaps = [gap(problem, critic, b, pairs[b]) for b in range(size)]
            loss += problem.settings.conservative_weight * sum(gaps) / size
    return loss


def actor_loss(problem, actor):
    size, total = len(problem.rewards), 0.0
    for b in range(size):
        state = problem.observations[b]
        action, log_density = policy_sample(actor, state, problem.actor_noise[b], problem.low, problem.high)
        value = min(q_value(critic, state, action) for critic in problem.critics)
        total += math.exp(problem.log_temperature) * log_density - value
    return total / size


def temperature_loss(problem, log_temperature):
    """SAC's code: the log of the temperature times the entropy's distance from its target."""
    size, total = len(problem.rewards), 0.0
    target_entropy = problem.settings.target_entropy
    if target_entropy is None:
        target_entropy = -float(len(problem.low))
    for b in range(size):
        _, log_density = policy_sample(
            problem.actor, problem.observations[b], problem.actor_noise[b], problem.low, problem.high
        )
        total += -log_temperature * (log_density + target_entropy)
    return total / size


def pack(network):
    return np.concatenate([np.concatenate([w.ravel(), b.ravel()]) for w, b in network])


def unpack(flat, like):
    out, at = [], 0
    for w, b in like:
        new_w = flat[at : at + w.size].reshape(w.shape)
        at += w.size
        out.append((new_w, flat[at : at + b.size]))
        at += b.size
    return out


def central_difference(function, point, width=1e-5):
    gradient = np.empty_like(point)
    for i in range(point.size):
        ahead, behind = point.copy(), point.copy()
        ahead[i] += width
        behind[i] -= width
        gradient[i] = (function(ahead) - function(behind)) / (2 * width)
    return gradient


def losses_and_gradients(problem):
    """{'critic', 'actor', 'temperature'} -> (loss, flat gradient); critics one after the other."""
    parts = critic_parts(problem)
    sizes = [pack(critic).size for critic in problem.critics]
    flat_critics = np.concatenate([pack(critic) for critic in problem.critics])

    def critics_from(flat):
        pieces = np.split(flat, np.cumsum(sizes)[:-1])
        return [unpack(piece, like) for piece, like in zip(pieces, problem.critics, strict=True)]

    def of_critics(flat):
        return critic_loss(problem, critics_from(flat), parts)

    def of_actor(flat):
        return actor_loss(problem, unpack(flat, problem.actor))

    def of_temperature(value):
        return temperature_loss(problem, float(value[0]))

    flat_actor, log_temperature = pack(problem.actor), np.array([problem.log_temperature])
    return {
        "critic": (of_critics(flat_critics), central_difference(of_critics, flat_critics)),
        "actor": (of_actor(flat_actor), central_difference(of_actor, flat_actor)),
        "temperature": (of_temperature(log_temperature), central_difference(of_temperature, log_temperature)),
    }
