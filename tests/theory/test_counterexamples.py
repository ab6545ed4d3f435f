"""Theorem 1 in rational arithmetic: hand examples, where the printed form holds, what the repaired one survives."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsr import certify
from nsr.budget import Budget
from nsr.network import margins, mlp
from nsr.theory import counterexamples, theorem
from nsr.theory.counterexamples import Instance

HAND_EXAMPLES = {
    "counterexample": counterexamples.COUNTEREXAMPLE,
    "joint": counterexamples.COUNTEREXAMPLE_JOINT,
    "false certificate": counterexamples.FALSE_CERTIFICATE,
    "biased": counterexamples.BIASED_WIDTH_ONE,
}
QUARTERS = st.integers(-12, 12).map(lambda n: Fraction(n, 4))
RADII = st.sampled_from(["0", "1/8", "1/2", "1", "3"]).map(Fraction)


@st.composite
def instances(draw: st.DrawFn, sizes: Sequence[int] | None = None, entries: st.SearchStrategy = QUARTERS) -> Instance:
    """A net with quarters for weights (many zeros, ties and dead units), L = 2 .. 5 unless widths are given."""
    if sizes is None:
        sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)) + [draw(st.integers(2, 4))]
    W = [
        [[draw(QUARTERS if m == 0 else entries) for _ in range(n_in)] for _ in range(n_out)]
        for m, (n_in, n_out) in enumerate(itertools.pairwise(sizes))
    ]
    x = [draw(QUARTERS) for _ in range(sizes[0])]
    return counterexamples.instance(W, x, draw(RADII), [draw(RADII) for _ in W])


def embedded(sizes: Sequence[int], wide: int) -> Instance:
    """The counterexample inside any net of these widths with n_wide >= 2 and 1 <= wide <= L - 2.

    Layers before `wide` and after `wide` + 1 hand the first unit on, their radii 0; further units are dead.
    """
    L = len(sizes) - 1
    W = [np.zeros((n_out, n_in), dtype=int) for n_in, n_out in itertools.pairwise(sizes)]
    eps = [0] * L
    for W_m in W:
        W_m[0, 0] = 1
    split, merge, last = W[wide - 1], W[wide], W[-1]
    split[:, 0] = -1
    split[:2, 0] = 1
    merge[:, :2] = -1
    merge[0, :2] = 2, -2
    eps[wide - 1] = eps[wide] = eps[-1] = 1
    W_hat = [W_m.copy() for W_m in W]
    W_hat[wide - 1][:2, 0] = 2, 0
    W_hat[wide][0, :2] = 3, -1
    W_hat[-1][:2, 0] = last[:2, 0] + [1, -1]
    x = [1] + [0] * (sizes[0] - 1)
    return counterexamples.instance(W, x, 0, eps, W_hat)


# ---- the hand examples -----------------------------------------------------------------------------------------------


def test_the_counterexample_attains_18_where_the_printed_bound_says_16_and_the_repaired_20() -> None:
    case = counterexamples.COUNTEREXAMPLE
    assert (counterexamples.clean(case), counterexamples.tau(case), counterexamples.zeta(case)) == (0, 0, 16)
    assert (counterexamples.printed(case), counterexamples.attained(case), counterexamples.repaired(case)) == (
        16,
        18,
        20,
    )
    assert counterexamples.h_star(case)[1].tolist() == [2, 2] and counterexamples.h_star(case)[2].tolist() == [4]
    assert counterexamples.activation_box(case)[1][2].tolist() == [6]


def test_with_an_input_radius_of_a_tenth_the_counterexample_gives_99_over_5_against_98_over_5() -> None:
    case = counterexamples.COUNTEREXAMPLE_JOINT
    assert counterexamples.tau(case) == Fraction(18, 5)
    assert [counterexamples.printed(case), counterexamples.attained(case), counterexamples.repaired(case)] == [
        Fraction(98, 5),
        Fraction(99, 5),
        Fraction(118, 5),
    ]


def test_the_printed_bound_certifies_minus_1_where_an_admissible_net_reaches_plus_1() -> None:
    case = counterexamples.FALSE_CERTIFICATE
    assert (counterexamples.clean(case), counterexamples.zeta(case)) == (-8, 7)
    assert (counterexamples.printed(case), counterexamples.attained(case), counterexamples.repaired(case)) == (-1, 1, 4)


def test_one_bias_in_every_hidden_unit_breaks_the_printed_form_at_hidden_width_1() -> None:
    case = counterexamples.BIASED_WIDTH_ONE
    assert all(W_m.shape[0] == 1 for W_m in case.W[:-1])
    assert (counterexamples.printed(case), counterexamples.attained(case), counterexamples.repaired(case)) == (1, 3, 3)


@pytest.mark.parametrize("name", ["counterexample", "joint", "biased"])
def test_the_hand_examples_stand_at_the_maximum_over_all_corners(name: str) -> None:
    assert counterexamples.corner_maximum(HAND_EXAMPLES[name]) == counterexamples.attained(HAND_EXAMPLES[name])


@pytest.mark.parametrize("name", HAND_EXAMPLES)
def test_every_hand_example_violates_the_printed_bound_and_not_the_repaired_one(name: str) -> None:
    case = HAND_EXAMPLES[name]
    assert counterexamples.printed(case) < counterexamples.attained(case) <= counterexamples.repaired(case)


@pytest.mark.parametrize("name", ["counterexample", "joint", "false certificate"])
def test_float64_certificates_agree_with_the_hand_examples(name: str) -> None:
    case = HAND_EXAMPLES[name]
    W, x, xi = counterexamples.in_float64(case)
    attained = float(counterexamples.attained(case))
    assert float(certify.margin_upper_bound(mlp(W), x, xi, method="printed", box=None)[0, 0, 1]) < attained
    for method in certify.METHODS:
        bound = float(certify.margin_upper_bound(mlp(W), x, xi, method=method, box=None)[0, 0, 1])
        assert method == "printed" or bound >= attained, method


def test_the_shifted_relu_is_a_network_with_biases_and_the_repaired_bound_with_biases_holds_for_it() -> None:
    case = counterexamples.BIASED_WIDTH_ONE
    (W_1, W_2, W_3), x, xi = counterexamples.in_float64(case)
    eps_1, eps_2, eps_3 = xi.eps_w
    one = torch.ones(1, dtype=torch.float64)
    W, with_biases = (W_1, one, W_2, one, W_3), Budget(xi.eps_x, (eps_1, 0.0, eps_2, 0.0, eps_3))
    assert torch.equal(
        mlp(W)(x)[0], torch.tensor([float(v) for v in counterexamples.f(case.W, case.x, case.rho)]).double()
    )
    for method in ("repaired", "norms", "telescoped", "interval", "linear"):
        bound = float(certify.margin_upper_bound(mlp(W), x, with_biases, method=method, box=None)[0, 0, 1])
        assert bound >= float(counterexamples.attained(case)), method


def test_a_point_outside_the_ball_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the ball"):
        counterexamples.instance(counterexamples.COUNTEREXAMPLE.W, [1], 0, [1, 1, 1], x_hat=["3/2"])


# ---- the family ------------------------------------------------------------------------------------------------------

POSITIVE = st.integers(1, 12).map(lambda n: Fraction(n, 4))


@given(A=POSITIVE, B=POSITIVE, c=POSITIVE, share=st.integers(0, 8))
@settings(max_examples=60)
def test_the_family_has_its_closed_gap_and_slack_and_its_corner_is_the_worst(
    A: Fraction, B: Fraction, c: Fraction, share: int
) -> None:
    e = min(A, B) * Fraction(share, 8)
    case = counterexamples.family(A, B, c, e)
    assert (
        counterexamples.attained(case) - counterexamples.printed(case)
        == counterexamples.family_gap(B, c, e)
        == 2 * e**2 * (2 * B - c - 2 * e)
    )
    assert (
        counterexamples.repaired(case) - counterexamples.attained(case)
        == counterexamples.family_slack(c, e)
        == 2 * c * e**2
    )
    assert counterexamples.corner_maximum(case) == counterexamples.attained(case)


def test_the_family_refuses_radii_for_which_its_corner_is_not_the_worst() -> None:
    with pytest.raises(ValueError, match="0 <= e <= min"):
        counterexamples.family(1, 2, 1, 2)


# ---- the rest of the package against the letter ----------------------------------------------------------------------


@given(case=instances())
@settings(max_examples=150)
def test_the_package_computes_eqs_2_and_3_and_the_repaired_sum_letter_by_letter(case: Instance) -> None:
    W, x, xi = counterexamples.in_float64(case)
    tau, zeta, repaired = theorem.tau(W, xi), theorem.zeta(W, x, xi)[0], theorem.zeta_repaired(W, x, xi)[0]
    f = margins(mlp(W)(x))[0]
    for i, j in itertools.product(range(len(case.W[-1])), repeat=2):
        pair = replace(case, i=i, j=j)
        for found, expected in (
            (f[i, j], counterexamples.clean(pair)),
            (tau[i, j], counterexamples.tau(pair)),
            (zeta[i, j], counterexamples.zeta(pair)),
        ):
            assert float(found) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)
        expected = float(counterexamples.zeta_repaired(pair))  # which the package rounds outward
        assert float(repaired[i, j]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert float(repaired[i, j]) >= expected * (1 - 1e-15)


@given(case=instances())
@settings(max_examples=100)
def test_h_star_is_one_admissible_activation_so_the_repaired_box_holds_it(case: Instance) -> None:
    h, (l, u) = counterexamples.h_star(case), counterexamples.activation_box(case)
    assert all((l[k] <= h[k]).all() and (h[k] <= u[k]).all() for k in range(1, len(case.W)))
    if len(case.W) > 2:
        assert counterexamples.zeta(case) <= counterexamples.zeta_repaired(case)


def test_at_two_layers_the_printed_sum_counts_its_first_term_twice_and_stays_above_the_repaired_one() -> None:
    case = counterexamples.instance([[[1]], [[1], [0]]], [1], 0, [1, 1])
    assert counterexamples.zeta(case) - counterexamples.zeta_repaired(case) == 1  # c_ij eps_1 ||x||_1


# ---- where the printed form holds, and where it does not -------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 1, 2), (2, 1, 2, 2), (1, 1, 1, 1, 2), (1, 1, 1, 2, 2)])
@given(data=st.data())
@settings(max_examples=40)
def test_the_printed_form_holds_at_inner_hidden_width_1(sizes: tuple[int, ...], data: st.DataObject) -> None:
    case = data.draw(instances(sizes))
    assert counterexamples.corner_maximum(case) <= counterexamples.printed(case)


@pytest.mark.parametrize("sizes", [(1, 2, 1, 2), (2, 2, 1, 2), (1, 2, 1, 1, 2)])
@given(data=st.data())
@settings(max_examples=40)
def test_the_printed_form_holds_where_no_perturbed_entry_of_an_inner_layer_can_stay_negative(
    sizes: tuple[int, ...], data: st.DataObject
) -> None:
    case = data.draw(instances(sizes))
    inner = [np.maximum(W_m, -e) for W_m, e in zip(case.W[1:-1], case.eps[1:-1], strict=True)]
    W = (case.W[0], *inner, case.W[-1])
    case = replace(case, W=W, W_hat=W)
    assert counterexamples.corner_maximum(case) <= counterexamples.printed(case)


@pytest.mark.parametrize("sizes", [(1, 1, 2), (2, 2, 2), (1, 3, 2)])
@given(data=st.data())
@settings(max_examples=30)
def test_the_printed_form_holds_at_two_layers(sizes: tuple[int, ...], data: st.DataObject) -> None:
    case = data.draw(instances(sizes))
    assert counterexamples.corner_maximum(case) <= counterexamples.printed(case)


@pytest.mark.parametrize(
    "sizes, wide",
    [((1, 2, 1, 2), 1), ((3, 4, 3, 5), 1), ((2, 1, 2, 1, 2), 2), ((2, 7, 5, 3, 4), 1), ((1, 1, 3, 2, 1, 3), 2)],
)
def test_every_architecture_with_an_inner_layer_of_width_2_has_a_counterexample(
    sizes: tuple[int, ...], wide: int
) -> None:
    case = embedded(sizes, wide)
    assert (counterexamples.printed(case), counterexamples.attained(case), counterexamples.repaired(case)) == (
        16,
        18,
        20,
    )


# ---- the repaired theorem --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 2, 2), (2, 1, 2), (1, 2, 1, 2), (2, 1, 1, 2), (1, 1, 2, 2), (1, 2, 1, 1, 2)])
@given(data=st.data())
@settings(max_examples=40)
def test_no_corner_beats_the_repaired_bound_on_either_side(sizes: tuple[int, ...], data: st.DataObject) -> None:
    case = data.draw(instances(sizes))
    case = replace(case, rho=data.draw(st.sampled_from([counterexamples.relu, counterexamples.shifted_relu])))
    turned = replace(case, i=case.j, j=case.i)
    assert counterexamples.corner_maximum(case) <= counterexamples.repaired(case)
    assert counterexamples.corner_maximum(turned) <= counterexamples.repaired(turned)


def test_about_two_in_a_hundred_random_nets_violate_the_printed_form_and_none_the_repaired() -> None:
    generator = torch.Generator().manual_seed(0)
    over_printed, over_repaired = counterexamples.count_violations((1, 2, 1, 2), "1/4", 800, generator)
    assert 4 <= over_printed <= 40
    assert over_repaired == 0


def test_corner_enumeration_visits_every_corner_of_the_joint_ball() -> None:
    case = counterexamples.random_instance((1, 2, 1, 2), "1/2", torch.Generator().manual_seed(3), eps_x="1/4")
    W, x, xi = counterexamples.in_float64(case)
    values = [float(margins(mlp(W_hat)(x_hat))[0, 0, 1]) for x_hat, W_hat in xi.corners(x, W)]
    assert float(counterexamples.corner_maximum(case)) == pytest.approx(max(values), rel=1e-12)
    assert len(values) == 2**7
    assert len(list(counterexamples.corners(case.W[0], Fraction(1, 2)))) == 4
    assert [c.tolist() for c in counterexamples.corners(case.W[0], Fraction(0))] == [case.W[0].tolist()]


def test_floats_are_taken_at_their_exact_value() -> None:
    assert counterexamples.rational(torch.tensor([[0.5, 0.1]], dtype=torch.float64)).tolist() == [
        [Fraction(1, 2), Fraction(0.1)]
    ]
    assert counterexamples.rational(["1/3"]).tolist() == [Fraction(1, 3)]


def test_arrays_read_as_in_the_text() -> None:
    assert counterexamples.as_text(counterexamples.rational([[1, -1], ["1/4", 0]])) == "(1, -1; 1/4, 0)"
    assert counterexamples.as_text(counterexamples.rational([1, 2])) == "(1, 2)"


def test_arrays_read_as_matrices_in_latex() -> None:
    assert counterexamples.as_matrix(counterexamples.rational([1, 2])) == r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"
    quarter = counterexamples.as_matrix(counterexamples.rational([["-1/4", 3]]))
    assert quarter == r"\begin{bmatrix} -\tfrac{1}{4} & 3 \end{bmatrix}"


def test_a_net_is_written_with_every_matrix_radius_and_activation() -> None:
    case = counterexamples.COUNTEREXAMPLE
    written = counterexamples.weights_as_matrices(case)
    for m, (W_m, V) in enumerate(zip(case.W, case.W_hat, strict=True), start=1):
        assert rf"W^{m} &= {counterexamples.as_matrix(W_m)}, & \epsilon_{m} &= 1, &" in written
        assert rf"\hat W^{m} &= {counterexamples.as_matrix(V)}" in written
    layers = counterexamples.activations_as_matrices(case)
    assert r"z^2 &= \begin{bmatrix} 0 \end{bmatrix}" in layers and "^0" not in layers
    assert r"h^{2*} &= \begin{bmatrix} 4 \end{bmatrix}" in layers
    assert r"z'^2 &= \begin{bmatrix} 6 \end{bmatrix}" in layers


def test_the_table_of_verdicts_is_exact() -> None:
    cases = {"whole": counterexamples.COUNTEREXAMPLE, "joint": counterexamples.COUNTEREXAMPLE_JOINT}
    table = counterexamples.verdicts(cases)
    assert table.loc["whole"].tolist() == ["0", "16", "18", "20"]
    assert table.loc["joint", "margin reached"] == "99/5"


def test_h_star_is_one_corner_of_the_first_layers_box_and_not_the_one_with_the_largest_mass() -> None:
    case = counterexamples.COUNTEREXAMPLE
    box = counterexamples.first_layer(case, steps=4)
    assert (box.low, box.high) == ((0, 0), (2, 2))
    assert box.places == {"clean": (1, 1, 2), "star": (2, 2, 4), "worst": (2, 0, 6)}
    assert box.mass[-1][-1] == 4 and box.mass[0][-1] == 6 == max(map(max, box.mass))
    with pytest.raises(ValueError, match="two units, layer 1 has 1"):
        counterexamples.first_layer(counterexamples.BIASED_WIDTH_ONE)
