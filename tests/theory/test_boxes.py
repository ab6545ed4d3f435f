"""One layer over a box of inputs and weights: bounds that hold every value, rounded outward; and what is no layer."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsr.budget import Budget, LayerBall
from nsr.network import mlp_init
from nsr.theory.boxes import check_input, checked_balls, layer_box, rounding


def brute_box(ball, lower, upper):
    """Extremes of V t + c over the ends of every weight, bias and input coordinate."""
    n_out, n_in = ball.W.shape
    low, high = [], []
    for row in range(n_out):
        b, found = (0.0 if ball.b is None else ball.b[row].item()), []
        for t in itertools.product(*zip(lower.tolist(), upper.tolist(), strict=True)):
            w = ball.W[row].tolist()
            found.append(b + ball.beta + sum(w[k] * t[k] + ball.eps * abs(t[k]) for k in range(n_in)))
            found.append(b - ball.beta + sum(w[k] * t[k] - ball.eps * abs(t[k]) for k in range(n_in)))
        low.append(min(found))
        high.append(max(found))
    return np.array(low), np.array(high)


SPANS = {"not negative": (0.0, 2.0), "negative": (-2.0, -0.1), "any sign": (-2.0, 2.0)}


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("seed", range(4))
def test_layer_box_is_exact_up_to_rounding_where_no_input_straddles_zero(span, biases, seed):
    generator = np.random.default_rng(seed)
    ends = np.sort(generator.uniform(*SPANS[span], size=(2, 5, 4)), axis=0)
    if span == "any sign":
        ends = np.sort(np.abs(ends), axis=0) * np.sign(generator.normal(size=(5, 4)))
        ends = np.sort(ends, axis=0)
    b = torch.tensor(generator.normal(size=3)) if biases else None
    ball = LayerBall(torch.tensor(generator.normal(size=(3, 4))), b, 0.6, 0.25 if biases else 0.0)
    lower, upper = map(torch.tensor, ends)
    for k, (low, high) in enumerate(zip(*layer_box(ball, lower, upper), strict=True)):
        low_true, high_true = brute_box(ball, lower[k], upper[k])
        np.testing.assert_allclose(low.numpy(), low_true, rtol=0, atol=1e-12)
        np.testing.assert_allclose(high.numpy(), high_true, rtol=0, atol=1e-12)
        assert (low.numpy() <= low_true).all() and (high.numpy() >= high_true).all()


@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.0, 0.1, 2.0]), dtype=st.sampled_from(["float32", "float64"]))
@settings(max_examples=60)
def test_layer_box_holds_every_end_whatever_straddles_zero(seed, eps, dtype):
    generator = np.random.default_rng(seed)
    ends = torch.tensor(np.sort(generator.normal(size=(2, 4, 3)), axis=0)).to(getattr(torch, dtype))
    W = torch.tensor(generator.normal(size=(2, 3))).to(ends.dtype)
    low, high = layer_box(LayerBall(W, None, eps, 0.0), *ends)
    exact = LayerBall(W.double(), None, eps, 0.0)
    for k in range(4):
        low_true, high_true = brute_box(exact, ends[0, k].double(), ends[1, k].double())
        assert (low[k].double().numpy() <= low_true).all() and (high[k].double().numpy() >= high_true).all()


def test_layer_box_adds_the_farther_end_of_a_straddling_interval():
    ball = LayerBall(torch.tensor([[1.0, -1.0]], dtype=torch.float64), None, 0.5, 0.0)
    lower, upper = torch.tensor([[[-1.0, 1.0]], [[3.0, 2.0]]], dtype=torch.float64)
    low, high = layer_box(ball, lower, upper)
    assert high.item() == pytest.approx((3 + 0.5 * 3) + (-1 * 1 + 0.5 * 1), rel=1e-12)  # W t + eps max|t|, then exact
    assert low.item() == pytest.approx((-1 - 0.5 * 3) + (-1 * 2 - 0.5 * 2), rel=1e-12)


def test_layer_box_of_a_symmetric_interval_is_exact():
    ball = LayerBall(torch.tensor([[1.0, -3.0]], dtype=torch.float64), None, 0.5, 0.0)
    upper = torch.tensor([[2.0, 0.25]], dtype=torch.float64)
    low, high = layer_box(ball, -upper, upper)
    assert high.item() == pytest.approx(1.5 * 2 + 3.5 * 0.25, rel=1e-12) and low.item() == -high.item()


def test_the_rounding_room_covers_a_sum_of_rounding_errors_and_is_no_more_than_a_thousandth_at_mnist_size():
    W, b = torch.rand(128, 784) / 28, 10 * torch.rand(128)
    room, room_b = rounding(LayerBall(W, b, 0.0, 0.0))
    for share in (room / W.max(), room_b / b.max()):
        assert 784 * torch.finfo(W.dtype).eps / 2 < share < 1e-3


def test_a_layer_without_bias_needs_no_room_for_one():
    assert rounding(LayerBall(torch.ones(2, 2), None, 0.0, 0.0))[1] == 0


# --- what is no network with its radii, what is no batch of its inputs ----------------------------------------------


def network_and_inputs():
    g = torch.Generator().manual_seed(0)
    return mlp_init((4, 5, 3, 3), g, torch.float64), torch.rand(6, 4, generator=g, dtype=torch.float64)


def with_one(t, value):
    return torch.where(torch.arange(t.numel()).view_as(t) == 1, value, t)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda A, B, C: (A, with_one(B, torch.nan), C), "W holds NaN or infinite"),
        (lambda A, B, C: (with_one(A, torch.inf), B, C), "W holds NaN or infinite"),
        (lambda A, B, C: (A, B.float(), C), "all float32 or all float64, got torch.float32, torch.float64"),
        (lambda A, B, C: (A.half(), B.half(), C.half()), "all float32 or all float64"),
        (lambda A, B, C: (A.long(), B.long(), C.long()), "all float32 or all float64"),
        (lambda A, B, C: (A,), "at least two layers"),
        (lambda A, B, C: (A, C, C), "takes 3 inputs but the layer before gives 5"),
    ],
)
def test_weights_that_no_formula_can_use_are_refused_in_one_line(change, message):
    W = change(*network_and_inputs()[0])
    with pytest.raises(ValueError, match=message) as refusal:
        checked_balls(W, Budget(0.1, (0.1,) * len(W)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: with_one(x, torch.nan), "x holds NaN or infinite"),
        (lambda x: with_one(x, -torch.inf), "x holds NaN or infinite"),
        (lambda x: x[0], r"x must be a batch \[B, 4\].*got \(4,\)"),
        (lambda x: x[:, None], r"x must be a batch \[B, 4\]"),
        (lambda x: x[:, :3], r"x must be a batch \[B, 4\].*got \(6, 3\)"),
        (lambda x: x.tolist(), "got list"),
        (lambda x: x.float(), "bring both to one dtype"),
    ],
)
def test_what_is_no_batch_of_inputs_is_refused_in_one_line(change, message):
    W, x = network_and_inputs()
    first = checked_balls(W, Budget(0.1, (0.1, 0.1, 0.1)))[0]
    with pytest.raises(ValueError, match=message) as refusal:
        check_input(change(x), first)
    assert "\n" not in str(refusal.value)
    assert check_input(x, first) == (float(x.min()), float(x.max()))
