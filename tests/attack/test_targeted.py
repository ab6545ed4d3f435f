"""Claims about attacks on each class by itself: whom they reach, what they never do, and what they see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nsr import Budget, certify, data, mlp, mlp_init, training
from nsr.attack import OWN, STRONG, Ascent, Attack, joint, run, survivors
from nsr.attack.engine import Ball, Problem
from nsr.attack.offsets import by_neuron, weights_for
from nsr.contour import attacked

UP = Ascent(steps=10, step_x=1.0, step_w=1.0, loss_x="margin", loss_w="margin", in_radii=True, cosine=True)
AIMED = replace(UP, keep_best=True)
FEW = replace(OWN.with_steps(0.1), targeted=(AIMED, *[replace(AIMED, random_start=True)] * 3))


@pytest.fixture(scope="module")
def trained():
    digits, g = data.load("digits", dtype=torch.float64), torch.Generator().manual_seed(0)
    net = mlp(mlp_init((64, 32, 16, 10), g, torch.float64))
    net = training.fit(net, digits.train.x, digits.train.y, epochs=15, generator=g)
    return net, digits.test.first(40)


def test_a_class_that_is_never_the_nearest_is_reached_by_aiming_at_it_and_by_nothing_else():
    # z = (1, 0.82 + 0.2 d, 1.3 - 2 d), d = |x - 0.5|: from 0.9 class 1 leads outwards, to nothing, and class 2 inwards
    W, b = torch.tensor([[1.0], [-1.0], [0.0]]), torch.tensor([-0.5, 0.5, 1.0])
    network = mlp((W, b, torch.tensor([[0.0, 0.0, 1.0], [0.2, 0.2, 0.82], [-2.0, -2.0, 1.3]])))
    x, y, xi = torch.tensor([[0.9]]), torch.tensor([0]), Budget(0.65, (0.0,) * 3)
    torch.testing.assert_close(network(x), torch.tensor([[1.0, 0.9, 0.5]]))
    assert not bool(run(network, x, y, xi, STRONG, images_per_W=1).broken)
    found = run(network, x, y, xi, OWN, images_per_W=1)
    assert bool(found.broken) and int(network(found.x_hat).argmax()) == 2


def test_it_never_breaks_less_never_what_is_proved_and_the_same_again(trained):
    net, part = trained
    seen = by_neuron(net)
    cells = [Budget.uniform(a, b, net) for a in (0.0, 0.02, 0.04) for b in (0.0, 0.002, 0.004)]
    plain, aiming = Attack((AIMED,)), Attack((AIMED,), targeted=FEW.targeted)
    hows = plain, aiming, aiming
    less, more, again = (survivors(seen, part.x, part.y, cells, how, images_per_W=1) for how in hows)
    assert torch.equal(more, again)
    assert bool((more <= less).all())
    proved = [certify.certified(net, part.x, part.y, xi) for xi in cells]
    assert all(bool((sure <= left).all()) for sure, left in zip(proved, more, strict=True))


@pytest.mark.parametrize(("eps_x", "eps_w"), [(0.04, 0.004), (0.06, 0.0), (0.0, 0.008)])
@pytest.mark.parametrize("offsets", [True, False])
def test_what_it_breaks_is_broken_at_a_point_of_the_ball(trained, eps_x, eps_w, offsets):
    net, part = trained
    seen, aiming = by_neuron(net) if offsets else net, Attack((replace(AIMED, steps=0),), targeted=FEW.targeted)
    found = run(seen, part.x, part.y, Budget.uniform(eps_x, eps_w, net), aiming, images_per_W=1)
    assert 0 < int(found.broken.sum()) < len(part)
    assert float((found.x_hat - part.x).abs().max()) <= eps_x + 1e-12
    assert 0 <= float(found.x_hat.min()) and float(found.x_hat.max()) <= 1
    for k in found.broken.nonzero()[:, 0].tolist():
        x_hat, W_hat = found.x_hat[k : k + 1], tuple(V[k] for V in found.W_hat)
        W_hat = weights_for(net, W_hat, x_hat) if offsets else W_hat
        assert all(float((V - W).abs().max()) <= eps_w + 1e-12 for V, W in zip(W_hat, net.W, strict=True))
        assert int(net.at(W_hat)(x_hat).argmax()) != int(part.y[k])


def test_where_weights_are_shared_it_changes_nothing(trained):
    net, part = trained
    for images_per_W in (None, 8):
        for eps_w in (0.004, 0.0):
            xi, scope = Budget.uniform(0.03, eps_w, net), {"images_per_W": images_per_W}
            ours, plain = (run(net, part.x, part.y, xi, how, **scope) for how in (FEW, replace(FEW, targeted=())))
            assert torch.equal(ours.x_hat, plain.x_hat) and torch.equal(ours.broken, plain.broken)
            assert all(torch.equal(V, U) for V, U in zip(ours.W_hat, plain.W_hat, strict=True))


def test_its_starts_do_not_hang_on_how_the_inputs_are_cut(trained, monkeypatch):
    net, part = trained
    xi, seen = Budget.uniform(0.04, 0.003, net), by_neuron(net)
    whole = survivors(seen, part.x, part.y, [xi], FEW, images_per_W=1)
    monkeypatch.setattr(joint, "CHUNK", 64 * 9 * 3)
    assert torch.equal(whole, survivors(seen, part.x, part.y, [xi], FEW, images_per_W=1))


def test_behind_a_relu_that_is_off_a_leak_leads_on():
    # z = (0.5, 2 relu(x - 0.3)): at x = 0.2 the gradient is zero, and so is that of every loss without a leak
    W, b = torch.tensor([[1.0], [0.0]]), torch.tensor([-0.3, 1.0])
    network, x, y = mlp((W, b, torch.tensor([[0.0, 0.5], [2.0, 0.0]]))), torch.tensor([[0.2]]), torch.tensor([0])
    xi, blind = Budget(0.5, (0.0,) * 3), Attack((UP,))
    assert not bool(run(network, x, y, xi, blind, images_per_W=1).broken)
    assert bool(run(network, x, y, xi, replace(blind, targeted=(AIMED,)), images_per_W=1).broken)


@pytest.mark.parametrize("relu", [torch.relu, torch.Tensor.relu, nn.functional.relu, nn.ReLU()])
def test_a_relu_that_leaks_has_the_values_of_one_that_does_not(relu):
    g = torch.Generator().manual_seed(0)
    s = torch.randn(1000, generator=g).requires_grad_()
    with joint._Leaking():
        z = relu(s)
    assert torch.equal(z, s.relu())
    (slope,) = torch.autograd.grad(z.sum(), s)
    assert torch.equal(slope, torch.where(s > 0, 1.0, joint.LEAK))


@given(seed=st.integers(0, 2**31), eps_w=st.sampled_from([0.0, 0.1]), K=st.integers(2, 14))
def test_each_input_is_aimed_at_the_likeliest_other_classes_and_sees_two_logits(seed, eps_w, K):
    g = torch.Generator().manual_seed(seed)
    net = mlp(mlp_init((5, 6, K), g, torch.float64))
    x, y = torch.rand(3, 5, generator=g, dtype=torch.float64), torch.randint(0, K, (3,), generator=g)
    balls = [Ball(V[None], eps_w) for V in net.W]
    problem = Problem(net, balls, Ball(x[:, None], 0.1), y[:, None], 1.0, 3)
    towards = joint._targets(net, x, y)
    inputs, targets = towards.shape
    assert (inputs, targets) == (3, min(K - 1, joint.TARGETS))
    aimed = joint._aimed(problem, x, y, towards)
    W = tuple(ball.start(aimed.groups) for ball in aimed.W)
    seen, z = aimed.logits(W, aimed.x.start(aimed.groups)).view(3, targets, 2), net(x)
    for k in range(3):
        others = sorted((float(z[k, i]) for i in range(K) if i != y[k]), reverse=True)[:targets]
        torch.testing.assert_close(seen[k, :, 0], z[k, y[k]].expand(targets))
        torch.testing.assert_close(seen[k, :, 1], torch.tensor(others, dtype=torch.float64))


def test_of_one_class_nothing_is_aimed_at(trained):
    net, x = mlp((torch.ones(1, 4),)), torch.rand(3, 4)
    assert attacked(net, x, torch.zeros(3, dtype=torch.long), [Budget(0.1, (0.1,))], OWN, images_per_W=1) == [1.0]


def test_the_strong_attack_of_own_weights_is_the_strong_one_and_then_aims():
    assert replace(OWN, targeted=()) == STRONG and not STRONG.targeted
    assert len(OWN.with_steps(0.5).targeted) == len(OWN.targeted) and OWN.with_steps(0.5).targeted[0].steps == 6
