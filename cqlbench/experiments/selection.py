"""Records and their policies -> what every signal says of each policy, without the environment.

The critic's own value and TD error are those that diagnostics recorded at the end of training: means over the
dataset's rows of Q at their actions, in the dataset's rewards, and of its squared error.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cqlbench.algorithms.networks import ActionBox, ActionSpace, DiscreteActions
from cqlbench.core.errors import UserError
from cqlbench.core.progress import Progress
from cqlbench.data.buffer import Dataset
from cqlbench.data.load import provide
from cqlbench.data.preprocess import RewardTransform
from cqlbench.data.resolve import resolve
from cqlbench.engine.dataset_tensors import Columns
from cqlbench.environments.make import EnvironmentSpec
from cqlbench.evaluation.fqe import Act, FQEConfig, cloning_distance, fitted_q_evaluation
from cqlbench.evaluation.rollout import rollout
from cqlbench.experiments.candidates import stacked
from cqlbench.records.policy import SavedPolicy
from cqlbench.records.schema import Record
from cqlbench.records.seed_result import seed_result
from cqlbench.records.store import RecordStore, run_folder
from cqlbench.reporting.sections import columns

Say = Callable[[str], None]


def candidates(
    store: RecordStore,
    records: Sequence[Record],
    config: FQEConfig,
    device: torch.device,
    play: int,
    say: Say,
) -> pd.DataFrame:
    """A row per policy: see `reporting.selection.Choice.policies`.

    The records are of one dataset. Each policy plays so many episodes for its true discounted return; `say`
    is told which policies are left out, and why.

    Raises:
        UserError: there are not two policies, the dataset is not there or another one, or cannot be played.
    """
    dataset_id = records[0].dataset.id
    pairs = [pair for record in records if (pair := _policy(store, record, say)) is not None]
    if len({record.config_hash for record, _ in pairs}) < 2:
        raise UserError(
            f"There is nothing to choose from on '{dataset_id}': fewer than two runs have policies."
        )
    chosen, policies = [record for record, _ in pairs], [policy for _, policy in pairs]
    dataset = provide(resolve(dataset_id))
    if {record.dataset.content_hash for record in chosen} != {dataset.content_hash}:
        raise UserError(f"The rows of '{dataset_id}' are not those that these policies were trained on.")
    data = Columns.of(dataset.replay_buffer(1)).to(device)
    whole = torch.from_numpy(dataset.episode_starts[dataset.whole_episodes]).to(device)
    act, actions = stacked(policies, device), _actions(policies[0]).to(device)
    limit = chosen[0].protocol.max_episode_steps if chosen[0].protocol else None
    with Progress(config.steps, title=f"evaluating {len(policies)} policies", unit="step") as progress:
        values = fitted_q_evaluation(
            data, data.observations[whole], act, actions, config, limit, progress.update
        )
    played = np.full(len(policies), nan)
    if play:
        played = _discounted_returns(policies, act, play, config.discount, device)
    names = _labels(chosen)
    return pd.DataFrame(
        {
            "label": [names[run_folder(record.key)] for record in chosen],
            "run": [run_folder(record.key) for record in chosen],
            "seed": [record.seed for record in chosen],
            "fqe": values.double().numpy(force=True),
            "cloning_distance": cloning_distance(data, act, actions).double().numpy(force=True),
            **_of_training(chosen, dataset),
            "return": [_number(seed_result(record).last_return) for record in chosen],
            "discounted_return": played,
        }
    )


def _labels(records: Sequence[Record]) -> dict[str, str]:
    """Run -> its configuration's name in reports; runs of one name (of several budgets) by their ends too."""
    names = columns(records)
    labels = {run_folder(each.key): names[each.algorithm, each.config_hash].name for each in records}
    times = Counter(labels.values())
    return {
        run: label if times[label] == 1 else f"{label} [{run.rpartition('/')[2]}]"
        for run, label in labels.items()
    }


def _policy(store: RecordStore, record: Record, say: Say) -> tuple[Record, SavedPolicy] | None:
    """A record and its policy, if it can be evaluated."""
    which = f"{run_folder(record.key)}, seed {record.seed}"
    path = store.path_of(record).with_suffix(".npz")
    if record.status != "finished" or not path.is_file():
        say(f"{which} is left out: it has no policy.")
        return None
    policy = SavedPolicy.load(path)
    if policy.head == "sequence":
        say(f"{which} is left out: a policy that looks back at its episode has no Q(s, a).")
        return None
    return record, policy


def _actions(policy: SavedPolicy) -> ActionSpace:
    if policy.discrete:
        return DiscreteActions(policy.action_size)
    low, high = (torch.from_numpy(policy.arrays[name]) for name in ("action_low", "action_high"))
    return ActionBox.from_bounds(low, high)


def _of_training(records: Sequence[Record], dataset: Dataset) -> dict[str, list[float]]:
    """Value and TD error of the policies' own critics, in the dataset's rewards; NaN for those without."""
    found: dict[str, list[float]] = {"critic_value": [], "td_error": []}
    for record in records:
        last = record.diagnostics[-1] if record.diagnostics else {}
        scale, bias = _rewards(record.config["algorithm"], dataset)
        value = _number(last.get("data_value")) / scale
        found["critic_value"].append(nan if bias else value)  # how long episodes last is not known
        error = _number(last.get("td_loss", last.get("critic_loss")))
        found["td_error"].append(error / scale**2 if np.isfinite(value) else nan)
    return found


def _rewards(algorithm: Mapping[str, Any], dataset: Dataset) -> tuple[float, float]:
    transform = RewardTransform.from_dataset(dataset, algorithm.get("normalize_rewards", False))
    transform = transform.then(algorithm.get("reward_scale", 1.0), algorithm.get("reward_bias", 0.0))
    return transform.scale, transform.bias


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _discounted_returns(
    policies: Sequence[SavedPolicy], act: Act, episodes: int, discount: float, device: torch.device
) -> NDArray[np.float64]:
    """Each policy's mean over episodes that it plays, `[S]`; NaN of one that fails."""
    place = policies[0].notes["environment"]
    if place is None:
        raise UserError("play= needs an environment, and the dataset's card names none.")
    rewards: list[NDArray[np.float64]] = []

    def policy(observations: NDArray[np.float64]) -> NDArray[np.float32]:
        return act(torch.from_numpy(observations).to(device, torch.float32)).numpy(force=True)

    played = rollout(
        policy,
        msgspec.convert(place, EnvironmentSpec),
        range(len(policies)),
        episodes,
        discrete=policies[0].discrete,
        rewarded=lambda each: rewards.append(each.copy()),
    )
    steps = np.arange(len(rewards))[:, None, None]
    live = steps < played.lengths
    returns = np.where(live, np.stack(rewards) * discount**steps, 0).sum(0)
    return np.where(played.failed, nan, returns.mean(1))
