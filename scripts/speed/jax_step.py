"""CQL's step in JAX, jitted and with `vmap` over seeds, as one would write it there; needs the package `jax`.

One pass of the critics over all actions of a state, one gradient of the sum of losses. Unlike the project's
step it draws no batches: every step sees the same one.
"""

import importlib.util
import itertools
import os
from collections.abc import Callable
from typing import Any

import torch

from cqlbench.algorithms.gpu.adam import BETAS, EPSILON
from speed.workload import ACTION_SIZE, OBSERVATION_SIZE, Workload


def has_jax() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("jax") is not None


def jax_step(workload: Workload, device: torch.device) -> Callable[[], None]:
    """A step of all seeds. In a process of its own: JAX reads its settings once."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if device.type == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        if hasattr(os, "sched_setaffinity"):  # it makes as many threads as there are cores
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[: torch.get_num_threads()])
    import jax

    seeds, config = workload.seeds, workload.config()
    batch = workload.batch(torch.device("cpu"))
    arrays = [
        jax.numpy.asarray(each.numpy()) for each in vars(batch).values() if isinstance(each, torch.Tensor)
    ]
    rates = {
        "actor": config.actor_learning_rate,
        "critics": config.critic_learning_rate,
        "temperature": config.temperature_learning_rate,
    }

    def one(state: Any, rows: Any, key: Any) -> Any:
        parameters, targets, first, second, count = state
        gradients = jax.grad(make_loss(workload))(parameters, targets, rows, make_noise(workload, key))
        count = count + 1
        first = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, first, gradients)
        second = jax.tree.map(lambda v, g: BETAS[1] * v + (1 - BETAS[1]) * g * g, second, gradients)
        left = [1 - beta**count for beta in BETAS]

        def moved(rate: float, p: Any, m: Any, v: Any) -> Any:
            return p - rate * (m / left[0]) / (jax.numpy.sqrt(v / left[1]) + EPSILON)

        parameters = {
            group: jax.tree.map(
                lambda *them, r=rate: moved(r, *them), parameters[group], first[group], second[group]
            )
            for group, rate in rates.items()
        }
        polyak = config.polyak_rate
        targets = jax.tree.map(lambda t, p: (1 - polyak) * t + polyak * p, targets, parameters["critics"])
        return parameters, targets, first, second, count

    keys = jax.random.split(jax.random.key(0), seeds)
    state = jax.vmap(lambda key: _initial(workload, key))(keys)
    every = jax.jit(
        lambda state, keys: (
            jax.vmap(one)(state, arrays, keys),
            jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys),
        ),
        donate_argnums=(0, 1),
    )

    wait: Any = jax.block_until_ready

    def step() -> None:
        nonlocal state, keys
        state, keys = every(state, keys)
        wait(state)

    return step


def make_noise(workload: Workload, key: Any) -> dict[str, Any]:
    """The random numbers of one seed's step."""
    import jax

    B, N, A = workload.batch_size, workload.proposals, ACTION_SIZE
    shapes = {"actor": (B, A), "target": (B, A), "current": (B, N, A), "next": (B, N, A)}
    keys = jax.random.split(key, 5)
    drawn = {
        name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    return drawn | {"random": jax.random.uniform(keys[4], (B, N, A), minval=-1.0, maxval=1.0)}


def make_loss(workload: Workload) -> Callable[..., Any]:
    """`loss(parameters, targets, batch, noise)` of one seed: the sum of CQL(H)'s losses."""
    import jax

    np, stop, config = jax.numpy, jax.lax.stop_gradient, workload.config()

    def sample(actor: Any, states: Any, normals: Any) -> tuple[Any, Any]:
        mean, log_std = np.split(_mlp(actor, states), 2, -1)
        log_std = np.clip(log_std, -20, 2)
        if normals.ndim == 3:
            mean, log_std = mean[:, None], log_std[:, None]
        u = mean + np.exp(log_std) * normals
        density = -0.5 * normals**2 - log_std - 0.9189385 - 2 * (0.6931472 - u - jax.nn.softplus(-2 * u))
        return np.tanh(u), density.sum(-1)

    def values(critics: Any, states: Any, actions: Any) -> Any:
        repeated = np.broadcast_to(states[:, None], (*actions.shape[:2], states.shape[-1]))
        inputs = np.concatenate([repeated, actions], -1)
        return jax.vmap(lambda critic: _mlp(critic, inputs)[..., 0])(critics)  # [K, B, M]

    def loss(parameters: Any, targets: Any, batch: Any, noise: Any) -> Any:
        states, actions, rewards, following, ended = batch
        actor, critics, log_temperature = (parameters[name] for name in ("actor", "critics", "temperature"))
        temperature, frozen = np.exp(stop(log_temperature)), stop(actor)
        new, log_density = sample(actor, states, noise["actor"])
        of_temperature = -(log_temperature * (stop(log_density) - ACTION_SIZE)).mean()
        of_actor = temperature * log_density - values(stop(critics), states, new[:, None])[..., 0].min(0)
        after, _ = sample(frozen, following, noise["target"])
        goal = rewards + config.discount * (1 - ended) * values(targets, following, after[:, None])[
            ..., 0
        ].min(0)
        current, current_density = sample(frozen, states, noise["current"])
        later, later_density = sample(frozen, following, noise["next"])
        everything = np.concatenate([actions[:, None], noise["random"], current, later], 1)
        found = values(critics, states, stop(everything))  # [K, B, 1 + 3N]
        uniform = np.full_like(current_density, -ACTION_SIZE * 0.6931472)
        density = stop(np.concatenate([uniform, current_density, later_density], 1))
        data = found[..., 0]
        gap = jax.nn.logsumexp(found[..., 1:] - density, -1) - data
        of_critics = ((data - stop(goal)) ** 2).mean(1) + config.conservative_weight * gap.mean(1)
        return of_temperature + of_actor.mean() + of_critics.sum()

    return loss


def _mlp(layers: Any, hidden: Any) -> Any:
    import jax

    *inner, (weight, bias) = layers
    for each, shift in inner:
        hidden = jax.nn.relu(hidden @ each + shift)
    return hidden @ weight + bias


def _initial(workload: Workload, key: Any) -> Any:
    import jax

    def network(key: Any, sizes: list[int]) -> Any:
        pairs = list(itertools.pairwise(sizes))
        return [
            (jax.random.uniform(each, pair, minval=-1, maxval=1) / pair[0] ** 0.5, jax.numpy.zeros(pair[1]))
            for each, pair in zip(jax.random.split(key, len(pairs)), pairs, strict=True)
        ]

    hidden, (first, second) = list(workload.hidden), jax.random.split(key)
    critic = [OBSERVATION_SIZE + ACTION_SIZE, *hidden, 1]
    parameters = {
        "actor": network(first, [OBSERVATION_SIZE, *hidden, 2 * ACTION_SIZE]),
        "critics": jax.vmap(lambda each: network(each, critic))(jax.random.split(second, workload.critics)),
        "temperature": jax.numpy.zeros(()),
    }
    first, second = (jax.tree.map(jax.numpy.zeros_like, parameters) for _ in range(2))
    return parameters, jax.tree.map(jax.numpy.copy, parameters["critics"]), first, second, jax.numpy.zeros(())
