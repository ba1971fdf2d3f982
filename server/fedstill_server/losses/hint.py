"""Hints (FitNets, Romero et al. 2015, arXiv 1412.6550): a layer of the student imitates one of the teacher.

    mean over all elements of (r(s) - t)^2

where the adapter r, a linear map or a 1x1 convolution that is trained along and thrown away, brings the
student's features to the teacher's width.
"""

from __future__ import annotations

from torch import Tensor


def hint_loss(adapted: Tensor, teacher: Tensor) -> Tensor:
    """The loss of features of the same shape [batch, ...], the student's after its adapter."""
    if adapted.shape != teacher.shape:
        raise ValueError(
            f"features {list(adapted.shape)} and {list(teacher.shape)}: an adapter makes them equal"
        )
    return (adapted - teacher).square().mean()
