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


@given(seed=st.integers(0, 10**6), L=st.integers(3, 5), e=st.just(0.0) | st.floats(1e-9, 0.5))
@settings(max_examples=60)
def test_printed_zeta_never_exceeds_the_repaired_one_from_three_layers_on(seed, L, e):
    W, x, _, _ = drawn(SIZES[L], seed=seed)
    xi = Budget(0.1, (e,) * L)
    assert (theorem.zeta(W, x, xi) <= theorem.zeta_repaired(W, x, xi)).all()


@given(seed=st.integers(0, 10**6), L=st.integers(2, 5))
@settings(max_examples=30)
def test_printed_and_repaired_agree_where_no_perturbed_weight_can_be_negative(seed, L):
    W, x, _, _ = drawn(SIZES[L], seed=seed)
    xi = Budget(0.1, (0.2,) * L)
    W = (W[0], *(U.abs() for U in W[1:]))
    twice = L == 2  # eq. (3) then counts its first term twice
    expected = theorem.zeta_repaired(W, x, xi) + twice * theorem.pair_norms(W[-1]) * 0.2 * x.abs().sum(1)[:, None, None]
    torch.testing.assert_close(theorem.zeta(W, x, xi), expected, rtol=1e-11, atol=1e-11)


@given(seed=st.integers(0, 10**6), c=st.sampled_from([2.0**k for k in range(-6, 7)]))
@settings(max_examples=30)
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


# --- bad input: the rules are those of boxes ------------------------------------------------------------------------


@pytest.mark.parametrize("term", [theorem.zeta, theorem.zeta_repaired], ids=lambda term: term.__name__)
def test_the_terms_refuse_weights_inputs_and_radii_that_do_not_fit(term):
    W, x, xi, _ = drawn(SIZES[3])
    with pytest.raises(ValueError, match="W holds NaN"):
        term((W[0] / 0, *W[1:]), x, xi)
    with pytest.raises(ValueError, match="at least two layers"):
        term(W[:1], x, Budget(0.1, (0.1,)))
    with pytest.raises(ValueError, match="must be a batch"):
        term(W, x[0], xi)


def test_tau_refuses_weights_and_radii_that_do_not_fit():
    W, _, xi, _ = drawn(SIZES[3])
    with pytest.raises(ValueError, match="W holds NaN"):
        theorem.tau((W[0] / 0, *W[1:]), xi)
    with pytest.raises(ValueError, match="one radius each"):
        theorem.tau(W[:2], xi)


def test_the_printed_formula_refuses_biases_and_says_what_to_use():
    W, x, xi, _ = drawn(SIZES[3], biases=True)
    with pytest.raises(ValueError, match="without biases; use a repaired bound"):
        theorem.zeta(W, x, xi)
