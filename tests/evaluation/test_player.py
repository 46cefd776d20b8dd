import torch

from cqlbench.algorithms.algorithm import History
from cqlbench.evaluation.player import Player


def test_it_remembers_the_last_steps_and_takes_rewards_off_what_is_asked():
    told: list[History] = []

    def act_after(history: History) -> torch.Tensor:
        told.append(History(*(each.clone() for each in history)))
        return history.observations[:, :, -1, :1] * 10

    player = Player(act_after, 2, 100.0, 1)
    for step in range(3):
        actions = player.act(torch.tensor([[[step, 0.0]], [[step + 5, 0.0]]], dtype=torch.float64))
        assert actions[:, 0, 0].tolist() == [10 * step, 10 * (step + 5)]
        player.rewarded(torch.tensor([[1.0 + step], [0.0]], dtype=torch.float64))
    assert [each.steps[0, 0].tolist() for each in told] == [[0], [0, 1], [1, 2]]
    assert [each.observations[1, 0, :, 0].tolist() for each in told] == [[5], [5, 6], [6, 7]]
    # What was done is known but for the last step's.
    assert [each.actions[1, 0, :, 0].tolist() for each in told] == [[0], [50, 0], [60, 0]]
    assert [each.returns[0, 0].tolist() for each in told] == [[100], [100, 99], [99, 97]]
    assert told[2].returns[1, 0].tolist() == [100, 100]
    assert told[2].returns.dtype == torch.float32
