"""Floor 4: one training loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.network import Network


def fit(
    network: Network,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    generator: torch.Generator,
    lr: float = 0.1,
    momentum: float = 0.9,
    batch: int = 128,
) -> Network:
    """The network after `epochs` of SGD on the cross-entropy of (x, y), the rate falling to 0 as a cosine.

    The network passed in stays as it is. In float64 the result does not depend on the machine to any printed digit.
    """
    # PAPER: unstated, we chose SGD 0.1 with momentum 0.9, a cosine schedule and batches of 128.
    W = [W_m.clone().requires_grad_() for W_m in network.W]
    steps = epochs * -(-len(x) // batch)
    optimiser = torch.optim.SGD(W, lr=lr, momentum=momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(steps, 1))
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            loss = F.cross_entropy(network.forward(tuple(W), x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    if not all(bool(torch.isfinite(W_m).all()) for W_m in W):
        raise FloatingPointError(f"training diverged to NaN or infinite weights: try a rate below lr={lr}")
    return network.at(tuple(W_m.detach() for W_m in W))
