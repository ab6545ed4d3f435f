"""Theorem 1 letter by letter in exact rational arithmetic, and the small examples that decide about it.

Slow and literal on purpose: `nsr.theory` is tested against this. Arrays are numpy object arrays of fractions, so every
comparison made here is one between rational numbers. W and eps are numbered from 1 as in the paper: W[m] is W^m.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nsr.budget import Budget
from nsr.network import Weights

Rational = int | float | str | Fraction
Array = np.ndarray  # of dtype object, its entries Fractions


def rational(values: Sequence | Array | Tensor | Rational) -> Array:
    """The same numbers as an array of Fractions; floats are taken at their exact value, strings may say "1/4"."""
    values = values.tolist() if isinstance(values, Tensor) else values
    return np.vectorize(Fraction, otypes=[object])(np.array(values, dtype=object))


def relu(t: Array) -> Array:
    """rho(t) = max(t, 0)."""
    return np.maximum(t, Fraction(0))


def shifted_relu(t: Array) -> Array:
    """rho(t) = max(t + 1, 0): non-negative, monotone, 1-Lipschitz; a ReLU whose units all have the bias 1."""
    return np.maximum(t + 1, Fraction(0))


@dataclass(frozen=True, eq=False)
class Instance:
    """One instance of Theorem 1: net, input, radii, a pair (i, j) of classes and a point (x_hat, W_hat) of the ball.

    `i` and `j` count from 0, so the paper's pair (1, 2) is the default.
    """

    W: tuple[Array, ...]
    x: Array
    eps_x: Fraction
    eps: tuple[Fraction, ...]
    W_hat: tuple[Array, ...]
    x_hat: Array
    i: int = 0
    j: int = 1
    rho: Callable[[Array], Array] = relu

    def __post_init__(self) -> None:
        moved = zip((self.x_hat, *self.W_hat), (self.x, *self.W), (self.eps_x, *self.eps), strict=True)
        if any((abs(there - here) > radius).any() for there, here, radius in moved):
            raise ValueError("the point (x_hat, W_hat) lies outside the ball, so it says nothing about the theorem")


def instance(
    W: Sequence,
    x: Sequence,
    eps_x: Rational,
    eps: Sequence[Rational],
    W_hat: Sequence | None = None,
    x_hat: Sequence | None = None,
    rho: Callable[[Array], Array] = relu,
) -> Instance:
    """An Instance from nested lists; without a point of the ball, its centre (x, W) is taken."""
    return Instance(
        W=tuple(rational(W_m) for W_m in W),
        x=rational(x),
        eps_x=Fraction(eps_x),
        eps=tuple(Fraction(e) for e in eps),
        W_hat=tuple(rational(V) for V in (W if W_hat is None else W_hat)),
        x_hat=rational(x if x_hat is None else x_hat),
        rho=rho,
    )


def f(W: Sequence[Array], x: Array, rho: Callable[[Array], Array] = relu) -> Array:
    """f_W(x) = W^L rho(W^{L-1} .. rho(W^1 x)) [K]."""
    *hidden, W_L = W
    z = x
    for W_m in hidden:
        z = rho(W_m @ z)
    return W_L @ z


def clean(case: Instance) -> Fraction:
    """f_W^{ij}(x)."""
    logits = f(case.W, case.x, case.rho)
    return logits[case.i] - logits[case.j]


def attained(case: Instance) -> Fraction:
    """f_{W_hat}^{ij}(x_hat), the left-hand side of (1) at the instance's own point of the ball."""
    logits = f(case.W_hat, case.x_hat, case.rho)
    return logits[case.i] - logits[case.j]


def tau(case: Instance) -> Fraction:
    """tau_W^{ij}(xi), eq. (2)."""
    W, eps, L = _numbered(case.W), _numbered(case.eps), len(case.W)
    d = {m: W_m.shape[1] for m, W_m in W.items()}
    gains = (linf(W[m]) + d[m] * eps[m] for m in range(1, L))
    return case.eps_x * (l1(W[L][case.i] - W[L][case.j]) + 2 * d[L] * eps[L]) * prod(gains)


def h_star(case: Instance) -> dict[int, Array]:
    """h^{k*} for k = 0 .. L-1 of eq. (3), each from explicitly perturbed matrices W^{m*}; h^{0*} = x."""
    W, eps = _numbered(case.W), _numbered(case.eps)
    W_star = {m: W[m] + eps[m] for m in W}
    W_star[1] = W[1] + np.sign(case.x)[None, :] * eps[1]
    h = {0: case.x}
    for k in range(1, len(W)):
        h[k] = case.rho(W_star[k] @ h[k - 1])
    return h


def zeta(case: Instance) -> Fraction:
    """zeta_W^{ij}(x, xi), eq. (3) as printed."""
    W, eps, L = _numbered(case.W), _numbered(case.eps), len(case.W)
    h = h_star(case)
    braces = eps[1] * l1(case.x) * prod(linf(W[L - l]) for l in range(1, L - 1))
    for k in range(1, L - 2):
        braces += prod(linf(W[m]) for m in range(k + 2, L)) * eps[k + 1] * l1(h[k])
    braces += eps[L - 1] * l1(h[L - 2])
    return l1(W[L][case.i] - W[L][case.j]) * braces + 2 * eps[L] * l1(h[L - 1])


def activation_box(case: Instance) -> tuple[dict[int, Array], dict[int, Array]]:
    """l^k and u^k of the repaired theorem, k = 0 .. L-1: where the activations of all admissible W' at x lie."""
    W, eps = _numbered(case.W), _numbered(case.eps)
    reach = eps[1] * l1(case.x)
    l = {0: case.x, 1: case.rho(W[1] @ case.x - reach)}
    u = {0: case.x, 1: case.rho(W[1] @ case.x + reach)}
    for k in range(2, len(W)):
        above, below = W[k] + eps[k], W[k] - eps[k]
        u[k] = case.rho(positive(above) @ u[k - 1] - negative(above) @ l[k - 1])
        l[k] = case.rho(positive(below) @ l[k - 1] - negative(below) @ u[k - 1])
    return l, u


def zeta_repaired(case: Instance) -> Fraction:
    """The repaired zeta (R1): one sum for every L >= 2, ||u^k||_1 in the place of ||h^{k*}||_1."""
    W, eps, L = _numbered(case.W), _numbered(case.eps), len(case.W)
    _, u = activation_box(case)
    drift = sum(eps[k + 1] * l1(u[k]) * prod(linf(W[m]) for m in range(k + 2, L)) for k in range(L - 1))
    return l1(W[L][case.i] - W[L][case.j]) * drift + 2 * eps[L] * l1(u[L - 1])


def printed(case: Instance) -> Fraction:
    """The right-hand side of (1): f + tau + zeta."""
    return clean(case) + tau(case) + zeta(case)


def repaired(case: Instance) -> Fraction:
    """The right-hand side of (1) with the repaired zeta."""
    return clean(case) + tau(case) + zeta_repaired(case)


def corner_maximum(case: Instance) -> Fraction:
    """The largest margin f^{ij} at any corner of the joint ball, by enumeration; for tiny nets.

    All corners of a layer meet every activation that the corners before can give, each distinct one once.
    """
    *hidden, W_L = case.W
    *radii, eps_L = case.eps
    reached = {tuple(z) for z in corners(case.x, case.eps_x)}
    for W_m, e in zip(hidden, radii, strict=True):
        box = list(corners(W_m, e))
        reached = {tuple(case.rho(V @ np.array(z))) for z in reached for V in box}
    rows = list(corners(W_L[[case.i, case.j]], eps_L))
    return max((top - bottom) @ np.array(z) for z in reached for top, bottom in rows)


def excess(case: Instance) -> tuple[Fraction, Fraction]:
    """How far the largest margin at a corner exceeds (1) as printed, and (1) repaired; negative where it does not."""
    found = corner_maximum(case)
    return found - printed(case), found - repaired(case)


def count_violations(
    sizes: Sequence[int], eps: Rational, n: int, generator: torch.Generator, *, eps_x: Rational = 0
) -> tuple[int, int]:
    """Of n random nets, how many have a corner whose margin exceeds (1) as printed, and (1) repaired."""
    found = [excess(random_instance(sizes, eps, generator, eps_x=eps_x)) for _ in range(n)]
    return sum(over > 0 for over, _ in found), sum(over > 0 for _, over in found)


def corners(centre: Array, radius: Fraction) -> Iterator[Array]:
    """Every corner of the box of this radius around an array; the array itself where the radius is 0."""
    patterns = itertools.product((-1, 1), repeat=centre.size) if radius else [(0,) * centre.size]
    for signs in patterns:
        yield centre + radius * np.array(signs, dtype=object).reshape(centre.shape)


def in_float64(case: Instance) -> tuple[Weights, Tensor, Budget]:
    """The instance as (W, x [1, d], xi) for the rest of the package, rounded to float64."""
    W = tuple(torch.from_numpy(W_m.astype(np.float64)) for W_m in case.W)
    x = torch.from_numpy(case.x.astype(np.float64))[None]
    return W, x, Budget(float(case.eps_x), tuple(map(float, case.eps)))


def random_instance(
    sizes: Sequence[int], eps: Rational, generator: torch.Generator, *, eps_x: Rational = 0, grain: int = 64
) -> Instance:
    """A net of these widths and an input, entries N(0, 1) rounded to multiples of 1/grain; one radius everywhere."""

    def draw(*shape: int) -> Array:
        whole = (torch.randn(*shape, generator=generator, dtype=torch.float64) * grain).round().long()
        return rational(whole) / grain

    W = [draw(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
    return instance(W, draw(sizes[0]), eps_x, [eps] * len(W))


def as_text(a: Array) -> str:
    """An array in one line, rows parted by semicolons: (1, -1; 1/4, 0)."""
    return "(" + "; ".join(", ".join(map(str, row)) for row in np.atleast_2d(a)) + ")"


def as_matrix(a: Array) -> str:
    r"""An array as LaTeX, one with a single index as a column.

    >>> as_matrix(rational([[1, -1], ["1/4", 0]]))
    '\\begin{bmatrix} 1 & -1 \\\\ \\tfrac{1}{4} & 0 \\end{bmatrix}'
    """
    rows = " \\\\ ".join(" & ".join(map(_tex, row)) for row in (a if a.ndim == 2 else a[:, None]))
    return rf"\begin{{bmatrix}} {rows} \end{{bmatrix}}"


def weights_as_matrices(case: Instance) -> str:
    """LaTeX: a line a layer with its matrix, the radius of its entries, and its matrix at the instance's point."""
    lines = [
        rf"W^{m} &= {as_matrix(W_m)}, & \epsilon_{m} &= {_tex(e)}, & \hat W^{m} &= {as_matrix(V)}"
        for m, (W_m, e, V) in enumerate(zip(case.W, case.eps, case.W_hat, strict=True), start=1)
    ]
    return _aligned(lines)


def activations_as_matrices(case: Instance) -> str:
    """LaTeX: a line a hidden layer with z^k at (x, W), h^{k*}, and z'^k at the instance's weights and clean input."""
    columns = enumerate(zip(_hidden(case, case.W), h_star(case).values(), _hidden(case, case.W_hat), strict=True))
    lines = [
        rf"z^{k} &= {as_matrix(z)}, & h^{{{k}*}} &= {as_matrix(h)}, & z'^{k} &= {as_matrix(z_w)}"
        for k, (z, h, z_w) in columns
        if k > 0
    ]
    return _aligned(lines)


def verdicts(named: Mapping[str, Instance]) -> pd.DataFrame:
    """The clean margin, the largest margin at the instance's point and both bounds, in logits, as fractions."""
    parts = {"clean margin": clean, "printed bound": printed, "margin reached": attained, "repaired bound": repaired}
    rows = {name: {part: str(value(case)) for part, value in parts.items()} for name, case in named.items()}
    return pd.DataFrame(rows).T.rename_axis(columns="logits")


class Box(NamedTuple):
    """Where the two units of layer 1 can be, and the largest ||z'^2||_1 that layer 2 makes of it."""

    low: tuple[float, float]
    high: tuple[float, float]
    places: dict[str, tuple[float, float, float]]  # name -> the two units, and that largest mass
    mass: list[list[float]]  # on a grid of the box, [second unit, first unit]


def first_layer(case: Instance, steps: int = 16) -> Box:
    """The box of layer 1 of an instance whose layer 1 has two units, with its clean place, h^{1*} and z'^1."""
    l, u = activation_box(case)
    if len(u[1]) != 2:
        raise ValueError(f"the box can be drawn for two units, layer 1 has {len(u[1])}")
    upper = case.W[1] + case.eps[1]  # the best W'^2, as no activation is negative
    (low_1, low_2), (high_1, high_2) = l[1], u[1]
    shares = [Fraction(k, steps) for k in range(steps + 1)]
    across, up = ([low + s * (high - low) for s in shares] for low, high in ((low_1, high_1), (low_2, high_2)))
    found = {"clean": _hidden(case, case.W)[1], "star": h_star(case)[1], "worst": _hidden(case, case.W_hat)[1]}
    return Box(
        low=(float(low_1), float(low_2)),
        high=(float(high_1), float(high_2)),
        places={name: (*map(float, z), float(l1(case.rho(upper @ z)))) for name, z in found.items()},
        mass=[[float(l1(case.rho(upper @ np.array([a, b])))) for a in across] for b in up],
    )


def l1(v: Array) -> Fraction:
    """||v||_1."""
    return abs(v).sum()


def linf(W_m: Array) -> Fraction:
    """||W^m||_inf, the largest l_1 norm of a row."""
    return abs(W_m).sum(axis=1).max()


def positive(a: Array) -> Array:
    """a^+ = max(a, 0), entry by entry."""
    return np.maximum(a, Fraction(0))


def negative(a: Array) -> Array:
    """a^- = max(-a, 0), entry by entry."""
    return np.maximum(-a, Fraction(0))


def family(A: Rational, B: Rational, c: Rational, e: Rational) -> Instance:
    """L = 3, widths 1-2-1-2, x = 1: W^1 = (A; A), W^2 = (B, -B), W^3 = (c; 0), every radius e, and its worst corner.

    For 0 <= e <= min(A, B) and c >= 0 this corner is the maximum over the whole ball.
    """
    A, B, c, e = (Fraction(value) for value in (A, B, c, e))
    if not (0 <= e <= min(A, B) and c >= 0):
        raise ValueError(f"the family needs 0 <= e <= min(A, B) and c >= 0, got A={A}, B={B}, c={c}, e={e}")
    return instance(
        W=[[[A], [A]], [[B, -B]], [[c], [0]]],
        x=[1],
        eps_x=0,
        eps=[e, e, e],
        W_hat=[[[A + e], [A - e]], [[B + e, -B + e]], [[c + e], [-e]]],
    )


def family_gap(B: Rational, c: Rational, e: Rational) -> Fraction:
    """How far the family's margin exceeds the printed bound: 2 e^2 (2 B - c - 2 e); A drops out."""
    B, c, e = (Fraction(value) for value in (B, c, e))
    return 2 * e**2 * (2 * B - c - 2 * e)


def family_slack(c: Rational, e: Rational) -> Fraction:
    """How far the repaired bound lies above the family's margin: 2 c e^2."""
    return 2 * Fraction(c) * Fraction(e) ** 2


def _hidden(case: Instance, W: Sequence[Array]) -> list[Array]:
    """z^0 .. z^{L-1} at the clean input and these weights."""
    z = [case.x]
    for W_m in W[:-1]:
        z.append(case.rho(W_m @ z[-1]))
    return z


def _tex(number: Fraction) -> str:
    if number.denominator == 1:
        return str(number)
    return rf"{'-' if number < 0 else ''}\tfrac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def _aligned(lines: Sequence[str]) -> str:
    return r"\begin{aligned} " + r" \\[1ex] ".join(lines) + r" \end{aligned}"


def _numbered(values: Sequence) -> dict:
    """The paper's numbering: values[m] is the m-th, from 1."""
    return dict(enumerate(values, start=1))


COUNTEREXAMPLE = family(A=1, B=2, c=1, e=1)

COUNTEREXAMPLE_JOINT = instance(
    W=COUNTEREXAMPLE.W, x=[1], eps_x="1/10", eps=[1, 1, 1], W_hat=COUNTEREXAMPLE.W_hat, x_hat=["11/10"]
)

FALSE_CERTIFICATE = instance(
    W=[[[1], [1]], [[1, -1]] * 5 + [[1, 1]], [[0] * 6, [0] * 5 + [4]]],
    x=[1],
    eps_x=0,
    eps=["1/4", 0, 1],
    W_hat=[[["5/4"], ["3/4"]], [[1, -1]] * 5 + [[1, 1]], [[1] * 6, [-1] * 5 + [3]]],
)

# hidden width 1, where the printed form holds for bias-free ReLU nets; every hidden unit has the bias 1 here
BIASED_WIDTH_ONE = instance(
    W=[[[0]], [[-1]], [[1], [0]]],
    x=[1],
    eps_x=0,
    eps=[1, 0, 1],
    W_hat=[[[-1]], [[-1]], [[2], [-1]]],
    rho=shifted_relu,
)
