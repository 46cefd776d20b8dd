"""What algorithms share whose policy is a plain MLP: its actions, and the network that is kept of it.

Shape letters: S seeds, R rows, O observation, A action, H hidden.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.algorithm import Algorithm, C, PolicyNetwork
from cqlbench.algorithms.networks import ActionBox, Params, mlp


class BoxActions(Algorithm[C]):
    """An algorithm of continuous actions whose policy is the tanh of an MLP, unless it says otherwise."""

    @property
    def box(self) -> ActionBox:
        """The box of actions."""
        assert isinstance(self.spaces.actions, ActionBox)
        return self.spaces.actions

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The policy's action."""
        return self.box.from_unit(mlp(parameters["actor"], observations).tanh())

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor, without what is not of its MLP."""
        actor = {name: each for name, each in parameters["actor"].items() if name != "log_std"}
        return PolicyNetwork(actor, "tanh")


class DiscreteActor(Algorithm[C]):
    """An algorithm of discrete actions whose policy is the likeliest one by an MLP, an ensemble of one."""

    actions = "discrete"

    def logits(self, actor: Params, observations: Tensor, factors: Sequence[Tensor] = ()) -> Tensor:
        """`[S, R, O]` -> `[S, R, A]`; `factors`: see `mlp`, `[S, R, H]` each."""
        return mlp(actor, observations.unsqueeze(1), [each.unsqueeze(1) for each in factors]).squeeze(1)

    def act(self, parameters: Mapping[str, Params], observations: Tensor) -> Tensor:
        """The likeliest action, one-hot."""
        best = self.logits(parameters["actor"], observations).argmax(-1)
        return functional.one_hot(best, self.spaces.actions.size).to(observations.dtype)

    def policy(self, parameters: Mapping[str, Params]) -> PolicyNetwork:
        """The actor."""
        return PolicyNetwork(parameters["actor"], "argmax")
