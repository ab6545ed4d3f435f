"""R5: linear bounds from the margin back to the input, the weight box in closed form; and R4, boxes of activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nsr.budget import Budget, LayerBall, layer_balls
from nsr.network import Weights
from nsr.theory.boxes import layer_box, rounding

CHUNK = 2**17  # entries of the largest temporary: what a core's cache holds
MOST = 2**24  # entries that a temporary over pairs of classes may have


def crown(W: Weights, x: Tensor, xi: Budget, a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """R5: linear bounds from the margin back to the input, and R4 where that is lower; with one layer, the maximum."""
    *hidden, last = layer_balls(W, xi)
    boxes = activation_boxes(hidden, a, b)
    rows = max(1, CHUNK // (x.shape[1] * j.shape[1] * len(last.W)))
    parts = chunks(rows, j, a, b, *(end for ends in boxes for end in ends))
    if not hidden:
        return torch.cat([_one_layer(last, *part) for part in parts])
    room = rounding(hidden[0])[0]
    linear = torch.cat([_linear(hidden, last, room, *part) for part in parts])
    return torch.minimum(linear, elided(last, *boxes[-1], j))


def _one_layer(last: LayerBall, j: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The maximum of f^{ij} for a network of one layer, whose rows i and j each move by eps |t| [B, P, K]."""
    rows, constant = last.W - last.W[j][:, :, None], _difference_of_biases(last, j)
    room, room_b = rounding(last)
    e = (2 * last.eps + 4 * room).expand(constant.shape)
    top = _maximum_over_input(rows.flatten(1, 2), e.flatten(1), a, b).view(constant.shape)
    return top + constant + 4 * room_b


def _linear(
    hidden: Sequence[LayerBall], last: LayerBall, room: Tensor, j: Tensor, a: Tensor, b: Tensor, *ends: Tensor
) -> Tensor:
    """The linear bound for inputs in [a, b] and pre-activations between `ends`, p and q of each layer [B, P, K].

    Behind a ReLU z >= 0, so the maximum over the weight box of lam . (V z) is lam . (W z) + eps ||lam||_1 ||z||_1,
    linear in z: no relaxation is spent on products of weights and activations, only on the ReLUs.
    """
    boxes = list(zip(ends[::2], ends[1::2], strict=True))
    slope, constant = _elided_rows(last, j)  # [B, P, K, n], [B, P, K]
    shape = constant.shape
    slope, constant = slope.flatten(1, 2), constant.flatten(1)
    for ball, (p, q) in zip(hidden[:0:-1], boxes[:0:-1], strict=True):
        lam, constant = _through_relu(ball, slope, constant, p, q)
        slope = lam @ ball.W + ball.eps * _l1(lam)[..., None]
    first = hidden[0]
    lam, constant = _through_relu(first, slope, constant, *boxes[0])
    mass = _l1(lam)
    top = constant + _maximum_over_input(lam @ first.W, first.eps * mass, a, b)
    farthest = torch.maximum(a.abs(), b.abs()).sum(-1, keepdim=True)
    operations = sum(len(ball.W) + 8 for ball in (*hidden, last))
    outward = operations * torch.finfo(a.dtype).eps * constant.abs() + room * mass * farthest
    return (top + outward).reshape(shape)


def activation_boxes(hidden: Sequence[LayerBall], a: Tensor, b: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Bounds [p, q] of every hidden layer's pre-activations over the joint ball, each [B, n_m]."""
    found, lower, upper = [], a, b
    for ball in hidden:
        p, q = layer_box(ball, lower, upper)
        found.append((p, q))
        lower, upper = p.relu(), q.relu()
    return found


def elided(last: LayerBall, p: Tensor, q: Tensor, j: Tensor) -> Tensor:
    """max of v . z over z in rho([p, q]), with v = W^L_i - W^L_j + 2 eps_L: v^+ . u - v^- . l [B, P, K]."""
    lower, upper = p.relu(), q.relu()
    v, constant = _elided_rows(last, j)
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    bound = torch.einsum("bpkn,bn->bpk", v, centre) + torch.einsum("bpkn,bn->bpk", v.abs(), radius)
    room, room_b = rounding(last)
    return bound + constant + 4 * (room * upper.sum(-1) + room_b)[:, None, None]


def _elided_rows(last: LayerBall, j: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer as linear functions of z >= 0, weight box included: W^L_i - W^L_j + 2 eps_L, b_i - b_j + 2 beta_L.

    For the pairs (i, j[b, p]): [B, P, K, n_{L-1}] and [B, P, K].
    """
    if last.W.numel() * len(last.W) <= MOST:  # one table of all pairs, from which rows are taken
        return (last.W - last.W[:, None] + 2 * last.eps)[j], _difference_of_biases(last, j)
    return last.W - last.W[j][:, :, None] + 2 * last.eps, _difference_of_biases(last, j)


def _difference_of_biases(last: LayerBall, j: Tensor) -> Tensor:
    """b_i - b_j + 2 beta_L for the pairs (i, j[b, p]) [B, P, K]."""
    b = last.W.new_zeros(len(last.W)) if last.b is None else last.b
    return b - b[j][:, :, None] + 2 * last.beta


def _through_relu(ball: LayerBall, slope: Tensor, constant: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """slope . rho(s) <= lam . s + .. for s in [p, q]; the layer's bias joins the constant. [B, R, n], [B, R].

    An unstable ReLU lies under the chord q (s - p) / (q - p) and above s or 0, whichever is nearer to it on average.
    """
    unstable, on = (p < 0) & (q > 0), (p >= 0).to(p)
    chord = q / (q - p).clamp(min=torch.finfo(p.dtype).tiny)
    above = torch.where(unstable, chord, on)
    below = torch.where(unstable, (q > -p).to(p), on)
    intercept = torch.where(unstable, -p * chord, torch.zeros_like(p))
    rising = slope.clamp(min=0)
    lam = rising * above[:, None] + (slope - rising) * below[:, None]
    constant = constant + torch.einsum("brn,bn->br", rising, intercept) + ball.beta * _l1(lam)
    return lam, constant if ball.b is None else constant + lam @ ball.b


def _maximum_over_input(g: Tensor, e: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """sum_k max over t in [a_k, b_k] of g_k t + e |t|, reached at an end since each term is convex [B, R]."""
    if (a >= 0).all():
        centre, radius, rising = (a + b) / 2, (b - a) / 2, g + e[..., None]
        return (rising @ centre[..., None] + rising.abs() @ radius[..., None]).squeeze(-1)
    at_a = g * a[:, None] + e[..., None] * a.abs()[:, None]
    at_b = g * b[:, None] + e[..., None] * b.abs()[:, None]
    return torch.maximum(at_a, at_b).sum(-1)


def chunks(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(t.split(rows) for t in tensors), strict=True)


def _l1(lam: Tensor) -> Tensor:
    return lam.abs().sum(-1)
