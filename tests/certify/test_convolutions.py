"""Certificates of convolutions hold: against matrices unrolled by hand, every corner, attacks, and rounding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nsr import Budget, Network, certify, cnn, cnn_init, margins, mlp
from nsr.attack import joint_pgd
from nsr.certify import METHODS
from nsr.certify.margins import EVERYWHERE
from nsr.theory import convolutions, folding
from nsr.theory.boxes import rounding
from nsr.theory.convolutions import ConvolutionBall

BOXES = {"no box": None, "pixels": (0.0, 1.0), "signed box": (-1.0, 1.0)}


class Normalised(nn.Module):
    """Inputs shifted and scaled by channel, so that the first layer sees both signs."""

    def __init__(self, module, channels):
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.linspace(0.2, 0.6, channels).view(-1, 1, 1))

    def forward(self, x):
        return self.module((x - self.mean) / -0.3)


def sequential(*parts, hidden=0, d):
    tail = [nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, 3)] if hidden else [nn.Linear(d, 3, bias=False)]
    return nn.Sequential(*parts, nn.Flatten(), *tail)


# name -> (the module, the shape of its images)
NETS = {
    "one convolution": (lambda: sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), d=27), (2, 4, 4)),
    "strides and padding": (
        lambda: sequential(
            *(nn.Conv2d(1, 3, 4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 4, 4, 2, 1, bias=False), nn.ReLU()), d=16
        ),
        (1, 8, 8),
    ),
    "three, a dense one behind": (
        lambda: sequential(
            *(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 2, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(3, 2, 2), nn.ReLU()),
            hidden=5,
            d=8,
        ),
        (1, 4, 4),
    ),
    "groups, dilation, oblong": (
        lambda: sequential(
            *(nn.Conv2d(2, 4, (2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2), nn.ReLU()),
            *(nn.Conv2d(4, 4, (2, 1), groups=2, dilation=(1, 1), bias=False), nn.ReLU()),
            d=20,
        ),
        (2, 4, 5),
    ),
    "means": (
        lambda: sequential(
            *(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.AvgPool2d(2, stride=1), nn.Conv2d(3, 4, 2, bias=False), nn.ReLU()),
            *(nn.AvgPool2d(2, padding=1),),
            d=16,
        ),
        (1, 5, 5),
    ),
    "mean over the image": (
        lambda: sequential(
            *(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)), d=4
        ),
        (1, 4, 4),
    ),
    "normalised inputs": (
        lambda: Normalised(
            sequential(nn.Conv2d(2, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, 2), nn.ReLU(), d=12), 2
        ),
        (2, 4, 4),
    ),
    "batch-norm": (
        lambda: sequential(
            *(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2, bias=False), nn.BatchNorm2d(2)),
            *(nn.ReLU(),),
            d=8,
        ),
        (1, 4, 4),
    ),
    "batch-norm of rows": (
        lambda: nn.Sequential(
            *(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5)),
            *(nn.ReLU(), nn.Linear(5, 3)),
        ),
        (4,),
    ),
}


def made(name, seed=0, dtype=torch.float64):
    """A network, its module, and inputs in [0, 1], all drawn from the seed."""
    torch.manual_seed(seed)
    make, shape = NETS[name]
    module = make().double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for t in (part.weight, part.running_mean):
                nn.init.normal_(t)
            nn.init.uniform_(part.bias, 0, 1)
            nn.init.uniform_(part.running_var, 0.3, 2)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.data *= 2
    x = torch.rand(3, *shape, dtype=torch.float64).to(dtype)
    return Network.from_module(module.eval().to(dtype), x), module, x


def radii(network, seed, radius=0.02):
    """Radii that all differ, a few of them 0."""
    generator = np.random.default_rng(seed)
    eps_w = generator.uniform(0, 1, len(network.W)) * (generator.random(len(network.W)) < 0.8) * radius
    return Budget(1.3 * radius, list(eps_w))


# --- an independent reference: matrices with a radius for each entry ------------------------------------------------


def unrolled(K, eps, shape, stride, padding, dilation, groups):
    """A convolution's matrix and the radii of its entries, output by output, and the shape of the outputs."""
    O, I, kh, kw = K.shape  # noqa: E741
    C, H, Wd = shape
    h = (H + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    w = (Wd + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    M, E = np.zeros((O, h, w, C, H, Wd)), np.zeros((O, h, w, C, H, Wd))
    for o, y, x, i, r, c in itertools.product(range(O), range(h), range(w), range(I), range(kh), range(kw)):
        row, col = y * stride[0] - padding[0] + r * dilation[0], x * stride[1] - padding[1] + c * dilation[1]
        if 0 <= row < H and 0 <= col < Wd:
            channel = o // (O // groups) * I + i
            M[o, y, x, channel, row, col] += K[o, i, r, c]
            E[o, y, x, channel, row, col] += eps[o, i, r, c]
    return M.reshape(O * h * w, -1), E.reshape(O * h * w, -1), (O, h, w)


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def reference_layers(module, xi, shape):
    """(M, E, b, beta) of each layer of a module, read from the module itself."""
    found, own, wide = [], iter(xi.eps_w), tuple(shape)
    inner = module.module if isinstance(module, Normalised) else module
    for part in inner:
        if isinstance(part, nn.Conv2d | nn.Linear):
            K = part.weight.detach().numpy()
            E = np.full(K.shape, next(own))
            b = np.zeros(len(K)) if part.bias is None else part.bias.detach().numpy()
            beta = np.full(len(K), 0.0 if part.bias is None else next(own))
            layer = part
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            gamma, shift, mean = (t.detach().numpy() for t in (part.weight, part.bias, part.running_mean))
            e_gamma, e_shift, root = next(own), next(own), np.sqrt(part.running_var.numpy() + part.eps)
            for o in range(len(K)):
                E[o] = abs(gamma[o]) / root[o] * E[o] + e_gamma / root[o] * (abs(K[o]) + E[o])
                beta[o] = (abs(gamma[o]) * beta[o] + e_gamma * (abs(b[o] - mean[o]) + beta[o])) / root[o] + e_shift
            K = (gamma / root).reshape(-1, *[1] * (K.ndim - 1)) * K
            b = gamma / root * (b - mean) + shift
        elif isinstance(part, nn.ReLU):
            found.append(flat_layer(layer, K, E, b, beta, wide))
            wide = found[-1][-1]
        elif isinstance(part, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            whole = isinstance(part, nn.AdaptiveAvgPool2d)
            size, stride, padding = (
                (wide[1:], (1, 1), (0, 0)) if whole else map(pair, (part.kernel_size, part.stride, part.padding))
            )
            mean_of = np.full((wide[0], 1, *size), 1 / np.prod(size))
            M, E, wide = unrolled(mean_of, 0 * mean_of, wide, stride, padding, (1, 1), wide[0])
            found.append((M, E, np.zeros(len(M)), np.zeros(len(M)), wide))
    return [f[:4] for f in (*found, flat_layer(layer, K, E, b, beta, wide))]


def flat_layer(layer, K, E, b, beta, wide):
    if isinstance(layer, nn.Linear):
        return K, E, b, beta, (len(K),)
    how = pair(layer.stride), pair(layer.padding), pair(layer.dilation), layer.groups
    M, R, shape = unrolled(K, E, wide, *how)
    places = shape[1] * shape[2]
    return M, R, np.repeat(b, places), np.repeat(beta, places), shape


def reference_box(layer, low, high):
    """Bounds of a layer's outputs: exact, but for inputs that straddle 0, where the ball may meet the farther end."""
    M, E, b, beta = layer
    top, bottom = b + beta, b - beta
    for k in range(M.shape[1]):
        e_low, e_high = E[:, k] * abs(low[k]), E[:, k] * abs(high[k])
        if low[k] < 0 <= high[k]:
            e_low = e_high = np.maximum(e_low, e_high)
        top = top + np.maximum(M[:, k] * low[k] + e_low, M[:, k] * high[k] + e_high)
        bottom = bottom + np.minimum(M[:, k] * low[k] - e_low, M[:, k] * high[k] - e_high)
    return bottom, top


def reference_back(layers, boxes, row, spread, constant, low, high):
    """The largest row . z + spread . |z| + constant, z being what the last of `layers` gives behind its ReLU."""
    a = row + spread
    for (M, E, b, beta), (p, q) in zip(reversed(layers), reversed(boxes), strict=True):
        lam = np.zeros(len(a))
        for k in range(len(a)):
            if p[k] >= 0:
                lam[k] = a[k]
            elif q[k] > 0:
                slope = q[k] / (q[k] - p[k])
                lam[k] = a[k] * (slope if a[k] > 0 else float(q[k] > -p[k]))
                constant += max(a[k], 0) * -p[k] * slope
        constant += lam @ b + abs(lam) @ beta
        a, e = M.T @ lam, E.T @ abs(lam)
        a, g = a + e, a
    return constant + sum(max(g[k] * t + e[k] * abs(t) for t in (low[k], high[k])) for k in range(len(g)))


def reference(layers, low, high, i, j, method):
    """interval, linear or tight of f_i - f_j for inputs in [low, high]."""
    *hidden, (M, E, b, beta) = layers
    row, spread = M[i] - M[j], E[i] + E[j]
    constant = b[i] - b[j] + beta[i] + beta[j]

    def elided(p, q):
        v = row + spread
        return np.maximum(v, 0) @ np.maximum(q, 0) - np.maximum(-v, 0) @ np.maximum(p, 0) + constant

    loose, sharp = [], []
    for m, layer in enumerate(hidden):
        before = (low, high) if m == 0 else [np.maximum(end, 0) for end in loose[-1]]
        loose.append(reference_box(layer, *before))
        before = (low, high) if m == 0 else [np.maximum(end, 0) for end in sharp[-1]]
        p, q = reference_box(layer, *before)
        if m and method == "tight":
            M_m, E_m, b_m, beta_m = layer
            for k in range(len(p)):
                how = hidden[:m], sharp
                q[k] = min(q[k], reference_back(*how, M_m[k], E_m[k], b_m[k] + beta_m[k], low, high))
                p[k] = max(p[k], -reference_back(*how, -M_m[k], E_m[k], -b_m[k] + beta_m[k], low, high))
        sharp.append((p, q))
    found = [elided(*loose[-1])]
    if method != "interval":
        found.append(reference_back(hidden, loose, row, spread, constant, low, high))
    if method == "tight":
        found += [elided(*sharp[-1]), reference_back(hidden, sharp, row, spread, constant, low, high)]
    return min(found)


def ends(module, x, xi, box):
    """What the first layer sees of one input."""
    low, high = (
        (x - xi.eps_x, x + xi.eps_x) if box is None else (end.clamp(*box) for end in (x - xi.eps_x, x + xi.eps_x))
    )
    if isinstance(module, Normalised):
        low, high = sorted_ends(*((end - module.mean) / -0.3 for end in (low, high)))
    return low.flatten().numpy(), high.flatten().numpy()


def sorted_ends(one, other):
    return torch.minimum(one, other), torch.maximum(one, other)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", EVERYWHERE)
def test_bounds_are_those_of_the_unrolled_matrices(method, name, box):
    network, module, x = made(name)
    xi = radii(network, seed=1)
    found = certify.margin_upper_bound(network, x, xi, method=method, box=BOXES[box])
    layers = reference_layers(module, xi, x.shape[1:])
    for k, (i, j) in itertools.product(range(len(x)), [(0, 1), (2, 0)]):
        low, high = ends(module, x[k], xi, BOXES[box])
        expected = reference(layers, low, high, i, j, method)
        assert expected != 0  # the network is alive
        assert float(found[k, i, j]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert float(found[k, i, j]) >= expected - 1e-12


@pytest.mark.parametrize("name", NETS)
def test_flat_rows_and_labels_give_the_same_bounds(name):
    network, _, x = made(name)
    if x.ndim == 4 and x.shape[2] != x.shape[3]:
        pytest.skip("flat rows are square images")
    xi, y = radii(network, seed=1), torch.tensor([0, 2, 1])
    for method in EVERYWHERE:
        bound = certify.margin_upper_bound(network, x, xi, method=method)
        assert torch.equal(certify.margin_upper_bound(network, x.flatten(1), xi, method=method), bound)
        of_y = certify.margin_upper_bound(network, x, xi, method=method, y=y)
        torch.testing.assert_close(of_y, bound[torch.arange(3), :, y], rtol=1e-12, atol=1e-12)
        safe = certify.certified(network, x, y, xi, method=method)
        assert safe.tolist() == [all(of_y[k, i] < 0 for i in range(3) if i != y[k]) for k in range(3)]


# --- every corner of tiny networks ----------------------------------------------------------------------------------


def tiny(seed):
    """Three inputs, a kernel of four entries that two or three outputs share, two classes; up to 2**13 corners."""
    torch.manual_seed(seed)
    kinds = (
        lambda: (nn.Conv2d(1, 2, (1, 2), bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False)),
        lambda: (nn.Conv2d(1, 1, (1, 2), padding=(0, 1)), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False)),
        lambda: (
            *(nn.Conv2d(1, 1, (1, 2), bias=False), nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 1, (1, 2))),
            *(nn.ReLU(), nn.Flatten(), nn.Linear(1, 2, bias=False)),
        ),
        lambda: (
            *(nn.Conv2d(1, 2, (1, 2), padding=(0, 1), bias=False), nn.ReLU(), nn.AvgPool2d((1, 2), 1)),
            *(nn.Flatten(), nn.Linear(6, 2, bias=False)),
        ),
    )
    module = nn.Sequential(*kinds[seed % len(kinds)]()).double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.running_mean)
    x = torch.rand(1, 1, 1, 3, dtype=torch.float64)
    network = Network.from_module(module, x)
    eps_w = [float(torch.rand(())) * 0.3 for _ in network.W]
    for m in sorted(range(len(eps_w)), key=lambda m: -network.W[m].numel()):  # the largest are fixed until few are left
        if sum(V.numel() for V, e in zip(network.W, eps_w, strict=True) if e) > 10:
            eps_w[m] = 0.0
    return network, x - 0.4, Budget(0.1, eps_w)


def exceeded(method, seeds):
    """How often some corner's margin exceeds the bound, and how far the bounds are above the corners on average."""
    times, above = 0, []
    for seed in seeds:
        network, x, xi = tiny(seed)
        bound = certify.margin_upper_bound(network, x, xi, method=method, box=None)[0]
        points = list(xi.corners(x, network.W))
        W_hat = tuple(map(torch.stack, zip(*(W for _, W in points), strict=True)))
        x_hat = torch.stack([x_hat for x_hat, _ in points])
        worst = margins(torch.func.vmap(network.forward)(W_hat, x_hat)[:, 0]).amax(0)
        times += bool((worst > bound + 1e-12).any())
        above.append(float((bound - worst).max()))
    return times, float(np.mean(above))


@pytest.mark.parametrize("method", EVERYWHERE)
def test_no_corner_of_a_tiny_network_exceeds_the_bound(method):
    times, above = exceeded(method, range(32))
    assert times == 0 and above < 1.0


FAULTS = {
    "no kernel ball forward": ("spread", lambda self, size, room=0.0: size.new_zeros(())),
    "half the kernel ball": ("spread", lambda self, size, room=0.0: self.apply(size, self.eps / 2)),
    "no balls backward": ("spread_back", lambda self, size, mass: (0.0, 0.0 * self.back(size, self.eps))),
    "balls backward without their signs": (
        "spread_back",
        lambda self, size, mass: (size @ self.beta, self.back(size, -self.eps)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_dropped_or_halved_ball_is_noticed(fault, monkeypatch):
    monkeypatch.setattr(ConvolutionBall, *FAULTS[fault])
    assert sum(exceeded(method, range(12))[0] for method in ("interval", "linear")) > 0


def test_what_lies_outside_an_image_must_not_count_as_on(monkeypatch):
    network, module, x = made("strides and padding")
    xi = radii(network, seed=1)
    right = certify.margin_upper_bound(network, x, xi, method="tight")
    windowed = convolutions._windowed
    monkeypatch.setattr(convolutions, "_windowed", lambda *given: windowed(*given[:-1], abs(given[-1])))
    assert (certify.margin_upper_bound(network, x, xi, method="tight") - right).abs().max() > 1e-3


# --- random points, attacks, rounding -------------------------------------------------------------------------------


@given(
    name=st.sampled_from([*NETS]),
    seed=st.integers(0, 10**6),
    radius=st.sampled_from([0.002, 0.02, 0.2]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=300)
def test_no_point_of_the_ball_and_no_attack_exceeds_a_bound(name, seed, radius, dtype):
    network, _, x = made(name, seed, dtype)
    xi, exact, x64 = radii(network, seed, radius), network.to(torch.float64), x.double()
    bound = {m: certify.margin_upper_bound(network, x, xi, method=m).double() for m in EVERYWHERE}
    generator = torch.Generator().manual_seed(seed)
    y = exact(x64).argmax(1)
    how = {"steps": 5, "step_x": radius / 2, "step_w": radius / 2}
    points = [xi.sample(x64, exact.W, generator, (0.0, 1.0)) for _ in range(4)]
    points += [tuple(joint_pgd(exact, x64[k : k + 1], y[k : k + 1], xi, **how)[:2]) for k in range(2)]
    for k, (x_hat, W_hat) in enumerate(points):
        found = margins(exact.at(W_hat)(x_hat))
        for m in EVERYWHERE:
            here = bound[m] if k < 4 else bound[m][k - 4 : k - 3]
            assert (found <= here + 1e-13 * found.abs()).all(), m


@given(name=st.sampled_from([*NETS]), seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=100)
def test_float32_bounds_hold_in_real_numbers_where_nothing_but_rounding_moves(name, seed, scale):
    network, _, x = made(name, seed, torch.float32)
    network = network.at([scale * V for V in network.W])
    xi = Budget.uniform(0, 0, network)
    truth = margins(network.to(torch.float64)(x.double()))
    for method in EVERYWHERE:
        bound = certify.margin_upper_bound(network, x, xi, method=method).double()
        assert (bound >= truth).all(), method


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", EVERYWHERE)
def test_with_radius_0_the_bound_is_the_margin(method, name):
    network, module, x = made(name)
    xi = Budget.uniform(0, 0, network)
    expected = margins(module(x)).detach()
    torch.testing.assert_close(certify.margin_upper_bound(network, x, xi, method=method), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_interval_bounds_rise_with_every_radius_that_grows(name):
    network, _, x = made(name)
    at = [0.01] * (len(network.W) + 1)
    base = certify.margin_upper_bound(network, x, Budget(at[0], at[1:]), method="interval")
    for k in range(len(at)):
        more = [0.02 if m == k else e for m, e in enumerate(at)]
        bound = certify.margin_upper_bound(network, x, Budget(more[0], more[1:]), method="interval")
        assert (bound >= base).all() and (bound > base).any()


@pytest.mark.parametrize("name", NETS)
def test_the_ladder_is_ordered(name):
    network, _, x = made(name)
    loose, linear, tight = (
        certify.margin_upper_bound(network, x, radii(network, 3), method=method) for method in EVERYWHERE
    )
    assert (tight <= linear).all() and (linear <= loose).all()


# --- dense networks as convolutions ---------------------------------------------------------------------------------


def as_convolutions(W, whole):
    """A dense chain as convolutions: the first over the whole image or over one pixel, the others over one pixel."""
    parts, shape = [], (1, 2, 3) if whole else (6, 1, 1)
    for V, b in zip(W[:-1:2], W[1:-1:2], strict=True):
        size = shape[1:] if not parts else (1, 1)
        conv = nn.Conv2d(shape[0] if not parts else V.shape[1], len(V), size).double()
        with torch.no_grad():
            conv.weight.copy_(V.view_as(conv.weight))
            conv.bias.copy_(b)
        parts += [conv, nn.ReLU()]
    last = nn.Linear(W[-1].shape[1], len(W[-1]), bias=False).double()
    with torch.no_grad():
        last.weight.copy_(W[-1])
    return nn.Sequential(*parts, nn.Flatten(), last), shape


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("method", EVERYWHERE)
def test_a_dense_network_written_as_convolutions_has_the_dense_bound(method, whole):
    W = tuple(torch.randn(*s).double() / 2 for s in ((5, 6), (5,), (4, 5), (4,), (3, 4)))
    module, shape = as_convolutions(W, whole)
    x = torch.rand(4, 6).double()
    network = Network.from_module(module, x.view(4, *shape))
    xi = Budget(0.03, (0.01, 0.02, 0.03, 0.0, 0.01))
    expected = certify.margin_upper_bound(mlp(W), x, xi, method=method)
    found = certify.margin_upper_bound(network, x.view(4, *shape), xi, method=method)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


# --- our cnn, gradients, refusals -----------------------------------------------------------------------------------


def test_our_cnn_is_certified_at_small_radii_and_not_at_large_ones():
    network = cnn(cnn_init((1, 16, 32), torch.Generator().manual_seed(0), torch.float64))
    x = torch.rand(2, 784).double()
    y = network(x).argmax(1)
    assert certify.certified(network, x, y, Budget.uniform(1e-4, 1e-6, network)).all()
    assert not certify.certified(network, x, y, Budget.uniform(0.1, 0.01, network)).any()


def test_bounds_can_be_differentiated_down_to_the_kernels():
    network, _, x = made("strides and padding")
    W = tuple(V.requires_grad_() for V in network.W)
    for method in EVERYWHERE:
        bound = certify.margin_upper_bound(network.at(W), x, Budget.uniform(0.01, 0.01, network), method=method)
        grads = torch.autograd.grad(bound.sum(), W, retain_graph=False)
        assert all(bool(g.isfinite().all()) and bool(g.any()) for g in grads)


@pytest.mark.parametrize("method", sorted({*METHODS} - {*EVERYWHERE}))
def test_bounds_for_dense_networks_say_so_in_one_line(method):
    network, _, x = made("one convolution")
    with pytest.raises(ValueError, match="for networks of dense and ReLU layers.*interval, linear, tight") as refusal:
        certify.margin_upper_bound(network, x, Budget.uniform(0, 0, network), method=method)
    assert "\n" not in str(refusal.value)


def test_exact_verdicts_are_for_dense_networks():
    network, _, x = made("one convolution")
    with pytest.raises(ValueError, match="the exact verdict is for networks of dense and ReLU layers"):
        certify.exact(network, x, torch.zeros(3).long(), Budget.uniform(0, 0, network))


BAD = {
    "a radius missing": (lambda n, x, xi: (n, x, Budget(0.1, (0.1,))), "one radius each"),
    "images of other channels": (lambda n, x, xi: (n, x[:, :1], xi), r"x must hold images \[B, 2, height, width\]"),
    "rows of no square": (lambda n, x, xi: (n, x.flatten(1)[:, :30], xi), r"x must hold images"),
    "no tensor": (lambda n, x, xi: (n, x.tolist(), xi), "batch of images or of flat rows, got list"),
    "one number a sample": (lambda n, x, xi: (n, x[:, 0, 0, 0], xi), "batch of images or of flat rows"),
    "x out of the box": (lambda n, x, xi: (n, x + 1, xi), "x leaves the box"),
    "another dtype": (lambda n, x, xi: (n, x.float(), xi), "bring both to one dtype"),
    "NaN in x": (lambda n, x, xi: (n, x * torch.nan, xi), "x holds NaN"),
    "infinite weights": (lambda n, x, xi: (n.at([V / 0 for V in n.W]), x, xi), "W holds NaN or infinite"),
    "half precision": (lambda n, x, xi: (n.to(torch.half), x.half(), xi), "all float32 or all float64"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_with_a_sentence(what):
    change, message = BAD[what]
    network, _, x = made("one convolution")
    network, x, xi = change(network, x, Budget.uniform(0.01, 0.01, network))
    for method in EVERYWHERE:
        with pytest.raises(ValueError, match=message) as refusal:
            certify.margin_upper_bound(network, x, xi, method=method)
        assert "\n" not in str(refusal.value)


def test_no_inputs_have_no_bounds():
    network, _, x = made("strides and padding")
    for method in EVERYWHERE:
        found = certify.margin_upper_bound(network, x[:0], Budget.uniform(0.01, 0.01, network), method=method)
        assert found.shape == (0, 3, 3)


# --- the balls themselves -------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6))
@settings(max_examples=100)
def test_forward_and_back_are_torchs_convolution_and_its_transpose(seed):
    generator = np.random.default_rng(seed)
    kernel, stride, dilation, padding = (
        tuple(generator.integers(lo, hi, 2).tolist()) for lo, hi in ((1, 4), (1, 4), (1, 3), (0, 3))
    )
    groups = int(generator.integers(1, 3))
    conv = nn.Conv2d(2 * groups, 3 * groups, kernel, stride, padding, dilation, groups).double()
    seen = (2 * groups, *generator.integers(6, 9, 2).tolist())
    step = convolutions.Convolution(True, stride, padding, dilation, groups)
    ball = folding._ball(folding.Layer(conv.weight.detach(), conv.bias.detach(), 0.1, 0.2, step), seen)
    z = torch.randn(4, *seen, dtype=torch.float64, requires_grad=True)
    out = conv(z)
    torch.testing.assert_close(ball.forward(z.flatten(1)), out.flatten(1))
    lam = torch.randn_like(out)
    (g,) = torch.autograd.grad(out, z, lam)
    torch.testing.assert_close(ball.back(lam.flatten(1)), g.flatten(1))
    ones = F.conv2d(z.abs(), torch.full_like(conv.weight, 0.1), None, stride, padding, dilation, groups)
    torch.testing.assert_close(ball.spread(z.abs().flatten(1)), ones.flatten(1))


def test_the_room_for_rounding_covers_every_sum_of_a_convolution():
    """Forward it sums over a window, backward over the outputs that see an input, of biases over all outputs."""
    K, b = torch.rand(16, 3, 4, 4), torch.rand(16)
    step = convolutions.Convolution(True, (2, 2), (1, 1))
    ball = folding._ball(folding.Layer(K, b, 0.0, 0.0, step), (3, 28, 28))
    room, room_b = rounding(ball)
    u = torch.finfo(K.dtype).eps / 2
    assert ball.n_out == 16 * 14 * 14 and len(ball.b) == ball.n_out
    assert room >= max(3 * 16, 16 * 16) * u * K.max() and room_b >= ball.n_out * u * b.max()
    wide = folding.widened(ball)
    assert torch.equal(wide.eps, ball.eps + float(room)) and torch.equal(wide.beta, ball.beta + float(room_b))
