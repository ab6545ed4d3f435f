"""What every rung of a ladder has, and the claims on several ladders side by side."""

from __future__ import annotations

import math

import pytest

from nsr.inside import LEVELS, Inside, Moments, Norms, Outputs, Spectrum
from nsr.study import inside_claims
from nsr.study.claims.verdict import Rules
from nsr.study.statistics import estimate


def found(
    size: float = 1.0,
    confidence: float = 0.9,
    accuracy: float = 0.9,
    random: tuple[float, ...] = (1.0, 2.0),
    attacked: tuple[float, ...] = (3.0, 4.0),
) -> Inside:
    """Two layers; the normalised margins lie evenly between 0 and `size`, the raw ones are ten times as large."""
    normalised, quantiles = Moments(size / 2, 0.0), tuple(size * LEVELS)
    out = Outputs(Moments(5 * size, 0.0), normalised, confidence, accuracy, 1.0, quantiles)
    changes = (tuple(Moments(c, 0.0) for c in of) for of in (random, attacked))
    layers = tuple(Spectrum(1.0, c, 2.0) for c in random), tuple(Norms(1.0, 1.0, c) for c in random)
    return Inside(out, out, *layers, (), *changes, 0.1)


def rung(seeds: int = 3, noise: float = 0.001, **numbers: object) -> dict[int, Inside]:
    """A rung whose seeds differ in the confidence and the accuracy."""
    base = {"confidence": 0.9, "accuracy": 0.9} | numbers
    return {s: found(**base | {k: base[k] + noise * s for k in ("confidence", "accuracy")}) for s in range(seeds)}


LADDER = {0.0: rung(), 0.1: rung(size=2.0), 0.2: rung(noise=0.002, size=0.5, confidence=0.5, accuracy=0.7)}


def test_the_first_ladder_decides_and_the_others_stand_beside():
    worse = {0.0: rung(), 0.2: rung(noise=0.002, size=2.0, confidence=0.95, accuracy=0.95)}
    rows = inside_claims.over({"inputs": LADDER, "weights": worse})
    assert {name: rows[name].verdict for name in ("B1", "B3", "B4")} == dict.fromkeys(("B1", "B3", "B4"), "reproduced")
    assert {setting.training for row in rows.values() for setting in row.outcomes} == {"attacked inputs"}
    told = inside_claims.by_ladder(rows)
    (b1,) = (found for name, found in told.items() if name.startswith("B1: "))
    assert {name: outcome for name, (outcome, _) in b1.items()} == {
        "attacked inputs": "holds",
        "attacked weights": "the other side",
    }
    assert b1["attacked inputs"][1].startswith("+0.399 [+0.39")


def test_a_ladder_without_seeds_is_told_from_one_with_too_few():
    few, none = {0.0: rung(1), 0.1: rung(1), 0.2: rung(1)}, {0.0: rung(), 0.1: {}, 0.2: {}}
    told = inside_claims.by_ladder(inside_claims.over({"inputs": LADDER, "weights": few, "both": none}))
    for found_ in told.values():
        assert (found_["attacked weights"][0], found_["attacked both"][0]) == ("too few seeds", "not measured")
        assert found_["attacked weights"][1].endswith(", one seed") and found_["attacked both"][1] == ""


def test_the_sides_of_the_layers_are_those_of_the_first_ladder():
    ladder = {0.0: rung(), 0.2: rung(random=(0.5, 4.0), attacked=(3.0, 2.0))}
    rows = inside_claims.over({"inputs": ladder, "weights": {0.0: rung(), 0.2: rung()}})
    assert inside_claims.sides(rows["B2"]) == {
        "random": ["yes", "the other side"],
        "attacked": ["undecided", "yes"],
    }
    empty = inside_claims.over({"inputs": {0.0: rung(), 0.2: {}}})
    assert inside_claims.sides(empty["B2"]) == {"random": [], "attacked": []}


def test_a_number_along_a_ladder_is_a_mean_over_the_seeds_of_each_rung():
    course = inside_claims.along({**LADDER, 0.3: {}}, lambda one: one.test.confidence)
    assert list(course) == [0.0, 0.1, 0.2] and course[0.2].mean == pytest.approx(0.502)
    assert inside_claims.rise(LADDER, lambda one: one.test.confidence).mean == pytest.approx(-0.399)
    assert inside_claims.rise({**LADDER, 0.3: {}}, lambda one: one.test.confidence) is None


def test_near_the_boundary_is_one_threshold_at_all_radii():
    near = inside_claims.near(LADDER, lambda one: one.test)
    assert [near[radius].mean for radius in LADDER] == pytest.approx([0.5, 0.25, 1.0])


def test_shares_between_edges_are_those_of_the_quantiles():
    found_ = inside_claims.shares({**LADDER, 0.3: {}}, lambda one: one.test, [0, 0.25, 0.5, 1, 2])
    assert found_[0.0] == pytest.approx([0.25, 0.25, 0.5, 0]) and found_[0.2] == pytest.approx([0.5, 0.5, 0, 0])
    assert 0.3 not in found_


def test_ratios_are_to_radius_0_of_the_same_seed():
    none, most = {0: found(), 1: found(random=(2.0, 2.0))}, {0: found(random=(0.5, 2.0)), 1: found(random=(4.0, 2.0))}
    for of, value in (("random", "mean"), ("spectra", "ratio"), ("norms", "spectral")):
        ratios = inside_claims.ratios({0.0: none, 0.1: most, 0.2: {}}, of, value)
        assert [layer.values for layer in ratios[0.1]] == [pytest.approx((0.5, 2.0)), pytest.approx((1.0, 1.0))]
        assert [layer.mean for layer in ratios[0.1]] == pytest.approx([1.0, 1.0])
        assert list(ratios) == [0.0, 0.1]
    assert inside_claims.by_layer(most, "random", "mean") == pytest.approx([2.25, 2.0])


def test_the_reach_is_the_margin_over_the_change_that_an_attack_brings():
    assert inside_claims.reach(found(size=2.0)) == pytest.approx(10 / (math.sqrt(2) * 4))


def test_ladders_are_compared_where_both_have_a_radius_above_0():
    other = {0.0: rung(), 0.2: rung(2, noise=0.002, confidence=0.4), 0.3: rung()}
    apart = inside_claims.apart(other, LADDER, lambda one: one.test.confidence)
    assert list(apart) == [0.2] and apart[0.2].values == pytest.approx((-0.1, -0.1))
    assert inside_claims.apart({0.2: {}}, LADDER, lambda one: one.test.confidence) == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((1.0, 1.1, 1.2), "rises"),
        ((-1.0, -1.1, -1.2), "falls"),
        ((-1.0, 0.0, 1.1), "neither clearly rises nor clearly falls"),
        ((1.0, 1.1), "rises (too few seeds: 2)"),
        ((-1.0,), "falls (too few seeds: 1)"),
        ((), "is not measured"),
    ],
)
def test_the_words_of_a_difference_are_those_of_its_interval(values, words):
    assert inside_claims.course(estimate(values) if values else None, Rules(interval="student")) == words
