"""Floor 2: the joint input-weight attack."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import Box, Budget
from nsr.network import Network, Weights


def joint_pgd(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    *,
    steps: int = 100,
    step_x: float = 0.01,
    step_w: float = 0.0005,
    box: Box | None = (0.0, 1.0),
) -> tuple[Tensor, Weights]:
    """The paper's joint PGD: simultaneous signed ascent of the cross-entropy on x and W, clipped to both balls."""
    xi.check(network.W)
    x_t, W_t = x, network.W
    for _ in range(steps):
        x_t, *W_t = (t.detach().requires_grad_() for t in (x_t, *W_t))
        loss = F.cross_entropy(network.forward(tuple(W_t), x_t), y, reduction="sum")
        g_x, *g_W = torch.autograd.grad(loss, (x_t, *W_t))
        x_t = xi.clip_x(x_t.detach() + step_x * g_x.sign(), x, box)
        W_t = xi.clip_W([V.detach() + step_w * g.sign() for V, g in zip(W_t, g_W, strict=True)], network.W)
    return x_t.detach(), tuple(V.detach() for V in W_t)
