"""The training losses: eq. (4) and its neighbours, each a mean over the batch.

Eq. (4) adds alpha max_{y' != y} tau^{y'y} + beta max_{y' != y} zeta^{y'y} to the cross-entropy. y' enters both through
c_{y'y} alone, with non-negative coefficients, so both maxima are at c*_y = max_{y' != y} c_{y'y}: one K x K table a
step, then O(1) a sample.

`bound` names where zeta comes from: "printed", "repaired" (R1) or "norms" (R2 at eps_x = 0), tau being eq. (2) for all
three; or "interval", where both terms are what R4 adds to the clean margin, under eps_x or eps_w alone.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from nsr import certify
from nsr.budget import UNIT, Box, Budget, layer_balls
from nsr.network import Network
from nsr.theory import theorem

BOUNDS = ("printed", "repaired", "norms", "interval")


def certified_ce(network: Network, x: Tensor, y: Tensor, xi: Budget, box: Box | None = UNIT) -> Tensor:
    """The cross-entropy of the worst margins that intervals (R4) allow: an upper bound of the CE under any attack."""
    return F.cross_entropy(certify.margin_upper_bound(network, x, xi, method="interval", box=box, y=y), y)


def trades(logits: Tensor, logits_hat: Tensor, y: Tensor, weight: float) -> Tensor:
    """CE(f(x), y) + weight * KL(f(x) || f(x_hat)), the trade-off of Zhang et al. (2019)."""
    clean, moved = F.log_softmax(logits, -1), F.log_softmax(logits_hat, -1)
    return F.cross_entropy(logits, y) + weight * F.kl_div(moved, clean, reduction="batchmean", log_target=True)


def worst_tau(network: Network, x: Tensor, y: Tensor, xi: Budget, bound: str) -> Tensor:
    """max_{y' != y} tau^{y'y}, eq. (2), or what R4 adds under eps_x alone; the mean over the batch."""
    _check(bound)
    if bound == "interval":
        return _interval_excess(network, x, y, Budget(xi.eps_x, (0.0,) * len(network.W)))
    last = layer_balls(network.W, xi)[-1]
    return theorem.tau_gain(network.W, xi) * (_worst_pair_norm(last.W)[y].mean() + 2 * last.W.shape[1] * last.eps)


def worst_zeta(network: Network, x: Tensor, y: Tensor, xi: Budget, bound: str) -> Tensor:
    """max_{y' != y} zeta^{y'y} by eq. (3) or its replacement `bound`; the mean over the batch."""
    _check(bound)
    if bound == "interval":
        return _interval_excess(network, x, y, Budget(0.0, xi.eps_w))
    last = layer_balls(network.W, xi)[-1]
    drift, mass = _DRIFTS[bound](network.W, x, Budget(0.0, xi.eps_w))
    return (_worst_pair_norm(last.W)[y] * drift + 2 * (last.eps * mass + last.beta)).mean()


def _check(bound: str) -> None:
    if bound not in BOUNDS:
        raise ValueError(f"unknown bound {bound!r}: choose one of {', '.join(BOUNDS)}")


def _worst_pair_norm(W_L: Tensor) -> Tensor:
    """c*_y = max_{j != y} ||W^L_y - W^L_j||_1 [K]; the diagonal of the table is 0 and never the maximum."""
    return theorem.pair_norms(W_L).amax(-1)


def _interval_excess(network: Network, x: Tensor, y: Tensor, xi: Budget) -> Tensor:
    """max_{i != y} of what R4 adds to the clean margin f^{iy}, at least 0, so the diagonal never counts."""
    logits = network(x)
    clean = logits - logits.gather(1, y[:, None])
    return (certify.margin_upper_bound(network, x, xi, method="interval", box=None, y=y) - clean).amax(-1).mean()


_DRIFTS = {"printed": theorem.printed_drift, "repaired": theorem.repaired_drift, "norms": theorem.norms_drift}
