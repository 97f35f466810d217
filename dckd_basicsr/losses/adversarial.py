"""The hinge losses of a discriminator and of what tries to fool it, and how strongly the latter is to count."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["adaptive_weight", "hinge_of_discriminator", "hinge_of_generator"]

_LARGEST = 1e4


def hinge_of_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Return what a discriminator minimises (Lim and Ye, arXiv 1705.02894): real above 1, fake below -1.

    Args:
        real: its scores of images, any shape.
        fake: its scores of reconstructions.

    Returns:
        float32 scalar, the mean of both sides.

    >>> import torch
    >>> hinge_of_discriminator(torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 1.0])).item()
    0.75
    """
    return 0.5 * (F.relu(1.0 - real.float()).mean() + F.relu(1.0 + fake.float()).mean())


def hinge_of_generator(fake: Tensor) -> Tensor:
    """Return what the network minimises that makes the reconstructions: minus the mean of their scores, float32."""
    return -fake.float().mean()


def adaptive_weight(of_reconstruction: Tensor, of_adversary: Tensor, eps: float = 1e-4) -> Tensor:
    r"""Return the weight at which the adversarial loss pulls as hard as the reconstruction (Esser et al., CVPR 2021).

    .. math:: \lambda = \frac{\|\nabla L_{rec}\|}{\|\nabla L_{adv}\| + \epsilon}, \quad 0 \le \lambda \le 10^4

    Args:
        of_reconstruction: gradient of the reconstruction loss to the decoder's last layer.
        of_adversary: gradient of the adversarial loss to the same.
        eps: keeps a discriminator without gradient finite. The paper has 1e-6, its code 1e-4.

    Returns:
        float32 scalar without gradient.

    >>> import torch
    >>> round(adaptive_weight(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), eps=0.5).item(), 3)
    2.0
    """
    found = of_reconstruction.float().norm() / (of_adversary.float().norm() + eps)
    return found.clamp(0.0, _LARGEST).detach()
