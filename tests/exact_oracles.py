"""The exact worst margin of one input over the joint ball, twice: by every activation pattern, and by a general solver.

Where it is known which neurons are on and which sign each input has, all is linear: the layer after z can reach exactly
(W - eps) z + b - beta <= s <= (W + eps) z + b + beta (with W -+ eps sign(x) in the first), and |x| = sign(x) x. So the
truth is the best of as many linear programs as there are patterns. Nothing here imports `nsr`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import milp
import numpy as np
from oracles import Array, Net, batched_logits, draw, first_layer, input_box, margin, next_layer, relu
from scipy.optimize import brentq, linprog

Box = tuple[float, float] | None
Pattern = tuple[Array, ...]  # True for every neuron that is on, layer by layer


class Tiny(NamedTuple):
    """A tiny network in the flat layout, the radii of its tensors and of its inputs, and some inputs with labels."""

    tensors: list[Array]
    radii: list[float]
    eps_x: float
    box: Box
    x: Array
    y: Array

    @property
    def net(self) -> Net:
        """As the references take it."""
        return Net.of(self.tensors, self.radii, self.eps_x)


class Worst(NamedTuple):
    """max over i != y of f_i - f_y, and the admissible input and weights where it is reached."""

    margin: float
    x_hat: Array
    W_hat: Net


def margin_by_patterns(net: Net, x: Array, y: int, box: Box = None) -> Worst:
    """The truth: one linear program a class, an activation pattern and a choice of signs of the inputs."""
    best = None
    for sign, a, b in _orthants(net, *input_box(net, x, box)):
        for pattern in patterns(net, a, b):
            for i in (i for i in range(len(net.W[net.L])) if i != y):
                found = _linear_program(net, sign, a, b, pattern, i, y)
                if found is None:
                    break  # no point has this pattern, whatever the class
                if best is None or found[0] > best[0]:
                    best = *found, i
    largest, z, i = best
    return Worst(largest, z[0], weights_through(net, z, i, y))


def margin_by_milp(net: Net, x: Array, y: int, box: Box = None, seconds: float = np.inf) -> Worst:
    """The truth within the solver's tolerances, about 1e-6: big-M with interval boxes."""
    layers = layers_of(net)
    answer = milp.textbook(layers, *input_box(net, x, box), y, seconds)
    if not answer.finished:
        raise TimeoutError(f"no optimum within {seconds} s")
    return Worst(answer.margin, answer.x_hat, weights_through(net, [answer.x_hat, *answer.z], answer.i, y))


def worst_margin_at(worst: Worst, y: int) -> float:
    """max over i != y of f_i - f_y at the point itself, by a plain forward pass."""
    net = worst.W_hat
    return max(margin(net, worst.x_hat, i, y) for i in range(len(net.W[net.L])) if i != y)


def scaled(net: Net, factor: float) -> Net:
    """The same network with all its radii multiplied."""
    eps, beta = ([factor * e for e in radii] for radii in (net.eps, net.beta))
    return replace(net, eps=eps, beta=beta, eps_x=factor * net.eps_x)


def critical_factor(net: Net, x: Array, y: int, box: Box = None) -> float | None:
    """The factor of all radii at which the worst margin is 0; None where no factor up to 64 takes it there."""

    def worst(factor: float) -> float:
        return margin_by_patterns(scaled(net, factor), x, y, box).margin

    if worst(0.0) >= 0:
        return None
    factor = 1.0
    while worst(factor) <= 0:
        factor *= 2
        if factor > 64:
            return None
    return brentq(worst, 0.0, factor, xtol=1e-13, rtol=1e-14)


def draw_tiny(generator: np.random.Generator, batch: int = 3) -> Tiny:
    """1 to 4 layers with up to 6 hidden neurons in all; about half of the inputs are robust, and a few labels wrong.

    With and without biases, radii of 0 among the others, inputs of any sign or in a box, often at its ends. A network
    that is dead at an input is drawn again: without biases it has no class there.
    """
    L = int(generator.choice([1, 2, 3, 4], p=[0.1, 0.35, 0.35, 0.2]))
    hidden = [1] * (L - 1)
    for _ in range(generator.integers(8 - L) if L > 1 else 0):
        hidden[generator.integers(L - 1)] += 1
    sizes = (int(generator.integers(1, 5)), *hidden, int(generator.integers(2, 5)))
    box = [None, (0.0, 1.0), (-1.0, 1.0)][generator.integers(3)]
    biases, alive = bool(generator.integers(3)), False
    while not alive:
        tensors = draw(sizes, generator, biases=biases)
        x = generator.uniform(-1.5, 1.5, size=(batch, sizes[0]))
        x = x if box is None else x.clip(*box)
        logits = _logits(tensors, x)
        alive = bool((np.ptp(logits, axis=1) > 0).all())
    scale = 10 ** generator.uniform(-1.6, 0.1)
    eps_x, *radii = scale * generator.uniform(0, 1, 1 + len(tensors)) * (generator.random(1 + len(tensors)) < 0.85)
    y = np.where(generator.random(batch) < 0.95, logits.argmax(1), generator.integers(0, sizes[-1], batch))
    return Tiny(tensors, [float(e) for e in radii], float(eps_x), box, x, y)


def draw_medium(generator: np.random.Generator, batch: int = 1) -> Tiny:
    """8 to 12 hidden neurons in one to three layers: too many patterns for hundreds of such, not for the solver."""
    sizes = [(3, 8, 3), (4, 10, 2), (4, 6, 4, 3), (5, 4, 4, 4, 3)][generator.integers(4)]
    tensors = draw(sizes, generator, biases=bool(generator.integers(2)))
    box = [None, (0.0, 1.0)][generator.integers(2)]
    x = generator.uniform(*(box or (-1.0, 1.0)), size=(batch, sizes[0]))
    eps_x, *radii = 10 ** generator.uniform(-2, -0.5) * generator.uniform(0.2, 1, 1 + len(tensors))
    y = _logits(tensors, x).argmax(1)
    return Tiny(tensors, [float(e) for e in radii], float(eps_x), box, x, y)


def _logits(tensors: list[Array], x: Array) -> Array:
    """Of one network at some inputs [B, K]."""
    return batched_logits([np.broadcast_to(t, (len(x), *t.shape)) for t in tensors], x)


def layers_of(net: Net) -> list[milp.Layer]:
    """The network as the solver's formulation takes it."""
    return [milp.Layer(*layer) for layer in zip(net.W[1:], net.b[1:], net.eps[1:], net.beta[1:], strict=True)]


def weights_through(net: Net, z: list[Array], i: int, y: int) -> Net:
    """Admissible weights that send z^0 through z^1 .. z^{L-1} and raise f_i - f_y most.

    Row by row v = w + t sign(z') and c = b + u, with t and u the same share of eps and beta. A neuron that is off takes
    its lowest pre-activation.
    """
    W, b = list(net.W), list(net.b)
    for m in range(1, net.L + 1):
        z_in = z[m - 1]
        share = np.zeros(len(W[m]))
        if m == net.L:
            share[i], share[y] = 1.0, -1.0
        else:
            reach = net.eps[m] * np.abs(z_in).sum() + net.beta[m]
            wanted = np.where(z[m] > 0, z[m] - W[m] @ z_in - b[m], -reach)
            share = np.clip(wanted / reach, -1, 1) if reach > 0 else share
        W[m] = W[m] + np.outer(net.eps[m] * share, np.sign(z_in))
        b[m] = b[m] + net.beta[m] * share
    return replace(net, W=W, b=b)


def _orthants(net: Net, a: Array, b: Array) -> Iterator[tuple[Array, Array, Array]]:
    """The interval [a, b] in parts of one sign each; whole where no weight of the first layer may move."""
    both = [(1.0, -1.0) if net.eps[1] > 0 and low < 0 < high else (1.0,) for low, high in zip(a, b, strict=True)]
    for choice in itertools.product(*both):
        chosen = np.array(choice)
        cut = np.array([len(options) == 2 for options in both])
        low, high = np.where(cut & (chosen > 0), 0.0, a), np.where(cut & (chosen < 0), 0.0, b)
        yield np.where(high <= 0, -1.0, chosen), low, high


def patterns(net: Net, a: Array, b: Array) -> Iterator[Pattern]:
    """Every pattern that interval arithmetic, one layer after the other, does not rule out."""

    def beyond(m: int, lower: Array, upper: Array) -> Iterator[Pattern]:
        if m == net.L:
            yield ()
            return
        if m == 1:
            p, q = first_layer(net, lower, upper, exact=True)
        else:
            p, q = next_layer(net.W[m], net.b[m], net.eps[m], net.beta[m], lower, upper)
        choices = [
            [on for on in (True, False) if (high >= 0 if on else low <= 0)] for low, high in zip(p, q, strict=True)
        ]
        for choice in itertools.product(*choices):
            on = np.array(choice)
            for rest in beyond(m + 1, np.where(on, relu(p), 0.0), np.where(on, relu(q), 0.0)):
                yield (on, *rest)

    return beyond(1, a, b)


def _linear_program(
    net: Net, sign: Array, a: Array, b: Array, pattern: Pattern, i: int, y: int
) -> tuple[float, list[Array]] | None:
    """The largest f_i - f_y among points of this pattern, and z^0 .. z^{L-1} there; None where there are no points."""
    ends = np.cumsum([0, len(a), *(len(on) for on in pattern)])
    at = [slice(s, t) for s, t in itertools.pairwise(ends)]  # columns: z^0 = x, z^1, .., z^{L-1}
    size = int(ends[-1])
    rows, most = [np.zeros((0, size))], [np.zeros(0)]
    bounds = [*zip(a, b, strict=True)]
    for m, on in enumerate(pattern, 1):
        away = net.eps[m] * (sign if m == 1 else 1.0)
        # (W - eps) z' + b - beta <= z, for a neuron that is off with z = 0: some admissible s is not positive
        lowest = np.zeros((len(on), size))
        lowest[:, at[m - 1]], lowest[:, at[m]] = net.W[m] - away, -np.eye(len(on))
        # z <= (W + eps) z' + b + beta, for those that are on
        highest = np.zeros((len(on), size))
        highest[:, at[m - 1]], highest[:, at[m]] = -(net.W[m] + away), np.eye(len(on))
        rows += [lowest, highest[on]]
        most += [net.beta[m] - net.b[m], (net.beta[m] + net.b[m])[on]]
        bounds += [(0.0, None if is_on else 0.0) for is_on in on]
    L = net.L
    gain = np.zeros(size)
    gain[at[-1]] = net.W[L][i] - net.W[L][y] + 2 * net.eps[L] * (sign if L == 1 else 1.0)
    found = linprog(-gain, np.concatenate(rows), np.concatenate(most), bounds=bounds, method="highs")
    if found.status == 2:
        return None
    if found.status != 0:
        raise RuntimeError(f"the solver gave up: {found.message}")
    constant = net.b[L][i] - net.b[L][y] + 2 * net.beta[L]
    return float(gain @ found.x + constant), [found.x[part] for part in at]
