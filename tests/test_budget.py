"""xi: validated radii, and clip, sample, corners and the relative geometry that stay inside the balls they name."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsr import Budget, Network, mlp
from nsr.budget import MOST_CORNERS, layer_balls


def weights(*shapes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


def within(t_hat, t, radius):
    """Every entry of t_hat lies in the ball, up to the rounding of one addition."""
    reach = (t_hat.double() - t.double()).abs()
    return bool((reach <= radius + torch.finfo(t.dtype).eps * (t.double().abs() + radius)).all())


# --- construction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-0.1, -1e-300, float("nan"), float("inf"), float("-inf"), -float("nan")])
def test_a_radius_is_finite_and_not_negative(bad):
    with pytest.raises(ValueError, match="eps_x must be finite and not negative"):
        Budget(bad, (0.1,))
    with pytest.raises(ValueError, match=r"eps_w\[1\] must be finite and not negative"):
        Budget(0.1, (0.1, bad))


@pytest.mark.parametrize("bad", [True, False, "0.1", None, 1j, [0.1], np.array([0.1, 0.2]), torch.ones(2)])
def test_a_radius_is_a_number(bad):
    with pytest.raises(ValueError, match="eps_x must be a number"):
        Budget(bad, (0.1,))
    with pytest.raises(ValueError, match=r"eps_w\[0\] must be a number"):
        Budget(0.1, (bad,))


@pytest.mark.parametrize("bad", [0.1, 1, True, None, np.float32(0.1), torch.tensor(0.1)])
def test_one_number_is_no_list_of_weight_radii_and_the_message_names_the_way_out(bad):
    with pytest.raises(ValueError, match=r"Budget\.uniform"):
        Budget(0.1, bad)


@pytest.mark.parametrize("good", [0, 0.1, np.float32(0.25), np.float64(0.25), torch.tensor(0.25), np.int64(3)])
def test_numbers_of_every_library_become_plain_floats(good):
    xi = Budget(good, [good])
    assert (type(xi.eps_x), type(xi.eps_w[0]), type(xi.eps_w)) == (float, float, tuple)
    assert xi.eps_x == xi.eps_w[0] == float(good)


@pytest.mark.parametrize("radii", [[0.5, 2], np.array([0.5, 2.0]), torch.tensor([0.5, 2.0]), (e for e in (0.5, 2.0))])
def test_radii_may_come_in_any_container(radii):
    assert Budget(0.0, radii).eps_w == (0.5, 2.0)


def test_equal_budgets_are_equal_and_hashable():
    assert Budget(0.1, [0.2]) == Budget(0.1, (0.2,))
    assert len({Budget(0.1, [0.2]), Budget(0.1, (0.2,)), Budget(0.1, (0.3,))}) == 2


def test_a_budget_cannot_be_changed():
    with pytest.raises(AttributeError):
        Budget(0.1, (0.2,)).eps_x = 3.0


def test_uniform_gives_every_layer_the_same_radius():
    network = mlp(weights((2, 3), (2, 2), (2, 2)))
    assert Budget.uniform(0.1, 0.2, network) == Budget(0.1, (0.2, 0.2, 0.2))


@pytest.mark.parametrize(
    ("only", "moving"),
    [("W2", "W2"), ("b", "b1 b2"), ("W*", "W1 W2"), (lambda name: name.endswith("1"), "W1 b1"), (None, "W1 b1 W2 b2")],
)
def test_radii_can_be_given_by_name(only, moving):
    network = mlp((*weights((2, 3), (2,)), *weights((4, 2), (4,))))
    for xi in (Budget.uniform(0.1, 0.2, network, only), Budget.relative(0.1, 0.2, network, only)):
        assert [name for name, e in zip(network.names, xi.eps_w, strict=True) if e] == moving.split()


def test_one_name_is_that_tensor_alone_and_not_those_it_is_a_part_of():
    network = Network(weights((2, 3), (2, 2)), lambda W, x: x, ("0.weight", "10.weight"))
    assert Budget.uniform(0.1, 0.2, network, "0.weight").eps_w == (0.2, 0.0)


def test_a_choice_that_names_no_tensor_is_refused_and_the_names_are_told():
    with pytest.raises(ValueError, match="only='conv' names none of the weight tensors W1, W2"):
        Budget.uniform(0.1, 0.2, mlp(weights((2, 3), (2, 2))), only="conv")


@pytest.mark.parametrize("radii", [(), (0.1,), (0.1, 0.1, 0.1)])
def test_weights_without_a_radius_each_are_refused(radii, generator):
    W, xi = weights((2, 3), (2, 2)), Budget(0.1, radii)
    x = torch.zeros(1, 3, dtype=torch.float64)
    for use in (
        lambda: xi.check(W),
        lambda: xi.clip_W(W, W),
        lambda: xi.sample(x, W, generator),
        lambda: list(xi.corners(x, W)),
        lambda: layer_balls(W, xi),
    ):
        with pytest.raises(ValueError, match="one radius each"):
            use()


# --- interval and clip ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clip_lands_inside_the_ball_and_the_box(dtype):
    x, far = (torch.rand(4, 6, dtype=dtype) for _ in range(2))
    xi = Budget(0.3, (0.05, 0.0))
    x_hat = xi.clip_x(10 * far - 5, x, (0.0, 1.0))
    assert within(x_hat, x, 0.3) and x_hat.min() >= 0 and x_hat.max() <= 1
    W, W_far = weights((3, 6), (2, 3), dtype=dtype), weights((3, 6), (2, 3), dtype=dtype, seed=5)
    clipped = xi.clip_W(W_far, W)
    assert within(clipped[0], W[0], 0.05) and torch.equal(clipped[1], W[1])


def test_clip_leaves_admissible_points_alone_and_is_a_projection():
    x, W = torch.rand(4, 6), weights((3, 6), dtype=torch.float32)
    xi = Budget(0.3, (0.05,))
    inside = x + 0.1 * (2 * torch.rand(4, 6) - 1)
    assert torch.equal(xi.clip_x(inside, x), inside)
    for step in (-0.01, 0.01):
        assert torch.equal(xi.clip_W([W[0] + step], W)[0], W[0] + step)
    once = xi.clip_x(5 * inside, x, (0.0, 1.0))
    assert torch.equal(xi.clip_x(once, x, (0.0, 1.0)), once)


def test_clip_is_the_nearest_admissible_point():
    x, x_hat = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[0.9, -3.0, 0.55]])
    torch.testing.assert_close(Budget(0.1, ()).clip_x(x_hat, x), torch.tensor([[0.6, 0.4, 0.55]]))


def test_interval_is_the_ball_cut_by_the_box():
    x = torch.tensor([[0.0, 0.05, 0.5, 1.0]], dtype=torch.float64)
    a, b = Budget(0.1, ()).interval(x, (0.0, 1.0))
    torch.testing.assert_close(a, torch.tensor([[0.0, 0.0, 0.4, 0.9]], dtype=torch.float64))
    torch.testing.assert_close(b, torch.tensor([[0.1, 0.15, 0.6, 1.0]], dtype=torch.float64))


def test_interval_without_a_box_may_leave_the_pixels():
    a, b = Budget(0.25, ()).interval(torch.tensor([[0.0, 1.0]]))
    assert a.tolist() == [[-0.25, 0.75]] and b.tolist() == [[0.25, 1.25]]


# --- sample ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
def test_samples_are_admissible_and_keep_the_dtype(dtype, box, generator):
    x, W, xi = torch.rand(5, 6, dtype=dtype), weights((3, 6), (2, 3), dtype=dtype), Budget(0.4, (0.05, 0.3))
    for _ in range(20):
        x_hat, W_hat = xi.sample(x, W, generator, box)
        assert x_hat.dtype == dtype and within(x_hat, x, 0.4)
        assert all(within(V, U, e) for V, U, e in zip(W_hat, W, xi.eps_w, strict=True))
        assert box is None or (x_hat.min() >= 0 and x_hat.max() <= 1)


def test_samples_fill_the_ball_on_both_sides(generator):
    x, W, xi = torch.zeros(200, 6), weights((50, 40)), Budget(0.4, (0.05,))
    x_hat, (W_hat,) = xi.sample(x, W, generator)
    for offset, radius in ((x_hat - x, 0.4), (W_hat - W[0], 0.05)):
        assert offset.min() < -0.98 * radius and offset.max() > 0.98 * radius
        assert abs(float(offset.mean())) < 0.1 * radius


def test_a_zero_radius_leaves_its_tensor_alone(generator):
    x, W = torch.rand(2, 3), weights((3, 3), (2, 3), dtype=torch.float32)
    x_hat, W_hat = Budget(0.0, (0.0, 0.1)).sample(x, W, generator)
    assert torch.equal(x_hat, x) and torch.equal(W_hat[0], W[0]) and not torch.equal(W_hat[1], W[1])


def test_the_generator_alone_decides_the_sample():
    x, W, xi = torch.rand(2, 3), weights((3, 3)), Budget(0.1, (0.1,))
    first, again, other = (xi.sample(x, W, torch.Generator().manual_seed(s))[1][0] for s in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


# --- corners --------------------------------------------------------------------------------------------------------


def test_corners_are_all_sign_patterns_once():
    x, W = torch.zeros(1, 2, dtype=torch.float64), weights((1, 2), (2, 1))
    xi = Budget(0.5, (0.25, 1.0))
    found = {tuple(torch.cat([c.flatten() for c in (x_hat, *W_hat)]).tolist()) for x_hat, W_hat in xi.corners(x, W)}
    centre = torch.cat([x.flatten(), W[0].flatten(), W[1].flatten()])
    radius = torch.tensor([0.5, 0.5, 0.25, 0.25, 1.0, 1.0], dtype=torch.float64)
    signs = itertools.product((-1.0, 1.0), repeat=6)
    assert found == {tuple((centre + radius * torch.tensor(s, dtype=torch.float64)).tolist()) for s in signs}
    assert len(list(xi.corners(x, W))) == 2**6


@pytest.mark.parametrize(
    ("eps_x", "eps_w", "count"),
    [(0.0, (0.0, 0.0), 1), (0.1, (0.0, 0.0), 4), (0.0, (0.1, 0.0), 16), (0.1, (0.1, 0.2), 256)],
)
def test_only_free_tensors_have_corners(eps_x, eps_w, count):
    x, W = torch.zeros(1, 2), (torch.zeros(2, 2), torch.zeros(1, 2))
    assert len(list(Budget(eps_x, eps_w).corners(x, W))) == count


def test_corner_tensors_keep_shapes_and_fit_the_network():
    x, W = torch.zeros(1, 2), weights((2, 2), (2,), (2, 2), dtype=torch.float32)
    for x_hat, W_hat in Budget(0.1, (0.1, 0.0, 0.0)).corners(x, W):
        assert mlp(W).at(W_hat)(x_hat).shape == (1, 2)


@pytest.mark.parametrize("shapes", [((10, 10),), ((1, 10), (1, 11))])
def test_a_ball_with_too_many_corners_is_refused_before_any_work(shapes):
    W = tuple(torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="too many to enumerate"):
        next(Budget(0.0, (0.1,) * len(W)).corners(torch.zeros(1, 10), W))


def test_the_largest_ball_that_is_enumerated_has_twenty_free_entries():
    assert MOST_CORNERS == 2**20
    W = torch.zeros(1, 10), torch.zeros(10, 1)
    x_hat, W_hat = next(Budget(0.0, (0.1, 0.1)).corners(torch.zeros(1, 10), W))
    assert all(torch.equal(V.abs(), torch.full_like(V, 0.1)) for V in W_hat)


# --- relative radii -------------------------------------------------------------------------------------------------


def test_a_relative_radius_is_a_share_of_the_mean_weight():
    W = (torch.tensor([[1.0, -3.0]]), torch.tensor([[0.0], [-8.0]]))
    assert Budget.relative(0.1, 0.5, mlp(W)) == Budget(0.1, (1.0, 2.0))


@given(c=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_relative_radii_follow_a_rescaling_between_layers(c, seed):
    W = weights((4, 3), (2, 4), seed=seed)
    scaled = (c * W[0], W[1] / c)
    here, there = Budget.relative(0.1, 0.3, mlp(W)), Budget.relative(0.1, 0.3, mlp(scaled))
    assert there.eps_w == pytest.approx((c * here.eps_w[0], here.eps_w[1] / c), rel=1e-12)
    x = torch.rand(5, 3, dtype=torch.float64)
    torch.testing.assert_close(mlp(scaled)(x), mlp(W)(x), rtol=1e-12, atol=1e-12)  # the same function
    for (_, V), (_, V_scaled) in itertools.islice(
        zip(*(_samples(xi, x, U) for xi, U in ((here, W), (there, scaled))), strict=True), 3
    ):
        torch.testing.assert_close(mlp(V_scaled)(x), mlp(V)(x), rtol=1e-10, atol=1e-12)  # and the same attackers


def _samples(xi, x, W):
    generator = torch.Generator().manual_seed(0)
    while True:
        yield xi.sample(x, W, generator)


# --- layers with their radii ----------------------------------------------------------------------------------------


def test_every_layer_gets_its_own_radii_and_a_missing_bias_has_radius_zero():
    W = weights((4, 3), (4,), (4, 4), (2, 4), (2,))
    balls = layer_balls(W, Budget(0.0, (1.0, 2.0, 3.0, 4.0, 5.0)))
    assert [(ball.eps, ball.beta) for ball in balls] == [(1.0, 2.0), (3.0, 0.0), (4.0, 5.0)]
    assert [ball.b is None for ball in balls] == [False, True, False]
    assert all(ball.W is U for ball, U in zip(balls, (W[0], W[2], W[3]), strict=True))
