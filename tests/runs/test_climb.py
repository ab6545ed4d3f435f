"""Claims about the climb on landscapes that nobody trained: it ends, on a top, and on the same one whoever measures."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsr.runs.climb import REACH, Climb, Free, Ladder, Point, follow

DECADES = Ladder((1, 2, 5))
RADII = Ladder((1, 1.5, 2, 3, 5))
Landscape = Callable[[Point], float]


def climbed(climb: Climb, landscape: Landscape, shuffle: random.Random | None = None) -> list[list[Point]]:
    """The rounds of a whole climb, each measured in any order; what a store would hold grows point by point."""
    store, rounds = {}, []
    while missing := follow(climb, store.get).missing:
        if shuffle:
            shuffle.shuffle(missing)
        rounds.append(missing)
        for point in missing:
            assert point not in store  # nothing is tried twice
            store[point] = landscape(point)
    return rounds


def top(climb: Climb, landscape: Landscape) -> tuple[Point, dict[Point, float]]:
    """Where the climb ends, and everything that it tried."""
    trail = follow(climb, landscape)
    assert trail.ended
    return climb.summit(trail.worths), trail.worths


# ladders ------------------------------------------------------------------------------------------------------------


def test_a_ladder_has_the_numbers_that_one_writes_down():
    assert [DECADES.value(rung) for rung in range(-4, 5)] == [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    assert [RADII.value(rung) for rung in range(-6, 2)] == [0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 1.5]


@given(st.integers(-200, 200), st.sampled_from([DECADES, RADII, Ladder((1, 3)), Ladder((1,))]))
def test_rung_and_value_undo_each_other_and_a_ladder_rises(rung, ladder):
    assert ladder.rung(ladder.value(rung)) == rung and ladder.value(rung) < ladder.value(rung + 1)


@pytest.mark.parametrize("value", [0.3, 0.15, 0.0, -1.0, 0.100001])
def test_a_number_between_two_rungs_is_refused(value):
    with pytest.raises(ValueError, match=f"{value} is on no rung"):
        DECADES.rung(value)


# landscapes ---------------------------------------------------------------------------------------------------------

ONE = Climb({"lr": Free(DECADES, 0.2)})
TWO = Climb({"lr": Free(DECADES, 0.2), "beta": Free(Ladder((1, 3)), 0.03)})


def test_the_first_round_is_the_start_and_its_neighbours():
    (first, *_) = climbed(TWO, lambda point: -sum(abs(rung) for rung in point))
    assert [TWO.numbers(point) for point in first] == [
        {"lr": 0.2, "beta": 0.03},
        {"lr": 0.1, "beta": 0.03},
        {"lr": 0.5, "beta": 0.03},
        {"lr": 0.2, "beta": 0.01},
        {"lr": 0.2, "beta": 0.1},
    ]


@pytest.mark.parametrize("best", [0.005, 0.2, 10.0])
def test_the_ladder_grows_until_the_best_lies_inside_of_what_was_tried(best):
    target = DECADES.rung(best)
    here, tried = top(ONE, lambda point: -abs(point[0] - target))
    assert ONE.numbers(here) == {"lr": best} and ONE.edges(here) == []
    assert {(target - 1,), (target + 1,)} <= tried.keys()


@pytest.mark.parametrize("slope", [1, -1])
def test_a_landscape_that_rises_for_ever_ends_at_the_reach_and_says_so(slope):
    here, _ = top(TWO, lambda point: slope * point[0] - abs(point[1] - TWO.start[1]))
    assert here == (TWO.start[0] + slope * REACH, TWO.start[1]) and TWO.edges(here) == ["lr"]


def test_along_a_ridge_that_a_ladder_follows_the_climb_goes_to_the_top():
    here, _ = top(TWO, lambda point: point[0] - 10 * abs(point[1] + 5) if point[0] < 3 else -9)
    assert here == (2, -5)


def test_a_ridge_askew_to_all_ladders_ends_the_climb_where_no_neighbour_is_better():
    here, tried = top(TWO, lambda point: sum(point) - 10 * abs(point[0] - point[1]))
    assert all(tried[point] <= tried[here] for point in TWO.around(here))


def test_a_plateau_ends_the_climb_at_its_start():
    here, tried = top(TWO, lambda point: 1.0)
    assert here == TWO.start and len(tried) == 5


def test_where_the_start_fails_the_climb_goes_to_what_does_not():
    here, _ = top(ONE, lambda point: (1, -abs(point[0] + 3)) if point[0] < ONE.start[0] else (0, 0))
    assert here == (-3,)


BASELINE = Climb({"lr": Free(DECADES, 0.2), "eps": Free(RADII, 0.1, always=(0.05, 0.1, 0.15, 0.2, 0.3))})


def test_what_must_be_tried_is_tried_at_the_best_of_the_other_numbers():
    best = DECADES.rung(1.0), RADII.rung(0.1)
    here, tried = top(BASELINE, lambda point: -abs(point[0] - best[0]) - abs(point[1] - best[1]))
    numbers = [BASELINE.numbers(point) for point in tried]
    assert here == best and {n["eps"] for n in numbers if n["lr"] == 1.0} == {0.05, 0.1, 0.15, 0.2, 0.3}
    assert {n["eps"] for n in numbers if n["lr"] == 0.2} == {0.05, 0.1, 0.15}  # 0.05 is the rung below


def test_a_better_one_among_what_must_be_tried_is_climbed_further():
    far = RADII.rung(0.3)
    here, tried = top(BASELINE, lambda point: 9 - abs(point[0]) if point[1] == far else -abs(point[1]))
    assert BASELINE.numbers(here) == {"lr": 1.0, "eps": 0.3} and set(BASELINE.around(here)) <= tried.keys()


# whatever the landscape ---------------------------------------------------------------------------------------------

CLIMBS = st.builds(
    lambda count, must: Climb(
        {
            f"n{k}": Free(RADII, 0.1, always=(0.05, 0.1, 0.15, 0.2, 0.3) if must and k == 1 else ())
            for k in range(count)
        },
        reach=3,
    ),
    st.integers(1, 3),
    st.booleans(),
)
ROUGH = st.builds(  # few values, so that there are many ties
    lambda seed, values: lambda point: random.Random(f"{seed} {point}").randrange(values),
    st.integers(0, 10**6),
    st.sampled_from([2, 5, 1000]),
)


@given(CLIMBS, ROUGH)
def test_every_climb_ends_and_its_best_point_has_all_neighbours_tried_and_none_better(climb, landscape):
    here, tried = top(climb, landscape)
    assert {*climb.around(here), *climb.lines(here), climb.start} <= tried.keys()
    assert tried[here] == max(tried.values())
    assert len(tried) <= 7 ** len(climb.free)
    assert (climb.edges(here) == []) == (len(climb.around(here)) == 2 * len(here))


@given(CLIMBS, ROUGH, st.randoms(use_true_random=False))
def test_nothing_is_tried_twice_and_the_order_within_a_round_changes_nothing(climb, landscape, shuffle):
    plain, mixed = climbed(climb, landscape), climbed(climb, landscape, shuffle)
    assert [set(points) for points in mixed] == [set(points) for points in plain]


@given(CLIMBS, ROUGH, st.randoms(use_true_random=False))
def test_a_climb_that_was_interrupted_within_a_round_goes_on_to_the_same_end(climb, landscape, luck):
    whole = follow(climb, landscape)
    store = {point: worth for point, worth in whole.worths.items() if luck.random() < 0.7}
    while missing := follow(climb, store.get).missing:
        assert set(missing) <= whole.worths.keys() - store.keys()
        point = luck.choice(missing)
        store[point] = landscape(point)
    assert follow(climb, store.get).worths == whole.worths
