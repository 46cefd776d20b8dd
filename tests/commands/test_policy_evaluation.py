"""What a behaviour policy is said to score is not what it was chosen by."""

from cqlbench.commands import policy_evaluation
from cqlbench.commands.policy_evaluation import evaluate
from cqlbench.commands.soft_actor_critic import Recipe
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
        assert not indices & {policy_evaluation.GLANCE, policy_evaluation.CHOICE}
