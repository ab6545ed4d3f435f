"""Certificates hold: against independent references, against every corner, and in floating point as in real numbers."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsr import Budget, certify, margins, mlp, mlp_init
from nsr.certify import METHODS, linear
from nsr.certify import margins as ladder
from nsr.theory import theorem

SOUND = tuple(
    m for m in METHODS if m not in ("printed", "alpha")
)  # "alpha" is a search, held against these and the truth
LADDER = ("norms", "repaired", "telescoped", "interval", "linear", "tight")  # loosest first
SIZES = {2: (4, 5, 3), 3: (4, 5, 3, 3), 4: (4, 5, 3, 6, 3), 5: (4, 5, 3, 6, 2, 4)}
CLOSED = tuple(m for m in METHODS if m != "alpha")  # those that are formulas, not searches
RUNGS = [(method, biases) for method in CLOSED for biases in (False, True) if not (biases and method == "printed")]
BOXES = {"no box": None, "pixels": (0.0, 1.0), "signed box": (-1.0, 1.0)}


def margin_upper_bound(W, x, xi, *, box=None, **how):
    """Of the network with these weights, its inputs of any sign unless a box is named."""
    return certify.margin_upper_bound(mlp(W), x, xi, box=box, **how)


def certified(W, x, y, xi, *, box=None, **how):
    return certify.certified(mlp(W), x, y, xi, box=box, **how)


def torched(arrays, dtype=torch.float64):
    return tuple(torch.tensor(a, dtype=dtype) for a in arrays)


def draw(sizes, *, seed=0, biases=False, box=None, radius=0.1, batch=4):
    """Random weights, inputs inside the box (else of any sign), and radii that all differ."""
    generator = np.random.default_rng(seed)
    arrays = oracles.draw(sizes, generator, biases=biases)
    x = generator.uniform(*(box or (-1.5, 1.5)), size=(batch, sizes[0]))
    return arrays, x, Budget(1.3 * radius, list(generator.uniform(0.2, 1, len(arrays)) * radius))


def float32_valued(arrays):
    return [a.astype(np.float32).astype(np.float64) for a in arrays]


def bound(arrays, x, xi, method, dtype=torch.float64, **options):
    found = margin_upper_bound(torched(arrays, dtype), torch.tensor(x, dtype=dtype), xi, method=method, **options)
    return found.double().numpy()


def net_of(arrays, xi):
    return oracles.Net.of(arrays, list(xi.eps_w), xi.eps_x)


# --- agreement with the references ----------------------------------------------------------------------------------


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("L", SIZES)
@pytest.mark.parametrize(("method", "biases"), RUNGS)
def test_bound_agrees_with_its_reference(method, L, biases, box):
    for seed in range(3):
        arrays, x, xi = draw(SIZES[L], seed=seed, biases=biases, box=BOXES[box], radius=(0.01, 0.1, 0.5)[seed])
        found = bound(arrays, x, xi, method, box=BOXES[box])
        expected = [oracles.all_pairs(method, net_of(arrays, xi), x_b, BOXES[box]) for x_b in x]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=2e-11 * np.abs(expected).max())


@pytest.mark.parametrize("method", CLOSED)
def test_bound_agrees_with_its_reference_where_weights_inputs_and_margins_differ_in_size(method):
    arrays, x, xi = draw(SIZES[4])
    arrays = [a * c for a, c in zip(arrays, (1e3, 1e-2, 1e2, 1e-3), strict=True)]
    xi = Budget(1e-4, (1e-1, 1e-4, 1e-3, 1e-6))
    expected = [oracles.all_pairs(method, net_of(arrays, xi), x_b) for x_b in x]
    found = bound(arrays, x, xi, method)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("L", SIZES)
@pytest.mark.parametrize("method", CLOSED)
def test_labels_pick_the_column_of_the_true_class(method, L):
    arrays, x, xi = draw(SIZES[L], batch=6)
    y = torch.tensor([0, 1, 2, 2, 1, 0])
    pairs, chosen = (bound(arrays, x, xi, method, **options) for options in ({}, {"y": y}))
    assert chosen.shape == (6, SIZES[L][-1])
    np.testing.assert_allclose(chosen, pairs[np.arange(6), :, y.numpy()], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_may_be_whole_numbers_of_any_width(dtype):
    arrays, x, xi = draw(SIZES[3], batch=6)
    y = torch.tensor([0, 1, 2, 2, 1, 0])
    for method in METHODS:
        assert (bound(arrays, x, xi, method, y=y.to(dtype)) == bound(arrays, x, xi, method, y=y)).all()
    W, inputs = torched(arrays), torch.tensor(x)
    assert torch.equal(certified(W, inputs, y.to(dtype), xi), certified(W, inputs, y, xi))


@pytest.mark.parametrize("method", METHODS)
def test_diagonal_is_zero_and_an_empty_batch_has_no_bounds(method):
    arrays, x, xi = draw(SIZES[3])
    assert not bound(arrays, x, xi, method)[:, range(3), range(3)].any()
    assert bound(arrays, x[:0], xi, method).shape == (0, 3, 3)
    assert bound(arrays, x[:0], xi, method, y=torch.zeros(0, dtype=torch.long)).shape == (0, 3)


# --- brute force ----------------------------------------------------------------------------------------------------

TINY = [  # at most 16 free numbers each, so that every corner of the joint ball can be visited
    ((2, 2, 2), True),
    ((3, 2, 2), False),
    ((1, 2, 1, 2), True),
    ((2, 2, 1, 2), True),
    ((1, 2, 2, 2), False),
    ((1, 2, 1, 1, 2), True),
    ((1, 2, 2, 1, 2), False),
    ((1, 1, 2, 1, 1, 2), False),
    ((1, 1, 1, 1, 1, 2), True),
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(("sizes", "biases"), TINY)
def test_no_corner_no_random_point_and_no_ascent_beats_a_sound_bound_in_either_precision(sizes, biases, box):
    for seed, radius in enumerate((0.02, 0.3, 1.0)):
        arrays, x, xi = draw(sizes, seed=seed, biases=biases, box=BOXES[box], radius=radius, batch=1)
        arrays, x = float32_valued(arrays), np.array(float32_valued(x))  # exact in either precision
        a, b = oracles.input_box(net_of(arrays, xi), x[0], BOXES[box])
        worst = oracles.worst_margins(arrays, list(xi.eps_w), x[0], a, b, np.random.default_rng(seed))
        for method in SOUND:
            for dtype in (torch.float32, torch.float64):
                found = bound(arrays, x, xi, method, dtype, box=BOXES[box])[0]
                assert (found >= worst).all(), (method, dtype)


def test_the_interval_bound_of_two_layers_is_attained():
    arrays = [np.array([[1.0, 2.0], [3.0, 0.5]]), np.array([[2.0, 1.0], [-1.0, -3.0]])]
    xi, x = Budget(0.1, (0.25, 0.5)), np.array([[0.5, 1.0]])
    worst = oracles.worst_margins(arrays, [0.25, 0.5], x[0], x[0] - 0.1, x[0] + 0.1, np.random.default_rng(0))
    for method in ("interval", "linear"):
        assert bound(arrays, x, xi, method)[0, 0, 1] == pytest.approx(worst[0, 1], rel=1e-12)


@st.composite
def instances(draw_):
    """A net of 2 to 5 layers, signs at random, radii that may be zero, with or without biases and box."""
    L = draw_(st.integers(2, 5))
    sizes = tuple(draw_(st.integers(1, 4)) for _ in range(L)) + (draw_(st.integers(2, 3)),)
    generator = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    arrays = oracles.draw(sizes, generator, biases=draw_(st.booleans()))
    box = draw_(st.sampled_from([None, (0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0)]))
    x = generator.uniform(*(box or (-2, 2)), size=(2, sizes[0]))
    if draw_(st.booleans()):
        x[:, 0] = 0.0 if box else -x[:, 0]
    scale = draw_(st.sampled_from([1e-6, 0.01, 0.1, 1.0]))
    radii = [scale * draw_(st.sampled_from([0.0, 0.3, 1.0])) for _ in arrays]
    dtype = draw_(st.sampled_from([torch.float32, torch.float64]))
    arrays, x = float32_valued(arrays), np.array(float32_valued(x))
    return arrays, x, Budget(scale * draw_(st.sampled_from([0.0, 0.5, 2.0])), radii), box, dtype, generator


@given(instances())
@settings(max_examples=150)
def test_no_admissible_point_of_any_net_beats_a_sound_bound(instance):
    arrays, x, xi, box, dtype, generator = instance
    size = sum(a.size for a in arrays) + x.shape[1]
    fractions = np.concatenate([generator.integers(0, 2, (300, size)), generator.random((100, size))]).astype(float)
    for k, x_k in enumerate(x):
        ends = oracles.input_box(net_of(arrays, xi), x_k, box)
        W_hat, x_hat = oracles.ball_points(arrays, list(xi.eps_w), x_k, *ends, fractions)
        logits = oracles.batched_logits(W_hat, x_hat)
        worst = (logits[:, :, None] - logits[:, None]).max(0)
        slack = 1e-14 * np.abs(logits).max()  # of this oracle's own rounding
        for method in SOUND:
            assert (bound(arrays, x, xi, method, dtype, box=box)[k] >= worst - slack).all(), method


@given(instances())
@settings(max_examples=150)
def test_the_ladder_stands_in_its_proved_order(instance):
    arrays, x, xi, box, *_ = instance
    found = {method: bound(arrays, x, xi, method, box=box) for method in SOUND}
    for looser, tighter in zip(LADDER[:-1], LADDER[1:], strict=True):
        assert (found[tighter] <= found[looser] + 1e-11 * (1 + np.abs(found[looser]).max())).all(), (looser, tighter)
    if len(arrays) >= 3 and all(a.ndim == 2 for a in arrays):
        assert (bound(arrays, x, xi, "printed", box=box) <= found["repaired"]).all()
    clean = np.array([[[oracles.margin(net_of(arrays, xi), t, i, j) for j in range(len(f))] for i in range(len(f))]
                      for t, f in zip(x, found["linear"], strict=True)])  # fmt: skip
    assert (clean <= found["linear"] + 1e-13).all()


def test_gradient_ascent_on_weights_and_input_stays_below_every_sound_bound_and_close_to_the_linear_one():
    arrays, x, xi = draw((20, 16, 16, 16, 3), radius=0.003, batch=8)
    arrays, x = float32_valued(arrays), np.array(float32_valued(x))
    found = {(m, dtype): bound(arrays, x, xi, m, dtype) for m in SOUND for dtype in (torch.float32, torch.float64)}
    W, x = torched(arrays), torch.tensor(x)
    clean = margins(mlp(W)(x))
    W_own = tuple(U.expand(len(x), *U.shape) for U in W)  # every sample faces weights of its own
    for i, j in ((0, 1), (1, 2), (2, 0)):
        x_hat, W_hat = x, W_own
        for _ in range(30):
            moving = [t.detach().requires_grad_() for t in (x_hat, *W_hat)]
            f = _own_margin(moving[1:], moving[0], i, j)
            g_x, *g_W = torch.autograd.grad(f.sum(), moving)
            x_hat = xi.clip_x(x_hat + xi.eps_x / 4 * g_x.sign(), x)
            W_hat = xi.clip_W([V + e / 4 * g.sign() for V, g, e in zip(W_hat, g_W, xi.eps_w, strict=True)], W_own)
        gain = _own_margin(W_hat, x_hat, i, j) - clean[:, i, j]
        assert (gain > 0).all()
        for which, values in found.items():
            assert (values[:, i, j] >= (clean[:, i, j] + gain).numpy()).all(), which
        r5 = torch.tensor(found["linear", torch.float64])
        assert ((r5 - clean)[:, i, j] / gain).median() < 1.5


def _own_margin(W_own, x, i, j):
    z = x[..., None]
    for k, V in enumerate(W_own):
        z = V @ (z.relu() if k else z)
    return (z[:, i] - z[:, j]).squeeze(-1)


# --- what must not, and what must, change a bound -------------------------------------------------------------------


@pytest.mark.parametrize(("method", "biases"), RUNGS)
def test_without_a_budget_the_bound_is_the_margin_itself(method, biases):
    arrays, x, _ = draw(SIZES[4], biases=biases)
    found = bound(arrays, x, Budget(0, (0,) * len(arrays)), method)
    clean = margins(mlp(torched(arrays))(torch.tensor(x))).numpy()
    np.testing.assert_allclose(found, clean, rtol=0, atol=1e-11)
    assert method == "printed" or (found >= clean)[:, ~np.eye(3, dtype=bool)].all()


MONOTONE = [m for m in CLOSED if m not in ("linear", "tight")]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("method", MONOTONE)
def test_a_larger_radius_never_lowers_the_bound(method, biases, box):
    arrays, x, xi = draw(SIZES[4], biases=biases and method != "printed", box=BOXES[box])
    small = bound(arrays, x, xi, method, box=BOXES[box])
    radii = (xi.eps_x, *xi.eps_w)
    for position in range(len(radii)):
        eps_x, *eps_w = (3 * e if k == position else e for k, e in enumerate(radii))
        large = bound(arrays, x, Budget(eps_x, eps_w), method, box=BOXES[box])
        assert (large >= small - 1e-12).all()
        assert (large > small + 1e-6).any(), f"radius {position} changes nothing"


@pytest.mark.parametrize("position", range(9))
def test_every_radius_reaches_the_linear_bound(position):
    arrays, x, xi = draw(SIZES[4], biases=True, radius=0.01)
    eps_x, *eps_w = (3 * e if k == position else e for k, e in enumerate((xi.eps_x, *xi.eps_w)))
    change = bound(arrays, x, Budget(eps_x, eps_w), "linear") - bound(arrays, x, xi, "linear")
    assert change.mean() > 1e-4


def test_the_linear_bound_can_fall_as_a_radius_grows_because_a_relu_takes_its_other_slope():
    # f = x - relu(x - 0.3) for x in [0, 0.2 + eps_x]: the relu is bounded below by 0, from eps_x = 0.4 on by x - 0.3
    arrays = [np.ones((2, 1)), np.array([0.0, -0.3]), np.array([[1.0, -1.0], [0.0, 0.0]])]
    before, after = (
        bound(arrays, [[0.2]], Budget(eps_x, (0, 0, 0)), "linear", box=(0.0, 1.0))[0, 0, 1] for eps_x in (0.39, 0.41)
    )
    assert before == pytest.approx(0.59, rel=1e-12) and after == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize("method", SOUND)
def test_the_bound_is_two_sided(method):
    arrays, x, xi = draw(SIZES[4], biases=True)
    found, clean = bound(arrays, x, xi, method), margins(mlp(torched(arrays))(torch.tensor(x))).numpy()
    assert (-found.transpose(0, 2, 1) <= clean).all() and (clean <= found).all()


@pytest.mark.parametrize("method", ["telescoped", "interval", "linear"])
def test_the_box_tightens_the_bound_where_the_ball_leaves_it(method):
    arrays, x, xi = draw(SIZES[3], box=(0.0, 1.0), radius=0.3)
    free, boxed = bound(arrays, x, xi, method), bound(arrays, x, xi, method, box=(0.0, 1.0))
    assert (boxed <= free + 1e-9).all() and (boxed < free - 1e-3).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_box_that_the_ball_does_not_reach_changes_nothing(method):
    arrays, x, xi = draw(SIZES[3], box=(0.0, 1.0))
    assert (bound(arrays, x, xi, method, box=(-9.0, 9.0)) == bound(arrays, x, xi, method)).all()


@pytest.mark.parametrize(("method", "biases"), RUNGS)
def test_rescaling_between_layers_with_their_radii_changes_no_bound(method, biases):
    arrays, x, xi = draw(SIZES[4], biases=biases)
    factors = (4.0, 0.125, 8.0, 0.25)  # of each layer's output; their product is 1
    through = np.cumprod(factors)
    scales = [s for k in range(4) for s in ((factors[k], through[k]) if biases else (factors[k],))]
    scaled = [a * s for a, s in zip(arrays, scales, strict=True)]
    xi_scaled = Budget(xi.eps_x, [e * s for e, s in zip(xi.eps_w, scales, strict=True)])
    np.testing.assert_allclose(
        bound(scaled, x, xi_scaled, method), bound(arrays, x, xi, method), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("c", [2.0**-8, 3.0, 2.0**8])
@pytest.mark.parametrize("method", CLOSED)
def test_bounds_scale_with_weights_and_radii_and_with_inputs_and_their_radius(method, c):
    arrays, x, xi = draw(SIZES[3])
    plain = bound(arrays, x, xi, method)
    by_weights = bound([c * a for a in arrays], x, Budget(xi.eps_x, [c * e for e in xi.eps_w]), method)
    by_input = bound(arrays, c * x, Budget(c * xi.eps_x, xi.eps_w), method)
    np.testing.assert_allclose(by_weights, c**3 * plain, rtol=1e-9, atol=1e-9 * c**3)
    np.testing.assert_allclose(by_input, c * plain, rtol=1e-9, atol=1e-9 * c)


@pytest.mark.parametrize("method", CLOSED)
def test_the_order_of_inputs_units_and_classes_does_not_matter(method):
    (A, B, C), x, xi = draw(SIZES[3])
    generator = np.random.default_rng(7)
    p, q, r, s = (generator.permutation(n) for n in SIZES[3])
    shuffled = [A[q][:, p], B[r][:, q], C[s][:, r]]
    expected = bound([A, B, C], x, xi, method)[:, s][:, :, s]
    np.testing.assert_allclose(bound(shuffled, x[:, p], xi, method), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 100, 10**9])
@pytest.mark.parametrize("method", CLOSED)
def test_the_size_of_chunks_changes_no_bound(method, chunk, monkeypatch):
    arrays, x, xi = draw(SIZES[3], batch=17, box=(0.0, 1.0))
    x[3:5] *= -1  # so that chunks differ in whether all inputs are non-negative
    y = torch.arange(17) % 3
    plain, labelled = bound(arrays, x, xi, method), bound(arrays, x, xi, method, y=y)
    for module in (ladder, linear):
        monkeypatch.setattr(module, "CHUNK", chunk)
        monkeypatch.setattr(module, "MOST", chunk)
    np.testing.assert_allclose(bound(arrays, x, xi, method), plain, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bound(arrays, x, xi, method, y=y), labelled, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("box", [None, (-1e9, 1e9)])
@pytest.mark.parametrize("method", METHODS)
def test_no_batch_mate_however_large_changes_a_samples_bound(method, box):
    arrays, x, xi = draw(SIZES[3], biases=method != "printed", box=(0.0, 1.0), batch=1)
    mates = np.concatenate([x, -x, 1e8 * x, np.zeros_like(x), x])
    alone, among = bound(arrays, x, xi, method, box=box)[0], bound(arrays, mates, xi, method, box=box)
    np.testing.assert_allclose(among[0], alone, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(among[-1], alone, rtol=1e-12, atol=1e-12)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("L", SIZES)
@pytest.mark.parametrize("method", CLOSED)
def test_gradients_agree_with_finite_differences(method, L, box):
    arrays, x, xi = draw(SIZES[L], seed=1, biases=L % 2 == 0 and method != "printed", box=BOXES[box], batch=2)
    inputs = [t.requires_grad_() for t in (torch.tensor(x), *torched(arrays))]
    y = torch.tensor([0, 1])
    other = torch.tensor([1, 2])  # the diagonal is 0 and has nothing to differentiate

    def target(x, *W):
        return margin_upper_bound(W, x, xi, method=method, box=BOXES[box], y=y).gather(1, other[:, None])

    assert torch.autograd.gradcheck(target, inputs, fast_mode=True)  # along one direction, the same in every run


@pytest.mark.parametrize("method", CLOSED)
def test_gradients_are_finite_at_dead_units_and_zero_inputs(method):
    arrays, x, xi = draw(SIZES[4], batch=3)
    arrays[1][0], x[1] = -np.abs(arrays[1][0]) - 1, 0.0
    inputs = [t.requires_grad_() for t in (torch.tensor(x), *torched(arrays))]
    for budget in (xi, Budget(0, (0,) * 4)):
        gradients = torch.autograd.grad(margin_upper_bound(inputs[1:], inputs[0], budget, method=method).sum(), inputs)
        assert all(bool(torch.isfinite(g).all()) for g in gradients)


# --- floating point -------------------------------------------------------------------------------------------------


def exact_margins(arrays, x):
    """Clean margins of a float32-valued net in float64, and the size of the terms they are sums of."""
    W = torched(arrays)
    scale = mlp([U.abs() for U in W])(torch.tensor(x).abs()).max(1).values.numpy()
    return margins(mlp(W)(torch.tensor(x))).numpy(), scale[:, None, None]


def wild(name):
    """Nets on which float32 arithmetic errs most: float32-valued weights and inputs."""
    generator = np.random.default_rng(5)
    wide, deep = (200, 120, 60, 4), (30, 30, 30, 30, 30, 4)
    arrays = oracles.draw(deep if name == "deep" else wide, generator, biases=name in ("biases", "cancelling biases"))
    x = generator.uniform(-1 if name == "signed inputs" else 0, 1, size=(25, arrays[0].shape[1]))
    if name == "large weights":
        arrays = [1e4 * a for a in arrays]
    if name == "small weights":
        arrays = [1e-5 * a for a in arrays]
    if name == "mixed sizes":
        arrays = [a * 10.0 ** generator.integers(-4, 5, a.shape) for a in arrays]
    if name == "cancelling classes":
        arrays[-1] = 1e3 + 1e-3 * arrays[-1]
    if name == "cancelling units":
        arrays[1][:, ::2], arrays[0][::2] = -arrays[1][:, 1::2], arrays[0][1::2]
        arrays[1] += 1e-4 * generator.normal(size=arrays[1].shape)
    if name == "cancelling biases":
        arrays[1] = 1e-3 * arrays[1] - arrays[0] @ x.mean(0)
        arrays[3] += 1e4
        arrays[4], arrays[5] = 1 + 1e-4 * arrays[4], -1e4 * arrays[4].sum(1) * (1 + 1e-4 * arrays[5])
    if name == "large inputs":
        x *= 1e6
    return float32_valued(arrays), np.array(float32_valued(x))


WILD = [
    "plain", "deep", "biases", "signed inputs", "large weights", "small weights", "mixed sizes", "cancelling classes",
    "cancelling units", "cancelling biases", "large inputs",
]  # fmt: skip


@pytest.mark.parametrize("radius", [0.0, 1e-12, 1e-7])
@pytest.mark.parametrize("name", WILD)
def test_a_float32_bound_is_never_below_the_exact_margin_even_with_next_to_no_budget(name, radius):
    arrays, x = wild(name)
    exact, scale = exact_margins(arrays, x)
    off_diagonal = ~np.eye(4, dtype=bool)
    for method in SOUND:
        found = bound(arrays, x, Budget(radius, (radius,) * len(arrays)), method, torch.float32)
        # float64's own error on `exact` is far below what float32 must leave room for
        assert (found - exact + 1e-13 * scale >= 0)[:, off_diagonal].all(), method
    naive = margins(mlp(torched(arrays, torch.float32))(torch.tensor(x, dtype=torch.float32))).double().numpy()
    assert (naive < exact)[:, off_diagonal].any()  # without the outward margin it would be


def test_the_printed_bound_is_the_printed_formula_and_nothing_is_added_for_rounding():
    arrays, x = wild("plain")
    W, inputs = torched(arrays, torch.float32), torch.tensor(x, dtype=torch.float32)
    xi = Budget.uniform(1e-3, 1e-4, mlp(W))
    formula = margins(mlp(W)(inputs)) + theorem.tau(W, xi) + theorem.zeta(W, inputs, xi)
    assert torch.equal(margin_upper_bound(W, inputs, xi, method="printed").tril(-1), formula.tril(-1))


@pytest.mark.parametrize("name", WILD)
def test_a_float32_bound_is_never_below_the_reference_in_float64(name):
    arrays, x = wild(name)
    xi = Budget(1e-3, [0.01 * float(np.abs(a).mean()) for a in arrays])
    for method in ("repaired", "norms", "telescoped", "interval"):
        in_float64 = bound(arrays, x, xi, method)
        in_float32 = bound(arrays, x, xi, method, torch.float32)
        assert (in_float32 >= in_float64 * (1 - 1e-11 * np.sign(in_float64))).all(), method


def constant_net(n, L, weights, xi):
    """All weights of a layer equal, the two classes opposite: every sound bound is attained, at a rational number."""
    arrays = [np.full((n, n), w) for w in weights[:-1]] + [
        np.stack([np.full(n, weights[-1]), np.full(n, -weights[-1])])
    ]
    arrays, x = float32_valued(arrays), np.full((1, n), np.float32(0.7)).astype(np.float64)
    z = Fraction(float(x[0, 0])) + Fraction(xi.eps_x)
    for a, e in zip(arrays[:-1], xi.eps_w[:-1], strict=True):
        z *= n * (Fraction(float(a[0, 0])) + Fraction(e))
    return arrays, x, 2 * n * z * (Fraction(float(arrays[-1][0, 0])) + Fraction(xi.eps_w[-1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.0, 1e-9, 1e-3, 0.1])
@pytest.mark.parametrize(("n", "L"), [(1, 2), (3, 3), (17, 4), (150, 3), (401, 2)])
def test_where_a_bound_is_attained_rounding_puts_it_above_the_exact_value_and_barely(n, L, radius, dtype):
    xi = Budget(radius, [radius * (1 + k / 7) for k in range(L)])
    arrays, x, attained = constant_net(n, L, [1 / 3, 0.1, 2 / 7, 0.9][:L], xi)
    room = 20 * L * (n + 8) * torch.finfo(dtype).eps
    for method in SOUND:
        found = Fraction(bound(arrays, x, xi, method, dtype)[0, 0, 1])
        assert attained <= found, method
        assert float(found / attained - 1) <= room, method


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-3), (torch.float64, 1e-11)])
@pytest.mark.parametrize("radius", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("name", [name for name in WILD if name != "mixed sizes"])  # room goes by the largest weight
def test_the_outward_margin_is_a_small_share_of_what_is_added_up(name, radius, dtype, share):
    arrays, x = wild(name)
    xi = Budget(radius, [radius * float(np.abs(a).mean()) for a in arrays])
    _, scale = exact_margins([np.abs(a) + e for a, e in zip(arrays, xi.eps_w, strict=True)], np.abs(x) + xi.eps_x)
    for method in (m for m in SOUND if m != "tight"):  # whose reference, neuron by neuron, takes minutes here
        added = bound(arrays, x[:1], xi, method, dtype)[0, 0, 1] - oracles.BOUNDS[method](
            net_of(arrays, xi), x[0], 0, 1
        )
        assert abs(added) <= share * 2 * scale[0], method


@pytest.mark.parametrize("method", SOUND)
def test_what_overflows_is_not_certified(method):
    arrays, x, xi = draw(SIZES[5])
    W, x = tuple(1e12 * U for U in torched(arrays, torch.float32)), torch.tensor(x, dtype=torch.float32)
    for y in range(4):
        assert not certified(W, x, torch.full((len(x),), y), xi, method=method).any()


# --- certified ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SOUND)
def test_certified_means_that_every_other_class_is_bounded_below_zero(method):
    arrays, x, xi = draw(SIZES[3], batch=60, radius=1e-4)
    y = mlp(torched(arrays))(torch.tensor(x)).argmax(1)
    y[::5] = (y[::5] + 1) % 3  # some samples are misclassified to begin with
    safe = certified(torched(arrays), torch.tensor(x), y, xi, method=method).numpy()
    pairs = bound(arrays, x, xi, method)
    expected = [all(pairs[b, i, k] < 0 for i in range(3) if i != k) for b, k in enumerate(y.tolist())]
    assert safe.tolist() == expected
    assert not safe[::5].any() and safe.any()


def test_tight_bounds_certify_by_default_and_whatever_looser_bounds_certify():
    arrays, x, xi = draw(SIZES[3], batch=200, radius=0.004)
    W, x = torched(arrays), torch.tensor(x)
    y = mlp(W)(x).argmax(1)
    counts = {}
    for method in LADDER:
        counts[method] = certified(W, x, y, xi, method=method)
    assert torch.equal(certified(W, x, y, xi), counts["tight"])
    for looser, tighter in zip(LADDER[:-1], LADDER[1:], strict=True):
        assert (counts[tighter] >= counts[looser]).all()
    assert counts["linear"].sum() > counts["norms"].sum()


def test_optimised_slopes_only_lower_the_tight_bound_and_stay_above_the_margins_of_random_points():
    generator = torch.Generator().manual_seed(0)
    better = 0.0
    for seed in range(4):
        arrays, x, xi = draw(SIZES[4], seed=seed, biases=True, radius=0.05, batch=3)
        tight, alpha = (torch.tensor(bound(arrays, x, xi, method)) for method in ("tight", "alpha"))
        assert (alpha <= tight + 1e-12).all()
        better += float((tight - alpha).sum())
        for _ in range(200):
            x_hat, W_hat = xi.sample(torch.tensor(x), torched(arrays), generator)
            assert (margins(mlp(W_hat)(x_hat)) <= alpha).all()
    assert better > 0.1


def test_no_corner_flips_a_certified_sample():
    flipped = safe_ones = 0
    for seed in range(12):
        arrays, x, xi = draw((2, 2, 1, 2), seed=seed, biases=True, radius=0.1, batch=3)
        y = mlp(torched(arrays))(torch.tensor(x)).argmax(1)
        for k, safe in enumerate(certified(torched(arrays), torch.tensor(x), y, xi).tolist()):
            ends = oracles.input_box(net_of(arrays, xi), x[k], None)
            corners = oracles.worst_margins(arrays, list(xi.eps_w), x[k], *ends, np.random.default_rng(0))
            flips = corners[1 - y[k], y[k]] >= 0
            assert not (safe and flips)
            safe_ones, flipped = safe_ones + safe, flipped + flips
    assert safe_ones > 3 and flipped > 3


def test_a_tie_is_not_certified():
    W = torch.ones(2, 3).double(), torch.ones(2, 2).double()
    y = torch.tensor([0])
    for method in SOUND:
        assert not certified(W, torch.ones(1, 3).double(), y, Budget(0, (0, 0)), method=method)


def test_the_printed_bound_certifies_nothing_and_says_why():
    arrays, x, xi = draw(SIZES[3])
    with pytest.raises(ValueError, match="certifies nothing"):
        certified(torched(arrays), torch.tensor(x), torch.zeros(4).long(), xi, method="printed")


@pytest.mark.parametrize("method", SOUND)
def test_inputs_are_not_changed(method):
    arrays, x, xi = draw(SIZES[3], biases=True)
    W, inputs = torched(arrays), torch.tensor(x)
    margin_upper_bound(W, inputs, xi, method=method, box=(-2.0, 2.0), y=torch.zeros(4).long())
    assert all((U.numpy() == a).all() for U, a in zip((*W, inputs), (*arrays, x), strict=True))


# --- bad input ------------------------------------------------------------------------------------------------------


def bad_arguments():
    """What the certificates themselves refuse, and a piece of the sentence that says so."""
    arrays, x, xi = draw(SIZES[3])
    W, x = torched(arrays), torch.tensor(x)
    nan = float("nan")
    good = {"W": W, "x": x, "xi": xi}
    cases = {
        "weights that no bound can use": ({"W": (W[0] / 0, *W[1:])}, "W holds NaN"),
        "inputs that no bound can use": ({"x": x[0]}, r"x must be a batch \[B, 4\]"),
        "a radius missing": ({"xi": Budget(0.1, (0.1, 0.1))}, "one radius each"),
        "x below the box": ({"x": -x.abs() - 0.1, "box": (0.0, 1.0)}, "x leaves the box"),
        "x above the box": ({"x": x.abs() + 1, "box": (0.0, 1.0)}, "x leaves the box"),
        "a box upside down": ({"box": (1.0, 0.0)}, "low < high"),
        "an empty box": ({"box": (0.5, 0.5)}, "low < high"),
        "a box of NaN": ({"box": (nan, 1.0)}, "low < high"),
        "a label too large": ({"y": torch.tensor([0, 1, 2, 3])}, r"labels span \[0, 3\] but the network has 3 classes"),
        "a negative label": ({"y": torch.tensor([0, 1, 2, -1])}, r"labels span \[-1, 2\]"),
        "labels that are floats": ({"y": torch.zeros(4)}, "whole-numbered label per input"),
        "labels that are booleans": ({"y": torch.zeros(4).bool()}, "whole-numbered label per input"),
        "labels missing": ({"y": torch.zeros(3).long()}, "whole-numbered label per input, 4 in all"),
        "labels in two axes": ({"y": torch.zeros(4, 1).long()}, "whole-numbered label per input"),
        "labels no tensor": ({"y": [0, 1, 2, 0]}, "whole-numbered label per input"),
    }
    return {what: (good | wrong, message) for what, (wrong, message) in cases.items()}


BAD = bad_arguments()


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_with_a_sentence_by_every_method(what):
    arguments, message = BAD[what]
    for method in METHODS:
        with pytest.raises(ValueError, match=message):
            margin_upper_bound(method=method, **arguments)
        if method != "printed":
            with pytest.raises(ValueError, match=message):
                certified(method=method, **({"y": torch.zeros(4).long()} | arguments))


@pytest.mark.parametrize("method", METHODS)
def test_one_layer_has_no_terms_of_theorem_1_and_its_exact_maximum_otherwise(method):
    generator = torch.Generator().manual_seed(0)
    W, b = torch.randn(3, 2, generator=generator, dtype=torch.float64), torch.randn(3, generator=generator).double()
    x, xi = torch.tensor([[0.3, -0.2]]).double(), Budget(0.1, (0.2, 0.3))
    if method not in ("interval", "linear", "tight", "alpha"):
        with pytest.raises(ValueError, match="at least two layers"):
            margin_upper_bound((W, b), x, xi, method=method)
        return
    found = margin_upper_bound((W, b), x, xi, method=method)
    corners = torch.stack([margins(mlp(W_hat)(x_hat))[0] for x_hat, W_hat in xi.corners(x, (W, b))])
    torch.testing.assert_close(found[0], corners.amax(0), rtol=1e-12, atol=1e-12)


def test_hundreds_of_classes_take_no_more_memory_than_a_chunk_of_pairs():
    W = mlp_init((20, 8, 500), torch.Generator().manual_seed(0), torch.float64)
    x, y = torch.rand(2, 20, generator=torch.Generator().manual_seed(1)).double(), torch.tensor([0, 499])
    xi = Budget(0.01, (0.001, 0.001))
    some, everything = (margin_upper_bound(W, x, xi, method="linear", y=labels) for labels in (y, None))
    torch.testing.assert_close(some, everything[torch.arange(2), :, y])


@pytest.mark.parametrize("method", ["CROWN", "", "ibp", None])
def test_an_unknown_method_is_refused_and_the_known_ones_are_named(method):
    arrays, x, xi = draw(SIZES[3])
    with pytest.raises(
        ValueError, match="choose one of printed, repaired, norms, telescoped, interval, linear, tight, alpha"
    ):
        bound(arrays, x, xi, method)


def test_the_printed_bound_refuses_biases():
    arrays, x, xi = draw(SIZES[3], biases=True)
    with pytest.raises(ValueError, match="without biases; use a repaired bound"):
        bound(arrays, x, xi, "printed")
