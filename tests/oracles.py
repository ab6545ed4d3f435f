"""Independent float64 references: the paper's (2) and (3) letter by letter, R1-R5 with explicit loops, and brute force.

Written from the paper's text and the proofs alone, in numpy, one sample and one pair of classes at a time; nothing here
imports `nsr`. Indices are the paper's: `net.W[m]` is W^m for m = 1..L, and index 0 of every list is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Net:
    """W^1..W^L with biases b^1..b^L, their radii eps_m and beta_m (0 where a layer has no bias), and eps_x."""

    W: list[Array]
    b: list[Array]
    eps: list[float]
    beta: list[float]
    eps_x: float

    @property
    def L(self) -> int:
        """Number of layers."""
        return len(self.W) - 1

    @staticmethod
    def of(tensors: list[Array], radii: list[float], eps_x: float) -> Net:
        """Reads the flat list: a 2-D array is a layer's matrix, a 1-D array after it is that layer's bias."""
        W, b, eps, beta = [np.empty((0, 0))], [np.empty(0)], [0.0], [0.0]
        for array, radius in zip(tensors, radii, strict=True):
            if array.ndim == 2:
                W.append(array.astype(np.float64))
                b.append(np.zeros(len(array)))
                eps.append(radius)
                beta.append(0.0)
            else:
                b[-1], beta[-1] = array.astype(np.float64), radius
        return Net(W, b, eps, beta, eps_x)


def relu(a: Array) -> Array:
    """Rho."""
    return np.maximum(a, 0.0)


def positive(a: Array) -> Array:
    """a^+ = max(a, 0)."""
    return np.maximum(a, 0.0)


def negative(a: Array) -> Array:
    """a^- = max(-a, 0), so that a = a^+ - a^-."""
    return np.maximum(-a, 0.0)


def l1(v: Array) -> float:
    """||v||_1."""
    return float(sum(abs(t) for t in v))


def induced_inf(matrix: Array) -> float:
    """||A||_inf, the largest l_1 norm of a row."""
    return max(l1(row) for row in matrix)


def c(net: Net, i: int, j: int) -> float:
    """c_ij = ||W^L_i - W^L_j||_1."""
    return l1(net.W[net.L][i] - net.W[net.L][j])


def activations(net: Net, x: Array) -> list[Array]:
    """z^0 = x, z^1, .., z^{L-1}."""
    z = [x]
    for m in range(1, net.L):
        z.append(relu(net.W[m] @ z[m - 1] + net.b[m]))
    return z


def margin(net: Net, x: Array, i: int, j: int) -> float:
    """f^{ij}_W(x)."""
    z = activations(net, x)[-1]
    return float((net.W[net.L][i] - net.W[net.L][j]) @ z + net.b[net.L][i] - net.b[net.L][j])


# --- the paper, letter by letter (no biases) ------------------------------------------------------------------------


def tau(net: Net, i: int, j: int) -> float:
    """Equation (2)."""
    L = net.L
    product = 1.0
    for m in range(1, L):
        d_m = net.W[m].shape[1]
        product *= induced_inf(net.W[m]) + d_m * net.eps[m]
    d_L = net.W[L].shape[1]
    return net.eps_x * (c(net, i, j) + 2 * d_L * net.eps[L]) * product


def starred_weights(net: Net, x: Array) -> list[Array]:
    """W^{m*} of (3), entry by entry."""
    starred = [np.empty((0, 0))]
    for m in range(1, net.L + 1):
        star = np.array(net.W[m])
        for row in range(star.shape[0]):
            for col in range(star.shape[1]):
                star[row, col] += np.sign(x[col]) * net.eps[1] if m == 1 else net.eps[m]
        starred.append(star)
    return starred


def starred_activations(net: Net, x: Array) -> list[Array]:
    """h^{0*} = x and h^{k*} = rho(W^{k*} .. rho(W^{1*} x)) of (3)."""
    starred = starred_weights(net, x)
    h = [x]
    for k in range(1, net.L):
        h.append(relu(starred[k] @ h[k - 1]))
    return h


def zeta(net: Net, x: Array, i: int, j: int) -> float:
    """Equation (3): four terms, in the order they are printed."""
    L, h = net.L, starred_activations(net, x)
    first = net.eps[1] * l1(x)
    for step in range(1, L - 1):  # l = 1 .. L-2
        first *= induced_inf(net.W[L - step])
    middle = 0.0
    for k in range(1, L - 2):  # k = 1 .. L-3
        product = 1.0
        for m in range(k + 2, L):  # m = k+2 .. L-1
            product *= induced_inf(net.W[m])
        middle += product * net.eps[k + 1] * l1(h[k])
    last_hidden = net.eps[L - 1] * l1(h[L - 2])
    return c(net, i, j) * (first + middle + last_hidden) + 2 * net.eps[L] * l1(h[L - 1])


def printed(net: Net, x: Array, i: int, j: int) -> float:
    """The right-hand side of (1)."""
    return margin(net, x, i, j) + tau(net, i, j) + zeta(net, x, i, j)


# --- the sound bounds -----------------------------------------------------------------------------------------------


def input_box(net: Net, x: Array, box: tuple[float, float] | None) -> tuple[Array, Array]:
    """The interval [a, b] of every input coordinate: the ball around x, cut to the box where there is one."""
    a, b = x - net.eps_x, x + net.eps_x
    return (a, b) if box is None else (np.maximum(a, box[0]), np.minimum(b, box[1]))


def first_layer(net: Net, a: Array, b: Array, *, exact: bool) -> tuple[Array, Array]:
    """Pre-activation bounds of layer 1 over t_j in [a_j, b_j] and the weight box, coordinate by coordinate.

    W' t is convex in t where W' is chosen for t, so its extremes over an interval sit at the ends. Where an interval
    straddles zero, `exact=False` lets t choose one end and W' the other: W m +- (|W| r + eps max|t|).
    """
    W, eps = net.W[1], net.eps[1]
    low, high = np.array(net.b[1]) - net.beta[1], np.array(net.b[1]) + net.beta[1]
    for col in range(len(a)):
        at_a, at_b, eps_a, eps_b = W[:, col] * a[col], W[:, col] * b[col], eps * abs(a[col]), eps * abs(b[col])
        if a[col] < 0 <= b[col] and not exact:
            eps_a = eps_b = max(eps_a, eps_b)
        high += np.maximum(at_a + eps_a, at_b + eps_b)
        low += np.minimum(at_a - eps_a, at_b - eps_b)
    return low, high


def next_layer(W: Array, b: Array, eps: float, beta: float, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Pre-activation bounds of a later layer, whose inputs lie in [lower, upper] and are not negative."""
    high = positive(W + eps) @ upper - negative(W + eps) @ lower + b + beta
    low = positive(W - eps) @ lower - negative(W - eps) @ upper + b - beta
    return low, high


def pre_activation_boxes(net: Net, a: Array, b: Array, *, exact: bool = False) -> list[tuple[Array, Array]]:
    """Bounds [p, q] of the pre-activations of layers 1..L-1 for inputs in [a, b]; index 0 is [a, b] itself."""
    boxes = [(a, b), first_layer(net, a, b, exact=exact)]
    for m in range(2, net.L):
        p, q = boxes[m - 1]
        boxes.append(next_layer(net.W[m], net.b[m], net.eps[m], net.beta[m], relu(p), relu(q)))
    return boxes


def zeta_repaired(net: Net, x: Array, i: int, j: int) -> float:
    """R1 without tau: the l_1 norms in (T) are taken at u^k, boxes of the weight ball at the clean x."""
    L = net.L
    boxes = pre_activation_boxes(net, x, x)
    norms = [l1(x)] + [l1(relu(boxes[k][1])) for k in range(1, L)]
    drift = 0.0
    for k in range(0, L - 1):  # k = 0 .. L-2
        product = 1.0
        for m in range(k + 2, L):
            product *= induced_inf(net.W[m])
        drift += (net.eps[k + 1] * norms[k] + net.beta[k + 1]) * product
    return c(net, i, j) * drift + 2 * net.eps[L] * norms[L - 1] + 2 * net.beta[L]


def repaired(net: Net, x: Array, i: int, j: int) -> float:
    """R1."""
    return margin(net, x, i, j) + tau(net, i, j) + zeta_repaired(net, x, i, j)


def norms(net: Net, x: Array, i: int, j: int) -> float:
    """R2."""
    L, z, delta = net.L, activations(net, x), net.eps_x
    for k in range(1, L):
        d_k = net.W[k].shape[1]
        delta = (induced_inf(net.W[k]) + d_k * net.eps[k]) * delta + net.eps[k] * l1(z[k - 1]) + net.beta[k]
    width = net.W[L].shape[1]
    drift = c(net, i, j) * delta + 2 * net.eps[L] * (l1(z[L - 1]) + width * delta) + 2 * net.beta[L]
    return margin(net, x, i, j) + drift


def telescoped(net: Net, x: Array, i: int, j: int, box: tuple[float, float] | None = None) -> float:
    """R3: U_0 is the largest l_1 norm in the input box, ||x||_1 + d eps_x where nothing cuts it."""
    L, (a, b) = net.L, input_box(net, x, box)
    boxes = pre_activation_boxes(net, a, b)
    U = [sum(max(abs(s), abs(t)) for s, t in zip(a, b, strict=True))]
    U += [l1(relu(boxes[k][1])) for k in range(1, L)]
    Delta = net.eps_x
    for k in range(1, L):
        Delta = induced_inf(net.W[k]) * Delta + net.eps[k] * U[k - 1] + net.beta[k]
    return margin(net, x, i, j) + c(net, i, j) * Delta + 2 * net.eps[L] * U[L - 1] + 2 * net.beta[L]


def interval(
    net: Net, x: Array, i: int, j: int, box: tuple[float, float] | None = None, *, exact: bool = False
) -> float:
    """R4, the last layer elided."""
    if i == j:
        return 0.0
    L = net.L
    p, q = pre_activation_boxes(net, *input_box(net, x, box), exact=exact)[L - 1]
    v = net.W[L][i] - net.W[L][j] + 2 * net.eps[L]
    constant = net.b[L][i] - net.b[L][j] + 2 * net.beta[L]
    return float(positive(v) @ relu(q) - negative(v) @ relu(p) + constant)


def linear(net: Net, x: Array, i: int, j: int, box: tuple[float, float] | None = None) -> float:
    """R5 over the boxes of R4, and never above R4."""
    if i == j:
        return 0.0
    a_x, b_x = input_box(net, x, box)
    return min(_margin_back(net, pre_activation_boxes(net, a_x, b_x), a_x, b_x, i, j), interval(net, x, i, j, box))


def tight(net: Net, x: Array, i: int, j: int, box: tuple[float, float] | None = None) -> float:
    """R5 over boxes that are bounded by R5 as well, neuron by neuron; over them the elided bound, or the linear one,
    where that is lower."""
    if i == j:
        return 0.0
    L, (a_x, b_x) = net.L, input_box(net, x, box)
    boxes = tight_boxes(net, a_x, b_x)
    if L == 1:
        return _margin_back(net, boxes, a_x, b_x, i, j)
    v = net.W[L][i] - net.W[L][j] + 2 * net.eps[L]
    constant = net.b[L][i] - net.b[L][j] + 2 * net.beta[L]
    elided = positive(v) @ relu(boxes[L - 1][1]) - negative(v) @ relu(boxes[L - 1][0]) + constant
    return min(_margin_back(net, boxes, a_x, b_x, i, j), float(elided), linear(net, x, i, j, box))


def tight_boxes(net: Net, a_x: Array, b_x: Array) -> list[tuple[Array, Array]]:
    """[p, q] of every hidden layer: the first by intervals, the others by the better of intervals and R5."""
    boxes = [(a_x, b_x)]
    for m in range(1, net.L):
        if m == 1:
            boxes.append(pre_activation_boxes(net, a_x, b_x)[1])
            continue
        p, q = next_layer(net.W[m], net.b[m], net.eps[m], net.beta[m], *map(relu, boxes[m - 1]))
        for unit in range(len(p)):
            w, b = net.W[m][unit], net.b[m][unit]
            q[unit] = min(q[unit], _back(net, boxes, m, w + net.eps[m], b + net.beta[m], a_x, b_x))
            p[unit] = max(p[unit], -_back(net, boxes, m, -w + net.eps[m], -b + net.beta[m], a_x, b_x))
        boxes.append((p, q))
    return boxes


def _margin_back(net: Net, boxes: list[tuple[Array, Array]], a_x: Array, b_x: Array, i: int, j: int) -> float:
    """R5 of f_i - f_j over these boxes."""
    L = net.L
    C = float(net.b[L][i] - net.b[L][j] + 2 * net.beta[L])
    rows = net.W[L][i] - net.W[L][j]
    if L == 1:
        return C + sum(
            max(g * t + 2 * net.eps[1] * abs(t) for t in ends) for g, *ends in zip(rows, a_x, b_x, strict=True)
        )
    return _back(net, boxes, L, rows + 2 * net.eps[L], C, a_x, b_x)


def _back(net: Net, boxes: list[tuple[Array, Array]], m: int, a: Array, C: float, a_x: Array, b_x: Array) -> float:
    """R5: the largest a . z^{m-1} + C, taken back to the input."""
    for k in range(m - 1, 0, -1):
        p, q = boxes[k]
        lam = np.zeros(len(a))
        for unit in range(len(a)):
            up, low, intercept = _relaxation(p[unit], q[unit])
            lam[unit] = max(a[unit], 0) * up - max(-a[unit], 0) * low
            C += max(a[unit], 0) * intercept
        C += lam @ net.b[k] + net.beta[k] * l1(lam)
        if k > 1:
            a = net.W[k].T @ lam + net.eps[k] * l1(lam)
    g = net.W[1].T @ lam
    for col in range(len(g)):
        C += max(g[col] * t + net.eps[1] * l1(lam) * abs(t) for t in (a_x[col], b_x[col]))
    return float(C)


def _relaxation(p: float, q: float) -> tuple[float, float, float]:
    """Upper slope, lower slope and upper intercept of the ReLU over [p, q]."""
    if p >= 0:
        return 1.0, 1.0, 0.0
    if q <= 0:
        return 0.0, 0.0, 0.0
    return q / (q - p), 1.0 if q > -p else 0.0, -p * q / (q - p)


BOUNDS = {
    "printed": printed,
    "repaired": repaired,
    "norms": norms,
    "telescoped": telescoped,
    "interval": interval,
    "linear": linear,
    "tight": tight,
}


def all_pairs(method: str, net: Net, x: Array, box: tuple[float, float] | None = None) -> Array:
    """One method's bound for one sample and every pair [K, K]; 0 on the diagonal."""
    K = len(net.W[net.L])
    boxed = {"box": box} if method in ("telescoped", "interval", "linear", "tight") else {}
    bound = BOUNDS[method]
    return np.array([[0.0 if i == j else bound(net, x, i, j, **boxed) for j in range(K)] for i in range(K)])


def draw(sizes: tuple[int, ...], generator: np.random.Generator, *, biases: bool) -> list[Array]:
    """Normal weights in the flat layout, matrices scaled by the root of their fan-in."""
    tensors = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        tensors.append(generator.normal(size=(n_out, n_in)) / n_in**0.5)
        if biases:
            tensors.append(generator.normal(size=n_out) / 2)
    return tensors


# --- brute force ----------------------------------------------------------------------------------------------------


def batched_logits(tensors: list[Array], x: Array) -> Array:
    """Logits [N, K] of N nets at N inputs: tensors [N, ...] in the flat layout, x [N, d]."""
    z, first = x, True
    for t in tensors:
        if t.ndim == 3:
            z = np.einsum("noi,ni->no", t, z if first else relu(z))
            first = False
        else:
            z = z + t
    return z


def ball_points(
    tensors: list[Array], radii: list[float], x: Array, a: Array, b: Array, fractions: Array
) -> tuple[list[Array], Array]:
    """Maps rows of `fractions` in [0, 1]^(parameters + d) onto the joint ball; 0 and 1 are its corners."""
    points, start = [], 0
    for t, radius in zip(tensors, radii, strict=True):
        f = fractions[:, start : start + t.size].reshape(-1, *t.shape)
        points.append(t + radius * (2 * f - 1))
        start += t.size
    return points, a + (b - a) * fractions[:, start : start + x.size]


def worst_margins(
    tensors: list[Array], radii: list[float], x: Array, a: Array, b: Array, generator: np.random.Generator
) -> Array:
    """Largest f^{ij} [K, K] found over ALL corners of the joint ball (at most 2^16), random points, and an ascent."""
    size = sum(t.size for t in tensors) + x.size
    if size > 16:
        raise ValueError(f"{size} coordinates have 2^{size} corners: too many to enumerate")
    all_corners = ((np.arange(2**size)[:, None] >> np.arange(size)) & 1).astype(np.float64)
    tried = [all_corners, generator.random((2000, size))]
    best = _best(tensors, radii, x, a, b, np.concatenate(tried))
    K = best.shape[0]
    for i in range(K):
        for j in range(K):
            if i != j:
                best[i, j] = max(best[i, j], _ascend(tensors, radii, x, a, b, (i, j), generator))
    return best


def _margins(tensors: list[Array], radii: list[float], x: Array, a: Array, b: Array, fractions: Array) -> Array:
    W_hat, x_hat = ball_points(tensors, radii, x, a, b, fractions)
    logits = batched_logits(W_hat, x_hat)
    return logits[:, :, None] - logits[:, None, :]


def _best(tensors: list[Array], radii: list[float], x: Array, a: Array, b: Array, fractions: Array) -> Array:
    chunks = np.array_split(fractions, max(1, len(fractions) // 8192))
    return np.max([_margins(tensors, radii, x, a, b, chunk).max(0) for chunk in chunks], 0)


def _ascend(
    tensors: list[Array],
    radii: list[float],
    x: Array,
    a: Array,
    b: Array,
    pair: tuple[int, int],
    generator: np.random.Generator,
) -> float:
    """Coordinate ascent from random corners and the centre: each coordinate tries a grid of its interval in turn."""
    size = sum(t.size for t in tensors) + x.size
    starts = np.vstack([np.full((1, size), 0.5), generator.integers(0, 2, (2, size)).astype(np.float64)])
    best = -np.inf
    for point in starts:
        for coordinate in [*range(size), *range(size)]:
            trials = np.repeat(point[None], 6, 0)
            trials[1:, coordinate] = np.linspace(0, 1, 5)
            values = _margins(tensors, radii, x, a, b, trials)[:, pair[0], pair[1]]
            point, best = trials[values.argmax()], max(best, float(values.max()))
    return best
