"""The losses an attacker can climb, each given as its gradient at the logits [.., B, K].

`T` is a temperature in units of the logits. A loss of z / T with T proportional to the network's own logits does not
change when the network is rescaled; the paper's cross-entropy, T = 1, does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, float], Tensor]


def cross_entropy(z: Tensor, y: Tensor, T: float) -> Tensor:
    """-log p_y at p = softmax(z / T): the gradient p - e_y, up to the factor 1 / T that no sign step sees."""
    p = torch.softmax(z if T == 1 else z / T, dim=-1)
    return p.scatter_add_(-1, y[..., None], -torch.ones_like(p[..., :1]))


def cross_entropy_on_correct(z: Tensor, y: Tensor, T: float) -> Tensor:
    """The cross-entropy of the samples that are still right: nothing is spent on those already lost."""
    return cross_entropy(z, y, T) * (z.argmax(-1) == y)[..., None]


def probability(z: Tensor, y: Tensor, T: float) -> Tensor:
    """1 - p_y: the gradient p_y (p - e_y), small for samples already lost and for hopeless ones alike."""
    p_y = torch.softmax(z / T, dim=-1).gather(-1, y[..., None])
    return p_y * cross_entropy(z, y, T)


def masked_margin(z: Tensor, y: Tensor, T: float) -> Tensor:
    """z_other - z_y for the best other class, each sample weighted by sigmoid((m + T / 2) / (T / 4)), m its margin."""
    z_y = z.gather(-1, y[..., None])
    z_other, other = z.scatter(-1, y[..., None], -torch.inf).max(-1, keepdim=True)
    weight = torch.sigmoid((z_y - z_other + T / 2) / (T / 4))
    return torch.zeros_like(z).scatter_(-1, other, weight).scatter_(-1, y[..., None], -weight)


def margin(z: Tensor, y: Tensor, T: float) -> Tensor:
    """z_other - z_y for the best other class, every sample alike."""
    other = z.scatter(-1, y[..., None], -torch.inf).argmax(-1, keepdim=True)
    one = torch.ones_like(z[..., :1])
    return torch.zeros_like(z).scatter_(-1, other, one).scatter_(-1, y[..., None], -one)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_on_correct": cross_entropy_on_correct,
    "probability": probability,
    "masked_margin": masked_margin,
    "margin": margin,
}
