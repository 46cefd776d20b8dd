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
    log_multiplier: float
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    random: np.ndarray  # [B, N, A] in [-1, 1)
    current: np.ndarray
    following: np.ndarray
    actor_noise: np.ndarray  # [B, A]
    target_noise: np.ndarray  # [B, M, A], M next actions per target
    low: np.ndarray
    high: np.ndarray
    settings: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            discount=0.99,
            backup_entropy=False,
            conservative_weight=10.0,
            cql_temperature=1.0,
            target_entropy=None,
            entropy_multiplier=1.0,
            max_q_backup=False,
            bc_steps=0,
            variant="H",
            importance_sampled=True,
            gap_clip_min=None,
            gap_clip_max=None,
            lagrange=False,
            target_action_gap=-1.0,
            calibrated=False,
        )
    )
    returns_to_go: np.ndarray | None = None  # [B], for Cal-QL


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


def temperature(problem):
    return math.exp(problem.log_temperature) * problem.settings.entropy_multiplier


def multiplier(problem, log_multiplier=None):
    value = problem.log_multiplier if log_multiplier is None else log_multiplier
    return min(math.exp(value), 1e6)


def data_log_density(actor, observation, action, low, high):
    """log π(a|s) of a given action by inverting the squashing."""
    size, total = len(low), 0.0
    head = forward(actor, observation)
    for i in range(size):
        half = (high[i] - low[i]) / 2
        u = math.atanh((action[i] - (high[i] + low[i]) / 2) / half)
        log_std = min(max(head[size + i], -20.0), 2.0)
        gaussian = (
            -((u - head[i]) ** 2) / (2 * math.exp(log_std) ** 2) - log_std - 0.5 * math.log(2 * math.pi)
        )
        total += gaussian - math.log(half * (1 - math.tanh(u) ** 2))
    return total


def bellman_target(problem, b):
    s = problem.settings
    state = problem.next_observations[b]
    candidates = []
    for normal in problem.target_noise[b]:
        action, log_density = policy_sample(problem.actor, state, normal, problem.low, problem.high)
        value = min(q_value(critic, state, action) for critic in problem.target_critics)
        candidates.append((value, log_density))
    value, log_density = max(candidates)
    if s.backup_entropy:
        value -= temperature(problem) * log_density
    return problem.rewards[b] + s.discount * (1.0 - problem.terminated[b]) * value


def proposals(problem, b):
    """(action, log density) of the 3N proposals at state b: uniform, π(·|s), π(·|s′)."""
    low, high = problem.low, problem.high
    pairs = []
    if problem.settings.variant == "rho":
        state = problem.observations[b]
        return [policy_sample(problem.actor, state, x, low, high) for x in problem.current[b]]
    for n in range(problem.random.shape[1]):
        action = low + (problem.random[b, n] + 1) / 2 * (high - low)
        pairs.append((action, -float(np.sum(np.log(high - low)))))
    for states, normals in (
        (problem.observations, problem.current),
        (problem.next_observations, problem.following),
    ):
        pairs.extend(policy_sample(problem.actor, states[b], x, low, high) for x in normals[b])
    return pairs


def gap(problem, critic, b, pairs, weights):
    """Temperature · logsumexp((Q − log density)/temperature) − Q(s, a_data), every proposal valued at s."""
    s, state = problem.settings, problem.observations[b]
    t = s.cql_temperature
    data = q_value(critic, state, problem.actions[b])
    values = [q_value(critic, state, action) for action, _ in pairs]
    if s.calibrated:
        values = [
            value if n < problem.random.shape[1] else max(value, problem.returns_to_go[b])
            for n, value in enumerate(values)
        ]
    if s.variant == "rho":
        high = sum(w * v for w, v in zip(weights, values, strict=True))
    else:
        if s.importance_sampled:
            terms = [(v - log_density) / t for v, (_, log_density) in zip(values, pairs, strict=True)]
        else:
            terms = [v / t for v in [*values, data]]
        top = max(terms)
        high = t * (top + math.log(sum(math.exp(x - top) for x in terms)))
    difference = high - data
    if s.gap_clip_min is not None:
        difference = max(difference, s.gap_clip_min)
    if s.gap_clip_max is not None:
        difference = min(difference, s.gap_clip_max)
    return difference


def softmax_weights(problem, critic, b, pairs):
    """CQL(rho)'s weights at the present critic: constants for its gradient."""
    t, state = problem.settings.cql_temperature, problem.observations[b]
    values = [q_value(critic, state, action) / t for action, _ in pairs]
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def critic_parts(problem):
    """What the critics' gradient holds fixed: targets, proposals, and CQL(rho)'s weights."""
    size = len(problem.rewards)
    targets = [bellman_target(problem, b) for b in range(size)]
    pairs = [proposals(problem, b) for b in range(size)]
    weights = [[softmax_weights(problem, c, b, pairs[b]) for b in range(size)] for c in problem.critics]
    return targets, pairs, weights


def mean_gaps(problem, critics, parts):
    _, pairs, weights = parts
    size = len(problem.rewards)
    return [
        sum(gap(problem, critic, b, pairs[b], weights[k][b]) for b in range(size)) / size
        for k, critic in enumerate(critics)
    ]


def critic_loss(problem, critics, parts):
    s, (targets, _, _) = problem.settings, parts
    size = len(problem.rewards)
    loss = 0.0
    for critic in critics:
        errors = [
            (q_value(critic, problem.observations[b], problem.actions[b]) - targets[b]) ** 2
            for b in range(size)
        ]
        loss += sum(errors) / size
    if s.conservative_weight:
        for mean_gap in mean_gaps(problem, critics, parts):
            penalty = multiplier(problem) * (mean_gap - s.target_action_gap) if s.lagrange else mean_gap
            loss += s.conservative_weight * penalty
    return loss


def multiplier_loss(problem, log_multiplier, parts):
    """Dual ascent: minus the multiplier times the weighted mean distance of the gaps from their target."""
    s = problem.settings
    if not s.lagrange:
        return 0.0
    distances = [g - s.target_action_gap for g in mean_gaps(problem, problem.critics, parts)]
    return -multiplier(problem, log_multiplier) * s.conservative_weight * sum(distances) / len(distances)


def actor_loss(problem, actor):
    size, total = len(problem.rewards), 0.0
    for b in range(size):
        state = problem.observations[b]
        action, log_density = policy_sample(actor, state, problem.actor_noise[b], problem.low, problem.high)
        if problem.settings.bc_steps:
            value = data_log_density(actor, state, problem.actions[b], problem.low, problem.high)
        else:
            value = min(q_value(critic, state, action) for critic in problem.critics)
        total += temperature(problem) * log_density - value
    return total / size


def temperature_loss(problem, log_temperature):
    """SAC's code: the log of the temperature times the entropy's distance from its target."""
    size, total = len(problem.rewards), 0.0
    target_entropy = problem.settings.target_entropy
    if target_entropy is None:
        # SAC's -A on the box [-1, 1]; stretching the box by c adds log c per dimension.
        target_entropy = -float(len(problem.low)) + float(np.sum(np.log((problem.high - problem.low) / 2)))
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
    """{'critic', 'actor', 'temperature', 'multiplier'} -> (loss, flat gradient); critics in a row."""
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

    def of_multiplier(value):
        return multiplier_loss(problem, float(value[0]), parts)

    flat_actor, log_temperature = pack(problem.actor), np.array([problem.log_temperature])
    log_multiplier = np.array([problem.log_multiplier])
    return {
        "critic": (of_critics(flat_critics), central_difference(of_critics, flat_critics)),
        "actor": (of_actor(flat_actor), central_difference(of_actor, flat_actor)),
        "temperature": (of_temperature(log_temperature), central_difference(of_temperature, log_temperature)),
        "multiplier": (of_multiplier(log_multiplier), central_difference(of_multiplier, log_multiplier)),
    }
