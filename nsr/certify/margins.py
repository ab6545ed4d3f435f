"""Sound upper bounds on the margins over the whole joint ball, and what they certify.

The ladder, loosest first:  f + R2 (norms) >= f + R1 (repaired) >= f + R3 (telescoped) >= R4 (interval) >= R5 over
boxes from intervals (linear) >= R6, the same over boxes from linear bounds (tight) >= R7, with slopes optimised (alpha)
>= the truth, which `exact` decides. "printed" is Theorem 1 as it stands in the paper and is no bound from L = 3 on.
"interval", "linear" and "tight" hold for chains with convolutions too (see `theory.convolutions`), the others are for
dense networks.

The sound ones are differentiable, "alpha" apart, and rounded outward: a certificate computed in float32 holds for the
real numbers, hence against an attack computed in float64. Float32's room for rounding grows with the width and hides
small radii at 784 inputs: there, certify in float64. Every sample may face weights of its own, so the weaker attacker
who must use one W_hat for all inputs is covered too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import UNIT, Box, Budget, LayerBall, layer_balls
from nsr.certify.linear import (
    CHUNK,
    MOST,
    Boxes,
    chunks,
    elided,
    interval_boxes,
    linear_bound,
    margin_rows,
    pairs,
    tight_boxes,
)
from nsr.network import Network, Weights, margins, mlp_forward
from nsr.theory import dense_norms, theorem
from nsr.theory.boxes import Ball, check_input, checked_balls, layer_box
from nsr.theory.folding import chain_balls, input_map, widened


def margin_upper_bound(
    network: Network, x: Tensor, xi: Budget, *, method: str, box: Box | None = UNIT, y: Tensor | None = None
) -> Tensor:
    """An upper bound of f_{W_hat}^{ij}(x_hat) over the joint ball, for all pairs [B, K, K]; the diagonal is 0.

    With labels `y` [B] only the pairs (i, y) are bounded, [B, K]. `box` keeps every input coordinate inside an
    interval, such as the pixels' (0, 1); the bounds that see where inputs can go profit from it, the others stay valid.

    >>> import torch, nsr
    >>> network = nsr.mlp((torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2)))
    >>> x, xi = torch.tensor([[0.9, 0.1]]), nsr.Budget.uniform(0.1, 0.01, network)
    >>> bound = margin_upper_bound(network, x, xi, method="tight")
    >>> bound[0, 0, 1] >= network(x)[0, 0] - network(x)[0, 1], bound[0, 1, 0] < 0
    (tensor(True), tensor(True))
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    balls = checked(network, x, xi, box, dense="" if method in EVERYWHERE else f"the bound {method!r}")
    if len(balls) == 1 and method in _THEOREM:
        raise ValueError("Theorem 1's terms need at least two layers (L >= 2): this network has one")
    K, d = balls[-1].n_out, balls[0].n_in
    j = torch.arange(K, device=x.device).expand(len(x), K) if y is None else labels(y, x, K)[:, None]
    columns = max(1, MOST // (K * d))
    x, interval, wide = seen(network, x, xi, box, widen=method != "printed")
    balls = layer_balls(network.W, wide) if network.is_dense else tuple(map(widened, balls))
    rows = max(1, min(CHUNK // d, MOST // (K * d * min(columns, j.shape[1]))))

    def bounded(j: Tensor) -> Tensor:
        parts = chunks(rows, x, *interval, j)
        if method in _THEOREM:
            return torch.cat([_THEOREM[method](network.W, x_, wide, a_, b_, j_) for x_, a_, b_, j_ in parts])
        return torch.cat([_CHAINED[method](balls, a_, b_, j_) for _, a_, b_, j_ in parts])

    bound = torch.cat([bounded(some) for some in j.split(columns, dim=1)], dim=1)  # [B, P, K]
    bound = bound.masked_fill(F.one_hot(j, K).bool(), 0)
    return bound.transpose(1, 2) if y is None else bound.squeeze(1)


def certified(
    network: Network, x: Tensor, y: Tensor, xi: Budget, *, method: str = "tight", box: Box | None = UNIT
) -> Tensor:
    """Which samples no joint perturbation inside the budget can flip [B]: f^{iy} < 0 for every i != y.

    >>> import torch, nsr
    >>> network = nsr.mlp((torch.eye(2), torch.eye(2)))
    >>> x, y = torch.tensor([[0.9, 0.1], [0.6, 0.5]]), torch.tensor([0, 0])
    >>> certified(network, x, y, nsr.Budget.uniform(0.1, 0.01, network))
    tensor([ True, False])
    """
    if method == "printed":
        raise ValueError("the printed bound can be exceeded by admissible perturbations, so it certifies nothing")
    bound = margin_upper_bound(network, x, xi, method=method, box=box, y=y)
    return (bound.masked_fill(F.one_hot(y.long(), bound.shape[1]).bool(), -torch.inf) < 0).all(-1)


def _printed(W: Weights, x: Tensor, xi: Budget, a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """The right-hand side of (1), with (2) and (3) as printed."""
    return _columns(margins(mlp_forward(W, x)) + theorem.tau(W, xi) + theorem.zeta(W, x, xi), j)


def _repaired(W: Weights, x: Tensor, xi: Budget, a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """f + R1: tau and the repaired zeta."""
    return _columns(_margin_plus(theorem.tau(W, xi) + theorem.zeta_repaired(W, x, xi), W, x), j)


def _norms(W: Weights, x: Tensor, xi: Budget, a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """f + R2: layer norms and clean activations only."""
    last = layer_balls(W, xi)[-1]
    gain = _last_layer_gain(last, *theorem.norms_drift(W, x, xi))
    return _columns(_margin_plus(gain, W, x), j)


def _telescoped(W: Weights, x: Tensor, xi: Budget, a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """f + R3: one telescoping over the joint boxes of the activations."""
    *hidden, last = layer_balls(W, xi)
    lower, upper = a, b
    Delta, U = x.new_full((len(x),), xi.eps_x), torch.maximum(lower.abs(), upper.abs()).sum(-1)
    for ball in hidden:
        Delta = dense_norms.linf(ball.W) * Delta + ball.eps * U + ball.beta
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


def _interval(balls: Sequence[Ball], a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """R4: boxes of activations, the last layer elided."""
    *hidden, last = balls
    if not hidden:
        return _linear(balls, a, b, j)
    return elided(last, *interval_boxes(hidden, a, b)[-1], j).unflatten(1, (j.shape[1], -1))


def _linear(balls: Sequence[Ball], a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """R5 over boxes from intervals, and R4 where that is lower; with one layer, the maximum."""
    return _over(interval_boxes(balls[:-1], a, b), balls, a, b, j)


def _tight(balls: Sequence[Ball], a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """R6: R5 over boxes that are from linear bounds too; R5 where that is lower, for slopes hang on boxes."""
    return torch.minimum(_over(tight_boxes(balls[:-1], a, b), balls, a, b, j), _linear(balls, a, b, j))


def _over(boxes: Boxes, balls: Sequence[Ball], a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """The linear bound over these boxes, the elided one where that is lower."""
    *hidden, last = balls
    size = max(1, CHUNK // (a.shape[1] * j.shape[1] * len(last.W)))
    bound = torch.cat(
        [
            linear_bound(hidden, margin_rows(last, j_), pairs(ends), a_, b_).bound
            for j_, a_, b_, *ends in chunks(size, j, a, b, *(end for ends in boxes for end in ends))
        ]
    )
    bound = torch.minimum(bound, elided(last, *boxes[-1], j)) if hidden else bound
    return bound.unflatten(1, (j.shape[1], -1))


@torch.no_grad()
def _alpha(balls: Sequence[Ball], a: Tensor, b: Tensor, j: Tensor) -> Tensor:
    """R7: R6 with its lower slopes optimised, those of the boxes included; R6 where that is lower."""
    from nsr.certify.branching import Chain, Tree, optimised_boxes  # no number of a training hangs on the search

    bound = _tight(balls, a, b, j)
    *hidden, last = balls
    for k in range(len(a) if hidden else 0):  # slopes are an image's own
        chain = optimised_boxes(Chain.of(hidden, a[k : k + 1], b[k : k + 1]))
        found = Tree(chain, margin_rows(last, j[k : k + 1])).bound
        bound[k] = torch.minimum(bound[k], found.view_as(bound[k]))
    return bound


def _widened(xi: Budget, network: Network, x: Tensor) -> Budget:
    """xi with room for floating-point error, which is itself a perturbation of weights (see `boxes.rounding`).

    The ends x +- eps_x are off by a share of themselves at most, which the room of the first layer's weights covers.
    """
    eps_x = xi.eps_x * (1 + 2 * torch.finfo(x.dtype).eps)
    if not network.is_dense:
        return Budget(eps_x, xi.eps_w)
    eps_w: list[float] = []
    for ball in map(widened, layer_balls(network.W, xi)):
        eps_w += [ball.eps] if ball.b is None else [ball.eps, ball.beta]
    return Budget(eps_x, tuple(eps_w))


def checked(network: Network, x: Tensor, xi: Budget, box: Box | None, *, dense: str = "") -> tuple[Ball, ...]:
    """The layers with their radii, once network, inputs, budget and box make sense together.

    `dense` names what is asked for, where it is for dense networks alone.
    """
    if not isinstance(network, Network):
        raise ValueError(f"network must be a Network, got {type(network).__name__}; see nsr.mlp")
    if not network.is_chain:
        why = f": {network.not_dense}" if network.not_dense else ""
        raise ValueError(
            f"certificates are for chains of dense and ReLU layers, or convolutions, which this network is not{why}"
        )
    if dense and not network.is_dense:
        raise ValueError(
            f"{dense} is for networks of dense and ReLU layers, which this network is not: {network.not_dense}; "
            f"{', '.join(EVERYWHERE)} are for convolutions too"
        )
    if network.steps:
        balls = chain_balls(network, x, xi)
        x = x.flatten(1)
    else:
        balls = checked_balls(network.W, xi, least=1)
    low, high = check_input(x, balls[0])
    if box is not None and not box[0] < box[1]:
        raise ValueError(f"box must be an interval (low, high) with low < high, got {box}")
    if box is not None and len(x) and not box[0] <= low <= high <= box[1]:
        raise ValueError(f"x leaves the box {box}: its values span {(low, high)}; see box=None")
    return balls


def seen(
    network: Network, x: Tensor, xi: Budget, box: Box | None, *, widen: bool = True
) -> tuple[Tensor, tuple[Tensor, Tensor], Budget]:
    """Inputs as rows, their interval and the budget as the first layer sees them, rounded outward.

    The radii of weights are widened for dense networks alone; others have theirs in their balls (see `widened`).
    """
    wide, affine = _widened(xi, network, x) if widen else xi, input_map(network, x)
    x = x.flatten(1)
    interval = wide.interval(x, box)
    if affine is None:
        return x, interval, wide
    scale, shift = affine.scale.to(x), affine.shift.to(x)
    ends = [affine(end) for end in interval]
    room = 4 * torch.finfo(x.dtype).eps * (torch.maximum(*(end.abs() for end in interval)) * scale.abs() + shift.abs())
    eps_x = float(scale.abs().max()) * wide.eps_x + float(room.max())
    ends = torch.minimum(*ends) - room, torch.maximum(*ends) + room
    return affine(x), ends, Budget(eps_x, wide.eps_w)


def labels(y: Tensor, x: Tensor, K: int) -> Tensor:
    """The labels [B] as the whole numbers that torch indexes by."""
    whole = isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if not whole or y.shape != (len(x),):
        raise ValueError(f"y must hold one whole-numbered label per input, {len(x)} in all")
    if len(y) and not (0 <= int(y.min()) and int(y.max()) < K):
        raise ValueError(f"labels span [{int(y.min())}, {int(y.max())}] but the network has {K} classes")
    return y.long()


_THEOREM = {"printed": _printed, "repaired": _repaired, "norms": _norms, "telescoped": _telescoped}
_CHAINED = {"interval": _interval, "linear": _linear, "tight": _tight, "alpha": _alpha}
METHODS = (*_THEOREM, *_CHAINED)
EVERYWHERE = ("interval", "linear", "tight")  # defined for convolutions too
