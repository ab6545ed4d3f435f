"""Floor 2: Theorem 1's two terms, tau of eq. (2) and zeta of eq. (3), as printed and repaired.

Every term of this family is  c_ij * drift + 2 (eps_L * mass + beta_L)  with  c_ij = ||W^L_i - W^L_j||_1,
drift >= ||z_hat^{L-1} - z^{L-1}||_inf  and  mass >= ||z_hat^{L-1}||_1. The pair (i, j) enters through c_ij alone, so
drift and mass are one number a sample and no loop runs over classes. Horner's rule writes the sums of products:
drift after layer m is  ||W^m||_inf * drift + eps_m * ||h^{m-1}||_1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr import norms
from nsr.budget import Budget, LayerBall, layer_balls


def pair_norms(W_L: Tensor) -> Tensor:
    """c_ij = ||W^L_i - W^L_j||_1 for all pairs of classes [K, K]."""
    return torch.cdist(W_L, W_L, p=1)


def tau(W: Sequence[Tensor], xi: Budget) -> Tensor:
    """What the input perturbation adds under perturbed weights, tau_W^{ij}(xi), eq. (2) [K, K]."""
    *hidden, last = checked_balls(W, xi)
    gain = xi.eps_x
    for ball in hidden:
        gain = (norms.linf(ball.W) + ball.W.shape[1] * ball.eps) * gain
    return gain * (pair_norms(last.W) + 2 * last.W.shape[1] * last.eps)


def zeta(W: Sequence[Tensor], x: Tensor, xi: Budget) -> Tensor:
    """What the weight perturbation adds at the clean input, zeta_W^{ij}(x, xi), eq. (3) as printed [B, K, K].

    Not an upper bound from L = 3 on: h^{k*} is one corner of the weight box, not the maximum over it. See
    `zeta_repaired`.
    """
    last = _bias_free(W, xi)[-1]
    drift, mass = printed_drift(W, x, xi)
    return _pairwise(pair_norms(last.W), drift) + 2 * last.eps * mass[:, None, None]


def zeta_repaired(W: Sequence[Tensor], x: Tensor, xi: Budget) -> Tensor:
    """Eq. (3) with ||h^{k*}||_1 replaced by ||u^k||_1, the maximum over the weight box (R1) [B, K, K].

    # PAPER: printed form is h^{k*} = rho(W^{k*} .. rho(W^{1*} x)); ours is the upper end u^k of the box of activations,
    # because W^{k*} need not maximise once W^k + eps_k has negative entries.
    """
    last = checked_balls(W, xi)[-1]
    drift, mass = repaired_drift(W, x, xi)
    return _pairwise(pair_norms(last.W), drift) + 2 * (last.eps * mass + last.beta)[:, None, None]


def printed_drift(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, Tensor]:
    """Eq. (3)'s sum inside the braces, and ||h^{L-1*}||_1, each [B].

    W^{m*} h = W^m h + eps_m ||h||_1 for every m, the signs in W^{1*} included, so no perturbed matrix is built.
    """
    *hidden, _ = _bias_free(W, xi)
    check_input(x, hidden[0])
    h, drift = x, x.new_zeros(len(x))
    for ball in hidden:
        reach = ball.eps * _l1(h)
        drift = norms.linf(ball.W) * drift + reach
        h = (h @ ball.W.T + reach[:, None]).relu()
    if len(hidden) == 1:
        # PAPER: printed form counts eps_1 ||x||_1 twice at L = 2 (first and last term of the braces coincide).
        drift = 2 * drift
    return drift, h.sum(-1)


def repaired_drift(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, Tensor]:
    """The sum of (T) with ||z'^k||_1 <= ||u^k||_1 (R1), and ||u^{L-1}||_1, each [B]."""
    *hidden, _ = checked_balls(W, xi)
    check_input(x, hidden[0])
    lower, upper, drift = x, x, x.new_zeros(len(x))
    for ball in hidden:
        drift = norms.linf(ball.W) * drift + ball.eps * _l1(upper) + ball.beta
        lower, upper = (end.relu() for end in layer_box(ball, lower, upper))
    return drift, upper.sum(-1)


def norms_drift(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, Tensor]:
    """delta_{L-1} and ||z^{L-1}||_1 + n_{L-1} delta_{L-1} of R2, from layer norms and clean activations, each [B]."""
    *hidden, last = checked_balls(W, xi)
    check_input(x, (*hidden, last)[0])
    z, delta = x, x.new_full((len(x),), xi.eps_x)
    for ball in hidden:
        S, d = norms.linf(ball.W), ball.W.shape[1]
        delta = (S + d * ball.eps) * delta + ball.eps * _l1(z) + ball.beta
        z = F.linear(z, ball.W, ball.b).relu()
    return delta, z.sum(-1) + last.W.shape[1] * delta


def layer_box(ball: LayerBall, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The range of V t + c over every |V - W| <= eps, |c - b| <= beta and t in [lower, upper], coordinates apart.

    Where t >= 0 the maximum over the weights is (W + eps) t, so over t it is (W + eps) m + |W + eps| r with m, r the
    middle and radius of the interval: exact; other signs, see `_signed_spread`. The ends are rounded outward, so the
    computed box holds the true one.
    """
    W, b, eps, beta = ball
    m, r = torch.lerp(lower, upper, 0.5), (upper - lower) / 2
    middle = F.linear(m, W, b)
    if not lower.numel() or lower.amin() >= 0:
        mass = m.sum(-1, keepdim=True)
        rise, fall = F.linear(r, (W + eps).abs()), F.linear(r, (W - eps).abs())
    else:
        mass, rise, fall = _signed_spread(ball, lower, upper, m, r)
    room, room_b = rounding(ball)
    outward = (eps + 2 * room) * mass + beta + room_b
    return middle - fall - outward, middle + rise + outward


def _signed_spread(
    ball: LayerBall, lower: Tensor, upper: Tensor, m: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_box`'s mass, rise and fall for inputs of any sign; only a first layer meets them.

    t < 0 mirrors t >= 0. An interval that straddles zero adds |W| r + eps max|t|, exact where it is symmetric.
    """
    W, eps = ball.W, ball.eps
    ahead = r * (lower >= 0)
    around, above, below = r - ahead, (W + eps).abs(), (W - eps).abs()
    rise, fall = F.linear(ahead, above), F.linear(ahead, below)
    if upper.amin() < 0:
        mirrored = r * (upper < 0)
        around = around - mirrored
        rise, fall = rise + F.linear(mirrored, below), fall + F.linear(mirrored, above)
    mass = (m.abs() + around).sum(-1, keepdim=True)
    straddling = F.linear(around, W.abs())
    return mass, rise + straddling, fall + straddling


def rounding(ball: LayerBall) -> tuple[Tensor, Tensor]:
    """Radii of weights and bias that cover the floating-point error of one layer; underflow apart.

    Rounding is itself a weight perturbation: a sum of n products with unit roundoff u is exact for weights and bias off
    by at most n u / (1 - n u) of themselves, whatever the order of summation. W [out, in] is used both ways, forward
    and transposed; twice in + out + 8 leaves room for the few operations around each product.
    """
    share = (sum(ball.W.shape) + 8) * torch.finfo(ball.W.dtype).eps
    room = share * (ball.W.detach().abs().max() + ball.eps)
    return room, torch.zeros_like(room) if ball.b is None else share * (ball.b.detach().abs().max() + ball.beta)


def check_input(x: Tensor, ball: LayerBall) -> tuple[float, float]:
    """The span (lowest, highest) of x, a finite batch [B, d] of this layer's inputs; else a ValueError says why not."""
    if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != ball.W.shape[1]:
        what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a batch [B, {ball.W.shape[1]}] of flat inputs for this network, got {what}")
    if x.dtype != ball.W.dtype:
        raise ValueError(f"x is {x.dtype} but the weights are {ball.W.dtype}: bring both to one dtype")
    low, high = (float(end) for end in x.detach().aminmax()) if x.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("x holds NaN or infinite values")
    return low, high


def checked_balls(W: Sequence[Tensor], xi: Budget) -> tuple[LayerBall, ...]:
    """The layers with their radii, for formulas that speak of a hidden layer (L >= 2) and of finite weights."""
    W = tuple(W)
    found = layer_balls(W, xi)
    dtypes = {W_m.dtype for W_m in W}
    if len(dtypes) > 1 or W[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(f"W must be all float32 or all float64, got {', '.join(sorted(map(str, dtypes)))}")
    if len(found) < 2:
        raise ValueError("Theorem 1's terms need at least two layers (L >= 2): this network has one")
    if not all(bool(torch.isfinite(W_m).all()) for W_m in W):
        raise ValueError("W holds NaN or infinite values")
    return found


def _bias_free(W: Sequence[Tensor], xi: Budget) -> tuple[LayerBall, ...]:
    found = checked_balls(W, xi)
    if any(ball.b is not None for ball in found):
        raise ValueError("the printed formula is stated for networks without biases; use a repaired bound")
    return found


def _l1(h: Tensor) -> Tensor:
    return h.abs().sum(-1)


def _pairwise(c: Tensor, drift: Tensor) -> Tensor:
    return c * drift[:, None, None]
