"""Cross-entropies with targets that never change, several at once, with their gradient in closed form.

    value_k = sum_b p_bk . log softmax(z_b / T_k)        gradient = sum_k ( m_bk softmax(z_b / T_k) - p_bk )

for logits z, with targets p_bk that are scaled already and the mass m_bk that they add up to. With T_k / n
times soft labels for p_bk, -T_k value_k is T_k^2 times the batch mean of the cross-entropy, and the gradient
is that of the sum of all of them. One softmax serves every k, so that two targets take as many operations as
one: a small network's step is mostly the framework's own work, which goes by their number.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax


def fixed_target_slopes(
    logits: Tensor, targets: Tensor, mass: Tensor, sharpness: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and gradient of several cross-entropies.

    Args:
        logits: [batch, classes].
        targets: [batch, k, classes].
        mass: [batch, k, 1].
        sharpness: 1 / T [k, 1].

    Returns:
        Values [k] and the gradient [batch, classes].
    """
    log_q = log_softmax(logits.detach().unsqueeze(1) * sharpness, dim=-1)  # [batch, k, classes]
    values = (log_q * targets).sum(dim=(0, 2))
    return values, log_q.exp_().mul_(mass).sub_(targets).sum(dim=1)
