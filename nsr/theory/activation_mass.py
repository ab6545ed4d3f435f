"""How far the activations of perturbed nets outgrow h^{k*}, the step at which eq. (3) fails.

Every input faces weights of its own, as in Theorem 1. Masses are l_1 norms of activations at the clean input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import Budget
from nsr.network import Weights, layers, margins, mlp_forward
from nsr.theory import theorem
from nsr.theory.boxes import checked_balls


class Masses(NamedTuple):
    """What different weights of the ball make of ||z^k||_1, each [B]."""

    clean: Tensor
    drawn: Tensor  # the best of random weights
    printed: Tensor  # ||h^{k*}||_1
    found: Tensor  # the best of an ascent
    repaired: Tensor  # ||u^k||_1

    def rises(self) -> dict[str, Tensor]:
        """Each but the first as its rise over the clean mass, in units of the rise that the ascent found [B]."""
        masses = self._asdict()
        clean = masses.pop("clean")
        return {name: (value - clean) / (self.found - clean) for name, value in masses.items()}


def compare_masses(
    W: Sequence[Tensor], x: Tensor, xi: Budget, k: int, *, steps: int, draws: int, generator: torch.Generator
) -> Masses:
    """Layer k's mass at the clean weights, at random ones, as eq. (3) has it, as ascent finds it, and its bound R1."""
    return Masses(
        clean=mass(W, x, k),
        drawn=drawn_mass(W, x, xi, k, draws=draws, generator=generator),
        printed=printed_mass(W, x, xi, k),
        found=largest_mass(W, x, xi, k, steps=steps),
        repaired=repaired_mass(W, x, xi, k),
    )


def mass(W: Sequence[Tensor], x: Tensor, k: int) -> Tensor:
    """||z^k||_1, the mass of layer k's activations [B]."""
    z = x
    for W_m, b_m in layers(W)[:k]:
        z = F.linear(z, W_m, b_m).relu()
    return z.sum(-1)


def printed_mass(W: Sequence[Tensor], x: Tensor, xi: Budget, k: int) -> Tensor:
    """||h^{k*}||_1, which eq. (3) takes for the largest mass of layer k [B]."""
    return theorem.printed_drift(*_first(W, x, xi, k))[1]


def repaired_mass(W: Sequence[Tensor], x: Tensor, xi: Budget, k: int) -> Tensor:
    """||u^k||_1, which no perturbed net exceeds (R1) [B]."""
    return theorem.repaired_drift(*_first(W, x, xi, k))[1]


def _first(W: Sequence[Tensor], x: Tensor, xi: Budget, k: int) -> tuple[Weights, Tensor, Budget]:
    """Layers 1 .. k+1 alone: the mass of layer k is that of their last hidden layer."""
    found = layers(W)
    if not 1 <= k < len(found):
        raise ValueError(f"k must name a hidden layer, 1 to {len(found) - 1}; got {k}")
    xi.check(W)
    tensors = sum(1 if layer.b is None else 2 for layer in found[: k + 1])
    return tuple(W[:tensors]), x, Budget(xi.eps_x, xi.eps_w[:tensors])


def first_order_leak(W: Sequence[Tensor], x: Tensor, xi: Budget) -> Tensor:
    """2 eps_1 ||x||_1 sum_j s_j^-, by how much the largest ||z'^2||_1 exceeds ||h^{2*}||_1 to first order [B].

    s_j sums W^2_ij over the active units i of layer 2; j runs over the active units of layer 1. A bias of radius beta_1
    moves the units of layer 1 as well.
    """
    first, second, *_ = checked_balls(W, xi)
    z = F.linear(x, first.W, first.b).relu()
    s = (F.linear(z, second.W, second.b) > 0).to(x) @ second.W
    reach = first.eps * x.abs().sum(-1) + first.beta
    return 2 * reach * ((-s).clamp(min=0) * (z > 0)).sum(-1)


def largest_mass(W: Sequence[Tensor], x: Tensor, xi: Budget, k: int, *, steps: int) -> Tensor:
    """The largest ||z'^k||_1 that signed gradient ascent over the weight box finds, at most the maximum [B]."""
    return torch.stack([_ascend(lambda V, x_b=x_b: mass(V, x_b, k).sum(), W, xi, steps) for x_b in x.split(1)])


def drawn_mass(W: Sequence[Tensor], x: Tensor, xi: Budget, k: int, *, draws: int, generator: torch.Generator) -> Tensor:
    """The largest ||z'^k||_1 among uniformly random weights of the box; all inputs share the draws [B]."""
    return torch.stack([mass(xi.sample(x, W, generator)[1], x, k) for _ in range(draws)]).amax(0)


def largest_margin(W: Sequence[Tensor], x: Tensor, xi: Budget, i: Tensor, j: Tensor, *, steps: int) -> Tensor:
    """The largest f_{W'}^{ij}(x) that signed gradient ascent over the weight box finds, one pair a sample [B]."""

    def margin(b: int) -> Callable[[Weights], Tensor]:
        return lambda V: margins(mlp_forward(V, x[b : b + 1]))[0, i[b], j[b]]

    return torch.stack([_ascend(margin(b), W, xi, steps) for b in range(len(x))])


def margin_rise(W: Sequence[Tensor], x: Tensor, y: Tensor, xi: Budget, *, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """How far the strongest wrong class rises over class y: found by ascent over the weights, zeta, R1's zeta [B]."""
    logits, b = mlp_forward(tuple(W), x), torch.arange(len(x))
    i = logits.scatter(1, y[:, None], -torch.inf).argmax(1)
    rise = largest_margin(W, x, xi, i, y, steps=steps) - margins(logits)[b, i, y]
    return rise, theorem.zeta(W, x, xi)[b, i, y], theorem.zeta_repaired(W, x, xi)[b, i, y]


def _ascend(value: Callable[[Weights], Tensor], W: Sequence[Tensor], xi: Budget, steps: int) -> Tensor:
    """The largest value seen on the way; each step crosses a radius, so that one step can reach a corner."""
    W_t, best = tuple(W), value(tuple(W))
    for _ in range(steps):
        W_t = tuple(V.detach().requires_grad_() for V in W_t)
        ascent = torch.autograd.grad(value(W_t), W_t, materialize_grads=True)
        moved = [V.detach() + e * g.sign() for V, e, g in zip(W_t, xi.eps_w, ascent, strict=True)]
        W_t = xi.clip_W(moved, W)
        best = torch.maximum(best, value(W_t))
    return best.detach()
