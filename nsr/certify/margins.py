"""Sound upper bounds on the margins over the whole joint ball, and what they certify.

The ladder, loosest first:  f + R2 (norms) >= f + R1 (repaired) >= f + R3 (telescoped) >= R4 (interval) >= R5 (crown)
>= the truth. "printed" is Theorem 1 as it stands in the paper and is no bound from L = 3 on.

The sound ones are differentiable and rounded outward: a certificate computed in float32 holds for the real numbers,
hence against an attack computed in float64. Float32's room for rounding grows with the width and hides small radii at
784 inputs: there, certify in float64. Every sample may face weights of its own, so the weaker attacker who must use one
W_hat for all inputs is covered too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import Box, Budget, LayerBall, layer_balls
from nsr.certify.linear import CHUNK, activation_boxes, chunks, crown, elided
from nsr.network import Weights, margins, mlp_forward
from nsr.theory import norms, theorem
from nsr.theory.boxes import check_input, checked_balls, layer_box, rounding


def margin_upper_bound(
    W: Sequence[Tensor], x: Tensor, xi: Budget, *, method: str, box: Box | None = None, y: Tensor | None = None
) -> Tensor:
    """An upper bound of f_{W_hat}^{ij}(x_hat) over the joint ball, for all pairs [B, K, K]; the diagonal is 0.

    With labels `y` [B] only the pairs (i, y) are bounded, [B, K]. `box` keeps every input coordinate inside an
    interval, such as the pixels' (0, 1); the bounds that see where inputs can go profit from it, the others stay valid.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    balls = _checked(W, x, xi, box)
    K, d = len(balls[-1].W), x.shape[1]
    j = torch.arange(K, device=x.device).expand(len(x), K) if y is None else _labels(y, x, K)[:, None]
    wide = xi if method == "printed" else _widened(xi, balls)
    rows = max(1, CHUNK // d)
    bound = torch.cat([_BOUNDS[method](tuple(W), x_, wide, box, j_) for x_, j_ in chunks(rows, x, j)])  # [B, P, K]
    bound = bound.masked_fill(F.one_hot(j, K).bool(), 0)
    return bound.transpose(1, 2) if y is None else bound.squeeze(1)


def certified(
    W: Sequence[Tensor], x: Tensor, y: Tensor, xi: Budget, *, method: str = "crown", box: Box | None = None
) -> Tensor:
    """Which samples no joint perturbation inside the budget can flip [B]: f^{iy} < 0 for every i != y."""
    if method == "printed":
        raise ValueError("the printed bound can be exceeded by admissible perturbations, so it certifies nothing")
    bound = margin_upper_bound(W, x, xi, method=method, box=box, y=y)
    return (bound.masked_fill(F.one_hot(y.long(), bound.shape[1]).bool(), -torch.inf) < 0).all(-1)


def _printed(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """The right-hand side of (1), with (2) and (3) as printed."""
    return _columns(margins(mlp_forward(W, x)) + theorem.tau(W, xi) + theorem.zeta(W, x, xi), j)


def _repaired(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """f + R1: tau and the repaired zeta."""
    return _columns(_margin_plus(theorem.tau(W, xi) + theorem.zeta_repaired(W, x, xi), W, x), j)


def _norms(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """f + R2: layer norms and clean activations only."""
    last = layer_balls(W, xi)[-1]
    gain = _last_layer_gain(last, *theorem.norms_drift(W, x, xi))
    return _columns(_margin_plus(gain, W, x), j)


def _telescoped(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """f + R3: one telescoping over the joint boxes of the activations."""
    *hidden, last = layer_balls(W, xi)
    lower, upper = xi.interval(x, box)
    Delta, U = x.new_full((len(x),), xi.eps_x), torch.maximum(lower.abs(), upper.abs()).sum(-1)
    for ball in hidden:
        Delta = norms.linf(ball.W) * Delta + ball.eps * U + ball.beta
        lower, upper = (end.relu() for end in layer_box(ball, lower, upper))
        U = upper.sum(-1)
    return _columns(_margin_plus(_last_layer_gain(last, Delta, U), W, x), j)


def _last_layer_gain(last: LayerBall, drift: Tensor, mass: Tensor) -> Tensor:
    """c_ij * drift + 2 (eps_L * mass + beta_L) [B, K, K]."""
    return theorem.pair_norms(last.W) * drift[:, None, None] + 2 * (last.eps * mass + last.beta)[:, None, None]


def _margin_plus(gain: Tensor, W: Weights, x: Tensor) -> Tensor:
    """f + gain, the sum rounded outward [B, K, K]."""
    f = margins(mlp_forward(W, x))
    return f + gain + 8 * torch.finfo(x.dtype).eps * (f.abs() + gain)


def _columns(bound: Tensor, j: Tensor) -> Tensor:
    """The pairs (i, j[b, p]) of an all-pairs bound [B, K, K] -> [B, P, K]."""
    return bound.gather(2, j[:, None].expand(*bound.shape[:2], j.shape[1])).transpose(1, 2)


def _interval(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """R4: boxes of activations, the last layer elided."""
    *hidden, last = layer_balls(W, xi)
    return elided(last, *activation_boxes(hidden, *xi.interval(x, box))[-1], j)


def _widened(xi: Budget, balls: Sequence[LayerBall]) -> Budget:
    """xi with room for floating-point error, which is itself a perturbation of weights (see `bounds.rounding`).

    The ends x +- eps_x are off by a share of themselves at most, which the room of the first layer's weights covers.
    """
    eps_x = xi.eps_x * (1 + 2 * torch.finfo(balls[0].W.dtype).eps)
    eps_w: list[float] = []
    for ball in balls:
        room, room_b = map(float, rounding(ball))
        eps_w += [ball.eps + room] if ball.b is None else [ball.eps + room, ball.beta + room_b]
    return Budget(eps_x, tuple(eps_w))


def _checked(W: Sequence[Tensor], x: Tensor, xi: Budget, box: Box | None) -> tuple[LayerBall, ...]:
    """The layers with their radii, once network, inputs, budget and box make sense together."""
    balls = checked_balls(W, xi)
    low, high = check_input(x, balls[0])
    if box is not None and not box[0] < box[1]:
        raise ValueError(f"box must be an interval (low, high) with low < high, got {box}")
    if box is not None and len(x) and not box[0] <= low <= high <= box[1]:
        raise ValueError(f"x leaves the box {box}: its values span {(low, high)}")
    return balls


def _labels(y: Tensor, x: Tensor, K: int) -> Tensor:
    """The labels [B] as the whole numbers that torch indexes by."""
    whole = isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if not whole or y.shape != (len(x),):
        raise ValueError(f"y must hold one whole-numbered label per input, {len(x)} in all")
    if len(y) and not (0 <= int(y.min()) and int(y.max()) < K):
        raise ValueError(f"labels span [{int(y.min())}, {int(y.max())}] but the network has {K} classes")
    return y.long()


_BOUNDS = {
    "printed": _printed,
    "repaired": _repaired,
    "norms": _norms,
    "telescoped": _telescoped,
    "interval": _interval,
    "crown": crown,
}
METHODS = tuple(_BOUNDS)
