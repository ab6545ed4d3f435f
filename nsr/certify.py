"""Floor 3: sound upper bounds on the margins over the whole joint ball, and what they certify.

The ladder, loosest first:  f + R2 (norms) >= f + R1 (repaired) >= f + R3 (telescoped) >= R4 (interval) >= R5 (crown)
>= the truth. "printed" is Theorem 1 as it stands in the paper and is no bound from L = 3 on.

The sound ones are differentiable and rounded outward: a certificate computed in float32 holds for the real numbers,
hence against an attack computed in float64. Float32's room for rounding grows with the width and hides small radii at
784 inputs: there, certify in float64. Every sample may face weights of its own, so the weaker attacker who must use one
W_hat for all inputs is covered too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr import bounds, norms
from nsr.budget import Box, Budget, LayerBall, layer_balls
from nsr.network import Weights, margins, mlp_forward

CHUNK = 2**17  # entries of the largest temporary: what a core's cache holds


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
    bound = torch.cat([_BOUNDS[method](tuple(W), x_, wide, box, j_) for x_, j_ in _chunks(rows, x, j)])  # [B, P, K]
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
    return _columns(margins(mlp_forward(W, x)) + bounds.tau(W, xi) + bounds.zeta(W, x, xi), j)


def _repaired(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """f + R1: tau and the repaired zeta."""
    return _columns(_margin_plus(bounds.tau(W, xi) + bounds.zeta_repaired(W, x, xi), W, x), j)


def _norms(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """f + R2: layer norms and clean activations only."""
    last = layer_balls(W, xi)[-1]
    gain = _last_layer_gain(last, *bounds.norms_drift(W, x, xi))
    return _columns(_margin_plus(gain, W, x), j)


def _telescoped(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """f + R3: one telescoping over the joint boxes of the activations."""
    *hidden, last = layer_balls(W, xi)
    lower, upper = xi.interval(x, box)
    Delta, U = x.new_full((len(x),), xi.eps_x), torch.maximum(lower.abs(), upper.abs()).sum(-1)
    for ball in hidden:
        Delta = norms.linf(ball.W) * Delta + ball.eps * U + ball.beta
        lower, upper = (end.relu() for end in bounds.layer_box(ball, lower, upper))
        U = upper.sum(-1)
    return _columns(_margin_plus(_last_layer_gain(last, Delta, U), W, x), j)


def _last_layer_gain(last: LayerBall, drift: Tensor, mass: Tensor) -> Tensor:
    """c_ij * drift + 2 (eps_L * mass + beta_L) [B, K, K]."""
    return bounds.pair_norms(last.W) * drift[:, None, None] + 2 * (last.eps * mass + last.beta)[:, None, None]


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
    return _elided(last, *_boxes(hidden, *xi.interval(x, box))[-1], j)


def _crown(W: Weights, x: Tensor, xi: Budget, box: Box | None, j: Tensor) -> Tensor:
    """R5: linear bounds from the margin back to the input, and R4 where that is lower."""
    *hidden, last = layer_balls(W, xi)
    a, b = xi.interval(x, box)
    boxes = _boxes(hidden, a, b)
    rows = max(1, CHUNK // (x.shape[1] * j.shape[1] * len(last.W)))
    room = bounds.rounding(hidden[0])[0]
    parts = _chunks(rows, j, a, b, *(end for ends in boxes for end in ends))
    linear = torch.cat([_linear(hidden, last, room, *part) for part in parts])
    return torch.minimum(linear, _elided(last, *boxes[-1], j))


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


def _boxes(hidden: Sequence[LayerBall], a: Tensor, b: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Bounds [p, q] of every hidden layer's pre-activations over the joint ball, each [B, n_m]."""
    found, lower, upper = [], a, b
    for ball in hidden:
        p, q = bounds.layer_box(ball, lower, upper)
        found.append((p, q))
        lower, upper = p.relu(), q.relu()
    return found


def _elided(last: LayerBall, p: Tensor, q: Tensor, j: Tensor) -> Tensor:
    """max of v . z over z in rho([p, q]), with v = W^L_i - W^L_j + 2 eps_L: v^+ . u - v^- . l [B, P, K]."""
    lower, upper = p.relu(), q.relu()
    v, constant = _elided_rows(last, j)
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    bound = torch.einsum("bpkn,bn->bpk", v, centre) + torch.einsum("bpkn,bn->bpk", v.abs(), radius)
    room, room_b = bounds.rounding(last)
    return bound + constant + 4 * (room * upper.sum(-1) + room_b)[:, None, None]


def _elided_rows(last: LayerBall, j: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer as linear functions of z >= 0, weight box included: W^L_i - W^L_j + 2 eps_L, b_i - b_j + 2 beta_L.

    For the pairs (i, j[b, p]): [B, P, K, n_{L-1}] and [B, P, K].
    """
    v = (last.W - last.W[:, None] + 2 * last.eps)[j]
    constant = v.new_full((1, 1), 2 * last.beta) if last.b is None else last.b - last.b[:, None] + 2 * last.beta
    return v, constant[j] if last.b is not None else constant.expand(v.shape[:-1])


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


def _widened(xi: Budget, balls: Sequence[LayerBall]) -> Budget:
    """xi with room for floating-point error, which is itself a perturbation of weights (see `bounds.rounding`).

    The ends x +- eps_x are off by a share of themselves at most, which the room of the first layer's weights covers.
    """
    eps_x = xi.eps_x * (1 + 2 * torch.finfo(balls[0].W.dtype).eps)
    eps_w: list[float] = []
    for ball in balls:
        room, room_b = map(float, bounds.rounding(ball))
        eps_w += [ball.eps + room] if ball.b is None else [ball.eps + room, ball.beta + room_b]
    return Budget(eps_x, tuple(eps_w))


def _chunks(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(t.split(rows) for t in tensors), strict=True)


def _l1(lam: Tensor) -> Tensor:
    return lam.abs().sum(-1)


def _checked(W: Sequence[Tensor], x: Tensor, xi: Budget, box: Box | None) -> tuple[LayerBall, ...]:
    """The layers with their radii, once network, inputs, budget and box make sense together."""
    balls = bounds.checked_balls(W, xi)
    low, high = bounds.check_input(x, balls[0])
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
    "crown": _crown,
}
METHODS = tuple(_BOUNDS)
