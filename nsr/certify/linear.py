"""R5: linear bounds from a neuron or a margin back to the input, the weight box in closed form; and R4, intervals.

A bound is asked for rows: linear functions of what enters a layer. Behind a ReLU z >= 0, so the maximum over the weight
box of lam . (V z) is lam . (W z) + eps ||lam||_1 ||z||_1, linear in z: no relaxation is spent on products of weights
and activations, only on the ReLUs. Three ladders of boxes [p, q] around the pre-activations: from intervals, from
linear bounds ("tight"), and from linear bounds whose slopes are optimised (see `branching`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nsr.budget import LayerBall
from nsr.theory.boxes import Ball, layer_box, rounding
from nsr.theory.convolutions import ConvolutionBall, patches

CHUNK = 2**17  # entries of the largest temporary: what a core's cache holds
MOST = 2**24  # entries that a temporary over pairs of classes may have

Boxes = Sequence[tuple[Tensor, Tensor]]  # p and q of each hidden layer, [B, n_m], or [B, R, n_m] with one for each row


class Rows(NamedTuple):
    """Linear functions slope . z + eps . |z| + constant of what enters a layer: [B, R, n], a number or such, [B, R]."""

    slope: Tensor
    eps: float | Tensor
    constant: Tensor

    def only(self, which: Tensor) -> Rows:
        eps = self.eps[:, which] if isinstance(self.eps, Tensor) else self.eps
        return Rows(self.slope[:, which], eps, self.constant[:, which])

    def to(self, dtype: torch.dtype) -> Rows:
        eps = self.eps.to(dtype) if isinstance(self.eps, Tensor) else self.eps
        return Rows(self.slope.to(dtype), eps, self.constant.to(dtype))


class Linear(NamedTuple):
    """A linear bound [B, R], and what it was made of, first hidden layer first."""

    bound: Tensor
    shares: list[Tensor]  # what each unstable ReLU adds to the bound [B, R, n_m]
    lam: list[Tensor]  # the coefficient of each pre-activation [B, R, n_m]
    g: Tensor  # the coefficient of each input, the weight box apart [B, R, d]

    def only(self, which: Tensor) -> Linear:
        """Of some rows."""
        shares, lam = ([t[:, which] for t in each] for each in (self.shares, self.lam))
        return Linear(self.bound[:, which], shares, lam, self.g[:, which])


def margin_rows(last: LayerBall, j: Tensor) -> Rows:
    """The last layer's margins f_i - f_j for the pairs (i, j[b, p]) as rows [B, P * K]: both rows of W move by eps."""
    if last.W.numel() * len(last.W) <= MOST:  # one table of all pairs, from which rows are taken
        slope = (last.W - last.W[:, None])[j]
    else:
        slope = last.W - last.W[j][:, :, None]
    b = last.W.new_zeros(len(last.W)) if last.b is None else last.b
    constant = b - b[j][:, :, None] + 2 * last.beta
    return Rows(slope.flatten(1, 2), 2 * last.eps, constant.flatten(1))


def neuron_rows(ball: Ball, neurons: Tensor | None = None) -> Rows:
    """A layer's pre-activations s, then -s, or those of some neurons of a dense one, as rows [1, 2 n]."""
    if isinstance(ball, ConvolutionBall):
        each = torch.eye(ball.n_out, dtype=ball.W.dtype, device=ball.W.device)
        W, eps, beta = ball.back(each), ball.back(each, ball.eps), ball.beta
        b = torch.zeros_like(beta) if ball.b is None else ball.b
        return Rows(torch.cat([W, -W])[None], torch.cat([eps, eps])[None], torch.cat([b + beta, beta - b])[None])
    W = ball.W if neurons is None else ball.W[neurons]
    b = W.new_zeros(len(W)) if ball.b is None else ball.b if neurons is None else ball.b[neurons]
    return Rows(torch.cat([W, -W])[None], ball.eps, torch.cat([b, -b])[None] + ball.beta)


def linear_bound(
    hidden: Sequence[Ball],
    rows: Rows,
    boxes: Boxes,
    a: Tensor,
    b: Tensor,
    *,
    alpha: Sequence[Tensor] | None = None,
    beta: Sequence[Tensor] | None = None,
    outward: bool = True,
) -> Linear:
    """An upper bound of each row over inputs in [a, b] and admissible weights, pre-activations being in `boxes`.

    `alpha` are the slopes below unstable ReLUs, by default 1 or 0, whichever is nearer to the ReLU on average. `beta`
    [B, R, n_m] is added to the coefficients of the pre-activations: beta_i >= 0 where s_i >= 0 is known, <= 0 where
    s_i <= 0 is, so that beta_i s_i >= 0 only raises the maximum. `outward` covers the rounding of all sums; without it
    the value is to be climbed down on, not to be believed.
    """
    slope, constant = rows.slope + (rows.eps if hidden else 0.0), rows.constant
    spent, e = constant.abs(), torch.as_tensor(rows.eps, dtype=a.dtype, device=a.device)
    shares, lams = [], []
    for m in range(len(hidden) - 1, -1, -1):
        ball, (p, q) = hidden[m], (end if end.ndim == 3 else end[:, None] for end in boxes[m])
        unstable = (p < 0) & (q > 0)
        chord = q / (q - p).clamp(min=torch.finfo(p.dtype).tiny)
        above = torch.where(unstable, chord, (p >= 0).to(p))
        below = torch.where(unstable, (q > -p).to(p) if alpha is None else alpha[m], above)
        rising = slope.clamp(min=0)
        share = rising * torch.where(unstable, -p * chord, 0.0)
        lam = rising * above + (slope - rising) * below
        if beta is not None:
            lam = lam + beta[m]
        size = lam.abs()
        mass, added = size.sum(-1), share.sum(-1)
        of_bias, e = ball.spread_back(size, mass)
        if outward:  # the chord is rounded too, which moves it by a share of its height
            spent = spent + added + (slope.abs() * torch.where(unstable, torch.maximum(-p, q), 0.0)).sum(-1)
        if ball.b is not None:
            added = added + lam @ ball.b
        constant = constant + added + of_bias
        shares.append(share)
        lams.append(lam)
        slope = ball.back(lam) + (e if m else 0.0)
    bound = constant + _maximum_over_input(slope, e, a, b)
    if outward:
        bound = bound + _outward(hidden, rows, spent, mass if hidden else None, slope, e, a, b)
    return Linear(bound, shares[::-1], lams[::-1], slope)


def _outward(
    hidden: Sequence[Ball],
    rows: Rows,
    spent: Tensor,
    mass: Tensor | None,
    g: Tensor,
    e: Tensor,
    a: Tensor,
    b: Tensor,
) -> Tensor:
    """What covers the rounding that the widened radii do not: of the constant, and of the sum over inputs."""
    farthest = torch.maximum(a.abs(), b.abs())
    farthest = farthest if a.ndim == 3 else farthest[:, None]
    u = torch.finfo(a.dtype).eps
    if not hidden:
        steepest = rows.slope.abs().amax(-1) + rows.eps
        return (rows.slope.shape[-1] + 8) * u * steepest * farthest.sum(-1) + 8 * u * spent
    operations = sum(ball.n_out + 8 for ball in hidden) + rows.slope.shape[-1] + 8
    if isinstance(hidden[0], LayerBall):
        over_inputs = rounding(hidden[0])[0] * mass * farthest.sum(-1)
    else:  # the sum is over all inputs, a row of the convolution over some
        over_inputs = (hidden[0].n_in + 8) * u * ((g.abs() + e) * farthest).sum(-1)
    return operations * u * spent + over_inputs


def interval_boxes(hidden: Sequence[Ball], a: Tensor, b: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Bounds [p, q] of every hidden layer's pre-activations over the joint ball by intervals alone, each [B, n_m]."""
    found, lower, upper = [], a, b
    for ball in hidden:
        p, q = layer_box(ball, lower, upper)
        found.append((p, q))
        lower, upper = p.relu(), q.relu()
    return found


def tight_boxes(hidden: Sequence[Ball], a: Tensor, b: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The same by linear bounds from each neuron back to the input, where these are tighter."""
    found, lower, upper = [], a, b
    for m, ball in enumerate(hidden):
        p, q = layer_box(ball, lower, upper)
        if m:
            of_layer = _at_each_place if isinstance(ball, ConvolutionBall) and ball.places > 1 else _linear_box
            low, high = of_layer(hidden[:m], ball, found, a, b)
            p, q = torch.maximum(p, low), torch.minimum(q, high)
        found.append((p, q))
        lower, upper = p.relu(), q.relu()
    return found


def _linear_box(hidden: Sequence[Ball], ball: Ball, boxes: Boxes, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Linear bounds of a layer's pre-activations, each [B, n]."""
    rows = neuron_rows(ball)
    size = max(1, CHUNK // (a.shape[-1] * rows.constant.shape[-1]))
    parts = chunks(size, a, b, *(end for ends in boxes for end in ends))
    bound = torch.cat([linear_bound(hidden, rows, pairs(ends), a_, b_).bound for a_, b_, *ends in parts])
    return -bound[:, ball.n_out :], bound[:, : ball.n_out]


def _at_each_place(
    hidden: Sequence[ConvolutionBall], ball: ConvolutionBall, boxes: Boxes, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for a convolution behind others, image by image, from what each place sees (see `patches`)."""
    found = []
    for a_1, b_1, *boxes_1 in chunks(1, a, b, *(end for box in boxes for end in box)):
        seen = patches(hidden, ball, pairs(boxes_1), a_1, b_1)
        found.append([end.unflatten(0, (len(a_1), ball.places)).mT.flatten(1) for end in _linear_box(*seen)])
    low, high = map(torch.cat, zip(*found, strict=True))
    return low, high


def elided(last: LayerBall, p: Tensor, q: Tensor, j: Tensor) -> Tensor:
    """max of v . z over z in rho([p, q]), with v = W^L_i - W^L_j + 2 eps_L: v^+ . u - v^- . l [B, P * K]."""
    lower, upper = p.relu(), q.relu()
    slope, eps, constant = margin_rows(last, j)
    v, centre, radius = slope + eps, (lower + upper) / 2, (upper - lower) / 2
    bound = torch.einsum("brn,bn->br", v, centre) + torch.einsum("brn,bn->br", v.abs(), radius)
    room, room_b = rounding(last)
    return bound + constant + 4 * (room * upper.sum(-1) + room_b)[:, None]


def _maximum_over_input(g: Tensor, e: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """sum_k max over t in [a_k, b_k] of g_k t + e |t|, reached at an end since each term is convex [B, R]."""
    one_box = a.ndim == 2  # for all rows
    if one_box and (a >= 0).all():
        centre, radius, rising = (a + b) / 2, (b - a) / 2, g + e
        top = (rising @ centre[..., None]).squeeze(-1)
        return top + (rising.abs() @ radius[..., None]).squeeze(-1) if radius.any() else top
    a, b = (a[:, None], b[:, None]) if one_box else (a, b)
    return torch.maximum(g * a + e * a.abs(), g * b + e * b.abs()).sum(-1)


def chunks(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(t.split(rows) for t in tensors), strict=True)


def pairs(ends: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """p, q, p, q, .. as boxes."""
    return list(zip(ends[::2], ends[1::2], strict=True))
