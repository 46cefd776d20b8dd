"""Trains the behaviour policies of embedded datasets: recipe in, policies and their evaluations out."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from behaviour.evaluate import CHOICE, FINAL_EPISODES, GLANCE, evaluate, policy_of, reported
from behaviour.family import PARTS, Scored, choose, member
from behaviour.learner import Snapshot, train, train_until
from behaviour.recipe import Recipe
from cqlbench.core import outputs
from cqlbench.core.errors import ConfigError, UserError
from cqlbench.core.paths import cache_dir, policies_dir
from cqlbench.data.embedded.policy import BehaviourPolicy

_GLANCE_EPISODES = 40


def train_policies(
    recipe_name: str, output: Path | None = None, overwrite: bool = False
) -> dict[str, BehaviourPolicy]:
    """Train and save the policy, or the family of policies, that a recipe asks for.

    The state of training is kept in the cache folder meanwhile, and a run that was killed goes on from there.

    A recipe with `score_low` and `score_high` gives one policy, `<name>`: the first whose stochastic score is
    in between. One without them is trained to its end and gives a family (`family.py`).

    Args:
        recipe_name: name of a recipe in `datasets/policies`, or the path of a TOML file.
        output: folder for `<name>.npz` and `<name>.json`; `datasets/policies` by default.
        overwrite: whether to replace files of these names that are there already.

    Returns:
        The policies by name.

    Raises:
        ConfigError: the recipe cannot be read, `output` cannot be written or has such a policy already, or
            training does not reach the score that the recipe asks for.
    """
    path = Path(recipe_name)
    if path.suffix != ".toml":
        path = policies_dir() / f"{recipe_name}.toml"
    recipe = Recipe.read(path)
    folder = output or policies_dir()
    _check_writable(folder)
    single = recipe.score_range is not None
    names = [path.stem] if single else [member(path.stem, part) for part in PARTS]
    _check_absent(folder, names, overwrite)
    # The order of a sum depends on the number of threads; at these sizes one is the fastest, too.
    torch.set_num_threads(1)
    saved = cache_dir() / "policies-in-training" / f"{path.stem}.checkpoint"
    if saved.exists():
        print_line(f"Going on from {saved}; remove it to begin anew.")
    if recipe.score_range is None:
        chosen = _family(recipe, path.stem, saved)
    else:
        chosen = {path.stem: _first_in_range(recipe, recipe.score_range, saved)}
    _check_absent(folder, chosen, overwrite)
    policies = {name: reported(snapshot, recipe) for name, snapshot in chosen.items()}
    for name, policy in policies.items():
        policy.save(folder / f"{name}.npz")
        scored = policy.evaluation["stochastic"]
        print_line(f"Saved {folder / name}.npz, score {scored['score_mean']:.1f}")
    saved.unlink(missing_ok=True)
    return policies


def _first_in_range(recipe: Recipe, wanted: tuple[float, float], saved: Path) -> Snapshot:
    def accept(snapshot: Snapshot) -> bool:
        low, high = wanted
        if not low <= _glance(snapshot, recipe) <= high:
            return False
        policy = policy_of(snapshot, recipe)
        sure = evaluate(policy, recipe, FINAL_EPISODES, CHOICE, stochastic=True)
        return bool(low <= sure["score_mean"] <= high)

    return train_until(recipe, accept, saved)


def _family(recipe: Recipe, name: str, saved: Path) -> dict[str, Snapshot]:
    return choose([Scored(each, _glance(each, recipe)) for each in train(recipe, saved)], name)


def _glance(snapshot: Snapshot, recipe: Recipe) -> float:
    glance = evaluate(policy_of(snapshot, recipe), recipe, _GLANCE_EPISODES, GLANCE, stochastic=True)
    scored = f"score {glance['score_mean']:6.1f}  return {glance['return_mean']:7.1f}"
    print_line(f"{snapshot.steps:>9,} steps  {scored}")
    return float(glance["score_mean"])


def _check_writable(folder: Path) -> None:
    """Training takes minutes: a folder that cannot be written is found before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"The policy cannot be saved in {folder} ({reason}); name another folder with output=."
        ) from error


def _check_absent(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    for name in names:
        for suffix in (".npz", ".json"):
            outputs.check_file(folder / f"{name}{suffix}", overwrite)


def print_line(text: str) -> None:
    """One line of progress, at once."""
    print(text, flush=True)  # noqa: T201  (the command's output)


def main() -> int:
    """`train_policies` from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="name of a recipe in datasets/policies, or the path of one")
    parser.add_argument("--output", type=Path, help="folder for the policies (default: datasets/policies)")
    parser.add_argument("--overwrite", action="store_true", help="replace policies that exist already")
    given = parser.parse_args()
    try:
        train_policies(given.recipe, given.output, given.overwrite)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
