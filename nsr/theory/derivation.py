"""The derivation of tau and zeta, both sides of each of its inequalities as numbers.

The margin's change splits exactly:  f_{W_hat}^{ij}(x_hat) - f_W^{ij}(x) = A + B  with
A = f_{W_hat}^{ij}(x_hat) - f_{W_hat}^{ij}(x), the first bracket, and B = f_{W_hat}^{ij}(x) - f_W^{ij}(x), the second.
Each function is one line of the derivation, taken at one admissible point of the joint ball. Absolute values stand
throughout, so the bounds hold for the margin's rise, of which Theorem 1 speaks, and for its fall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from nsr.budget import Budget
from nsr.network import Weights
from nsr.theory import counterexamples, norms
from nsr.theory.boxes import check_input, checked_balls
from nsr.theory.theorem import starred, tau, zeta

LOGITS, ACTIVATIONS, WEIGHTS, PIXELS = "logits", "activations", "weights", "unit of x"  # what the sides count
ROUNDING = 1e-9  # lines that hold with equality are computed in two ways, which differ in the last digits


class Step(NamedTuple):
    """One inequality, left <= right, at one point of the ball: a number on either side for every sample [B]."""

    name: str
    left: Tensor
    right: Tensor
    unit: str = LOGITS

    @property
    def slack(self) -> Tensor:
        """right / left, 1 where nothing is lost, zero on both sides included [B]."""
        return torch.where((self.left == 0) & (self.right == 0), 1.0, self.right / self.left)

    @property
    def holds(self) -> Tensor:
        """Whether left <= right, up to rounding [B]."""
        return self.left <= self.right + ROUNDING * (1 + self.right)


class Activations(NamedTuple):
    """What layer k gives [B, n_k]: z^k at (x, W), z_w = z'^k at (x, W_hat), z_hat = z_hat^k at (x_hat, W_hat)."""

    z: Tensor
    z_w: Tensor
    z_hat: Tensor

    @property
    def moved(self) -> Tensor:
        """z_hat^k - z'^k: what the perturbed input changes under the perturbed weights."""
        return self.z_hat - self.z_w

    @property
    def drift(self) -> Tensor:
        """z'^k - z^k: what the perturbed weights change at the clean input."""
        return self.z_w - self.z


class Hidden(NamedTuple):
    """Layer m < L with its radius eps_m, and the activations before and after it."""

    m: int
    W: Tensor
    W_hat: Tensor
    eps: float
    before: Activations
    after: Activations

    @property
    def pushed(self) -> Tensor:
        """W_hat^m (z_hat^{m-1} - z'^{m-1})."""
        return self.before.moved @ self.W_hat.T

    @property
    def inherited(self) -> Tensor:
        """W^m (z'^{m-1} - z^{m-1}), the drift that layer m passes on."""
        return self.before.drift @ self.W.T

    @property
    def added(self) -> Tensor:
        """(W_hat^m - W^m) z'^{m-1}, the drift that layer m adds."""
        return self.before.z_w @ (self.W_hat - self.W).T

    @property
    def gathered(self) -> Tensor:
        """W_hat^m z'^{m-1} - W^m z^{m-1}, equal to inherited + added."""
        return self.before.z_w @ self.W_hat.T - self.before.z @ self.W.T


@dataclass(frozen=True, eq=False)
class Point:
    """A point (x_hat, W_hat) of the joint ball around (x, W), and a pair of classes (i, j) for every sample, [B] each.

    Networks without biases, as in the paper.
    """

    W: Weights
    x: Tensor
    W_hat: Weights
    x_hat: Tensor
    xi: Budget
    i: Tensor
    j: Tensor

    def __post_init__(self) -> None:
        balls = checked_balls(self.W, self.xi)
        if any(ball.b is not None for ball in balls):
            raise ValueError("the derivation is stated for networks without biases")
        check_input(self.x, balls[0])
        centres, there = (self.x, *self.W), (self.x_hat, *self.W_hat)
        if [t.shape for t in centres] != [t.shape for t in there]:
            raise ValueError("x_hat and W_hat must have the shapes of x and W")
        for t, t_hat, eps in zip(centres, there, (self.xi.eps_x, *self.xi.eps_w), strict=True):
            if not bool(((t_hat - t).abs() <= eps + ROUNDING).all()):
                raise ValueError(f"this point lies outside its ball: an entry is more than {eps} away from the centre")

    @staticmethod
    def of(case: counterexamples.Instance) -> Point:
        """A hand example's own point of the ball, in float64."""
        W, x, xi = counterexamples.in_float64(case)
        W_hat, x_hat, _ = counterexamples.in_float64(replace(case, W=case.W_hat, x=case.x_hat))
        return Point(W, x, W_hat, x_hat, xi, torch.tensor([case.i]), torch.tensor([case.j]))

    @cached_property
    def activations(self) -> tuple[Activations, ...]:
        """z^k, z'^k and z_hat^k for k = 0 .. L-1."""
        found = [Activations(self.x, self.x, self.x_hat)]
        for W_m, W_hat_m in zip(self.W[:-1], self.W_hat[:-1], strict=True):
            z, z_w, z_hat = found[-1]
            found.append(Activations((z @ W_m.T).relu(), (z_w @ W_hat_m.T).relu(), (z_hat @ W_hat_m.T).relu()))
        return tuple(found)

    @cached_property
    def hidden(self) -> tuple[Hidden, ...]:
        """Layers 1 .. L-1."""
        z = self.activations
        columns = (range(1, len(self.W)), self.W[:-1], self.W_hat[:-1], self.xi.eps_w[:-1], z[:-1], z[1:])
        return tuple(Hidden(*row) for row in zip(*columns, strict=True))

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """W^L_i - W^L_j and W_hat^L_i - W_hat^L_j, each [B, d_L]."""
        W_L, W_hat_L = self.W[-1], self.W_hat[-1]
        return W_L[self.i] - W_L[self.j], W_hat_L[self.i] - W_hat_L[self.j]

    @cached_property
    def margins(self) -> Activations:
        """f^{ij} at the three points, [B] each."""
        v, v_hat = self.rows
        z, z_w, z_hat = self.activations[-1]
        return Activations((v * z).sum(-1), (v_hat * z_w).sum(-1), (v_hat * z_hat).sum(-1))


def brackets(p: Point) -> Step:
    """|f_{W_hat}^{ij}(x_hat) - f_W^{ij}(x)| <= |A| + |B|."""
    f = p.margins
    return _step("two brackets", (f.z_hat - f.z).abs(), f.moved.abs() + f.drift.abs())


def first_hoelder(p: Point) -> Step:
    """|A| <= ||W_hat^L_i - W_hat^L_j||_1 ||z_hat^{L-1} - z'^{L-1}||_inf."""
    _, v_hat = p.rows
    return _step("Hölder", p.margins.moved.abs(), _l1(v_hat) * _linf(p.activations[-1].moved))


def first_rows(p: Point) -> Step:
    """||W_hat^L_i - W_hat^L_j||_1 <= c_ij + 2 d_L eps_L: every entry of either row moves by at most eps_L."""
    v, v_hat = p.rows
    return _step("rows in the ball", _l1(v_hat), _l1(v) + 2 * v.shape[1] * p.xi.eps_w[-1], WEIGHTS)


def first_lipschitz(p: Point) -> tuple[Step, ...]:
    """||z_hat^m - z'^m||_inf <= ||W_hat^m (z_hat^{m-1} - z'^{m-1})||_inf: rho is 1-Lipschitz."""
    return tuple(_step(f"Lipschitz, layer {h.m}", _linf(h.after.moved), _linf(h.pushed), ACTIVATIONS) for h in p.hidden)


def first_norm(p: Point) -> tuple[Step, ...]:
    """||W_hat^m v||_inf <= ||W_hat^m||_inf ||v||_inf with v = z_hat^{m-1} - z'^{m-1}: what an induced norm means."""
    return tuple(
        _step(f"norm, layer {h.m}", _linf(h.pushed), norms.linf(h.W_hat) * _linf(h.before.moved), ACTIVATIONS)
        for h in p.hidden
    )


def first_matrix(p: Point) -> tuple[Step, ...]:
    """||W_hat^m||_inf <= ||W^m||_inf + d_m eps_m: each of a row's d_m entries moves by at most eps_m."""
    one = torch.ones_like(p.x[:, 0])
    return tuple(
        _step(f"ball, layer {h.m}", norms.linf(h.W_hat) * one, norms.linf(h.W) + h.W.shape[1] * h.eps, WEIGHTS)
        for h in p.hidden
    )


def first_input(p: Point) -> Step:
    """||x_hat - x||_inf <= eps_x."""
    return _step("input in the ball", _linf(p.x_hat - p.x), torch.tensor(p.xi.eps_x, dtype=p.x.dtype), PIXELS)


def second_parts(p: Point) -> Step:
    """|B| <= |(W^L_i - W^L_j)(z'^{L-1} - z^{L-1})| + |(D_i - D_j) z'^{L-1}| with D = W_hat^L - W^L."""
    v, v_hat = p.rows
    z = p.activations[-1]
    return _step("two parts", p.margins.drift.abs(), _dot(v, z.drift) + _dot(v_hat - v, z.z_w))


def second_hoelder(p: Point) -> Step:
    """|(W^L_i - W^L_j)(z'^{L-1} - z^{L-1})| <= c_ij ||z'^{L-1} - z^{L-1}||_inf."""
    v, _ = p.rows
    drift = p.activations[-1].drift
    return _step("Hölder", _dot(v, drift), _l1(v) * _linf(drift))


def second_rows(p: Point) -> Step:
    """|(D_i - D_j) z'^{L-1}| <= 2 eps_L ||z'^{L-1}||_1."""
    v, v_hat = p.rows
    z_w = p.activations[-1].z_w
    return _step("rows in the ball", _dot(v_hat - v, z_w), 2 * p.xi.eps_w[-1] * _l1(z_w))


def second_lipschitz(p: Point) -> tuple[Step, ...]:
    """||z'^m - z^m||_inf <= ||W_hat^m z'^{m-1} - W^m z^{m-1}||_inf."""
    return tuple(
        _step(f"Lipschitz, layer {h.m}", _linf(h.after.drift), _linf(h.gathered), ACTIVATIONS) for h in p.hidden
    )


def second_triangle(p: Point) -> tuple[Step, ...]:
    """The right side above <= ||W^m (z'^{m-1} - z^{m-1})||_inf + ||(W_hat^m - W^m) z'^{m-1}||_inf."""
    return tuple(
        _step(f"triangle, layer {h.m}", _linf(h.gathered), _linf(h.inherited) + _linf(h.added), ACTIVATIONS)
        for h in p.hidden
    )


def second_norm(p: Point) -> tuple[Step, ...]:
    """||W^m (z'^{m-1} - z^{m-1})||_inf <= ||W^m||_inf ||z'^{m-1} - z^{m-1}||_inf; nothing to bound at m = 1."""
    return tuple(
        _step(f"norm, layer {h.m}", _linf(h.inherited), norms.linf(h.W) * _linf(h.before.drift), ACTIVATIONS)
        for h in p.hidden[1:]
    )


def second_matrix(p: Point) -> tuple[Step, ...]:
    """||(W_hat^m - W^m) z'^{m-1}||_inf <= eps_m ||z'^{m-1}||_1."""
    return tuple(_step(f"ball, layer {h.m}", _linf(h.added), h.eps * _l1(h.before.z_w), ACTIVATIONS) for h in p.hidden)


def second_star(p: Point) -> tuple[Step, ...]:
    """||z'^k||_1 <= ||h^{k*}||_1 for k = 1 .. L-1. True for k = 1. FALSE in general from k = 2 on."""
    stars = starred(p.W, p.x, p.xi)
    return tuple(
        _step(f"h*, layer {h.m}", _l1(h.after.z_w), _l1(h_star), ACTIVATIONS)
        for h, h_star in zip(p.hidden, stars[1:], strict=True)
    )


def telescoped(p: Point, masses: Sequence[Tensor]) -> Tensor:
    """c_ij sum_{k=0}^{L-2} eps_{k+1} M_k prod_{m=k+2}^{L-1} ||W^m||_inf + 2 eps_L M_{L-1} for masses M_k, [B] each.

    With M_k = ||z'^k||_1 it bounds |B|; with M_k = ||h^{k*}||_1 it is zeta (from L = 3 on).
    """
    v, _ = p.rows
    *before, final = masses
    drift = torch.zeros_like(final)
    for h, mass in zip(p.hidden, before, strict=True):
        drift = norms.linf(h.W) * drift + h.eps * mass
    return _l1(v) * drift + 2 * p.xi.eps_w[-1] * final


def first_bracket(p: Point) -> Step:
    """|A| <= tau: the lines of the first bracket multiplied together."""
    return _step("first bracket", p.margins.moved.abs(), tau(p.W, p.xi)[p.i, p.j])


def second_bracket(p: Point) -> Step:
    """|B| <= (T), the telescoped sum with the true masses ||z'^k||_1."""
    return _step("second bracket", p.margins.drift.abs(), telescoped(p, [_l1(z.z_w) for z in p.activations]))


def printed(p: Point) -> Step:
    """(T) <= zeta as printed. FALSE in general from L = 3 on."""
    printed_zeta = zeta(p.W, p.x, p.xi)[torch.arange(len(p.x)), p.i, p.j]
    return _step("zeta as printed", second_bracket(p).right, printed_zeta)


def theorem(p: Point) -> Step:
    """|f_{W_hat}^{ij}(x_hat) - f_W^{ij}(x)| <= tau + zeta as printed. FALSE in general from L = 3 on."""
    return _step("Theorem 1", brackets(p).left, first_bracket(p).right + printed(p).right)


def ledger(p: Point) -> dict[str, tuple[Step, ...]]:
    """Every line of the derivation that takes a step, by part, in the order of the text."""
    first = (first_lipschitz, first_norm, first_matrix)
    second = (second_lipschitz, second_triangle, second_norm, second_matrix)
    return {
        "split": (brackets(p),),
        "first bracket": (first_hoelder(p), first_rows(p), *_flat(first, p), first_input(p)),
        "second bracket": (second_parts(p), second_hoelder(p), second_rows(p), *_flat(second, p)),
        "printed": second_star(p),
    }


def table(*steps: Step) -> pd.DataFrame:
    """The steps below each other: medians over the samples to three digits, and how many samples disobey."""
    rows = []
    for step in steps:
        sides = [_written(side.median()) for side in (step.left, step.right)]
        broken, n = int((~step.holds).sum()), step.left.numel()
        rows.append([*sides, step.unit, _written(step.slack.median()), f"{broken} of {n}" if broken else "none"])
    columns = ["left side", "right side", "unit", "slack (right / left)", "false for"]
    return pd.DataFrame(rows, [step.name for step in steps], columns)


def product(steps: Sequence[Step]) -> Tensor:
    """The slack that these lines have together [B]."""
    return torch.stack([step.slack for step in steps]).prod(0)


class Stage(NamedTuple):
    """What bounds |A| and |B| once the derivation has come so far, [B] each, and by which equations of the text."""

    name: str
    equations: tuple[str, ...]
    first: Tensor
    second: Tensor

    @property
    def total(self) -> Tensor:
        """The bound on the margin's change [B]."""
        return self.first + self.second


def stages(p: Point) -> tuple[Stage, ...]:
    """From |A| and |B| to tau and zeta: the last layer, then every hidden layer from L-1 down to 1, then h*.

    Each layer takes three steps: its vector passes the ReLU, its worst row is taken, then its worst weights. After
    layer m the bounds still hold the true ||z_hat^{m-1} - z'^{m-1}||_inf and ||z'^{m-1} - z^{m-1}||_inf; at m = 1 the
    first is replaced by eps_x and the second is 0, so that stage is tau and (T).
    """
    z, W_L, eps_L = p.activations[-1], p.W[-1], p.xi.eps_w[-1]
    v, v_hat = p.rows
    pair, owed = _l1(v), 2 * eps_L * _l1(z.z_w)
    gain = pair + 2 * W_L.shape[1] * eps_L
    apart = pair * _linf(z.drift) + _dot(v_hat - v, z.z_w)
    hoelder, rows = ("first-hoelder", "second-parts", "second-hoelder"), ("first-rows", "second-rows")
    found = [
        Stage("the two brackets", ("brackets",), p.margins.moved.abs(), p.margins.drift.abs()),
        Stage("last layer: Hölder", hoelder, _l1(v_hat) * _linf(z.moved), apart),
        Stage("last layer: worst weights", rows, gain * _linf(z.moved), pair * _linf(z.drift) + owed),
    ]
    for h in reversed(p.hidden):
        moved, drift, added = _linf(h.before.moved), norms.linf(h.W) * _linf(h.before.drift), _linf(h.added)
        relu, norm = ("first-lipschitz", "second-lipschitz", "second-triangle"), ("first-norm", "second-norm")
        ball = ("first-ball", "second-ball") if h.m > 1 else ("first-ball", "tau", "second-ball")
        passed, name = pair * (_linf(h.inherited) + added) + owed, f"layer {h.m}: "
        found += [
            Stage(name + "ReLU, triangle", relu, gain * _linf(h.pushed), passed),
            Stage(name + "worst row", norm, gain * norms.linf(h.W_hat) * moved, pair * (drift + added) + owed),
        ]
        gain = gain * (norms.linf(h.W) + h.W.shape[1] * h.eps)
        owed = owed + pair * h.eps * _l1(h.before.z_w)
        moved = moved if h.m > 1 else torch.full_like(gain, p.xi.eps_x)
        found += [Stage(name + "worst weights", ball, gain * moved, pair * drift + owed)]
        pair = pair * norms.linf(h.W)
    return (*found, Stage("h* for the activations", ("false",), first_bracket(p).right, printed(p).right))


def _step(name: str, left: Tensor, right: Tensor, unit: str = LOGITS) -> Step:
    return Step(name, *torch.broadcast_tensors(left, right), unit)


def _written(number: Tensor) -> str:
    return f"{float(f'{float(number):.3g}'):,g}"


def _flat(lines: Sequence[Callable[[Point], tuple[Step, ...]]], p: Point) -> tuple[Step, ...]:
    return tuple(step for line in lines for step in line(p))


def _linf(v: Tensor) -> Tensor:
    return v.abs().amax(-1)


def _l1(v: Tensor) -> Tensor:
    return v.abs().sum(-1)


def _dot(v: Tensor, z: Tensor) -> Tensor:
    """|v . z| for every sample [B]."""
    return (v * z).sum(-1).abs()
