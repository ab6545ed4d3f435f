"""What one training step minimises: the loss at the attacked inputs and weights, its gradient taken there.

A network that writes down every point it is evaluated at shows which inputs and weights a step has chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.network import Network, Weights, mlp, mlp_forward, mlp_init
from nsr.training import Method, loss_terms

SIZES = (12, 16, 8, 3)
Point = tuple[Weights, Tensor]
Forward = Callable[[Weights, Tensor], Tensor]


def with_biases(g: torch.Generator) -> Weights:
    W = mlp_init(SIZES, g, torch.float64)
    b = [torch.randn(len(W_m), generator=g, dtype=torch.float64) for W_m in W[:-1]]
    return (W[0], b[0], W[1], b[1], W[2])


def batch() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.rand(9, SIZES[0], generator=g, dtype=torch.float64), torch.arange(9) % 3


def step(method: Method, forward: Forward = mlp_forward) -> tuple[Weights, dict[str, Tensor], Weights, list[Point]]:
    """The weights W, the terms of the loss, their gradients on W, and every point at which the network was evaluated.

    The last of the points is the one whose loss is minimised.
    """
    seen: list[Point] = []

    def watched(W: Weights, x: Tensor) -> Tensor:
        seen.append((tuple(V.detach().clone() for V in W), x.detach().clone()))
        return forward(W, x)

    clean = with_biases(torch.Generator().manual_seed(0))
    W = tuple(V.clone().requires_grad_() for V in clean)
    x, y = batch()
    terms = loss_terms(Network(clean, watched), W, x, y, method, 0.0, torch.Generator().manual_seed(2))
    return clean, terms, torch.autograd.grad(sum(terms.values()), W), seen


def loss_at(W: Weights, x: Tensor) -> tuple[Tensor, Weights]:
    """The cross-entropy at a point and its gradients on every weight tensor there, by autograd."""
    W = tuple(V.clone().requires_grad_() for V in W)
    value = F.cross_entropy(mlp_forward(W, x), batch()[1])
    return value.detach(), torch.autograd.grad(value, W)


def assert_close(found: Weights, expected: Weights) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


ATTACKS = {
    "nobody": {},
    "inputs": {"attack_x": 0.1},
    "weights": {"attack_w": 0.05},
    "both": {"attack_x": 0.1, "attack_w": 0.05},
    "AWP": {"awp": 0.03},
    "inputs, then AWP": {"attack_x": 0.1, "awp": 0.03},
    "both, then AWP": {"attack_x": 0.1, "attack_w": 0.05, "awp": 0.03},
}


@pytest.mark.parametrize("who", ATTACKS)
def test_the_gradient_is_taken_at_the_attacked_point_and_reaches_the_clean_weights_unchanged(who: str) -> None:
    _, terms, gradients, seen = step(Method("row", ramp=0.0, **ATTACKS[who]))
    value, expected = loss_at(*seen[-1])
    torch.testing.assert_close(terms["cross-entropy"].detach(), value)
    assert_close(gradients, expected)


@pytest.mark.parametrize("who", ["inputs", "weights", "both"])
def test_the_attacked_point_lies_in_both_balls_and_in_the_box_and_is_worse_than_the_clean_one(who: str) -> None:
    W, _, _, seen = step(Method("row", ramp=0.0, **ATTACKS[who]))
    (V, x_hat), (x, _) = seen[-1], batch()
    eps_x, eps_w = ATTACKS[who].get("attack_x", 0.0), ATTACKS[who].get("attack_w", 0.0)
    assert float((x_hat - x).abs().max()) == pytest.approx(eps_x, rel=1e-12)
    assert 0 <= float(x_hat.min()) and float(x_hat.max()) <= 1
    assert [float((V_m - W_m).abs().max()) for V_m, W_m in zip(V, W, strict=True)] == pytest.approx([eps_w] * len(W))
    assert loss_at(V, x_hat)[0] > loss_at(W, x)[0]


@pytest.mark.parametrize("who", ["AWP", "inputs, then AWP", "both, then AWP"])
def test_awp_moves_every_tensor_along_its_gradient_by_a_share_of_its_own_norm(who: str) -> None:
    W, _, _, seen = step(Method("row", ramp=0.0, **ATTACKS[who]))
    (W_hat, x_hat), (V, at) = seen[-2:]
    eps_w = ATTACKS[who].get("attack_w", 0.0)  # AWP starts where the attack on the weights has ended
    assert [float((U - W_m).abs().max()) for U, W_m in zip(W_hat, W, strict=True)] == pytest.approx([eps_w] * len(W))
    assert torch.equal(at, x_hat)
    _, gradients = loss_at(W_hat, x_hat)
    assert_close(V, tuple(U + 0.03 * U.norm() * g / g.norm() for U, g in zip(W_hat, gradients, strict=True)))


def test_awp_leaves_a_tensor_without_gradient_where_it_is() -> None:
    def blind(W: Weights, x: Tensor) -> Tensor:
        return mlp_forward((W[0], 0 * W[1] - 1e3, *W[2:]), x)  # every unit of the first layer is off

    W, _, gradients, seen = step(Method("row", ramp=0.0, awp=0.03), blind)
    V, _ = seen[-1]
    assert [torch.equal(a, b) for a, b in zip(V, W, strict=True)] == [True, True, True, False, False]
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_radii_grow_with_the_training_until_the_ramp_is_over() -> None:
    method, (x, y) = Method("row", ramp=0.5, attack_x=0.1), batch()
    found = []
    for progress in (0.0, 0.25, 0.5, 0.75):
        seen: list[Tensor] = []

        def watched(W: Weights, x: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(x.detach())
            return mlp_forward(W, x)

        W = with_biases(torch.Generator().manual_seed(0))
        loss_terms(Network(W, watched), W, x, y, method, progress, torch.Generator().manual_seed(2))
        found.append(float((seen[-1] - x).abs().max()))
    assert found == pytest.approx([0.0, 0.05, 0.1, 0.1])


@pytest.mark.parametrize("who", ["inputs", "weights", "both", "both, then AWP"])
def test_the_step_of_a_dense_network_by_hand_is_the_step_by_autograd(who: str) -> None:
    method, (x, y), W = Method("row", ramp=0.0, **ATTACKS[who]), batch(), with_biases(torch.Generator().manual_seed(0))
    found = []
    for network in (mlp(W), Network(W, lambda W, x: mlp_forward(W, x))):  # the second is not known to be dense
        leaves = tuple(V.clone().requires_grad_() for V in W)
        terms = loss_terms(network, leaves, x, y, method, 0.0, torch.Generator().manual_seed(2))
        found.append(torch.autograd.grad(sum(terms.values()), leaves))
    for one, two in pairwise(found):
        assert_close(one, two)
