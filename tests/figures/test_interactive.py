"""Claims about the figures that answer the pointer: what was measured stands in them, and nothing is fetched or run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from nsr.contour import Contour
from nsr.figures import interactive
from nsr.figures.contours import CALM, CERTIFIED
from nsr.figures.figure_1 import Panel


def plane(height: float = 0.9, geometry: str = "absolute") -> Contour:
    rows = tuple(tuple(height / 3 * (3 - i) * (1 - j / 3) for j in range(3)) for i in range(3))
    return Contour((0.0, 0.02, 0.04), (0.0, 0.0008, 0.0016), rows, geometry)


BANDS = {"certified": torch.tensor([[0.9, 0.4], [0.5, 1 / 3]]), "attacked": torch.tensor([[0.9, 0.6], [0.8, 0.5]])}


def content(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_an_interactive_plane_holds_the_contour_and_dots_where_it_was_measured():
    given, sure = plane(), plane(0.8)
    filled, lines, certified, dots = interactive.plane(Panel("AT", "AUC 0.3", given, sure)).data
    for shown, contour in ((filled, given), (lines, given), (certified, sure)):
        assert (shown.x, shown.y) == (contour.grid_x, contour.grid_w)
        assert np.array(shown.z) == pytest.approx(100 * np.array(contour.accuracy).T)
    assert set(zip(dots.x, dots.y, strict=True)) == {(a, b) for a in given.grid_x for b in given.grid_w}
    assert certified.line.color == CERTIFIED and len(interactive.plane(Panel("AT", "", given)).data) == 3


def test_an_interactive_plane_has_the_static_ones_colours_and_names_its_units():
    shown = interactive.plane(Panel("AT, n = 2", "AUC 0.3", plane(geometry="relative")))
    colours = [colour for _, colour in shown.data[0].colorscale]
    assert (colours[0], colours[-1]) == tuple(map(to_hex, CALM((0.0, 1.0))))
    assert "unit of x" in shown.layout.xaxis.title.text and "mean |W" in shown.layout.yaxis.title.text
    assert "AT, n = 2" in shown.layout.title.text and "AT, n = 2" in shown.data[0].hovertemplate


def test_the_sandwichs_slider_reaches_every_weight_radius_with_the_accuracies_given():
    found = content(interactive.sandwich((0.0, 0.1), (0.0, 0.004), BANDS))
    assert [view["at"] for view in found["views"]] == [["0"], ["0.004"]]
    for b, view in enumerate(found["views"]):
        certified, undecided, attacked = view["data"]
        for curve, (name, share) in zip((certified, attacked), BANDS.items(), strict=True):
            assert curve["name"] == name and curve["y"] == pytest.approx((100 * share[:, b]).tolist(), abs=0.01)
        assert undecided["fill"] == "tonexty" and undecided["y"] == attacked["y"]


def test_the_sandwich_tells_one_point_of_one_named_curve_and_lists_the_curves_in_their_order():
    for view in content(interactive.sandwich((0.0, 0.1), (0.0, 0.004), BANDS))["views"]:
        assert (view["layout"]["hovermode"], view["layout"]["legend"]["traceorder"]) == ("closest", "normal")
        told = [curve["hovertemplate"] for curve in view["data"] if "hovertemplate" in curve]
        assert [name in words for name, words in zip(BANDS, told, strict=True)] == [True, True]


def test_an_interactive_figure_fetches_nothing_holds_no_code_and_stands_without_any():
    page = interactive.sandwich((0.0, 0.1), (0.0, 0.004), {"<b>a</script>": BANDS["certified"]})
    assert not re.search(r"https?:|src=|href=|url\(|onload", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json">'] and page.count("</script>") == 1
    assert re.search(r'aria-label="\w', page) and re.search(r'<p class="nsr-plot-instead">\w', page)
    assert content(page)["views"][0]["data"][0]["name"] == "<b>a</script>"


def test_an_interactive_figure_shows_four_digits():
    heights = [view["data"][0]["y"] for view in content(interactive.sandwich((0.0, 0.1), (0.0, 1e-5), BANDS))["views"]]
    assert heights == [[90.0, 50.0], [40.0, 33.33]]
