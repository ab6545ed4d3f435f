"""The leak of h^{k*}: ascent finds activations beyond it, as the first order predicts, and never beyond u^k."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nsr.budget import Budget
from nsr.network import Weights, margins, mlp, mlp_init
from nsr.theory import activation_mass, counterexamples


def net_and_inputs(*sizes: int, n: int = 12) -> tuple[Weights, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(n, sizes[0], generator=generator, dtype=torch.float64)
    return mlp_init(sizes, generator, torch.float64), x


def test_the_masses_of_the_counterexample_are_the_hand_computed_ones() -> None:
    W, x, xi = counterexamples.in_float64(counterexamples.COUNTEREXAMPLE)
    assert [float(activation_mass.printed_mass(W, x, xi, k)) for k in (1, 2)] == [4, 4]
    assert float(activation_mass.repaired_mass(W, x, xi, 2)) == pytest.approx(6, rel=1e-12)
    assert float(activation_mass.mass(W, x, 1)) == 2 and float(activation_mass.mass(W, x, 2)) == 0


def test_ascent_leaks_as_the_first_order_predicts_when_radii_are_small() -> None:
    W, x = net_and_inputs(20, 16, 12, 4)
    xi = Budget(0, (1e-8,) * 3)
    found = activation_mass.largest_mass(W, x, xi, 2, steps=4) - activation_mass.printed_mass(W, x, xi, 2)
    assert (found > 0).all()
    assert torch.allclose(found, activation_mass.first_order_leak(W, x, xi), rtol=1e-3, atol=0)


def test_the_predicted_leak_counts_the_radius_of_a_bias() -> None:
    W, x = net_and_inputs(20, 16, 12, 4)
    W = (W[0], 0.1 * torch.ones(16).double(), *W[1:])
    xi = Budget(0, (1e-8, 1e-7, 0, 0))
    best = activation_mass.largest_mass(W, x, xi, 2, steps=4)
    up = (xi.eps_w[0] * x.sum(-1) + xi.eps_w[1])[:, None] + x @ W[0].T + W[1]  # the printed idea: raise every unit
    found = best - (up.relu() @ W[2].T).relu().sum(-1)
    assert torch.allclose(found, activation_mass.first_order_leak(W, x, xi), rtol=1e-3, atol=0)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_neither_ascent_nor_draws_exceed_the_repaired_mass(k: int) -> None:
    W, x = net_and_inputs(6, 5, 5, 4, 3)
    xi = Budget(0.1, (0.05,) * 4)
    ceiling = activation_mass.repaired_mass(W, x, xi, k)
    assert (activation_mass.largest_mass(W, x, xi, k, steps=10) <= ceiling).all()
    assert (
        activation_mass.drawn_mass(W, x, xi, k, draws=20, generator=torch.Generator().manual_seed(0)) <= ceiling
    ).all()


def test_the_first_layer_does_not_leak() -> None:
    W, x = net_and_inputs(6, 5, 5, 3)
    xi = Budget(0, (0.05,) * 3)
    found, printed = activation_mass.largest_mass(W, x, xi, 1, steps=3), activation_mass.printed_mass(W, x, xi, 1)
    assert (found <= printed * (1 + 1e-12)).all()


def test_more_steps_never_find_less_and_no_step_finds_the_clean_value() -> None:
    W, x = net_and_inputs(6, 5, 5, 3)
    xi = Budget(0, (0.1,) * 3)
    i, j = torch.zeros(len(x), dtype=torch.long), torch.ones(len(x), dtype=torch.long)
    found = [activation_mass.largest_margin(W, x, xi, i, j, steps=steps) for steps in (0, 1, 8)]
    assert torch.allclose(found[0], margins(mlp(W)(x))[:, 0, 1], rtol=1e-12, atol=0)
    assert (found[0] < found[1]).all() and (found[1] <= found[2]).all()


def test_ascent_finds_the_worst_corner_of_the_counterexample() -> None:
    W, x, xi = counterexamples.in_float64(counterexamples.family(A=2, B=3, c=1, e="1/4"))
    pair = torch.tensor([0]), torch.tensor([1])
    worst = float(counterexamples.attained(counterexamples.family(A=2, B=3, c=1, e="1/4")))
    W = (W[0], W[1] + torch.tensor([[1e-9, 0.0]]), W[2])  # off the kink at z^2 = 0, where no gradient leads uphill
    assert float(activation_mass.largest_margin(W, x, xi, *pair, steps=3)) == pytest.approx(worst, rel=1e-7)


@pytest.mark.parametrize("k", [0, 3])
def test_a_layer_that_is_not_hidden_is_refused(k: int) -> None:
    W, x = net_and_inputs(6, 5, 5, 3)
    with pytest.raises(ValueError, match="hidden layer"):
        activation_mass.printed_mass(W, x, Budget(0, (0.1,) * 3), k)
