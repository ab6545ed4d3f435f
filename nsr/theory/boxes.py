"""The box of one layer's values over all its admissible weights and inputs, rounded outward (R4's one step)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nsr.budget import Budget, LayerBall, layer_balls
from nsr.theory.convolutions import ConvolutionBall

Ball = LayerBall | ConvolutionBall


def layer_box(ball: Ball, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The range of V t + c over every |V - W| <= eps, |c - b| <= beta and t in [lower, upper], coordinates apart.

    Where t >= 0 the maximum over the weights is (W + eps) t, so over t it is (W + eps) m + |W + eps| r with m, r the
    middle and radius of the interval: exact; other signs, see `_signed_spread`. The ends are rounded outward, so the
    computed box holds the true one.
    """
    W, eps = ball.W, ball.eps
    m, r = torch.lerp(lower, upper, 0.5), (upper - lower) / 2
    middle = ball.forward(m)
    if not lower.numel() or lower.amin() >= 0:
        size = m
        rise, fall = ball.apply(r, (W + eps).abs()), ball.apply(r, (W - eps).abs())
    else:
        size, rise, fall = _signed_spread(ball, lower, upper, m, r)
    room, room_b = rounding(ball)
    outward = ball.spread(size, 2 * room) + ball.beta + room_b
    return middle - fall - outward, middle + rise + outward


def _signed_spread(ball: Ball, lower: Tensor, upper: Tensor, m: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_box`'s sizes, rise and fall for inputs of any sign; only a first layer meets them.

    t < 0 mirrors t >= 0. An interval that straddles zero adds |W| r + eps max|t|, exact where it is symmetric. The
    exact form, the larger end of W t + eps |t| entry by entry, needs a temporary [B, out, in]: on standardised inputs
    it takes 20 to 50 times as long for 0.3 % of the box at radii up to 0.1 (benchmarks/bounds.py).
    """
    W, eps = ball.W, ball.eps
    ahead = r * (lower >= 0)
    around, above, below = r - ahead, (W + eps).abs(), (W - eps).abs()
    rise, fall = ball.apply(ahead, above), ball.apply(ahead, below)
    if upper.amin() < 0:
        mirrored = r * (upper < 0)
        around = around - mirrored
        rise, fall = rise + ball.apply(mirrored, below), fall + ball.apply(mirrored, above)
    straddling = ball.apply(around, W.abs())
    return m.abs() + around, rise + straddling, fall + straddling


def rounding(ball: Ball) -> tuple[Tensor, Tensor]:
    """Radii of weights and bias that cover the floating-point error of one layer; underflow apart.

    Rounding is itself a weight perturbation: a sum of n products with unit roundoff u is exact for weights and bias off
    by at most n u / (1 - n u) of themselves, whatever the order of summation. W [out, in] is used both ways, forward
    and transposed; twice in + out + 8 leaves room for the few operations around each product. A convolution's sums are
    over the inputs that an output sees, and over the outputs that see an input; that of its biases is over all outputs.
    """
    u = torch.finfo(ball.W.dtype).eps
    room = (ball.terms + 8) * u * (ball.W.detach().abs().max() + ball.widest)
    if ball.b is None:
        return room, torch.zeros_like(room)
    terms, beta = ball.terms, ball.beta
    if isinstance(ball, ConvolutionBall):
        terms, beta = terms + ball.n_out, beta.max()
    return room, (terms + 8) * u * (ball.b.detach().abs().max() + beta)


def check_input(x: Tensor, ball: Ball) -> tuple[float, float]:
    """The span (lowest, highest) of x, a finite batch [B, d] of this layer's inputs; else a ValueError says why not."""
    if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != ball.n_in:
        what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a batch [B, {ball.n_in}] of flat inputs for this network, got {what}")
    if x.dtype != ball.W.dtype:
        raise ValueError(f"x is {x.dtype} but the weights are {ball.W.dtype}: bring both to one dtype")
    low, high = (float(end) for end in x.detach().aminmax()) if x.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("x holds NaN or infinite values")
    return low, high


def checked_balls(W: Sequence[Tensor], xi: Budget, least: int = 2) -> tuple[LayerBall, ...]:
    """The layers with their radii, for formulas that need finite weights and at least so many layers."""
    found = layer_balls(W, xi)
    check_dtype(W)
    if len(found) < least:
        raise ValueError("Theorem 1's terms need at least two layers (L >= 2): this network has one")
    check_finite(W)
    return found


def check_dtype(W: Sequence[Tensor]) -> None:
    """Refuse weights that are not all of one dtype that bounds are proved for."""
    dtypes = {W_m.dtype for W_m in W}
    if dtypes not in ({torch.float32}, {torch.float64}):
        raise ValueError(f"W must be all float32 or all float64, got {', '.join(sorted(map(str, dtypes)))}")


def check_finite(W: Sequence[Tensor]) -> None:
    """Refuse weights that are NaN or infinite."""
    if not all(bool(torch.isfinite(W_m).all()) for W_m in W):
        raise ValueError("W holds NaN or infinite values")
