"""The oracles of the exact verdicts hold themselves: against corners, ascent, the bounds' references and each other."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import exact_oracles
import milp
import numpy as np
import oracles
import pytest
import torch
from exact_oracles import Worst, margin_by_milp, margin_by_patterns

from nsr import Budget


class Case(NamedTuple):
    """One input of a tiny network and what the linear programs say."""

    net: oracles.Net
    x: np.ndarray
    y: int
    box: tuple[float, float] | None
    worst: Worst

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The interval of every input coordinate."""
        return oracles.input_box(self.net, self.x, self.box)

    @property
    def others(self) -> list[int]:
        """The classes that are not y."""
        return [i for i in range(len(self.net.W[self.net.L])) if i != self.y]


@functools.cache
def cases() -> list[Case]:
    """Many, drawn once."""
    generator, found = np.random.default_rng(1), []
    for _ in range(150):
        tiny = exact_oracles.draw_tiny(generator, batch=1)
        question = tiny.net, tiny.x[0], int(tiny.y[0]), tiny.box
        found.append(Case(*question, margin_by_patterns(*question)))
    return found


def test_the_truth_is_reached_at_an_admissible_point() -> None:
    for case in cases():
        (a, b), net, W_hat = case.ends, case.net, case.worst.W_hat
        assert exact_oracles.worst_margin_at(case.worst, case.y) == pytest.approx(case.worst.margin, abs=1e-9)
        assert (case.worst.x_hat >= a - 1e-9).all() and (case.worst.x_hat <= b + 1e-9).all()
        for m in range(1, net.L + 1):
            assert (np.abs(W_hat.W[m] - net.W[m]) <= net.eps[m] + 1e-14).all()
            assert (np.abs(W_hat.b[m] - net.b[m]) <= net.beta[m] + 1e-14).all()


def test_linear_programs_and_the_solver_for_binaries_agree() -> None:
    for net, x, y, box, worst in cases():
        found = margin_by_milp(net, x, y, box)
        assert found.margin == pytest.approx(worst.margin, abs=1e-6)
        assert exact_oracles.worst_margin_at(found, y) == pytest.approx(worst.margin, abs=1e-5)


def test_no_bound_of_the_references_is_below_the_truth() -> None:
    for case in cases():
        if case.net.L > 1:
            for bound in (oracles.tight, oracles.linear, functools.partial(oracles.interval, exact=True)):
                highest = max(bound(case.net, case.x, i, case.y, case.box) for i in case.others)
                assert highest >= case.worst.margin - 1e-9, bound


def test_patterns_that_intervals_rule_out_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_patterns(net, a, b):
        sizes = [len(W) for W in net.W[1:-1]]
        for on in itertools.product((True, False), repeat=sum(sizes)):
            yield tuple(np.split(np.array(on), np.cumsum(sizes)[:-1]))

    monkeypatch.setattr(exact_oracles, "patterns", all_patterns)
    few = [case for case in cases() if 2 <= sum(len(W) for W in case.net.W[1:-1]) <= 4][:12]
    for net, x, y, box, worst in few:
        assert margin_by_patterns(net, x, y, box).margin == pytest.approx(worst.margin, abs=1e-9)
    assert len(few) == 12


# --- corners --------------------------------------------------------------------------------------------------------


def worst_corner(tensors: list[np.ndarray], xi: Budget, x: np.ndarray, y: int) -> float:
    """max over i != y of f_i - f_y over the corners of the joint ball."""
    W = tuple(torch.tensor(t) for t in tensors)
    x_hat, *W_hat = zip(*((x_hat[0], *W_hat) for x_hat, W_hat in xi.corners(torch.tensor(x)[None], W)), strict=True)
    logits = oracles.batched_logits([np.stack(V) for V in W_hat], np.stack(x_hat))
    return float((np.delete(logits, y, 1).max(1) - logits[:, y]).max())


class Compared(NamedTuple):
    """A random network, its best corner and the truth, of the margin f_0 - f_1."""

    net: oracles.Net
    x: np.ndarray
    corner: float
    truth: float


def compared(
    sizes: tuple[int, ...], *, seed: int, biases: bool = False, eps_x: float = 0.5, rising: bool = False
) -> Compared:
    """`rising` makes the margin one that no activation can lower, wherever the weights behind it go."""
    generator = np.random.default_rng(seed)
    tensors = oracles.draw(sizes, generator, biases=biases)
    if rising:
        tensors = [tensors[0], *(np.abs(t) + 0.5 for t in tensors[1:])]
        tensors[-1][1] *= -1
    x = generator.uniform(-1, 1, sizes[0])
    xi = Budget(eps_x, [float(e) for e in generator.uniform(0.1, 0.5, len(tensors))])
    net = oracles.Net.of(tensors, list(xi.eps_w), xi.eps_x)
    return Compared(net, x, worst_corner(tensors, xi, x, 1), margin_by_patterns(net, x, 1).margin)


@pytest.mark.parametrize(
    ("sizes", "biases"), [((2, 2, 2), False), ((1, 2, 2), True), ((1, 2, 1, 2), False), ((1, 1, 1, 2, 2), False)]
)
def test_no_corner_beats_the_truth_and_some_are_the_truth(sizes: tuple[int, ...], biases: bool) -> None:
    gaps = np.array([pair.truth - pair.corner for pair in (compared(sizes, seed=k, biases=biases) for k in range(8))])
    assert (gaps >= -1e-9).all() and (gaps < 1e-9).any()


def test_the_truth_is_inside_where_two_hidden_neurons_add_up_to_minus_the_absolute_value() -> None:
    # f_0 - f_1 = -rho(x) - rho(-x) = -|x| over [-1, 1]
    tensors = [np.array([[1.0], [-1.0]]), np.array([[-1.0, -1.0], [0.0, 0.0]])]
    xi, x = Budget(1.0, (0.0, 0.0)), np.zeros(1)
    assert worst_corner(tensors, xi, x, 1) == -1
    assert margin_by_patterns(oracles.Net.of(tensors, [0.0, 0.0], 1.0), x, 1).margin == pytest.approx(0, abs=1e-12)


# In every single number a margin is convex, hence largest at an end of its interval, if ..


@pytest.mark.parametrize("seed", range(6))
def test_a_corner_is_the_truth_of_one_layer(seed: int) -> None:
    pair = compared((3, 2), seed=seed, biases=seed % 2 == 0)
    assert pair.corner == pytest.approx(pair.truth, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_corner_is_the_truth_of_two_layers_at_a_fixed_input(seed: int) -> None:
    pair = compared((2, 2, 2), seed=seed, eps_x=0.0)  # neurons share no number, and the margin is monotone in each
    assert pair.corner == pytest.approx(pair.truth, abs=1e-9)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (1, 2, 1, 2), (2, 1, 2, 2), (1, 1, 1, 2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_a_corner_is_the_truth_where_no_weight_behind_a_relu_can_be_negative(sizes: tuple[int, ...], seed: int) -> None:
    pair = compared(sizes, seed=seed, rising=True)
    assert pair.corner == pytest.approx(pair.truth, abs=1e-9)


def test_a_corner_is_the_truth_where_no_neuron_can_switch() -> None:
    met = 0
    for seed in range(40):
        pair = compared((1, 2, 1, 2), seed=seed, eps_x=0.1)
        boxes = oracles.pre_activation_boxes(pair.net, *oracles.input_box(pair.net, pair.x, None), exact=True)[1:]
        if not any(((p < 0) & (q > 0)).any() for p, q in boxes):
            met += 1
            assert pair.corner == pytest.approx(pair.truth, abs=1e-9)
    assert met >= 5


# --- the solver's formulation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_patterns_and_solver_agree_on_larger_networks(seed: int) -> None:
    tiny = exact_oracles.draw_medium(np.random.default_rng(seed))
    question = tiny.net, tiny.x[0], int(tiny.y[0]), tiny.box
    assert margin_by_milp(*question).margin == pytest.approx(margin_by_patterns(*question).margin, abs=1e-6)


def test_the_question_of_one_class_is_answered_as_the_optimum_says() -> None:
    for case in cases()[:60]:
        layers = exact_oracles.layers_of(case.net)
        boxes = milp.interval_boxes(layers, *case.ends)
        for i in case.others:
            best = milp.Problem(layers, *case.ends, boxes).maximum(i, case.y)
            assert best.bound == pytest.approx(best.margin, abs=1e-5)
            below, above = (
                milp.feasibility(layers, *case.ends, boxes, i, case.y, delta=-(best.margin + e)) for e in (-1e-4, 1e-4)
            )
            assert best.margin - 1.1e-4 <= below.margin <= best.margin + 1e-6 and below.bound == np.inf
            assert above.x_hat is None and above.finished and above.bound == pytest.approx(best.margin + 1e-4)


def test_the_interval_boxes_of_the_formulation_are_those_of_the_references() -> None:
    for case in cases():
        expected = oracles.pre_activation_boxes(case.net, *case.ends, exact=True)[1 : case.net.L]
        found = milp.interval_boxes(exact_oracles.layers_of(case.net), *case.ends)
        np.testing.assert_allclose(np.hstack([*found, ([], [])]), np.hstack([*expected, ([], [])]), atol=1e-12)


def test_where_time_runs_out_the_solver_claims_nothing() -> None:
    tiny = exact_oracles.draw_medium(np.random.default_rng(0))
    y, ends = int(tiny.y[0]), oracles.input_box(tiny.net, tiny.x[0], tiny.box)
    answer = milp.textbook(exact_oracles.layers_of(tiny.net), *ends, y, seconds=0.0)
    assert not answer.finished and answer.bound >= margin_by_milp(tiny.net, tiny.x[0], y, tiny.box).margin
    with pytest.raises(TimeoutError):
        margin_by_milp(tiny.net, tiny.x[0], y, tiny.box, seconds=0.0)


# --- the critical factor --------------------------------------------------------------------------------------------


def test_at_the_critical_factor_the_worst_margin_changes_its_sign() -> None:
    crossed = 0
    for net, x, y, box, _ in cases()[:20]:
        factor = exact_oracles.critical_factor(net, x, y, box)
        if factor is not None:
            below, above = (
                margin_by_patterns(exact_oracles.scaled(net, factor * (1 + e)), x, y, box).margin for e in (-1e-4, 1e-4)
            )
            assert below <= 0 <= above
            crossed += below < 0 < above  # not so where no logit moves until a neuron wakes
    assert crossed >= 8
