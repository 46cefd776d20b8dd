"""What several algorithms' critics share: their squared error and TD3's target actions.

Shape letters: S seeds, B batch, K critics, A action.
"""

from torch import Tensor
from torch.nn import functional

from cqlbench.algorithms.networks import ActionBox


def squared_error(data_values: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ_k E(Q_k(s,a) − y)² of `[S, K, B]` values and `[S, B]` targets, `[S]`, and diagnostics."""
    targets = targets.unsqueeze(1).expand_as(data_values)
    error = functional.mse_loss(data_values, targets, reduction="none").mean(2)  # [S, K]
    loss = error.sum(1)
    return loss, {
        "td_loss": error.detach().mean(1),
        "data_value": data_values.detach().mean((1, 2)),
        "critic_loss": loss.detach(),
    }


def smoothed(actions: Tensor, normals: Tensor, std: float, bound: float, box: ActionBox) -> Tensor:
    """Target policy smoothing: actions with clipped noise, within the box (TD3, eq. 14).

    Args:
        actions: `[S, B, A]`.
        normals: `[S, B, A]`, standard normal.
        std: standard deviation of the noise, in half widths of the box.
        bound: where the noise is clipped, in half widths of the box.
        box: the action box.
    """
    return box.clamp(actions + (normals * std).clamp(-bound, bound) * box.half_range)
