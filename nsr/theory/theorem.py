"""Theorem 1's two terms, tau of eq. (2) and zeta of eq. (3), as printed and repaired.

Every term of this family is  c_ij * drift + 2 (eps_L * mass + beta_L)  with  c_ij = ||W^L_i - W^L_j||_1,
drift >= ||z_hat^{L-1} - z^{L-1}||_inf  and  mass >= ||z_hat^{L-1}||_1. The pair (i, j) enters through c_ij alone, so
drift and mass are one number a sample and no loop runs over classes. Horner's rule writes the sums of products:
drift after layer m is  ||W^m||_inf * drift + eps_m * ||h^{m-1}||_1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.budget import Budget, LayerBall, layer_balls
from nsr.theory import dense_norms
from nsr.theory.boxes import check_input, checked_balls, layer_box


def pair_norms(W_L: Tensor) -> Tensor:
    """c_ij = ||W^L_i - W^L_j||_1 for all pairs of classes [K, K]."""
    return torch.cdist(W_L, W_L, p=1)


def tau(W: Sequence[Tensor], xi: Budget) -> Tensor:
    """What the input perturbation adds under perturbed weights, tau_W^{ij}(xi), eq. (2) [K, K]."""
    last = checked_balls(W, xi)[-1]
    return tau_gain(W, xi) * (pair_norms(last.W) + 2 * last.W.shape[1] * last.eps)


def tau_gain(W: Sequence[Tensor], xi: Budget) -> Tensor | float:
    """eps_x times the product of ||W^m||_inf + d_m eps_m over the hidden layers: tau without its last factor."""
    *hidden, _ = layer_balls(W, xi)
    gain = xi.eps_x
    for ball in hidden:
        gain = (dense_norms.linf(ball.W) + ball.W.shape[1] * ball.eps) * gain
    return gain


def zeta(W: Sequence[Tensor], x: Tensor, xi: Budget) -> Tensor:
    """What the weight perturbation adds at the clean input, zeta_W^{ij}(x, xi), eq. (3) as printed [B, K, K].

    Not an upper bound from L = 3 on: h^{k*} is one corner of the weight box, not the maximum over it. See
    `zeta_repaired`.
    """
    last = _bias_free(W, xi)[-1]
    drift, mass = printed_drift(W, x, xi)
    return _pairwise(pair_norms(last.W), drift) + 2 * last.eps * mass[:, None, None]


def zeta_repaired(W: Sequence[Tensor], x: Tensor, xi: Budget) -> Tensor:
    """Eq. (3) with ||h^{k*}||_1 replaced by ||u^k||_1, the maximum over the weight box (R1) [B, K, K].

    # PAPER: printed form is h^{k*} = rho(W^{k*} .. rho(W^{1*} x)); ours is the upper end u^k of the box of activations,
    # because W^{k*} need not maximise once W^k + eps_k has negative entries.
    """
    last = checked_balls(W, xi)[-1]
    drift, mass = repaired_drift(W, x, xi)
    return _pairwise(pair_norms(last.W), drift) + 2 * (last.eps * mass + last.beta)[:, None, None]


def printed_drift(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, Tensor]:
    """Eq. (3)'s sum inside the braces, and ||h^{L-1*}||_1, each [B].

    W^{m*} h = W^m h + eps_m ||h||_1 for every m, the signs in W^{1*} included, so no perturbed matrix is built.
    """
    *hidden, _ = _bias_free(W, xi)
    check_input(x, hidden[0])
    *before, (h, _) = _starred(hidden, x)
    drift = x.new_zeros(len(x))
    for ball, (_, reach) in zip(hidden, before, strict=True):
        drift = dense_norms.linf(ball.W) * drift + reach
    if len(hidden) == 1:
        # PAPER: printed form counts eps_1 ||x||_1 twice at L = 2 (first and last term of the braces coincide).
        drift = 2 * drift
    return drift, h.sum(-1)


def starred(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, ...]:
    """h^{0*} = x and h^{k*} = rho(W^{k*} h^{k-1*}) for k = 1 .. L-1, the activations that eq. (3) takes [B, n_k]."""
    *hidden, _ = _bias_free(W, xi)
    return tuple(h for h, _ in _starred(hidden, x))


def _starred(hidden: Sequence[LayerBall], x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """h^{k*} with the reach eps_{k+1} ||h^{k*}||_1 that the next layer adds to it; the last has none."""
    h = x
    for ball in hidden:
        reach = ball.eps * _l1(h)
        yield h, reach
        h = (h @ ball.W.T + reach[:, None]).relu()
    yield h, torch.zeros_like(h[:, 0])


def repaired_drift(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, Tensor]:
    """The sum of (T) with ||z'^k||_1 <= ||u^k||_1 (R1), and ||u^{L-1}||_1, each [B]."""
    *hidden, _ = checked_balls(W, xi)
    check_input(x, hidden[0])
    lower, upper, drift = x, x, x.new_zeros(len(x))
    for ball in hidden:
        drift = dense_norms.linf(ball.W) * drift + ball.eps * _l1(upper) + ball.beta
        lower, upper = (end.relu() for end in layer_box(ball, lower, upper))
    return drift, upper.sum(-1)


def norms_drift(W: Sequence[Tensor], x: Tensor, xi: Budget) -> tuple[Tensor, Tensor]:
    """delta_{L-1} and ||z^{L-1}||_1 + n_{L-1} delta_{L-1} of R2, from layer norms and clean activations, each [B]."""
    *hidden, last = checked_balls(W, xi)
    check_input(x, (*hidden, last)[0])
    z, delta = x, x.new_full((len(x),), xi.eps_x)
    for ball in hidden:
        S, d = dense_norms.linf(ball.W), ball.W.shape[1]
        delta = (S + d * ball.eps) * delta + ball.eps * _l1(z) + ball.beta
        z = F.linear(z, ball.W, ball.b).relu()
    return delta, z.sum(-1) + last.W.shape[1] * delta


def _bias_free(W: Sequence[Tensor], xi: Budget) -> tuple[LayerBall, ...]:
    found = checked_balls(W, xi)
    if any(ball.b is not None for ball in found):
        raise ValueError("the printed formula is stated for networks without biases; use a repaired bound")
    return found


def _l1(h: Tensor) -> Tensor:
    return h.abs().sum(-1)


def _pairwise(c: Tensor, drift: Tensor) -> Tensor:
    return c * drift[:, None, None]
