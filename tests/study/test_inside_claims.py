"""Each of the five claims on ladders that decide it either way."""

from __future__ import annotations

import math

import pytest

from nsr.inside import LEVELS, Inside, Moments, Outputs
from nsr.study import inside_claims

FLAT = {
    "confidence": 0.9,
    "normalised": 0.5,
    "size": 1.0,
    "accuracy": 0.9,
    "random": (1.0,) * 3,
    "attacked": (2.0,) * 3,
}


def rung(noise: float = 0.001, seeds: int = 3, **changed: object) -> dict[int, Inside]:
    """A rung of three layers; each seed shifts every number a little, in a way of its own."""
    return {seed: _one({**FLAT, **changed}, noise * (seed - 1)) for seed in range(seeds)}


def _one(numbers: dict, shift: float) -> Inside:
    out = _outputs(numbers, shift, numbers["size"])
    random, attacked = (tuple(Moments(c + shift, 0.0) for c in numbers[name]) for name in ("random", "attacked"))
    return Inside(out, out, (), (), (), random, attacked, 0.1)


def _outputs(numbers: dict, shift: float, size: float) -> Outputs:
    """The margins behind these quantiles lie evenly between 0 and `size`; their moments are those of FLAT."""
    margin = Moments(numbers["normalised"] + shift, 1.0)
    scalars = (numbers[name] + shift for name in ("confidence", "accuracy"))
    return Outputs(margin, margin, *scalars, 1.0, tuple((size + shift) * LEVELS))


def verdict(claim: str, *, most: dict, gentle: dict | None = None) -> str:
    ladder = {0.0: rung(), 0.2: rung(noise=-0.002, **most)}
    if gentle is not None:
        ladder[0.1] = rung(noise=0.003, **gentle)
    return inside_claims.ledger(ladder)[claim].verdict


@pytest.mark.parametrize(
    ("claim", "most", "expected"),
    [
        ("B1", {"confidence": 0.8, "normalised": 0.3}, "reproduced"),
        ("B1", {"confidence": 0.8, "normalised": 0.6}, "not reproduced"),
        ("B1", {"confidence": 0.95, "normalised": 0.3}, "not reproduced"),
        ("B1", {}, "not reproduced"),
        ("B2", {"random": (0.5, 0.5, 3.0), "attacked": (1.0, 9.0, 1.0)}, "reproduced"),  # two layers of three
        ("B2", {"random": (0.5, 0.5, 0.5), "attacked": (1.0, 3.0, 3.0)}, "not reproduced"),  # one of three
        ("B2", {"random": (2.0, 2.0, 0.5), "attacked": (1.0, 1.0, 1.0)}, "not reproduced"),
        ("B3", {"size": 0.8}, "reproduced"),
        ("B3", {"size": 1.2}, "not reproduced"),
        ("B3", {}, "not reproduced"),
        ("B4", {"accuracy": 0.8}, "reproduced"),
        ("B4", {"accuracy": 0.95}, "not reproduced"),
        ("B4", {}, "not reproduced"),
    ],
)
def test_each_claim_comes_out_either_way(claim, most, expected):
    assert verdict(claim, most=most) == expected


@pytest.mark.parametrize(
    ("gentle", "expected"), [(0.88, "reproduced"), (0.7, "not reproduced"), (0.8, "not reproduced")]
)
def test_a_gentler_radius_loses_less_or_does_not(gentle, expected):
    assert verdict("B5", most={"accuracy": 0.8}, gentle={"accuracy": gentle}) == expected


def test_without_a_radius_between_the_last_claim_is_open():
    assert verdict("B5", most={"accuracy": 0.8}) == "open"


def test_half_of_the_layers_are_not_most():
    none = rung(random=(1.0,) * 4, attacked=(1.0,) * 4)
    half, three = (rung(noise=-0.002, random=c, attacked=c) for c in ((0.5, 0.5, 2.0, 2.0), (0.5, 0.5, 0.5, 2.0)))
    assert inside_claims.ledger({0.0: none, 0.1: half})["B2"].verdict == "not reproduced"
    assert inside_claims.ledger({0.0: none, 0.1: three})["B2"].verdict == "reproduced"


def test_two_seeds_leave_every_claim_open():
    found = inside_claims.ledger({0.0: rung(seeds=2), 0.1: rung(seeds=2), 0.2: rung(seeds=2)})
    assert {row.verdict for row in found.values()} == {"open"}


def test_intervals_are_students_over_differences_seed_by_seed():
    ladder = {0.0: {}, 0.1: {}}
    for seed, (before, after) in enumerate([(0.90, 0.86), (0.80, 0.75), (0.70, 0.64)]):
        ladder[0.0][seed], ladder[0.1][seed] = (_one({**FLAT, "accuracy": a}, 0.0) for a in (before, after))
    (part,) = inside_claims.ledger(ladder)["B4"].cases[0].parts
    half = 4.302653 * 0.01 / math.sqrt(3)  # t of two degrees of freedom; the differences are 0.04, 0.05, 0.06
    assert (part.found.mean, part.found.low, part.found.high) == pytest.approx((0.05, 0.05 - half, 0.05 + half))


def test_near_is_what_half_of_a_seed_s_training_samples_are_at_radius_0():
    ladder: dict[float, dict[int, Inside]] = {0.0: {}, 0.1: {}}
    for seed, scale in enumerate((1.0, 7.0, 0.01)):  # a seed may have margins of a size of its own
        for radius, train, test in ((0.0, 2.0, 4.0), (0.1, 1.5, 2.0)):
            outs = (_outputs(FLAT, 0.0, scale * size) for size in (train, test))
            ladder[radius][seed] = Inside(*outs, (), (), (), *[(Moments(1.0, 0.0),)] * 2, 0.1)
    row = inside_claims.ledger(ladder)["B3"]
    found = [part.found for case in row.cases for part in case.parts]
    assert [case.decides for case in row.cases] == [True, False]
    assert [each.mean for each in found] == pytest.approx([1 / 2 - 1 / 4, 1 / 1.5 - 1 / 2])
    assert [each.high - each.low for each in found] == pytest.approx([0, 0])


def test_seeds_that_are_not_on_both_ends_are_left_out():
    ladder = {0.0: rung(seeds=4), 0.1: rung(noise=-0.002, size=0.8)}
    assert inside_claims.ledger(ladder)["B3"].verdict == "reproduced"
    assert inside_claims.ledger({0.0: rung(seeds=1), 0.1: {1: rung()[1]}})["B3"].verdict == "open"


def test_each_layer_and_the_training_samples_stand_beside_and_decide_nothing():
    rows = inside_claims.ledger({0.0: rung(), 0.2: rung(random=(0.5, 0.5, 4.0))})
    _, layers = rows["B2"].cases
    assert len(layers.parts) == 6 and not layers.decides
    assert layers.parts[0].found.mean == pytest.approx(math.log(2), abs=0.01)
    assert layers.parts[2].found.mean == pytest.approx(-math.log(4), abs=0.01)
    assert [case.decides for case in rows["B1"].cases] == [True, False]


@pytest.mark.parametrize(
    ("ladder", "why"),
    [
        ({0.1: rung(), 0.2: rung()}, "starts at radius 0"),
        ({0.0: rung()}, "at least one above"),
        ({0.0: rung(), 0.1: {0: Inside(*[None] * 7, 0.2)}}, r"seed 0 was moved by .* several sizes: \[0.1, 0.2\]"),
        ({0.0: rung(), 0.1: rung(noise=0.0, random=(0.0, 1.0, 1.0))}, "does not change at all"),
    ],
)
def test_a_ladder_that_cannot_be_compared_is_refused(ladder, why):
    with pytest.raises(ValueError, match=why):
        inside_claims.ledger(ladder)
