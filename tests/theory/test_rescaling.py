"""Claims about rescaling: which rescalings keep the decisions, and which radii they leave the attacker."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsr import Budget, data, mlp, mlp_init, training
from nsr.attack import PAPER, STRONG, Ascent, Attack, survivors
from nsr.contour import measure
from nsr.theory import rescaling

L = 3
SHORT = Attack(
    members=(Ascent(15, 0.5, 0.5, loss_w="masked_margin", T=0.2, in_radii=True, cosine=True, keep_best=True),),
    polish=(Ascent(15, 0.5, 0.5, T=0.2, in_radii=True, cosine=True, keep_best=True),),
)
powers = st.integers(-6, 6).map(lambda k: 2.0**k)  # multiplying a float by one of these rounds nothing
factors = st.floats(0.05, 20)


@pytest.fixture(scope="module")
def net():
    g, split = torch.Generator().manual_seed(0), data.load("digits", dtype=torch.float64).train
    return training.fit(mlp(mlp_init((64, 32, 16, 10), g, torch.float64)), split.x, split.y, epochs=8, generator=g)


@pytest.fixture(scope="module")
def test():
    split = data.load("digits", dtype=torch.float64).test.first(60)
    return split.x, split.y


def left(network, test, xi, attack=SHORT):
    return survivors(network, *test, [xi], attack)[0]


def neuron_factors(net, seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.empty(len(W_m), dtype=torch.float64).uniform_(0.2, 5, generator=g) for W_m in net.W[:-1]]


# the logits ---------------------------------------------------------------------------------------------------------


@given(cs=st.tuples(factors, factors, factors))
@settings(max_examples=30)
def test_factors_on_the_layers_multiply_the_logits_by_their_product(net, test, cs):
    expected = cs[0] * cs[1] * cs[2] * net(test[0])
    torch.testing.assert_close(
        rescaling.scaled(net, cs)(test[0]), expected, rtol=1e-9, atol=1e-9 * float(expected.max())
    )


@given(a=powers, b=powers)
@settings(max_examples=30)
def test_factors_that_cancel_leave_the_logits_as_they_are(net, test, a, b):
    assert torch.equal(rescaling.scaled(net, (a, b, 1 / (a * b)))(test[0]), net(test[0]))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_factors_on_hidden_neurons_leave_the_logits_as_they_are(net, test, seed):
    torch.testing.assert_close(rescaling.rewired(net, neuron_factors(net, seed))(test[0]), net(test[0]))


def test_matched_weights_are_as_large_as_the_others_and_decide_as_before(net, test):
    other = mlp(mlp_init((64, 32, 16, 10), torch.Generator().manual_seed(5), torch.float64))
    twin = rescaling.matched(net, other)
    assert rescaling.sizes(twin.W) == pytest.approx(rescaling.sizes(other.W))
    assert torch.equal(twin(test[0]).argmax(1), net(test[0]).argmax(1))


def test_a_network_in_shares_is_the_network_and_its_radius_a_share_of_every_weight(net, test):
    shares = rescaling.in_shares(net)
    assert torch.equal(shares(test[0]), net(test[0]))
    up = shares.at(torch.full_like(D_m, 0.3) for D_m in shares.W)
    torch.testing.assert_close(up(test[0]), net.at(1.3 * W_m for W_m in net.W)(test[0]))


# the attacked accuracies --------------------------------------------------------------------------------------------


@given(a=powers, b=powers, r=st.floats(0.01, 0.2))
@settings(max_examples=4)
def test_rescaling_between_layers_leaves_the_attack_in_relative_radii_as_it_is(net, test, a, b, r):
    twin = rescaling.scaled(net, (a, b, 1 / (a * b)))
    found = [left(f, test, Budget.relative(0.05, r, f)) for f in (net, twin)]
    assert torch.equal(*found)


@given(c=powers, eps_w=st.floats(0.001, 0.02))
@settings(max_examples=4)
def test_scaled_weights_in_scaled_radii_are_the_same_problem(net, test, c, eps_w):
    here = left(net, test, Budget(0.05, (eps_w,) * L))
    assert torch.equal(left(rescaling.scaled(net, c), test, Budget(0.05, (c * eps_w,) * L)), here)


def test_strong_finds_the_same_inputs_at_every_scale(net, test):
    few = replace(
        STRONG,
        members=tuple(replace(m, steps=10) for m in STRONG.members),
        polish=tuple(replace(p, steps=5) for p in STRONG.polish),
    )
    here = left(net, test, Budget(0.05, (0.01,) * L), few)
    there = left(rescaling.scaled(net, 8.0), test, Budget(0.05, (0.08,) * L), few)
    assert 0 < here.sum() < len(here) and torch.equal(here, there)


def test_an_absolute_radius_is_smaller_for_larger_weights(net, test):
    xi = Budget(0.0, (0.02,) * L)
    assert left(rescaling.scaled(net, 4.0), test, xi).sum() > left(net, test, xi).sum() + 5


def test_the_papers_attack_on_inputs_alone_sees_a_scale_that_no_decision_depends_on(net, test):
    xi, (x, _) = Budget(0.1, (0.0,) * L), test
    large = rescaling.scaled(net, 16.0)
    assert torch.equal(large(x).argmax(1), net(x).argmax(1))
    assert left(large, test, xi, PAPER).sum() > left(net, test, xi, PAPER).sum() + 5


def test_rescaling_neurons_does_change_a_relative_radius_but_not_a_radius_in_shares(net, test):
    twin = rescaling.rewired(net, neuron_factors(net, 1))
    grids, how = ((0.0, 0.05), (0.0, 0.05, 0.1)), {"attack": SHORT}
    here, there = (measure(f, *test, *grids, geometry="relative", **how) for f in (net, twin))
    assert here.disagreements(there, by=0.02)
    here, there = (measure(rescaling.in_shares(f), *test, *grids, **how) for f in (net, twin))
    assert not here.disagreements(there, by=0.02)  # up to rounding, which can tip a step's sign


# learning rates -----------------------------------------------------------------------------------------------------


def test_candidates_share_a_line_if_only_the_learning_rate_differs():
    rows = [("sgd", 0.1, 0.2, 0.3), ("sgd", 0.2, 0.2, 0.4), ("sgd", 0.1, 0.1, 0.5), ("adam", 0.01, 0.2, 0.6)]
    candidates = [
        {"method": "at", "numbers": {"optimiser": o, "lr": lr, "attack_x": eps}, "auc": auc} for o, lr, eps, auc in rows
    ]
    assert rescaling.by_rate(candidates) == {"at": {"SGD, attack_x 0.2": {0.1: 0.3, 0.2: 0.4}}}
    assert rescaling.by_rate([*candidates[:1], {**candidates[1], "auc": None}]) == {}


# refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [(1.0, 2.0), (1.0, 1.0, 0.0), (1.0, -1.0, 1.0), 0.0])
def test_factors_that_do_not_fit_are_refused(net, bad):
    with pytest.raises(ValueError, match="one positive factor"):
        rescaling.scaled(net, bad)


def test_neuron_factors_that_do_not_fit_are_refused(net):
    with pytest.raises(ValueError, match="factor is needed for each neuron"):
        rescaling.rewired(net, [torch.ones(3, dtype=torch.float64)])


def test_a_network_with_biases_is_refused_since_it_is_not_homogeneous():
    biased = mlp((torch.ones(4, 3), torch.ones(4), torch.ones(2, 4)))
    for call in (lambda: rescaling.scaled(biased, 2.0), lambda: rescaling.in_shares(biased)):
        with pytest.raises(ValueError, match="without biases"):
            call()
