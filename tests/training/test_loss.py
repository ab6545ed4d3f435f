"""Claims about the training losses: the shortcuts of eq. (4) are the formulas."""

import pytest
import torch
from torch.nn import functional as F

import nsr
from nsr import certify
from nsr.budget import Budget
from nsr.network import margins, mlp
from nsr.theory import theorem
from nsr.training import loss


def net_and_batch(L: int, seed: int):
    g = torch.Generator().manual_seed(seed)
    sizes = [6, *([5] * (L - 1)), 4]
    W = nsr.mlp_init(sizes, g, torch.float64)
    x, y = torch.rand(7, 6, generator=g, dtype=torch.float64), torch.randint(0, 4, (7,), generator=g)
    return W, x, y, Budget(0.05, tuple(0.01 * (m + 1) for m in range(L)))


def regulariser(W, x, y, xi: Budget, *, alpha: float, beta: float, bound: str) -> torch.Tensor:
    """What eq. (4) adds to the cross-entropy."""
    return alpha * loss.worst_tau(mlp(W), x, y, xi, bound) + beta * loss.worst_zeta(mlp(W), x, y, xi, bound)


def assert_same_with_gradients(found: torch.Tensor, expected: torch.Tensor, leaves: list[torch.Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    by_value = [
        torch.autograd.grad(value, leaves, materialize_grads=True, retain_graph=True) for value in (found, expected)
    ]
    for a, b in zip(*by_value, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def worst(table: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """mean over samples of max_{y' != y} table[b, y', y], by going through all of them."""
    K = table.shape[-1]
    return torch.stack(
        [max(table[b, other, int(y[b])] for other in range(K) if other != int(y[b])) for b in range(len(y))]
    ).mean()


@pytest.mark.parametrize("L", [2, 3, 4, 5])
@pytest.mark.parametrize("bound", ["printed", "repaired"])
def test_regulariser_and_its_gradients_are_those_of_the_maximum_over_all_other_classes(L, bound):
    W, x, y, xi = net_and_batch(L, seed=L)
    leaves = [t.requires_grad_() for t in (x, *W)]
    tau = theorem.tau(W, xi).expand(len(x), 4, 4)
    zeta = {"printed": theorem.zeta, "repaired": theorem.zeta_repaired}[bound](W, x, xi)
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.7)):
        expected = alpha * worst(tau, y) + beta * worst(zeta, y)
        found = regulariser(W, x, y, xi, alpha=alpha, beta=beta, bound=bound)
        assert_same_with_gradients(found, expected, leaves)


@pytest.mark.parametrize("L", [2, 3, 4])
def test_interval_terms_and_their_gradients_are_what_intervals_add_to_the_clean_margin(L):
    W, x, y, xi = net_and_batch(L, seed=L)
    leaves = [t.requires_grad_() for t in (x, *W)]
    only_x, only_w = Budget(xi.eps_x, (0.0,) * L), Budget(0.0, xi.eps_w)
    for term, alone in ((loss.worst_tau, only_x), (loss.worst_zeta, only_w)):
        upper = certify.margin_upper_bound(mlp(W), x, alone, method="interval", box=None)
        expected = worst(upper - margins(mlp(W)(x)), y)
        assert_same_with_gradients(term(mlp(W), x, y, xi, "interval"), expected, leaves)


def test_norms_terms_at_equal_weights_add_up_to_the_second_repair():
    """R2 equals tau + zeta^norm; with eps_x = 0 the first is 0 and the second is R2 itself."""
    W, x, y, xi = net_and_batch(4, seed=1)
    still = Budget(0.0, xi.eps_w)
    added = certify.margin_upper_bound(mlp(W), x, still, method="norms") - margins(nsr.mlp(W)(x))
    value = regulariser(W, x, y, still, alpha=1.0, beta=1.0, bound="norms")
    torch.testing.assert_close(value, worst(added, y), rtol=1e-9, atol=1e-9)


def test_second_repair_is_tau_plus_its_own_zeta_when_no_weight_before_the_last_layer_moves():
    W, x, y, xi = net_and_batch(4, seed=6)
    only_x = Budget(xi.eps_x, (0.0,) * 4)
    added = certify.margin_upper_bound(mlp(W), x, only_x, method="norms") - margins(nsr.mlp(W)(x))
    value = regulariser(W, x, y, only_x, alpha=1.0, beta=1.0, bound="norms")
    torch.testing.assert_close(value, worst(added, y), rtol=1e-9, atol=1e-9)


def test_certified_cross_entropy_is_never_below_the_cross_entropy_at_a_corner():
    g = torch.Generator().manual_seed(2)
    W = nsr.mlp_init((2, 2, 2), g, torch.float64)
    x, y, xi = torch.rand(1, 2, generator=g, dtype=torch.float64), torch.tensor([1]), Budget(0.1, (0.1,) * 2)
    corners = torch.stack([F.cross_entropy(nsr.mlp(W_hat)(x_hat), y) for x_hat, W_hat in xi.corners(x, W)])
    assert len(corners) == 2**10
    assert corners.max() <= loss.certified_ce(mlp(W), x, y, xi, None)


def test_certified_cross_entropy_and_its_gradients_are_those_of_the_interval_margins_against_the_label():
    W, x, y, xi = net_and_batch(3, seed=7)
    leaves = [t.requires_grad_() for t in (x, *W)]
    upper = certify.margin_upper_bound(mlp(W), x, xi, method="interval")  # [B, K, K]
    against = torch.stack([table[:, label] for table, label in zip(upper, y, strict=True)])
    assert_same_with_gradients(loss.certified_ce(mlp(W), x, y, xi), against.exp().sum(1).log().mean(), leaves)


@pytest.mark.parametrize("weight", [0.0, 0.5, 6.0])
def test_trades_and_its_gradients_are_those_of_the_formula(weight):
    g = torch.Generator().manual_seed(3)
    z, z_hat = (torch.randn(7, 4, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    y = torch.arange(7) % 4
    p, p_hat = (t.exp() / t.exp().sum(1, keepdim=True) for t in (z, z_hat))
    formula = (-p[torch.arange(7), y].log() + weight * (p * (p / p_hat).log()).sum(1)).mean()
    assert_same_with_gradients(loss.trades(z, z_hat, y, weight), formula, [z, z_hat])


@pytest.mark.parametrize("bound", loss.BOUNDS)
def test_every_bound_of_the_regulariser_gives_gradients_to_all_hidden_layers(bound):
    W, x, y, xi = net_and_batch(3, seed=4)
    W = tuple(W_m.requires_grad_() for W_m in W)
    gradients = torch.autograd.grad(regulariser(W, x, y, xi, alpha=1.0, beta=1.0, bound=bound), W)
    assert all(g.abs().sum() > 0 and torch.isfinite(g).all() for g in gradients)


def test_an_unknown_bound_is_refused_with_the_known_ones():
    W, x, y, xi = net_and_batch(3, seed=5)
    with pytest.raises(ValueError, match="printed, repaired, norms, interval"):
        regulariser(W, x, y, xi, alpha=1.0, beta=1.0, bound="repared")
