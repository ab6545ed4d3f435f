"""Regularisers of the weights alone, as Liang and Huang (2021) compare them: norm decay and clipped singular values.

Weight decay, their third, is the optimiser's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nsr.steps import Convolution
from nsr.theory import norms
from nsr.training.methods import Method

# PAPER: unstated in the text at hand, we chose the momentum that SGD has in most of our rows.
MOMENTUM = 0.9
NORMS = {"linf": norms.linf, "l1": norms.l1}


def step_with_norm_decay(
    optimiser: torch.optim.Optimizer,
    W: Sequence[Tensor],
    norm: str,
    strength: float,
    convolutions: Sequence[Convolution] = (),
) -> None:
    """Norm decay: h <- gamma h + (1 - gamma) p, then g <- g + (strength / N) h in each of N layers, then the step.

    p is the subgradient of the layer's norm: the signs of the row (linf) or column (l1) with the largest sum, 0
    elsewhere; of a kernel, whose geometry `convolutions` name in order, the signs of what an output (linf) or a pixel
    (l1) meets. h lies with the optimiser's own tensors, so a training that goes on finds it again.
    """
    layers, geometry, moving = [W_m for W_m in W if W_m.ndim > 1], iter(convolutions), []
    for W_m in layers:
        layer = norms.conv2d(W_m, next(geometry)) if W_m.ndim == 4 else W_m
        (p,) = torch.autograd.grad(NORMS[norm](layer), W_m)
        h = (1 - MOMENTUM) * p + MOMENTUM * optimiser.state[W_m].get("norm_decay", torch.zeros_like(p))
        W_m.grad.add_(h, alpha=strength / len(layers))
        moving.append(h)
    optimiser.step()  # before h is stored: in its first step Adam takes any state for its own
    for W_m, h in zip(layers, moving, strict=True):
        optimiser.state[W_m]["norm_decay"] = h


def refuse(W: Sequence[Tensor], convolutions: Sequence[Convolution], method: Method) -> None:
    """Stop, before anything is trained, where a regulariser is not defined for these layers."""
    kernels = [W_m for W_m in W if W_m.ndim > 2]
    if method.most_singular > 0 and kernels:
        raise ValueError("singular values are cut of dense layers: a convolution's hang on its images")
    if method.norm_decay > 0 and (len(kernels) != len(convolutions) or any(W_m.ndim != 4 for W_m in kernels)):
        raise ValueError("norm decay needs to know how each kernel is applied: this network is no chain of layers")


@torch.no_grad()
def clip_singular_values(W: Sequence[Tensor], most: float) -> None:
    """Cut the singular values of each dense layer's matrix to `most`, in place (Sedghi et al., 2019)."""
    for W_m in W:
        if W_m.ndim == 2:
            U, S, Vh = torch.linalg.svd(W_m, full_matrices=False)
            W_m.copy_((U * S.clamp(max=most)) @ Vh)
