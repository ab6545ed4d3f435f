"""What an attacker climbs: each loss is the gradient at the logits of the scalar that its docstring names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from nsr.attack.losses import LOSSES

Case = tuple[Tensor, Tensor, float]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Logits of any leading shape and size, labels of which some are right, a temperature."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (*draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)), draw(st.integers(2, 6)))
    z = draw(st.sampled_from([0.1, 1.0, 30.0])) * torch.randn(shape, generator=g, dtype=torch.float64)
    y = torch.randint(0, shape[-1], shape[:-1], generator=g)
    right = torch.rand(shape[:-1], generator=g) < 0.5
    return z, torch.where(right, z.argmax(-1), y), draw(st.sampled_from([1.0, 0.3, 4.0]))


def at(z: Tensor, y: Tensor) -> Tensor:
    """z_y for every sample."""
    return z.gather(-1, y[..., None]).squeeze(-1)


def best_other(z: Tensor, y: Tensor) -> Tensor:
    """max_{i != y} z_i, class by class."""
    K = z.shape[-1]
    return torch.stack([z[..., i].masked_fill(y == i, -torch.inf) for i in range(K)]).amax(0)


def cross_entropies(z: Tensor, y: Tensor, T: float) -> Tensor:
    return T * F.cross_entropy((z / T).flatten(0, -2), y.flatten(), reduction="none").view(y.shape)


def weights(z: Tensor, y: Tensor, T: float) -> Tensor:
    """sigmoid((m + T / 2) / (T / 4)) of the margin m, a constant of the masked margin."""
    m = at(z, y) - best_other(z, y)
    return 1 / (1 + torch.exp(-(m + T / 2) / (T / 4))).detach()


# each scalar is a sum over the samples, times T where the gradient leaves the factor 1 / T out
SCALARS = {
    "cross_entropy": lambda z, y, T: cross_entropies(z, y, T).sum(),
    "cross_entropy_on_correct": lambda z, y, T: (cross_entropies(z, y, T) * (z.argmax(-1) == y)).sum(),
    "probability": lambda z, y, T: T * (1 - torch.exp(-cross_entropies(z, y, T) / T)).sum(),
    "masked_margin": lambda z, y, T: (weights(z, y, T) * (best_other(z, y) - at(z, y))).sum(),
    "margin": lambda z, y, T: (best_other(z, y) - at(z, y)).sum(),
}


def test_every_loss_has_its_scalar_here() -> None:
    assert SCALARS.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
@given(case=cases())
def test_a_loss_is_the_gradient_of_its_scalar(name: str, case: Case) -> None:
    z, y, T = case
    leaf = z.clone().requires_grad_()
    (expected,) = torch.autograd.grad(SCALARS[name](leaf, y, T), leaf)
    found = LOSSES[name](z, y, T)
    assert found.shape == z.shape and torch.equal(z, leaf.detach()), "the logits were written into"
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@given(case=cases(), c=st.sampled_from([2.0**-20, 0.25, 8.0, 2.0**20]))
def test_no_loss_sees_a_common_factor_of_logits_and_temperature(name: str, case: Case, c: float) -> None:
    z, y, T = case
    assert torch.equal(LOSSES[name](c * z, y, c * T), LOSSES[name](z, y, T))


@pytest.mark.parametrize("name", LOSSES)
@given(case=cases())
def test_an_attacker_lowers_the_logit_of_the_label_and_the_classes_together_stay_where_they_are(
    name: str, case: Case
) -> None:
    z, y, T = case
    found = LOSSES[name](z, y, T)
    assert bool((at(found, y) <= 0).all())
    torch.testing.assert_close(found.sum(-1), torch.zeros_like(z[..., 0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_logits_that_differ_by_more_than_exp_can_hold_have_finite_gradients(name: str) -> None:
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    found = LOSSES[name](z, torch.tensor([0, 0]), 0.1)
    assert bool(found.isfinite().all())
