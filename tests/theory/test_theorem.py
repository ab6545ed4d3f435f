"""tau and zeta are the paper's, letter by letter; the repaired zeta is a bound where the printed one is none."""

import itertools
from fractions import Fraction

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsr import Budget, margins, mlp
from nsr.budget import LayerBall
from nsr.theory import theorem

SIZES = {2: (4, 5, 3), 3: (4, 5, 3, 3), 4: (4, 5, 3, 6, 3), 5: (4, 5, 3, 6, 2, 4)}
RADII = (0.07, 0.011, 0.23, 0.05, 0.31)  # one for each layer, all different, so that none can stand in for another


def drawn(sizes, *, biases=False, seed=0):
    """A random instance: weights, a batch of mixed-sign inputs and distinct radii, for numpy and for torch."""
    generator = np.random.default_rng(seed)
    arrays = oracles.draw(sizes, generator, biases=biases)
    x = generator.normal(size=(6, sizes[0]))
    radii = [RADII[k % 5] * (1 + k // 5) for k in range(len(arrays))]
    W = tuple(map(torch.tensor, arrays))
    return W, torch.tensor(x), Budget(0.13, radii), oracles.Net.of(arrays, radii, 0.13)


def pairs(bound, K):
    return np.array([[bound(i, j) for j in range(K)] for i in range(K)])


# --- letter by letter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("L", SIZES)
def test_tau_is_equation_2_letter_by_letter(L, seed):
    W, _, xi, net = drawn(SIZES[L], seed=seed)
    expected = pairs(lambda i, j: oracles.tau(net, i, j), SIZES[L][-1])
    np.testing.assert_allclose(theorem.tau(W, xi).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("L", SIZES)
def test_zeta_is_equation_3_letter_by_letter(L, seed):
    W, x, xi, net = drawn(SIZES[L], seed=seed)
    for x_b, found in zip(x.numpy(), theorem.zeta(W, x, xi), strict=True):
        expected = pairs(lambda i, j, x_b=x_b: oracles.zeta(net, x_b, i, j), SIZES[L][-1])
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("L", SIZES)
def test_repaired_zeta_is_r1_letter_by_letter(L, biases):
    W, x, xi, net = drawn(SIZES[L], biases=biases)
    for x_b, found in zip(x.numpy(), theorem.zeta_repaired(W, x, xi), strict=True):
        expected = pairs(lambda i, j, x_b=x_b: oracles.zeta_repaired(net, x_b, i, j), SIZES[L][-1])
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)


def test_zeta_takes_the_sign_of_each_input_coordinate():
    W, x, xi, _ = drawn(SIZES[3])
    flipped = (torch.cat([-W[0][:, :1], W[0][:, 1:]], 1), *W[1:])
    x_flipped = torch.cat([-x[:, :1], x[:, 1:]], 1)
    torch.testing.assert_close(theorem.zeta(flipped, x_flipped, xi), theorem.zeta(W, x, xi))


def test_zeta_at_two_layers_counts_the_first_radius_twice_as_printed():
    W, x, _, _ = drawn(SIZES[2])
    xi = Budget(0.0, (0.07, 0.0))
    torch.testing.assert_close(theorem.zeta(W, x, xi), 2 * theorem.zeta_repaired(W, x, xi))


# --- hand examples in exact arithmetic ------------------------------------------------------------------------------


def exact_margin(W, x):
    """f^{12} of a bias-free net in rational numbers."""
    z = [Fraction(t) for t in x]
    for m, W_m in enumerate(W, start=1):
        z = [sum((Fraction(w) * t for w, t in zip(row, z, strict=True)), Fraction(0)) for row in W_m]
        z = z if m == len(W) else [max(t, Fraction(0)) for t in z]
    return z[0] - z[1]


def admissible(W_hat, W, radii):
    entries = ((v, u, e) for V, U, e in zip(W_hat, W, radii, strict=True) for r, s in zip(V, U, strict=True)
               for v, u in zip(r, s, strict=True))  # fmt: skip
    return all(abs(Fraction(v) - Fraction(u)) <= Fraction(e) for v, u, e in entries)


def as_weights(W):
    return tuple(torch.tensor(W_m, dtype=torch.float64) for W_m in W)


def right_hand_sides(W, x, xi):
    """The bound of (1) as printed, and with the repaired zeta, for the pair (1, 2)."""
    f = margins(mlp(W)(x)) + theorem.tau(W, xi)
    return (f + theorem.zeta(W, x, xi))[0, 0, 1].item(), (f + theorem.zeta_repaired(W, x, xi))[0, 0, 1].item()


INTEGER = [[1], [1]], [[2, -2]], [[1], [0]]
INTEGER_HAT = [[2], [0]], [[3, -1]], [[2], [-1]]


def test_an_admissible_integer_point_exceeds_the_printed_bound_and_not_the_repaired_one():
    assert admissible(INTEGER_HAT, INTEGER, (1, 1, 1))
    assert exact_margin(INTEGER_HAT, [1]) == 18
    W, x = as_weights(INTEGER), torch.ones(1, 1, dtype=torch.float64)
    printed, repaired = right_hand_sides(W, x, Budget(0, (1, 1, 1)))
    assert printed == 16 and repaired == pytest.approx(20, rel=1e-12)


def test_the_integer_point_exceeds_the_printed_bound_with_an_input_radius_too():
    assert exact_margin(INTEGER_HAT, [Fraction(11, 10)]) == Fraction(99, 5)
    W, x = as_weights(INTEGER), torch.ones(1, 1, dtype=torch.float64)
    printed, repaired = right_hand_sides(W, x, Budget(0.1, (1, 1, 1)))
    assert printed == pytest.approx(98 / 5, rel=1e-12) and repaired == pytest.approx(118 / 5, rel=1e-12)


@pytest.mark.parametrize(("A", "B", "c", "e"), [(1, 2, 1, 1), (3, 5, 2, 1), (2, 1, 1, Fraction(1, 4)), (1, 1, 3, 1)])
def test_the_family_exceeds_the_printed_bound_by_its_closed_form(A, B, c, e):
    W = [[A], [A]], [[B, -B]], [[c], [0]]
    W_hat = [[A + e], [A - e]], [[B + e, -B + e]], [[c + e], [-e]]
    assert admissible(W_hat, W, (e, e, e))
    x = torch.ones(1, 1, dtype=torch.float64)
    printed, repaired = right_hand_sides(as_weights(W), x, Budget(0, (float(e),) * 3))
    gap = exact_margin(W_hat, [1]) - Fraction(printed)
    assert float(gap) == pytest.approx(float(2 * e**2 * (2 * B - c - 2 * e)), rel=1e-12)
    assert (gap > 0) == (2 * B > c + 2 * e)
    assert exact_margin(W_hat, [1]) <= Fraction(repaired)


def test_a_decision_flips_that_the_printed_bound_calls_safe():
    q = Fraction(1, 4)
    W = [[1], [1]], [[1, -1]] * 5 + [[1, 1]], [[0] * 6, [0] * 5 + [4]]
    W_hat = [[1 + q], [1 - q]], W[1], [[1] * 6, [-1] * 5 + [3]]
    assert admissible(W_hat, W, (q, 0, 1))
    assert exact_margin(W, [1]) == -8 and exact_margin(W_hat, [1]) == 1
    W, x = as_weights(W), torch.ones(1, 1, dtype=torch.float64)
    printed, repaired = right_hand_sides(W, x, Budget(0, (0.25, 0, 1)))
    assert printed == -1 and repaired >= 1


# --- structure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biases", [False, True])
def test_terms_are_symmetric_in_the_pair_and_not_negative(biases):
    W, x, xi, _ = drawn(SIZES[4], biases=biases)
    terms = [theorem.tau(W, xi)[None], theorem.zeta_repaired(W, x, xi)] + ([] if biases else [theorem.zeta(W, x, xi)])
    for term in terms:
        assert torch.equal(term, term.mT) and (term >= 0).all()


def test_shapes_are_pairs_and_a_batch_of_pairs():
    W, x, xi, _ = drawn(SIZES[4])
    assert theorem.tau(W, xi).shape == (3, 3)
    assert theorem.zeta(W, x, xi).shape == theorem.zeta_repaired(W, x, xi).shape == (6, 3, 3)
    assert theorem.zeta(W, x[:0], xi).shape == theorem.zeta_repaired(W, x[:0], xi).shape == (0, 3, 3)


def test_pair_norms_are_the_l1_distances_of_the_last_rows():
    W_L = drawn(SIZES[4])[0][-1]
    expected = [[float((W_L[i] - W_L[j]).abs().sum()) for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(theorem.pair_norms(W_L).numpy(), expected, rtol=1e-14)


def test_without_radii_nothing_is_added():
    W, x, _, _ = drawn(SIZES[4])
    xi = Budget(0, (0,) * 4)
    assert not theorem.tau(W, xi).any() and not theorem.zeta(W, x, xi).any()
    assert theorem.zeta_repaired(W, x, xi).abs().max() < 1e-11


def test_tau_needs_an_input_radius_and_zeta_does_not_see_it():
    W, x, xi, _ = drawn(SIZES[4])
    assert not theorem.tau(W, Budget(0, xi.eps_w)).any()
    assert torch.equal(theorem.zeta(W, x, xi), theorem.zeta(W, x, Budget(9, xi.eps_w)))
    assert torch.equal(theorem.zeta_repaired(W, x, xi), theorem.zeta_repaired(W, x, Budget(9, xi.eps_w)))


@pytest.mark.parametrize("position", range(4))
def test_terms_grow_with_every_weight_radius(position):
    W, x, xi, _ = drawn(SIZES[4])
    larger = Budget(xi.eps_x, tuple(2 * e if k == position else e for k, e in enumerate(xi.eps_w)))
    assert (theorem.tau(W, larger) > theorem.tau(W, xi))[~torch.eye(3, dtype=torch.bool)].all()
    for term in (theorem.zeta, theorem.zeta_repaired):  # equal where no unit of the layer before is on
        growth = term(W, x, larger) - term(W, x, xi)
        assert (growth >= 0).all() and growth.any()


@given(seed=st.integers(0, 10**6), L=st.integers(3, 5), e=st.floats(0, 0.5))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_printed_zeta_never_exceeds_the_repaired_one_from_three_layers_on(seed, L, e):
    W, x, _, _ = drawn(SIZES[L], seed=seed)
    xi = Budget(0.1, (e,) * L)
    assert (theorem.zeta(W, x, xi) <= theorem.zeta_repaired(W, x, xi)).all()


@given(seed=st.integers(0, 10**6), L=st.integers(2, 5))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_printed_and_repaired_agree_where_no_perturbed_weight_can_be_negative(seed, L):
    W, x, _, _ = drawn(SIZES[L], seed=seed)
    xi = Budget(0.1, (0.2,) * L)
    W = (W[0], *(U.abs() for U in W[1:]))
    twice = L == 2  # eq. (3) then counts its first term twice
    expected = theorem.zeta_repaired(W, x, xi) + twice * theorem.pair_norms(W[-1]) * 0.2 * x.abs().sum(1)[:, None, None]
    torch.testing.assert_close(theorem.zeta(W, x, xi), expected, rtol=1e-11, atol=1e-11)


@given(seed=st.integers(0, 10**6), c=st.sampled_from([2.0**k for k in range(-6, 7)]))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_terms_scale_with_weights_and_radii_together(seed, c):
    W, x, xi, _ = drawn(SIZES[4], seed=seed)
    scaled, xi_scaled = tuple(c * U for U in W), Budget(xi.eps_x, tuple(c * e for e in xi.eps_w))
    torch.testing.assert_close(theorem.tau(scaled, xi_scaled), c**4 * theorem.tau(W, xi), rtol=1e-12, atol=0)
    torch.testing.assert_close(theorem.zeta(scaled, x, xi_scaled), c**4 * theorem.zeta(W, x, xi), rtol=1e-12, atol=0)


def test_zeta_scales_with_the_input():
    W, x, xi, _ = drawn(SIZES[4])
    torch.testing.assert_close(theorem.zeta(W, 7 * x, xi), 7 * theorem.zeta(W, x, xi))


# --- the two halves of the proof, by number -------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 2, 1, 2), (2, 2, 1, 2), (1, 2, 2, 1, 2), (1, 1, 2, 1, 1, 2)])
def test_tau_covers_what_the_input_adds_and_repaired_zeta_what_the_weights_add_at_every_corner(sizes):
    generator = np.random.default_rng(3)
    arrays = oracles.draw(sizes, generator, biases=False)
    x, radii = generator.normal(size=sizes[0]), list(RADII[: len(arrays)])
    W, xi = tuple(map(torch.tensor, arrays)), Budget(0.3, radii)
    size = sum(a.size for a in arrays) + x.size
    f = oracles.margin(oracles.Net.of(arrays, radii, 0.3), x, 0, 1)
    signs = np.array(list(itertools.product((0.0, 1.0), repeat=size)))
    W_hat, x_hat = oracles.ball_points(arrays, radii, x, x - 0.3, x + 0.3, signs)
    at_x_hat, at_x = (oracles.batched_logits(W_hat, inputs) for inputs in (x_hat, np.repeat(x[None], len(signs), 0)))
    first, second = (at_x_hat - at_x) @ [1, -1], at_x @ [1, -1] - f
    assert np.abs(first).max() <= theorem.tau(W, xi)[0, 1].item() * (1 + 1e-12)
    assert np.abs(second).max() <= theorem.zeta_repaired(W, torch.tensor(x)[None], xi)[0, 0, 1].item()


# --- boxes of one layer ---------------------------------------------------------------------------------------------


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
    for k, (low, high) in enumerate(zip(*theorem.layer_box(ball, lower, upper), strict=True)):
        low_true, high_true = brute_box(ball, lower[k], upper[k])
        np.testing.assert_allclose(low.numpy(), low_true, rtol=0, atol=1e-12)
        np.testing.assert_allclose(high.numpy(), high_true, rtol=0, atol=1e-12)
        assert (low.numpy() <= low_true).all() and (high.numpy() >= high_true).all()


@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.0, 0.1, 2.0]), dtype=st.sampled_from(["float32", "float64"]))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_layer_box_holds_every_end_whatever_straddles_zero(seed, eps, dtype):
    generator = np.random.default_rng(seed)
    ends = torch.tensor(np.sort(generator.normal(size=(2, 4, 3)), axis=0)).to(getattr(torch, dtype))
    W = torch.tensor(generator.normal(size=(2, 3))).to(ends.dtype)
    low, high = theorem.layer_box(LayerBall(W, None, eps, 0.0), *ends)
    exact = LayerBall(W.double(), None, eps, 0.0)
    for k in range(4):
        low_true, high_true = brute_box(exact, ends[0, k].double(), ends[1, k].double())
        assert (low[k].double().numpy() <= low_true).all() and (high[k].double().numpy() >= high_true).all()


def test_layer_box_adds_the_farther_end_of_a_straddling_interval():
    ball = LayerBall(torch.tensor([[1.0, -1.0]], dtype=torch.float64), None, 0.5, 0.0)
    lower, upper = torch.tensor([[[-1.0, 1.0]], [[3.0, 2.0]]], dtype=torch.float64)
    low, high = theorem.layer_box(ball, lower, upper)
    assert high.item() == pytest.approx((3 + 0.5 * 3) + (-1 * 1 + 0.5 * 1), rel=1e-12)  # W t + eps max|t|, then exact
    assert low.item() == pytest.approx((-1 - 0.5 * 3) + (-1 * 2 - 0.5 * 2), rel=1e-12)


def test_layer_box_of_a_symmetric_interval_is_exact():
    ball = LayerBall(torch.tensor([[1.0, -3.0]], dtype=torch.float64), None, 0.5, 0.0)
    upper = torch.tensor([[2.0, 0.25]], dtype=torch.float64)
    low, high = theorem.layer_box(ball, -upper, upper)
    assert high.item() == pytest.approx(1.5 * 2 + 3.5 * 0.25, rel=1e-12) and low.item() == -high.item()


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("L", SIZES)
@pytest.mark.parametrize("term", ["zeta", "zeta_repaired"])
def test_gradients_of_zeta_agree_with_finite_differences(term, L):
    W, x, xi, _ = drawn(SIZES[L], seed=1)
    inputs = (x[:2].requires_grad_(), *(U.requires_grad_() for U in W))
    upper = torch.triu_indices(SIZES[L][-1], SIZES[L][-1], 1)
    assert torch.autograd.gradcheck(lambda x, *W: getattr(theorem, term)(W, x, xi)[:, *upper], inputs)


@pytest.mark.parametrize("L", SIZES)
def test_gradients_of_tau_agree_with_finite_differences(L):
    W, _, xi, _ = drawn(SIZES[L], seed=1)
    upper = torch.triu_indices(SIZES[L][-1], SIZES[L][-1], 1)
    assert torch.autograd.gradcheck(lambda *W: theorem.tau(W, xi)[*upper], tuple(U.requires_grad_() for U in W))


# --- bad input ------------------------------------------------------------------------------------------------------


def bad_calls():
    """Everything that can be wrong with (W, x, xi), and a piece of the sentence that says so."""
    W, x, xi, _ = drawn(SIZES[3])
    nan, inf = float("nan"), float("inf")
    spoilt = lambda t, value: torch.where(torch.arange(t.numel()).view_as(t) == 1, value, t)  # noqa: E731
    return {
        "a radius missing": (W, x, Budget(0.1, (0.1, 0.1)), "3 weight tensors: one radius each"),
        "a radius too many": (W, x, Budget(0.1, (0.1,) * 4), "one radius each"),
        "one layer": (W[:1], x, Budget(0.1, (0.1,)), "at least two layers"),
        "no layer": ((), x, Budget(0.1, ()), "at least one weight matrix"),
        "layers that do not chain": (W[:1] + W[2:], x, Budget(0.1, (0.1, 0.1)), "the layer before gives"),
        "a convolution": ((torch.ones(5, 1, 2, 2).double(), *W[1:]), x, xi, "needs a dense ReLU network"),
        "NaN in W": ((W[0], spoilt(W[1], nan), W[2]), x, xi, "W holds NaN or infinite"),
        "infinity in W": ((spoilt(W[0], inf), *W[1:]), x, xi, "W holds NaN or infinite"),
        "W in two dtypes": ((W[0], W[1].float(), W[2]), x, xi, "all float32 or all float64"),
        "whole-number W": (tuple(U.long() for U in W), x.long(), xi, "all float32 or all float64"),
        "half-precision W": (tuple(U.half() for U in W), x.half(), xi, "all float32 or all float64"),
        "NaN in x": (W, spoilt(x, nan), xi, "x holds NaN or infinite"),
        "infinity in x": (W, spoilt(x, -inf), xi, "x holds NaN or infinite"),
        "one input without a batch": (W, x[0], xi, r"batch \[B, 4\].*got \(4,\)"),
        "images": (W, x[:, None], xi, r"batch \[B, 4\]"),
        "the wrong width": (W, x[:, :3], xi, r"batch \[B, 4\].*got \(6, 3\)"),
        "no tensor": (W, x.tolist(), xi, "got list"),
        "x in another dtype": (W, x.float(), xi, "one dtype"),
    }


BAD = bad_calls()


@pytest.mark.parametrize("what", BAD)
def test_terms_refuse_bad_input_with_a_sentence(what):
    W, x, xi, message = BAD[what]
    for term in (theorem.zeta, theorem.zeta_repaired):
        with pytest.raises(ValueError, match=message):
            term(W, x, xi)
    if x is BAD["one layer"][1]:  # the good x: what is wrong lies in W or xi
        with pytest.raises(ValueError, match=message):
            theorem.tau(W, xi)


def test_the_printed_formula_refuses_biases_and_says_what_to_use():
    W, x, xi, _ = drawn(SIZES[3], biases=True)
    with pytest.raises(ValueError, match="without biases; use a repaired bound"):
        theorem.zeta(W, x, xi)
