"""The derivation of tau and zeta: every line but the one with h* holds everywhere, and the lines make the bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nsr import margins, mlp
from nsr.budget import Budget
from nsr.theory import counterexamples, derivation, theorem
from nsr.theory.derivation import Point, Step

RADII = st.sampled_from([0.0, 1e-3, 0.1, 1.0])


@st.composite
def points(draw: st.DrawFn, depth: tuple[int, int] = (2, 5), corner: bool | None = None) -> Point:
    """A random net L = 2 .. 5 with inputs of any sign, and a corner or an inner point of its joint ball."""
    L = draw(st.integers(*depth))
    widths = draw(st.lists(st.integers(1, 5), min_size=L, max_size=L)) + [draw(st.integers(2, 4))]
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shift = draw(st.sampled_from([-0.5, 0.0, 0.5]))
    W = tuple(normal(g, o, i) + shift for i, o in zip(widths, widths[1:], strict=False))
    x = normal(g, draw(st.integers(1, 4)), widths[0])
    xi = Budget(draw(RADII), tuple(draw(RADII) for _ in W))
    x_hat, W_hat = xi.sample(x, W, g)
    if draw(st.booleans()) if corner is None else corner:
        x_hat = x + xi.eps_x * normal(g, *x.shape).sign()
        W_hat = tuple(U + e * normal(g, *U.shape).sign() for U, e in zip(W, xi.eps_w, strict=True))
    i = torch.randint(widths[-1], (len(x),), generator=g)
    return Point(W, x, W_hat, x_hat, xi, i, (i + 1) % widths[-1])


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def dense_net(L: int, eps_x: float = 0.1, eps_w: float = 0.01) -> Point:
    """A corner of the ball of a net without a dead layer, so that no side of a line is zero."""
    g = torch.Generator().manual_seed(7)
    widths = [6, 5, 5, 4, 5][:L] + [3]
    W = tuple(normal(g, o, i) + 0.3 for i, o in zip(widths, widths[1:], strict=False))
    x = normal(g, 8, widths[0]).abs() + 0.5
    xi = Budget(eps_x, (eps_w,) * L)
    x_hat = x + eps_x * normal(g, *x.shape).sign()
    W_hat = tuple(U + eps_w * normal(g, *U.shape).sign() for U in W)
    return Point(W, x, W_hat, x_hat, xi, torch.zeros(8, dtype=torch.int64), torch.full((8,), 2))


def all_of(lines: Callable[[Point], Step | tuple[Step, ...]], p: Point) -> tuple[Step, ...]:
    found = lines(p)
    return (found,) if isinstance(found, Step) else found


TRUE_LINES = [
    derivation.brackets,
    derivation.first_hoelder,
    derivation.first_rows,
    derivation.first_lipschitz,
    derivation.first_norm,
    derivation.first_matrix,
    derivation.first_input,
    derivation.first_bracket,
    derivation.second_parts,
    derivation.second_hoelder,
    derivation.second_rows,
    derivation.second_lipschitz,
    derivation.second_triangle,
    derivation.second_norm,
    derivation.second_matrix,
    derivation.second_bracket,
]


@pytest.mark.parametrize("line", TRUE_LINES, ids=lambda line: line.__name__)
@settings(max_examples=60)
@given(p=points())
def test_the_line_holds_at_every_point_of_every_ball(line: Callable, p: Point) -> None:
    for step in all_of(line, p):
        assert step.left.shape == step.right.shape == (len(p.x),)
        assert bool(step.holds.all()), step


@settings(max_examples=50)
@given(p=points())
def test_the_line_with_h_star_holds_for_the_first_layer(p: Point) -> None:
    assert bool(derivation.second_star(p)[0].holds.all())


@settings(max_examples=50)
@given(p=points(depth=(2, 2)))
def test_theorem_1_holds_for_two_layers(p: Point) -> None:
    assert bool(derivation.theorem(p).holds.all())


def test_the_line_with_h_star_fails_at_layer_2_of_the_counterexample_and_takes_theorem_1_with_it() -> None:
    p = Point.of(counterexamples.COUNTEREXAMPLE)
    first, second = derivation.second_star(p)
    assert bool(first.holds) and not bool(second.holds)
    assert (float(second.left), float(second.right)) == (6, 4)
    for line in (derivation.printed, derivation.theorem):
        assert (float(line(p).left), float(line(p).right)) == (18, 16)
        assert not bool(line(p).holds)


def test_the_line_with_h_star_is_the_only_slack_or_error_in_the_counterexamples_second_bracket() -> None:
    p = Point.of(counterexamples.COUNTEREXAMPLE)
    steps = (*derivation.ledger(p)["second bracket"], derivation.brackets(p), derivation.second_bracket(p))
    assert all(float(step.left) == float(step.right) for step in steps)


@pytest.mark.parametrize("L", [2, 3, 4, 5])
def test_the_slacks_of_the_first_bracket_multiply_to_that_of_tau(L: int) -> None:
    p = dense_net(L)
    together = derivation.product(derivation.ledger(p)["first bracket"])
    step = derivation.first_bracket(p)
    assert together.isfinite().all() and (together > 1).all()
    torch.testing.assert_close(together * step.left, step.right, rtol=1e-11, atol=0)


@pytest.mark.parametrize("L", [2, 3, 4, 5])
def test_tau_is_the_product_of_the_right_sides_of_its_lines(L: int) -> None:
    p = dense_net(L)
    rights = [derivation.first_input(p).right, derivation.first_rows(p).right]
    rights += [step.right for step in derivation.first_matrix(p)]
    tau = theorem.tau(p.W, p.xi)[p.i, p.j]
    torch.testing.assert_close(torch.stack(rights).prod(0), tau, rtol=1e-11, atol=0)


@pytest.mark.parametrize("L", [3, 4, 5])
def test_the_telescoped_sum_with_h_star_is_zeta_as_printed(L: int) -> None:
    p = dense_net(L)
    masses = [h.abs().sum(1) for h in theorem.starred(p.W, p.x, p.xi)]
    zeta = theorem.zeta(p.W, p.x, p.xi)[torch.arange(len(p.x)), p.i, p.j]
    torch.testing.assert_close(derivation.telescoped(p, masses), zeta, rtol=1e-11, atol=0)
    torch.testing.assert_close(derivation.printed(p).right, zeta, rtol=0, atol=0)


def test_two_layers_as_printed_count_the_first_layers_radius_twice() -> None:
    p = dense_net(2)
    masses = [h.abs().sum(1) for h in theorem.starred(p.W, p.x, p.xi)]
    extra = theorem.pair_norms(p.W[-1])[p.i, p.j] * p.xi.eps_w[0] * masses[0]
    torch.testing.assert_close(derivation.telescoped(p, masses) + extra, derivation.printed(p).right)


@settings(max_examples=60)
@given(p=points())
def test_the_telescoped_sum_is_the_one_of_the_text(p: Point) -> None:
    L, eps = len(p.W), dict(enumerate(p.xi.eps_w, start=1))
    S = {m: float(W_m.abs().sum(1).max()) for m, W_m in enumerate(p.W, start=1)}
    z = {k: layer.z_w.abs().sum(1) for k, layer in enumerate(p.activations)}
    c = (p.W[-1][p.i] - p.W[-1][p.j]).abs().sum(1)
    total = sum(eps[k + 1] * z[k] * prod(S[m] for m in range(k + 2, L)) for k in range(L - 1))
    torch.testing.assert_close(derivation.second_bracket(p).right, c * total + 2 * eps[L] * z[L - 1])


@settings(max_examples=60)
@given(p=points())
def test_h_star_is_the_net_with_every_weight_at_its_starred_corner(p: Point) -> None:
    h = p.x
    for m, (W_m, eps) in enumerate(zip(p.W[:-1], p.xi.eps_w[:-1], strict=True), start=1):
        if m == 1:
            h = torch.einsum("bij,bj->bi", W_m + eps * p.x.sign()[:, None, :], p.x).relu()
        else:
            h = (h @ (W_m + eps).T).relu()
        torch.testing.assert_close(theorem.starred(p.W, p.x, p.xi)[m], h)


@settings(max_examples=60)
@given(p=points())
def test_the_two_brackets_are_the_margins_of_the_networks(p: Point) -> None:
    rows = torch.arange(len(p.x))
    at = [(p.W, p.x), (p.W_hat, p.x), (p.W_hat, p.x_hat)]
    f, f_w, f_hat = (margins(mlp(W)(x))[rows, p.i, p.j] for W, x in at)
    step = derivation.brackets(p)
    torch.testing.assert_close(step.left, (f_hat - f).abs())
    torch.testing.assert_close(step.right, (f_hat - f_w).abs() + (f_w - f).abs())


@settings(max_examples=60)
@given(p=points())
def test_both_brackets_bounds_grow_from_stage_to_stage_until_h_star(p: Point) -> None:
    path = derivation.stages(p)
    assert [stage.name.split(":")[0] for stage in path[3:-1:3]] == [f"layer {m}" for m in range(len(p.W) - 1, 0, -1)]
    for before, after in zip(path[:-2], path[1:-1], strict=True):
        assert bool(Step("first", before.first, after.first).holds.all())
        assert bool(Step("second", before.second, after.second).holds.all())


@pytest.mark.parametrize("L", [2, 3, 5])
def test_the_stages_start_at_the_brackets_and_end_at_tau_the_telescoped_sum_and_zeta(L: int) -> None:
    p = dense_net(L)
    start, *_, layer_1, end = derivation.stages(p)
    torch.testing.assert_close(start.first + start.second, derivation.brackets(p).right)
    torch.testing.assert_close(layer_1.first, derivation.first_bracket(p).right)
    torch.testing.assert_close(layer_1.second, derivation.second_bracket(p).right)
    torch.testing.assert_close(end.first + end.second, derivation.theorem(p).right)


def test_a_false_line_is_reported_as_false() -> None:
    step = Step("line", torch.tensor([1.0, 3.0, 2.0]), torch.tensor([2.0, 1.0, 2.0]))
    assert step.holds.tolist() == [True, False, True]
    assert not bool(Step("line", torch.tensor(1.0001), torch.tensor(1.0)).holds)
    true = Step("true line", torch.tensor([1.0]), torch.tensor([1234.0]), derivation.WEIGHTS)
    written = derivation.table(step, true)
    assert written["false for"].to_dict() == {"line": "1 of 3", "true line": "none"}
    assert written.loc["true line"].tolist()[:4] == ["1", "1,230", "weights", "1,230"]


def test_zero_on_both_sides_is_no_slack() -> None:
    p = dense_net(3, eps_x=0.0, eps_w=0.0)
    assert all(step.slack.tolist() == [1.0] * 8 for step in (derivation.brackets(p), derivation.theorem(p)))


@pytest.mark.parametrize("tensor", ["x_hat", "W_hat"])
def test_a_point_outside_the_ball_is_refused(tensor: str) -> None:
    p = dense_net(3)
    *before, last = p.W_hat
    moved = {"x_hat": p.x + 0.2} if tensor == "x_hat" else {"W_hat": (*before, last + 0.1)}
    with pytest.raises(ValueError, match="outside its ball"):
        replace(p, **moved)


def test_biases_and_foreign_shapes_are_refused() -> None:
    p = dense_net(3)
    with pytest.raises(ValueError, match="shapes"):
        replace(p, x_hat=p.x_hat[:, :-1])
    biased = (p.W[0], p.x.new_zeros(len(p.W[0])), *p.W[1:])
    with pytest.raises(ValueError, match="without biases"):
        replace(p, W=biased, W_hat=biased, xi=Budget(0.1, (0.01,) * 4))
