"""Claims about rankings: what counts as decided, and what another geometry does to an order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nsr.runs
from nsr import mlp
from nsr.contour import Contour
from nsr.runs import Run
from nsr.study import ranking
from nsr.study.statistics import paired

CLEAR = {"a": {0: 0.5, 1: 0.52, 2: 0.51}, "b": {0: 0.3, 1: 0.31, 2: 0.29}, "c": {0: 0.1, 1: 0.12, 2: 0.11}}
CLOSE = {"a": {0: 0.5, 1: 0.40, 2: 0.45}, "b": {0: 0.4, 1: 0.46, 2: 0.47}, "c": {0: 0.1, 1: 0.12, 2: 0.11}}


def constant(value: float, geometry: str = "absolute") -> Contour:
    return Contour((0.0, 1.0), (0.0, 1.0), ((value, value), (value, value)), geometry)


def fake(name: str, seed: int, **contours: Contour) -> Run:
    return Run(nsr.runs.spec(name, seed), mlp((torch.ones(2, 3),)), (), contours, {}, Path(), ())


# what is decided ----------------------------------------------------------------------------------------------------


def test_a_difference_is_taken_seed_by_seed():
    shifted = {seed: value + 0.01 for seed, value in CLEAR["a"].items()}
    found = paired(shifted, CLEAR["a"])
    assert found.mean == pytest.approx(0.01) and found.sign == 1
    assert paired({0: 0.1}, {1: 0.2}) is None


def test_one_seed_decides_nothing():
    assert paired({0: 0.9}, {0: 0.1}).sign == 0


def test_the_signs_of_a_pair_are_opposite():
    signs = ranking.signs(CLEAR)
    assert signs["a", "b"] == 1 and all(signs[a, b] == -signs[b, a] for a, b in signs)
    assert ranking.signs(CLOSE)["a", "b"] == 0


def test_a_clear_order_leaves_each_method_one_place():
    places = {name: (s.place, s.best, s.worst) for name, s in ranking.standings(CLEAR).items()}
    assert places == {"a": (1, 1, 1), "b": (2, 2, 2), "c": (3, 3, 3)}


def test_methods_within_each_others_interval_share_their_places():
    found = ranking.standings(CLOSE)
    assert {(found[name].best, found[name].worst) for name in "ab"} == {(1, 2)}
    assert found["c"].best == found["c"].worst == 3


# from one contour to another ----------------------------------------------------------------------------------------


def test_every_pair_has_one_fate():
    turned = {"a": CLEAR["c"], "b": CLEAR["b"], "c": CLEAR["a"]}
    assert set(ranking.survive(CLEAR, CLEAR).values()) == {"same"}
    assert set(ranking.survive(CLEAR, turned).values()) == {"flipped"}
    assert ranking.survive(CLEAR, CLOSE) == {("a", "b"): "lost", ("a", "c"): "same", ("b", "c"): "same"}
    assert ranking.survive(CLOSE, CLEAR)["a", "b"] == "gained" and ranking.survive(CLOSE, CLOSE)["a", "b"] == "open"


def test_tau_is_one_for_the_same_order_and_minus_one_for_the_reverse():
    turned = {"a": CLEAR["c"], "b": CLEAR["b"], "c": CLEAR["a"]}
    assert ranking.tau(CLEAR, CLEAR).values == (1.0, 1.0, 1.0)
    assert ranking.tau(CLEAR, turned).mean == -1
    assert ranking.tau({"a": {0: 0.1}}, {"a": {0: 0.1}}) is None
