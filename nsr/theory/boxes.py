"""The box of one layer's values over all its admissible weights and inputs, rounded outward (R4's one step)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import Budget, LayerBall, layer_balls


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

    t < 0 mirrors t >= 0. An interval that straddles zero adds |W| r + eps max|t|, exact where it is symmetric. The
    exact form, the larger end of W t + eps |t| entry by entry, needs a temporary [B, out, in]: on standardised inputs
    it takes 20 to 50 times as long for 0.3 % of the box at radii up to 0.1 (benchmarks/bounds.py).
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


def checked_balls(W: Sequence[Tensor], xi: Budget, least: int = 2) -> tuple[LayerBall, ...]:
    """The layers with their radii, for formulas that need finite weights and at least so many layers."""
    W = tuple(W)
    found = layer_balls(W, xi)
    dtypes = {W_m.dtype for W_m in W}
    if len(dtypes) > 1 or W[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(f"W must be all float32 or all float64, got {', '.join(sorted(map(str, dtypes)))}")
    if len(found) < least:
        raise ValueError("Theorem 1's terms need at least two layers (L >= 2): this network has one")
    if not all(bool(torch.isfinite(W_m).all()) for W_m in W):
        raise ValueError("W holds NaN or infinite values")
    return found
