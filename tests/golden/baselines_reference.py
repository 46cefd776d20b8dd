"""The baselines' losses written down from the equations in float64: one state at a time, numpy only.

Each is a function of the parameters of one seed, `{group: {name: array}}`; what a loss holds fixed is
read from a second such dictionary, so its gradient is what a central difference says.
"""

import math

import numpy as np

LOW, HIGH = np.array([-1.0, -0.4]), np.array([1.0, 2.0])
CENTRE, HALF = (LOW + HIGH) / 2, (HIGH - LOW) / 2


def net(params, x, factors=()):
    """A ReLU network at one input, layer norms and dropout's factors included."""
    layers = sum(name.endswith("weight") and "norm" not in name for name in params)
    for layer in range(layers):
        if layer:
            x = np.maximum(x, 0)
            if f"{layer - 1}.norm.weight" in params:
                x = (x - x.mean()) / math.sqrt(x.var() + 1e-6)
                x = x * params[f"{layer - 1}.norm.weight"][0] + params[f"{layer - 1}.norm.bias"][0]
            if len(factors):
                x = x * factors[layer - 1]
        x = x @ params[f"{layer}.weight"] + params[f"{layer}.bias"][0]
    return x


def critic(critics, k, s, a):
    return net({name: each[k] for name, each in critics.items()}, np.concatenate([s, a]))[0]


def tanh_action(actor, s):
    return CENTRE + HALF * np.tanh(net(actor, s))


def lowest(critics, s, a):
    return min(critic(critics, k, s, a) for k in range(len(critics["0.weight"])))


def squared_errors(critics, p, targets):
    return sum(
        np.mean(
            [(critic(critics, k, s, a) - y) ** 2 for s, a, y in zip(p["s"], p["a"], targets, strict=True)]
        )
        for k in range(len(critics["0.weight"]))
    )


def smoothed(actor, p, config):
    clip = config.noise_clip
    for s, z in zip(p["s2"], p["smoothing"], strict=True):
        noise = np.clip(config.policy_noise * z, -clip, clip) * HALF
        yield np.clip(tanh_action(actor, s) + noise, LOW, HIGH)


def normal_log_density(mean, log_std, a):
    return sum(
        -0.5 * ((x - m) / math.exp(ls)) ** 2 - ls - 0.5 * math.log(2 * math.pi)
        for x, m, ls in zip(a, mean, log_std, strict=True)
    )


def bc(moving, fixed, targets, p, config):
    return {
        "actor": np.mean(
            [(tanh_action(moving["actor"], s) - a) ** 2 for s, a in zip(p["s"], p["a"], strict=True)]
        )
    }


def td3_bc_critics(moving, fixed, targets, p, config):
    y = [
        r + config.discount * (1 - d) * lowest(targets["critics"], s, a)
        for r, d, s, a in zip(p["r"], p["d"], p["s2"], smoothed(targets["actor"], p, config), strict=True)
    ]
    return {"critics": squared_errors(moving["critics"], p, y)}


def td3_bc_actor(moving, fixed, targets, p, config):
    def first(actor):
        return np.array([critic(fixed["critics"], 0, s, tanh_action(actor, s)) for s in p["s"]])

    weight = config.value_weight / np.abs(first(fixed["actor"])).mean()
    return {"actor": bc(moving, fixed, targets, p, config)["actor"] - weight * first(moving["actor"]).mean()}


def rebrac_critics(moving, fixed, targets, p, config):
    y = []
    for r, d, s, a, following in zip(
        p["r"], p["d"], p["s2"], smoothed(targets["actor"], p, config), p["next_actions"], strict=True
    ):
        value = lowest(targets["critics"], s, a) - config.critic_cloning_weight * np.sum((a - following) ** 2)
        y.append(r + config.discount * (1 - d) * value)
    return {"critics": squared_errors(moving["critics"], p, y)}


def rebrac_actor(moving, fixed, targets, p, config):
    def values(actor):
        return np.array([lowest(fixed["critics"], s, tanh_action(actor, s)) for s in p["s"]])

    scale = 1 / np.abs(values(fixed["actor"])).mean() if config.normalize_values else 1.0
    distances = [
        np.sum((tanh_action(moving["actor"], s) - a) ** 2) for s, a in zip(p["s"], p["a"], strict=True)
    ]
    own = values(moving["actor"])
    return {"actor": np.mean(config.actor_cloning_weight * np.array(distances) - scale * own)}


def iql(moving, fixed, targets, p, config):
    value, critics, actor = 0.0, 0.0, 0.0
    K, B = len(fixed["critics"]["0.weight"]), len(p["s"])
    for i in range(B):
        s, a = p["s"][i], p["a"][i]
        bound = lowest(targets["critics"], s, a)
        u = bound - net(moving["value"], s)[0]
        value += abs(config.expectile - (u < 0)) * u**2 / B
        y = p["r"][i] + config.discount * (1 - p["d"][i]) * net(fixed["value"], p["s2"][i])[0]
        critics += sum((critic(moving["critics"], k, s, a) - y) ** 2 for k in range(K)) / (K * B)
        advantage = bound - net(fixed["value"], s)[0]
        weight = min(math.exp(config.inverse_temperature * advantage), config.largest_weight)
        kept = 1 - config.dropout
        factors = [
            (p[f"dropout{j}"][i] < 2 * kept - 1) / kept for j in range(len(config.hidden)) if config.dropout
        ]
        mean, unit = np.tanh(net(moving["actor"], s, factors)), (a - CENTRE) / HALF
        if config.deterministic:
            density = -np.sum((mean - unit) ** 2)
        else:
            density = normal_log_density(mean, moving["actor"]["log_std"][0], unit)
        actor -= weight * density / B
    return {"value": value, "critics": critics, "actor": actor}


def gaussian_action(actor, s, z):
    unit = net(actor, s) + np.exp(actor["log_std"][0]) * z
    return CENTRE + HALF * np.clip(unit, -1, 1)


def awac_critics(moving, fixed, targets, p, config):
    y = [
        r + config.discount * (1 - d) * lowest(targets["critics"], s, gaussian_action(fixed["actor"], s, z))
        for r, d, s, z in zip(p["r"], p["d"], p["s2"], p["target"], strict=True)
    ]
    return {"critics": squared_errors(moving["critics"], p, y)}


def awac_actor(moving, fixed, targets, p, config):
    total = 0.0
    for s, a, z in zip(p["s"], p["a"], p["value"], strict=True):
        value = lowest(fixed["critics"], s, gaussian_action(fixed["actor"], s, z))
        weight = math.exp((lowest(fixed["critics"], s, a) - value) / config.temperature)
        density = normal_log_density(
            net(moving["actor"], s), moving["actor"]["log_std"][0], (a - CENTRE) / HALF
        )
        total -= min(weight, config.largest_weight) * density
    return {"actor": total / len(p["s"])}


def tanh_gaussian(actor, s, z):
    """An action and its log-density, by the change of variables (SAC eq. 21; 1 − tanh² = 1 / cosh²)."""
    out = net(actor, s)
    mean, log_std = out[: len(z)], np.clip(out[len(z) :], -5, 2)
    u = mean + np.exp(log_std) * z
    density = normal_log_density(mean, log_std, u) + 2 * np.sum(np.log(np.cosh(u))) - np.sum(np.log(HALF))
    return CENTRE + HALF * np.tanh(u), density


def sac_n_temperature(moving, fixed, targets, p, config):
    densities = [
        tanh_gaussian(fixed["actor"], s, z)[1] for s, z in zip(p["s"], p["temperature"], strict=True)
    ]
    target = -len(LOW) + np.sum(np.log(HALF))
    return {"temperature": -moving["temperature"]["log"] * (np.mean(densities) + target)}


def sac_n_actor(moving, fixed, targets, p, config):
    total = 0.0
    for s, z in zip(p["s"], p["actor"], strict=True):
        a, density = tanh_gaussian(moving["actor"], s, z)
        total += math.exp(fixed["temperature"]["log"]) * density - lowest(fixed["critics"], s, a)
    return {"actor": total / len(p["s"])}


def action_gradient(critics, k, s, a):
    """∇ₐQ_k(s, a) of a ReLU network: the product of its layers' Jacobians."""
    x, jacobian = np.concatenate([s, a]), np.eye(len(s) + len(a))[len(s) :]
    layers = len(critics) // 2
    for layer in range(layers):
        if layer:
            jacobian = jacobian * (x > 0)
            x = np.maximum(x, 0)
        x = x @ critics[f"{layer}.weight"][k] + critics[f"{layer}.bias"][k, 0]
        jacobian = jacobian @ critics[f"{layer}.weight"][k]
    return jacobian[:, 0]


def sac_n_critics(moving, fixed, targets, p, config):
    y = []
    for r, d, s, z in zip(p["r"], p["d"], p["s2"], p["target"], strict=True):
        a, density = tanh_gaussian(fixed["actor"], s, z)
        value = lowest(targets["critics"], s, a) - math.exp(fixed["temperature"]["log"]) * density
        y.append(r + config.discount * (1 - d) * value)
    loss = squared_errors(moving["critics"], p, y)
    K = len(moving["critics"]["0.weight"])
    if config.diversity_weight:
        alike = 0.0
        for s, a in zip(p["s"], p["a"], strict=True):
            found = [action_gradient(moving["critics"], k, s, a) for k in range(K)]
            units = [g / (np.linalg.norm(g) + 1e-10) for g in found]
            alike += sum(units[i] @ units[j] for i in range(K) for j in range(K) if i != j)
        loss += config.diversity_weight * alike / len(p["s"]) / (K - 1)
    return {"critics": loss}


STAGES = {
    "bc": (bc,),
    "td3_bc": (td3_bc_critics, td3_bc_actor),
    "rebrac": (rebrac_critics, rebrac_actor),
    "iql": (iql,),
    "awac": (awac_critics, awac_actor),
    "sac_n": (sac_n_temperature, sac_n_actor, sac_n_critics),
    "edac": (sac_n_temperature, sac_n_actor, sac_n_critics),
}
