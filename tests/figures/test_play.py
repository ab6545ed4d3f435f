"""Claims about the things to touch: the numbers handed to a page are the package's, and nothing is fetched or run."""

from __future__ import annotations

import json
import re

import pytest

from nsr.figures import play
from nsr.theory.counterexamples import COUNTEREXAMPLE, COUNTEREXAMPLE_JOINT, excess, printed, repaired


def content(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


@pytest.mark.parametrize(("at", "case"), [(0, COUNTEREXAMPLE), (1, COUNTEREXAMPLE_JOINT)])
def test_the_theorem_to_touch_holds_the_net_its_radii_and_its_bounds(at, case):
    found = content(play.theorem())["cases"][at]
    assert found["W"] == [W_m.astype(float).tolist() for W_m in case.W] and found["x"] == [float(v) for v in case.x]
    assert [found["eps_x"], *found["eps"]] == [float(e) for e in (case.eps_x, *case.eps)]
    assert [found["printed"], found["repaired"]] == [float(printed(case)), float(repaired(case))]


@pytest.mark.parametrize(("at", "case"), [(0, COUNTEREXAMPLE), (1, COUNTEREXAMPLE_JOINT)])
def test_its_worst_corner_is_the_highest_margin_that_the_sliders_reach(at, case):
    found = content(play.theorem())["cases"][at]
    over, _ = excess(case)
    assert found["range"][1] - found["printed"] == pytest.approx(float(over)) and over > 0
    assert found["worst"]["W"] == [V.astype(float).tolist() for V in case.W_hat]


@pytest.mark.parametrize("make", [play.theorem])
def test_a_thing_to_touch_fetches_nothing_holds_no_code_and_stands_without_any(make):
    page = make()
    assert not re.search(r"https?:|src=|href=|url\(|onload", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json">'] and page.count("</script>") == 1
    assert re.search(r'aria-label="\w', page) and re.search(r'<p class="nsr-play-instead">\w', page)
    assert len(page) < 300_000
