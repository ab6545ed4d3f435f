"""Norm decay, weight decay and clipped singular values do what their formulas say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nsr import training
from nsr.network import mlp, mlp_init
from nsr.theory import norms
from nsr.training import METHODS, Method, regularisers


def drawn(seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of two layers and a bias, and a gradient for each."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 4), (5,), (3, 5)]
    W, g = ([torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(2))
    return [W_m.requires_grad_() for W_m in W], g


def subgradient(W_m: Tensor, norm: str) -> Tensor:
    """The signs of the row or column with the largest sum, written out."""
    p, axis = torch.zeros_like(W_m), {"linf": 1, "l1": 0}[norm]
    k = int(W_m.abs().sum(axis).argmax())
    rows = (k, slice(None)) if norm == "linf" else (slice(None), k)
    p[rows] = W_m[rows].sign()
    return p


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_norm_decay_is_its_formula_over_many_steps(norm, optimiser):
    ours, g = drawn()
    by_hand = [W_m.detach().clone().requires_grad_() for W_m in ours]
    make = {"sgd": lambda W: torch.optim.SGD(W, 0.1, momentum=0.9), "adam": lambda W: torch.optim.Adam(W, 0.1)}[
        optimiser
    ]
    first, second = make(ours), make(by_hand)
    h = [torch.zeros_like(W_m) for W_m in by_hand]
    for _ in range(7):
        for W_m, V_m, g_m in zip(ours, by_hand, g, strict=True):
            W_m.grad, V_m.grad = g_m.clone(), g_m.clone()
        for m in (0, 2):  # the bias has no norm that decays
            h[m] = 0.9 * h[m] + 0.1 * subgradient(by_hand[m].detach(), norm)
            by_hand[m].grad += 0.3 / 2 * h[m]
        regularisers.step_with_norm_decay(first, ours, norm, 0.3)
        second.step()
    for W_m, V_m in zip(ours, by_hand, strict=True):
        torch.testing.assert_close(W_m, V_m)


def test_clipped_singular_values_are_at_most_that_and_small_ones_stay():
    W, _ = drawn()
    before = [torch.linalg.svdvals(W_m.detach()) for W_m in (W[0], W[2])]
    bias, most = W[1].detach().clone(), float(before[0][1])
    regularisers.clip_singular_values(W, most)
    for W_m, S in zip((W[0], W[2]), before, strict=True):
        torch.testing.assert_close(torch.linalg.svdvals(W_m.detach()), S.clamp(max=most))
    assert torch.equal(W[1], bias)


@pytest.fixture(scope="module")
def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 12, generator=generator, dtype=torch.float64)
    return x, (x[:, :4].sum(1) > x[:, 4:8].sum(1)).long()


def fitted(samples, method: Method):
    net = mlp(mlp_init((12, 16, 8, 2), torch.Generator().manual_seed(0), torch.float64))
    return training.fit(net, *samples, method, generator=torch.Generator().manual_seed(0), epochs=8, batch=20)


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({"norm_decay": 0.1}, norms.linf),
        ({"norm_decay": 0.1, "norm": "l1"}, norms.l1),
        ({"weight_decay": 0.03}, torch.linalg.norm),
        ({"most_singular": 0.8}, norms.spectral),
    ],
)
def test_each_regulariser_makes_its_own_measure_of_the_layers_smaller(samples, change, size):
    plain = replace(METHODS["standard"], lr=0.05)
    free, held = fitted(samples, plain), fitted(samples, replace(plain, **change))
    product = lambda net: float(torch.stack([size(W_m) for W_m in net.W]).prod())  # noqa: E731
    assert product(held) < 0.8 * product(free)


def test_weight_decay_is_the_gradient_of_half_the_squared_norm(samples):
    """One step of plain SGD: W - lr (g + decay W)."""
    x, y = samples
    net = mlp(mlp_init((12, 4, 2), torch.Generator().manual_seed(0), torch.float64))
    row = Method("one step", lr=0.1, momentum=0.0, epochs=1, batch=len(x), ramp=0.0)
    free, held = (
        training.fit(net, x, y, replace(row, weight_decay=decay), generator=torch.Generator().manual_seed(0))
        for decay in (0.0, 0.2)
    )
    for W_m, before, U_m in zip(held.W, net.W, free.W, strict=True):
        torch.testing.assert_close(W_m, U_m - 0.1 * 0.2 * before)
