"""Intervals and paired differences, each computed in one place."""

from __future__ import annotations

import numpy as np
import pytest

from nsr.study import statistics


def test_differences_are_paired_by_seed_and_seeds_of_one_side_are_left_out():
    found = statistics.paired({0: 0.5, 1: 0.75, 2: 1.0, 5: 100.0}, {2: 0.25, 1: 0.5, 0: 0.0, 7: -100.0}, "bootstrap")
    assert found.values == (0.5, 0.25, 0.75) and found.mean == 0.5
    assert 0.25 <= found.low < found.mean < found.high <= 0.75


def test_the_paired_interval_is_the_bootstrap_s_of_the_mean():
    """Of two values the mean of a resample is the lower one in 1/4 of all cases, so the interval spans both."""
    found = statistics.paired({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}, "bootstrap")
    assert (found.low, found.mean, found.high) == (1.0, 2.0, 3.0)
    values = dict(enumerate([0.1, 0.4, 0.2, 0.7, 0.3]))
    draws = np.array(np.meshgrid(*[list(values.values())] * 5)).reshape(5, -1).mean(0)  # every resample there is
    many = statistics.paired(values, dict.fromkeys(values, 0.0), "bootstrap")
    assert (many.low, many.high) == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.02)
    assert many == statistics.paired(values, dict.fromkeys(values, 0.0), "bootstrap")


def test_pairs_without_spread_or_without_a_common_seed():
    assert statistics.paired({0: 0.5}, {0: 0.25}) == statistics.Estimate((0.25,), 0.25, 0.25, 0.25)
    same = statistics.paired({0: 0.5, 1: 0.75}, {0: 0.25, 1: 0.5}, "bootstrap")
    assert same.low == same.mean == same.high == 0.25
    assert statistics.paired({0: 0.5}, {1: 0.5}) is None and statistics.ratio({0: 0.5}, {1: 0.5}) is None


def test_an_estimate_is_student_s_interval():
    """1, 2, 3: mean 2, standard deviation 1, and t(2) = 4.302653 leaves 2.5 % above it (tables)."""
    found = statistics.estimate([1, 2, 3])
    assert found.values == (1.0, 2.0, 3.0) and found.mean == 2
    assert found.high - 2 == 2 - found.low == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    five = statistics.estimate([0.1, 0.1, 0.1, 0.1, 0.6])  # mean .2, deviation sqrt(.2 / 4), t(4) = 2.776445
    assert (five.low, five.high) == pytest.approx(
        (0.2 - 2.776445 * (0.05 / 5) ** 0.5, 0.2 + 2.776445 * (0.05 / 5) ** 0.5), rel=1e-6
    )


def test_an_interval_may_have_another_level():
    """t(2) = 2.919986 leaves 5 % above it (tables)."""
    found = statistics.estimate([1, 2, 3], level=statistics.EQUIVALENCE)
    assert found.high - 2 == 2 - found.low == pytest.approx(2.919986 / 3**0.5, rel=1e-6) and found.level == 0.9
    values = {0: 1.0, 1: 3.0, 2: 4.0, 3: 9.0, 4: 2.0}
    for interval in statistics.INTERVALS:
        wide, narrow = (statistics.paired(values, dict.fromkeys(values, 0.0), interval, level=c) for c in (0.95, 0.9))
        assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
        assert wide == statistics.paired(values, dict.fromkeys(values, 0.0), interval)


def test_one_seed_has_no_interval_and_says_so_and_none_is_refused():
    one = statistics.estimate([0.25])
    assert one.low == one.mean == one.high == 0.25 and str(one) == "0.250 (one seed)"
    assert str(statistics.estimate([0.25, 0.25])) == "0.250 [0.250, 0.250]"
    with pytest.raises(ValueError, match="no values"):
        statistics.estimate([])
