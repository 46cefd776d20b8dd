"""What a behaviour policy is said to score is not what it was chosen by."""

from behaviour import evaluate as module
from behaviour.evaluate import evaluate
from behaviour.learner import Recipe

from cqlbench.core.paths import policies_dir
from cqlbench.data.embedded.policy import BehaviourPolicy


def test_evaluations_of_another_index_play_other_episodes() -> None:
    policy = BehaviourPolicy.load("hopper-medium-v0")
    recipe = Recipe.read(policies_dir() / "hopper-medium-v0.toml")
    first, again, other = (evaluate(policy, recipe, 4, index, stochastic=True) for index in (1, 1, 2))
    assert first == again
    assert first["return_mean"] != other["return_mean"]


def test_shipped_reports_are_not_of_the_episodes_the_policy_was_chosen_by() -> None:
    for path in policies_dir().glob("*.npz"):
        evaluation = BehaviourPolicy.load(path).evaluation
        indices = {evaluation[kind]["evaluation_index"] for kind in ("stochastic", "deterministic")}
        assert len(indices) == 2
        assert not indices & {module.GLANCE, module.CHOICE}
