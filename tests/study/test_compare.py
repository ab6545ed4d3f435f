"""Claims about two methods side by side: what is stored stands in the page, once, and seeds are paired."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from nsr.contour import Contour
from nsr.figures.interactive import Measured, pairs
from nsr.runs import MEASUREMENTS
from nsr.study import compare, select
from nsr.training import METHODS

RUNS = select.by_method()
PAIR = "at", "joint_at"


def content(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def measured() -> dict[tuple[str, str, str], np.ndarray]:
    """Every contour of the shipped runs that two methods have, in % with the weight radius upwards."""
    found = {}
    for kind in MEASUREMENTS:
        groups = {name: select.having(group, kind) for name, group in RUNS.items()}
        if sum(map(bool, groups.values())) > 1:
            for name, group in groups.items():
                for run in group:
                    key = compare.words(kind), METHODS[name].title, str(run.spec.seed)
                    found[key] = 100 * run.contour(kind).array.T
    return found


def test_the_page_holds_every_stored_contour_once_and_no_other():
    known, shown = measured(), {}
    for kind in content(compare.interactive(RUNS, *PAIR))["kinds"]:
        for title, by_seed in kind["found"].items():
            shown |= {(kind["name"], title, seed): z for seed, z in by_seed.items()}
        assert not [part for figure in ("plane", "difference") for part in kind[figure]["data"] if "z" in part]
    assert shown.keys() == known.keys() and len({name for name, *_ in known}) > 1
    for key, z in shown.items():
        np.testing.assert_allclose(z, known[key], atol=1e-6)


def test_the_page_has_the_radii_of_each_kind_and_their_units():
    by_name = {kind["name"]: kind for kind in content(compare.interactive(RUNS, *PAIR))["kinds"]}
    for name, unit in (("strong", "unit of W"), ("relative", "mean |W")):
        contour, shown = RUNS["at"][0].contour(name), by_name[compare.words(name)]
        for figure in (shown["plane"], shown["difference"]):
            assert (figure["data"][0]["x"], figure["data"][0]["y"]) == ([*contour.grid_x], [*contour.grid_w])
            assert unit in figure["layout"]["yaxis"]["title"]["text"]


def test_no_two_kinds_of_contours_are_called_the_same():
    assert len({compare.words(kind) for kind in MEASUREMENTS}) == len(MEASUREMENTS)


def test_what_a_single_method_has_cannot_be_compared_and_is_not_offered():
    alone = {"at": RUNS["at"]}
    assert compare.interactive(alone, "at", "at") == compare.interactive({}, *PAIR) == "<p>not measured</p>"


def test_only_the_seeds_that_both_methods_have_are_taken():
    few = RUNS | {"joint_at": RUNS["joint_at"][1:2]}
    found = compare.shared(few, "paper", *PAIR)
    assert [[run.spec.seed for run in group] for group in found.values()] == [[1], [1]]
    titles = [ax.get_title() for ax in compare.figure(few, *PAIR).axes]
    aucs = [few[name][k].contour("paper").auc for name, k in (("at", 1), ("joint_at", 0))]
    assert titles[:2] == [f"{METHODS[n].title}, n = 1\nAUC {auc:.3f}" for n, auc in zip(PAIR, aucs, strict=True)]


def test_two_methods_without_a_common_seed_are_not_drawn():
    apart = {"at": RUNS["at"][:1], "joint_at": RUNS["joint_at"][1:]}
    (ax,) = compare.figure(apart, *PAIR).axes
    assert [text.get_text() for text in ax.texts] == ["not measured"]


def test_contours_over_different_grids_are_refused():
    one = Contour((0.0, 0.1), (0.0, 0.1), ((0.9, 0.5), (0.4, 0.2)))
    other = replace(one, grid_x=(0.0, 0.2))
    with pytest.raises(ValueError, match="different grids"):
        pairs("label", [Measured("an attack", {"AT": {0: one}, "TRADES": {0: other}})], ("AT", "TRADES"))


def test_the_page_names_its_runs_is_small_and_the_same_each_time():
    once, again = (compare.interactive(RUNS, *PAIR) for _ in range(2))
    assert once == again and len(once) < 300_000 and "STALE" not in once
    everyone = [run for group in RUNS.values() for run in group]
    assert f"{len(everyone)} runs, seeds" in once
    old = {name: tuple(replace(run, stale=("loss",)) for run in group) for name, group in RUNS.items()}
    assert "STALE: loss" in compare.interactive(old, *PAIR)
