"""The paper's joint PGD as it is written, in a few lines of autograd: to be read, and the oracle of the fast engine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import UNIT, Box, Budget
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
    box: Box | None = UNIT,
) -> tuple[Tensor, Weights]:
    """x_{t+1} = Clip(x_t + step_x sign(dCE/dx)), W_{t+1} = Clip(W_t + step_w sign(dCE/dW)), both at (x_t, W_t).

    >>> import torch, nsr
    >>> network = nsr.mlp(nsr.mlp_init((4, 8, 3), torch.Generator().manual_seed(0)))
    >>> x, xi = torch.full((5, 4), 0.5), nsr.Budget.uniform(0.1, 0.01, network)
    >>> x_hat, W_hat = joint_pgd(network, x, network(x).argmax(1), xi)
    >>> torch.equal(x_hat, nsr.attack.joint_pgd(network, x, network(x).argmax(1), xi).x_hat)
    True
    """
    x_t, W_t = x, network.W
    for _ in range(steps):
        x_t, *W_t = (t.detach().requires_grad_() for t in (x_t, *W_t))
        loss = F.cross_entropy(network.forward(tuple(W_t), x_t), y, reduction="sum")
        g_x, *g_W = torch.autograd.grad(loss, (x_t, *W_t))
        x_t = xi.clip_x(x_t.detach() + step_x * g_x.sign(), x, box)
        W_t = xi.clip_W([V.detach() + step_w * g.sign() for V, g in zip(W_t, g_W, strict=True)], network.W)
    return x_t, tuple(W_t)
