"""Norm decay, weight decay and clipped singular values do what their formulas say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nsr import cnn, cnn_init, training
from nsr.network import Network, mlp, mlp_init
from nsr.steps import Convolution
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


KERNELS = {  # shape [out, in / groups, height, width], and how it is applied
    "ours": ((3, 2, 4, 4), Convolution(stride=(2, 2), padding=(1, 1))),
    "a bias": ((3, 2, 4, 4), Convolution(True, stride=(2, 2), padding=(1, 1))),
    "stride 1": ((4, 3, 3, 3), Convolution(padding=(1, 1))),
    "strides that differ": ((2, 2, 3, 5), Convolution(stride=(3, 2))),
    "a stride above the kernel": ((2, 2, 2, 2), Convolution(stride=(3, 3))),
    "dilated": ((3, 2, 3, 3), Convolution(stride=(2, 2), dilation=(2, 1))),
    "groups": ((4, 3, 2, 2), Convolution(stride=(2, 1), groups=2)),
}


def kernel_subgradient(K: Tensor, step: Convolution, norm: str) -> Tensor:
    """The signs of the output channel with the largest sum (linf); or of the entries, at any output channel of its
    group, by which the pixels of one kind of one input channel are met, where their sum is largest (l1)."""
    p = torch.zeros_like(K)
    out, channels, height, width = K.shape
    if norm == "linf":
        o = max(range(out), key=lambda o: float(K[o].abs().sum()))
        p[o] = K[o].sign()
        return p
    best, chosen = -1.0, []
    per_group = out // step.groups
    for group, c in ((g, c) for g in range(step.groups) for c in range(channels)):
        for rest in ((i, j) for i in range(step.stride[0]) for j in range(step.stride[1])):
            met = [
                (o, c, a, b)
                for o in range(group * per_group, (group + 1) * per_group)
                for a in range(height)
                for b in range(width)
                if (step.dilation[0] * a % step.stride[0], step.dilation[1] * b % step.stride[1]) == rest
            ]
            if (total := sum(float(K[at].abs()) for at in met)) > best:
                best, chosen = total, met
    for at in chosen:
        p[at] = K[at].sign()
    return p


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_norm_decay_of_kernels_is_its_formula_over_many_steps(norm, kind):
    generator, (shape, step) = torch.Generator().manual_seed(0), KERNELS[kind]
    shapes = [shape, *([shape[:1]] if step.bias else []), (2, 1, 3, 3), (3, 5)]
    steps = (step, Convolution())
    ours, g = ([torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes] for _ in range(2))
    by_hand, layers = [W_m.clone() for W_m in ours], [m for m, s in enumerate(shapes) if len(s) > 1]
    first = torch.optim.SGD([W_m.requires_grad_() for W_m in ours], 0.1)
    h = [torch.zeros_like(W_m) for W_m in by_hand]
    for _ in range(7):
        for W_m, g_m in zip(ours, g, strict=True):
            W_m.grad = g_m.clone()
        regularisers.step_with_norm_decay(first, ours, norm, 0.3, steps)
        moves = [g_m.clone() for g_m in g]
        for m, geometry in zip(layers, (*steps, None), strict=True):
            V_m = by_hand[m]
            p = subgradient(V_m, norm) if geometry is None else kernel_subgradient(V_m, geometry, norm)
            h[m] = 0.9 * h[m] + 0.1 * p
            moves[m] += 0.3 / 3 * h[m]
        by_hand = [V_m - 0.1 * move for V_m, move in zip(by_hand, moves, strict=True)]
    for W_m, V_m in zip(ours, by_hand, strict=True):
        torch.testing.assert_close(W_m.detach(), V_m)


@pytest.mark.parametrize("change", [{"norm_decay": 0.1}, {"most_singular": 0.5}])
def test_kernels_that_nobody_knows_how_to_apply_are_refused_before_anything_is_trained(change):
    network = Network.from_module(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)))
    method = replace(METHODS["standard"], epochs=1, **change)
    with pytest.raises(ValueError, match="singular values are cut of dense|how each kernel is applied") as refused:
        training.fit(network, torch.rand(4, 1, 4, 4), torch.zeros(4).long(), method, generator=torch.Generator())
    assert "\n" not in str(refused.value)


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


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_a_cnn_trained_with_norm_decay_has_smaller_kernels_and_goes_on_where_it_stopped(norm, optimiser):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(120, 1, 8, 8, generator=generator, dtype=torch.float64)
    y = (x[:, 0, :4].sum((1, 2)) > x[:, 0, 4:].sum((1, 2))).long()
    W = cnn_init((1, 3, 4), torch.Generator().manual_seed(1), torch.float64, side=8, classes=2)
    biases = [torch.zeros(len(W_m), dtype=torch.float64) for W_m in W]
    net = cnn(t for pair in zip(W, biases, strict=True) for t in pair)
    row = replace(METHODS["standard"], lr={"sgd": 0.05, "adam": 0.005}[optimiser], optimiser=optimiser)

    def trained(strength: float, **more) -> list[training.State]:
        method = replace(row, norm=norm, norm_decay=strength, epochs=8, batch=20)
        return list(training.states(net, x, y, method, generator=torch.Generator().manual_seed(0), **more))

    def sizes(state: training.State) -> list[float]:
        geometry = [step for step in net.steps if isinstance(step, Convolution)]
        of = getattr(norms, norm)
        *kernels, last = (W_m for W_m in state.W if W_m.ndim > 1)
        layers = [*(norms.conv2d(K, step) for K, step in zip(kernels, geometry, strict=True)), last]
        return [float(of(layer)) for layer in layers]

    free, held = trained(0.0)[-1], trained(0.3)
    assert all(ours < theirs for ours, theirs in zip(sizes(held[-1]), sizes(free), strict=True))
    assert torch.tensor(sizes(held[-1])).prod() < 0.8 * torch.tensor(sizes(free)).prod()
    assert all(map(torch.equal, trained(0.3, state=held[3])[-1].W, held[-1].W))


def test_a_cnn_whose_singular_values_are_to_be_cut_is_refused_in_one_line():
    W = cnn_init((1, 2), torch.Generator().manual_seed(1), side=8, classes=2)
    x, y = torch.rand(20, 64), torch.arange(20) % 2
    method = replace(METHODS["standard"], epochs=1, most_singular=0.5)
    with pytest.raises(ValueError, match="singular values are cut of dense layers"):
        training.fit(cnn(W), x, y, method, generator=torch.Generator().manual_seed(0))


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
