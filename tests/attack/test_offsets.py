"""Claims about one input's view of the weight ball: offsets and matrices give the same logits, both ways round."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nsr import Budget, Network, contour, data, mlp, mlp_init, training
from nsr.attack import STRONG, Ascent, Attack, run
from nsr.attack.offsets import by_neuron, weights_for


@st.composite
def cases(draw):
    """A random network, with or without biases, one input, radii for all its tensors, and a generator."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=5))
    W = mlp_init(sizes, g, torch.float64)
    if draw(st.booleans()):
        W = tuple(V for W_m in W for V in (W_m, torch.randn(len(W_m), generator=g, dtype=torch.float64)))
    x = torch.rand(1, sizes[0], generator=g, dtype=torch.float64) * draw(st.sampled_from([0.0, 1.0]))
    xi = Budget(0.0, tuple(draw(st.sampled_from([0.0, 0.01, 0.3])) for _ in W))
    return mlp(W), x, xi, g


def somewhere(W, xi, g):
    """A point of the ball around these tensors, often at its edge."""
    shares = (torch.rand(V.shape, generator=g, dtype=V.dtype).mul_(4).sub_(2).clamp_(-1, 1) for V in W)
    return tuple(V + e * share for V, e, share in zip(W, xi.eps_w, shares, strict=True))


@given(cases())
def test_every_offset_in_the_box_is_a_weight_set_in_the_ball_with_the_same_logits(case):
    net, x, xi, g = case
    seen = by_neuron(net)
    t = somewhere(seen.W, xi, g)
    W_hat = weights_for(net, t, x)
    assert all(float((V - W_m).abs().max()) <= e + 1e-12 for V, W_m, e in zip(W_hat, net.W, xi.eps_w, strict=True))
    torch.testing.assert_close(net.at(W_hat)(x), seen.at(t)(x))


@given(cases())
def test_every_weight_set_in_the_ball_is_an_offset_in_the_box_with_the_same_logits(case):
    net, x, xi, g = case
    V, t, s = somewhere(net.W, xi, g), [], x
    for V_m, W_m in zip(V, net.W, strict=True):  # v_i z = w_i z + t_i ||z||_1
        if V_m.ndim == 2:
            z = s.relu() if t else s
            t.append(((V_m - W_m) @ z[0]) / z.abs().sum().clamp(min=1e-300))
            s = z @ V_m.T
        else:
            t.append(V_m)
            s = s + V_m
    seen = by_neuron(net)
    assert all(float((t_m - o).abs().max()) <= e + 1e-12 for t_m, o, e in zip(t, seen.W, xi.eps_w, strict=True))
    torch.testing.assert_close(seen.at(t)(x), net.at(V)(x))


def test_at_zero_offsets_it_is_the_network_and_a_budget_for_one_is_a_budget_for_the_other():
    W = mlp_init((4, 3, 2), torch.Generator().manual_seed(0))
    net, x = mlp((W[0], torch.ones(3), W[1])), torch.rand(5, 4)
    assert torch.equal(by_neuron(net)(x), net(x))
    assert [tuple(t.shape) for t in by_neuron(net).W] == [(3,), (3,), (2,)]
    Budget(0.1, (0.1, 0.2, 0.3)).check(by_neuron(net).W)


def test_what_is_no_dense_network_is_refused():
    with pytest.raises(ValueError, match="a dense ReLU network, which this network is not"):
        by_neuron(Network.from_module(nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3))))


# attacked -----------------------------------------------------------------------------------------------------------

RADII = (0.0, 0.03, 0.06)
BRIEF = replace(STRONG, members=tuple(replace(ascent, steps=30) for ascent in STRONG.members), polish=())


@pytest.fixture(scope="module")
def trained():
    digits, g = data.load("digits", dtype=torch.float64), torch.Generator().manual_seed(0)
    net = mlp(mlp_init((64, 32, 16, 10), g, torch.float64))
    net = training.fit(net, digits.train.x, digits.train.y, epochs=15, generator=g)
    return net, digits.test.first(50)


@pytest.fixture(scope="module")
def rows(trained):
    """The accuracies over RADII squared: own weight sets by offsets, by matrices, and certificates."""
    net, part = trained
    cells = [Budget.uniform(a, b / 10, net) for a in RADII for b in RADII]

    few = Attack((Ascent(steps=40),))  # matrices for each input take their time

    def left(network, attack, images_per_W=1):
        return torch.tensor(contour.attacked(network, part.x, part.y, cells, attack, images_per_W=images_per_W))

    return {
        "offsets, paper": left(by_neuron(net), few),
        "matrices, paper": left(net, few),
        "offsets": left(by_neuron(net), BRIEF),
        "shared": left(net, BRIEF, None),
        "certified": torch.tensor(contour.certifiable(net, part.x, part.y, cells)),
    }


def test_offsets_break_what_a_matrix_for_each_input_breaks(rows):
    assert float((rows["offsets, paper"] - rows["matrices, paper"]).abs().max()) <= 0.02


def test_nothing_certified_is_broken_by_offsets_and_one_set_for_all_breaks_less(rows):
    assert bool((rows["certified"] <= rows["offsets"]).all())
    assert bool((rows["offsets"] <= rows["shared"]).all()) and float((rows["shared"] - rows["offsets"]).max()) > 0.1


def test_the_weights_behind_the_offsets_an_attack_finds_break_the_network_itself(trained):
    net, part = trained
    xi = Budget.uniform(0.05, 0.004, net)
    seen = by_neuron(net)
    x_hat, t, broken = run(seen, part.x, part.y, xi, BRIEF, images_per_W=1)
    assert 10 < int(broken.sum()) < len(part)
    for i in broken.nonzero().flatten().tolist():
        W_hat = weights_for(net, [t_m[i] for t_m in t], x_hat[i : i + 1])
        assert all(float((V - W_m).abs().max()) <= 0.004 + 1e-12 for V, W_m in zip(W_hat, net.W, strict=True))
        assert int(net.at(W_hat)(x_hat[i : i + 1]).argmax()) != int(part.y[i])
