"""The norms of a convolution are those of its matrix, which is built here column by column and never in the package."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nsr.steps import Convolution
from nsr.theory import norms

ORDERS = {"linf": np.inf, "l1": 1, "spectral": 2}
EXACT = ("linf", "l1")
CASES = 600


def pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return tuple(int(n) for n in rng.integers(low, high + 1, 2))


def random_conv(rng: np.random.Generator) -> nn.Conv2d:
    """Any geometry, with a few large entries, which decide where the largest row or column lies."""
    groups = int(rng.choice([1, 1, 2, 3]))
    kernel, dilation = pair(rng, 1, 4), pair(rng, 1, 3) if rng.random() < 0.4 else (1, 1)
    padding = ["same", "valid", pair(rng, 0, 3), pair(rng, 0, 3), pair(rng, 0, 6)][rng.integers(5)]
    conv = nn.Conv2d(
        groups * int(rng.integers(1, 3)),
        groups * int(rng.integers(1, 3)),
        kernel,
        stride=1 if padding == "same" else pair(rng, 1, 4),
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bool(rng.integers(2)),
        dtype=torch.float64,
    )
    nn.init.zeros_(conv.weight).data += torch.tensor(rng.normal(size=conv.weight.shape) ** 3)
    return conv


def cases(count: int = CASES, seed: int = 0) -> Iterator[tuple[nn.Conv2d, tuple[int, int]]]:
    """Random convolutions with sizes on which they have an output, many of them smaller than the kernel's span."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        conv, size = random_conv(rng), pair(rng, 1, 9)
        padding = {"same": conv.dilation, "valid": (0, 0)}.get(conv.padding, conv.padding)
        spans = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        if conv.padding == "same" or all(n + 2 * p >= a for n, p, a in zip(size, padding, spans, strict=True)):
            found += 1
            yield conv, size


def explicit(conv: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """The matrix, by applying the layer to each unit image. Differentiable in the weight."""
    units = torch.eye(conv.in_channels * size[0] * size[1], dtype=conv.weight.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel", category=UserWarning)
        images = units.unflatten(1, (conv.in_channels, *size))
        return (conv(images) - conv(torch.zeros_like(images[:1]))).flatten(1).T


@pytest.mark.parametrize("name", EXACT)
def test_norm_of_a_convolution_is_that_of_its_matrix(name):
    for conv, size in cases():
        expected = np.linalg.norm(explicit(conv, size).detach().numpy(), ORDERS[name])
        assert getattr(norms, name)(conv, size).item() == pytest.approx(expected, rel=1e-12), (conv, size)


def test_spectral_norm_of_a_convolution_is_the_largest_singular_value_of_its_matrix():
    for conv, size in cases():
        expected = np.linalg.norm(explicit(conv, size).detach().numpy(), 2)
        value = norms.spectral(conv, size, tol=1e-9, steps=5000).item()
        assert value == pytest.approx(expected, rel=1e-9), (conv, size)


def test_the_random_convolutions_are_of_every_kind():
    kinds = {
        "kernel not square": lambda conv, size: conv.kernel_size[0] != conv.kernel_size[1],
        "strides differ": lambda conv, size: conv.stride[0] != conv.stride[1],
        "stride above the kernel": lambda conv, size: conv.stride[0] > conv.kernel_size[0],
        "dilated": lambda conv, size: conv.dilation != (1, 1),
        "dilated and strided": lambda conv, size: conv.dilation[0] > 1 and conv.stride[0] > 1,
        "groups": lambda conv, size: conv.groups > 1,
        "same": lambda conv, size: conv.padding == "same",
        "same, uneven": lambda conv, size: conv.padding == "same" and conv.kernel_size[0] % 2 == 0,
        "padding at least the kernel": lambda conv, size: (
            isinstance(conv.padding, tuple) and conv.padding[0] >= conv.kernel_size[0]
        ),
        "no row holds the kernel": lambda conv, size: norms.linf(conv, size) < norms.linf(conv) * (1 - 1e-9),
        "no column holds a class": lambda conv, size: norms.l1(conv, size) < norms.l1(conv) * (1 - 1e-9),
    }
    counts = {kind: sum(bool(holds(*case)) for case in cases()) for kind, holds in kinds.items()}
    assert min(counts.values()) >= 20, counts


@pytest.mark.parametrize("name", EXACT)
def test_without_a_size_the_norm_is_that_of_large_inputs_and_no_smaller_input_exceeds_it(name):
    norm = getattr(norms, name)
    for conv, size in cases(200, seed=1):
        spans = zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
        enough = tuple(2 * (d * (k - 1) + s) for k, d, s in spans)
        assert norm(conv).item() == pytest.approx(norm(conv, enough).item(), rel=1e-12), (conv, enough)
        assert norm(conv).item() >= norm(conv, size).item() * (1 - 1e-12), (conv, size)
        if np.prod(enough) <= 150:
            expected = np.linalg.norm(explicit(conv, enough).detach().numpy(), ORDERS[name])
            assert norm(conv).item() == pytest.approx(expected, rel=1e-12), (conv, enough)


@pytest.mark.parametrize("name", EXACT)
def test_gradient_is_that_of_the_norm_of_the_matrix(name):
    for conv, size in cases(150, seed=2):
        expected = torch.autograd.grad(torch.linalg.matrix_norm(explicit(conv, size), ORDERS[name]), conv.weight)
        found = torch.autograd.grad(getattr(norms, name)(conv, size), conv.weight)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_gradient_of_the_spectral_norm_is_that_of_the_largest_singular_value():
    compared = 0
    for conv, size in cases(200, seed=3):
        values = torch.linalg.svdvals(explicit(conv, size))
        if len(values) == 1 or values[1] > 0.99 * values[0]:
            continue  # of two equal values either gradient would do
        compared += 1
        expected = torch.autograd.grad(values[0], conv.weight)
        found = torch.autograd.grad(norms.spectral(conv, size, tol=1e-9, steps=5000), conv.weight)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * expected[0].abs().max().item())
    assert compared >= 60


@pytest.mark.parametrize("name", ORDERS)
def test_float32_gives_float32_near_the_same_value(name):
    for conv, size in cases(60, seed=4):
        expected = np.linalg.norm(explicit(conv, size).detach().numpy(), ORDERS[name])
        found = getattr(norms, name)(conv.float(), size)
        assert found.dtype == torch.float32
        # a start may stay a while near a lower singular value, by half of the tolerance
        assert found.item() == pytest.approx(expected, rel=1e-5), (conv, size)


def test_spectral_norm_starts_from_the_given_generator_or_always_from_the_same_point():
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=torch.float64)
    first, second = (norms.spectral(conv, (5, 6), tol=1e-3) for _ in range(2))
    other = norms.spectral(conv, (5, 6), tol=1e-3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, second) and not torch.equal(first, other)
    torch.testing.assert_close(first, other, rtol=1e-3, atol=0)


def test_spectral_norm_says_where_its_steps_were_too_few_and_is_then_too_low():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    with pytest.warns(UserWarning, match="2 steps did not reach tol 1e-05, so the value is too low") as caught:
        low = norms.spectral(conv, (9, 9), steps=2)
    assert caught[0].filename == __file__
    assert low < norms.spectral(conv, (9, 9))


def test_spectral_norm_keeps_its_digits_in_float32_over_half_a_million_pixels():
    conv = nn.Conv2d(2, 2, 1)
    conv.weight.data = torch.diag(torch.tensor([1.0, 0.5]))[:, :, None, None]
    assert norms.spectral(conv, (500, 500), tol=2e-6).item() == pytest.approx(1, rel=5e-7)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_scale_with_the_weight_where_its_squares_leave_the_range_of_floats(scale):
    conv = nn.Conv2d(2, 3, 3, padding=1)
    for name in ORDERS:
        before = getattr(norms, name)(conv, (5, 5)).item()
        scaled = nn.Conv2d(2, 3, 3, padding=1)
        scaled.weight.data = conv.weight.data * scale
        assert getattr(norms, name)(scaled, (5, 5)).item() == pytest.approx(before * scale, rel=1e-5)


@pytest.mark.parametrize("name", ORDERS)
def test_a_kernel_of_zeros_has_norm_0_and_a_finite_gradient(name):
    conv = nn.Conv2d(2, 3, 3)
    nn.init.zeros_(conv.weight)
    norm = getattr(norms, name)(conv, (5, 5))
    norm.backward()
    assert norm.item() == 0 and conv.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", ORDERS)
def test_norms_are_taken_without_gradients_too(name):
    conv = nn.Conv2d(2, 3, 3)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert getattr(norms, name)(conv, (5, 5)).item() > 0


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize(
    ("conv", "size", "why"),
    [
        *(
            (nn.Conv2d(1, 1, 3, padding=1, padding_mode=mode), (5, 5), f"zero padding: '{mode}'")
            for mode in ("circular", "reflect", "replicate")
        ),
        (nn.Conv2d(1, 1, 3), (2, 5), r"no output: a kernel 3 long on 2 pixels with 0 \+ 0 zeros"),
        (nn.Conv2d(1, 1, 3, dilation=2, padding=(9, 1)), (5, 2), r"no output: a kernel 5 long on 2 pixels with 1 \+ 1"),
        (nn.Conv2d(1, 1, 3, padding=3), (0, 5), "no output"),
        (nn.Conv2d(1, 1, 3), (1, 1, 5, 5), "height and the width"),
        (nn.Conv1d(1, 1, 3), (5, 5), "expected a Linear, a Conv2d or a matrix .*, got Conv1d"),
        (nn.ConvTranspose2d(1, 1, 3), (5, 5), "got ConvTranspose2d"),
        (torch.ones(1, 1, 3, 3), (5, 5), re.escape("got a tensor [1, 1, 3, 3]")),
    ],
)
def test_what_has_no_exact_norm_here_is_refused_in_one_line(name, conv, size, why):
    with pytest.raises(ValueError, match=why) as refused:
        getattr(norms, name)(conv, size)
    assert "\n" not in str(refused.value)


def test_the_spectral_norm_of_a_convolution_wants_a_size():
    with pytest.raises(ValueError, match=r"give size=\(H, W\)"):
        norms.spectral(nn.Conv2d(1, 1, 3))


def test_groups_are_blocks_so_the_norm_is_the_largest_of_theirs():
    conv = nn.Conv2d(4, 6, 3, groups=2, padding=1, dtype=torch.float64)
    blocks = [nn.Conv2d(2, 3, 3, padding=1, dtype=torch.float64) for _ in range(2)]
    for block, weight in zip(blocks, conv.weight.data.split(3), strict=True):
        block.weight.data = weight
    for name, size in itertools.product(ORDERS, ((2, 2), (6, 4))):
        norm = getattr(norms, name)
        largest = max(norm(block, size).item() for block in blocks)
        assert norm(conv, size).item() == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize("name", ORDERS)
def test_a_step_of_a_network_has_the_norm_of_its_layer_and_the_gradient_is_that_of_its_own_kernel(name):
    norm = getattr(norms, name)
    for conv, size in cases(60, seed=5):
        if isinstance(conv.padding, str):
            continue  # a step knows numbers alone
        step = Convolution(conv.bias is not None, conv.stride, conv.padding, conv.dilation, conv.groups)
        K = conv.weight.detach().clone().requires_grad_()
        layer, expected = norms.conv2d(K, step), norm(conv, size)
        assert norm(layer, size).item() == expected.item()
        (found,) = torch.autograd.grad(norm(layer, size), K)
        assert torch.equal(found, torch.autograd.grad(expected, conv.weight)[0])
        x = torch.rand(1, conv.in_channels, *size, dtype=K.dtype)
        assert torch.equal(layer(x), step(x, K))


@pytest.mark.parametrize("kind", [torch.Tensor, nn.Parameter])
def test_the_layer_of_a_step_has_the_very_tensor_that_it_is_given(kind):
    K = kind(torch.ones(4, 2, 3, 5))
    layer = norms.conv2d(K, Convolution(stride=(2, 1), groups=2))
    assert layer.weight is K and layer.bias is None
    assert (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride) == (4, 4, (3, 5), (2, 1))
    twice = norms.conv2d(2 * K, Convolution(groups=2))  # what is computed from a parameter stays in its graph
    assert norms.linf(twice).item() == 60 and twice.weight.requires_grad == K.requires_grad
