"""The gradients written by hand are autograd's, tensor by tensor, and nothing is computed that is not wanted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nsr.attack import mlp_gradients
from nsr.attack.mlp_gradients import gradients, logits, product


@dataclass
class Case:
    """G weight sets, the inputs of each, and which tensors are to get a gradient."""

    W: list[Tensor]
    x: Tensor
    wrt_x: bool
    wrt_W: list[bool]


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """1 to 4 layers, each with or without a bias, 1 to 3 groups; images of two axes or flat inputs, some all zero."""
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    groups, n, rows = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.sampled_from([None, 1, 2]))
    W = []
    for fan_in, fan_out in zip([(rows or 1) * widths[0], *widths[1:]], widths[1:], strict=False):
        W.append(normal(g, groups, fan_out, fan_in))
        if draw(st.booleans()):
            W.append(normal(g, groups, fan_out))
    x = normal(g, groups, n, widths[0]) if rows is None else normal(g, groups, n, rows, widths[0])
    if draw(st.booleans()):
        x[:, 0] = 0.0  # where there is no bias either, every unit stands at the ReLU's kink
    return Case(W, x, draw(st.booleans()), [draw(st.booleans()) for _ in W])


def forward(W: list[Tensor], x: Tensor) -> Tensor:
    """f_W(x) [G, n, K] for one group after another, as one would write it down."""
    found = []
    for g in range(len(x)):
        s, after_matrix = x[g].flatten(1), False
        for V in W:
            if V.ndim == 3:
                s = (s.relu() if after_matrix else s) @ V[g].T
                after_matrix = True
            else:
                s = s + V[g]
        found.append(s)
    return torch.stack(found)


# two scalar losses of the logits, and their gradients there


def loss_x(z: Tensor) -> Tensor:
    return (z**3 / 3 + z).sum()


def loss_W(z: Tensor) -> Tensor:
    return (z**2 / 2).sum()


def both(z: Tensor) -> tuple[Tensor, Tensor]:
    return z**2 + 1, z.clone()


def one(z: Tensor) -> tuple[Tensor, Tensor]:
    d = z.clone()
    return d, d


def autograd(case: Case, loss: object, wrt: list[Tensor]) -> list[Tensor]:
    """The gradient of the loss with respect to some of the case's tensors."""
    twins = {id(t): t.clone().requires_grad_() for t in (case.x, *case.W)}
    z = forward([twins[id(V)] for V in case.W], twins[id(case.x)])
    return list(torch.autograd.grad(loss(z), [twins[id(t)] for t in wrt])) if wrt else []


def assert_same(found: list[Tensor | None], expected: list[Tensor | None]) -> None:
    assert [t is None for t in found] == [t is None for t in expected]
    for a, b in zip(found, expected, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def expected(case: Case, of_x: object, of_W: object) -> tuple[Tensor | None, list[Tensor | None]]:
    (g_x,) = autograd(case, of_x, [case.x]) if case.wrt_x else (None,)
    g_W = iter(autograd(case, of_W, [V for V, want in zip(case.W, case.wrt_W, strict=True) if want]))
    return g_x, [next(g_W) if want else None for want in case.wrt_W]


@given(cases())
def test_the_logits_are_the_networks(case: Case) -> None:
    torch.testing.assert_close(logits(case.W, case.x), forward(case.W, case.x), rtol=1e-10, atol=1e-10)


@given(cases())
def test_every_gradient_that_is_wanted_is_autograds_and_the_others_are_none(case: Case) -> None:
    before = [t.clone() for t in (case.x, *case.W)]
    for directions, of_x, of_W in ((both, loss_x, loss_W), (one, loss_W, loss_W)):
        z, g_x, g_W = gradients(case.W, case.x, directions, case.wrt_x, case.wrt_W)
        torch.testing.assert_close(z, forward(case.W, case.x), rtol=1e-10, atol=1e-10)
        on_x, on_W = expected(case, of_x, of_W)
        assert_same([g_x, *g_W], [on_x, *on_W])
    assert all(map(torch.equal, (case.x, *case.W), before)), "an argument was written into"


@given(cases(), st.integers(1, 4))
def test_over_chunks_of_inputs_the_gradients_on_the_weights_add_up_and_the_others_line_up(
    case: Case, size: int
) -> None:
    everything = True, [True] * len(case.W)
    z, g_x, g_W = gradients(case.W, case.x, both, *everything)
    parts = [gradients(case.W, part, both, *everything) for part in case.x.split(size, dim=1)]
    assert_same([z, g_x], [torch.cat(found, dim=1) for found in list(zip(*parts, strict=True))[:2]])
    assert_same(g_W, [sum(found) for found in zip(*(part[2] for part in parts), strict=True)])


# what it costs ------------------------------------------------------------------------------------------------------

G, N, D, H, K = 2, 5, 7, 6, 3  # groups, inputs of each, and widths: no two products of them are equal


def cost(directions: object, wrt_x: bool, wrt_W: list[bool]) -> int:
    """Multiplications and additions in the matrix products of one call, for three layers, the second with a bias."""
    g = torch.Generator().manual_seed(0)
    W = [normal(g, G, H, D), normal(g, G, H, H), normal(g, G, H), normal(g, G, K, H)]
    with FlopCounterMode(display=False) as counter:
        gradients(W, normal(g, G, N, D), directions, wrt_x, wrt_W)
    return counter.get_total_flops()


FIRST, SECOND, LAST = (2 * G * N * size for size in (D * H, H * H, H * K))  # one product with each of the matrices
FORWARD = FIRST + SECOND + LAST


@pytest.mark.parametrize(
    ("wrt_x", "wrt_W", "products"),
    [
        (False, [False, False, False, False], 0),
        (False, [False, False, False, True], LAST),  # the gradient on W^3, nothing below it
        (False, [False, False, True, False], LAST),  # down to the bias of the second layer, no matrix's gradient
        (False, [False, True, False, False], LAST + SECOND),
        (True, [False, False, False, False], LAST + SECOND + FIRST),  # down to x
        (False, [True, False, False, False], LAST + SECOND + FIRST),
        (True, [True, True, True, True], 2 * FORWARD),
    ],
)
def test_the_backward_pass_goes_no_further_down_than_what_is_wanted(
    wrt_x: bool, wrt_W: list[bool], products: int
) -> None:
    assert cost(one, wrt_x, wrt_W) == FORWARD + products


def test_one_backward_pass_serves_two_equal_losses_and_two_passes_two() -> None:
    down_once = SECOND + LAST  # what only the second pass does again: the way down to W^1
    assert cost(both, True, [True] * 4) == cost(one, True, [True] * 4) + down_once


# products -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("shape", [(65, 80, 70), (5, 80, 70), (65, 3, 70), (1, 1, 1), (64, 64, 64)], ids=str)
def test_a_product_is_the_matrix_product_whatever_kernel_computes_it(
    shape: tuple[int, int, int], groups: int, dtype: torch.dtype
) -> None:
    """One machine takes oneDNN's kernel from 64 rows, columns and terms on, another takes MKL's for all of them."""
    g, (r, k, c) = torch.Generator().manual_seed(0), shape
    a, b = normal(g, groups, r, k).to(dtype), normal(g, groups, c, k).to(dtype).mT
    exact = torch.stack([p.double() @ q.double() for p, q in zip(a, b, strict=True)])
    room = 4 * k * torch.finfo(dtype).eps
    torch.testing.assert_close(product(a, b).double(), exact, rtol=room, atol=room)
    torch.testing.assert_close(product(a.mT.contiguous().mT, b.contiguous()).double(), exact, rtol=room, atol=room)


def test_wide_float32_networks_get_the_gradients_of_their_float64_twin() -> None:
    g = torch.Generator().manual_seed(0)
    W = [normal(g, 1, 96, 128) / 11, normal(g, 1, 96), normal(g, 1, 80, 96) / 10, normal(g, 1, 70, 80) / 9]
    x, everything = normal(g, 1, 75, 128), (True, [True] * 4)
    exact = gradients(W, x, one, *everything)
    found = gradients([V.float() for V in W], x.float(), one, *everything)
    for a, b in zip((found[0], found[1], *found[2]), (exact[0], exact[1], *exact[2]), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3)


def test_bfloat16_networks_have_gradients_too() -> None:
    g = torch.Generator().manual_seed(0)
    W, x = [normal(g, 1, 4, 3).bfloat16(), normal(g, 1, 2, 4).bfloat16()], normal(g, 1, 5, 3).bfloat16()
    _, g_x, g_W = mlp_gradients.gradients(W, x, one, True, [True, True])
    assert {t.dtype for t in (g_x, *g_W)} == {torch.bfloat16}
