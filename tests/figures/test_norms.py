"""Claims about the figures of layer norms: every network is named, one seed shows, and nothing is drawn of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import nsr.figures  # noqa: F401  (the house style)
from nsr.figures.norms import dots, factors, ladders, landscape
from nsr.study.layer_norms import Norm
from nsr.study.statistics import Estimate, estimate

ONE = Estimate((0.02,), 0.02, 0.02, 0.02)
THREE = estimate([0.01, 0.02, 0.03])
NORM = Norm(estimate([0.9, 1.0, 1.1]), (0.8, 1.25))


def key(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def marks(ax: Axes) -> list[tuple[float, float]]:
    """Places of everything that is marked, without the lines of reference."""
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "", "|")]
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def named(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def hollow(ax: Axes) -> list[bool]:
    lines = [line for line in ax.lines if line.get_marker() not in ("None", "", "|")]
    return [line.get_markerfacecolor() == "white" for line in lines]


def test_the_landscape_names_rows_and_ladders_and_has_standard_where_the_lines_cross() -> None:
    panels = {"a": {"AT": [(NORM.mean, THREE)], "weight decay": [(NORM.mean, ONE), (NORM.mean, THREE)]}}
    figure = landscape(panels, ["weight decay"])
    assert key(figure) == ["AT", "weight decay", "Standard"]
    places = marks(figure.axes[0])
    assert (1.0, 0.0) in places and places.count((pytest.approx(1.0), pytest.approx(2.0))) == 3


def test_a_ladder_stands_at_its_rungs_in_points_and_one_seed_is_hollow() -> None:
    figure = ladders({"clean": {"a": {"norm decay, l_inf": {2: ONE, 4: THREE}}}})
    (ax,) = figure.axes
    assert [(round(x), y) for x, y in marks(ax)] == [(2, pytest.approx(2.0)), (4, pytest.approx(2.0))]
    assert hollow(ax) == [True, False]
    assert key(figure) == [r"norm decay, $\ell_\infty$"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["weakest", "", "", "strongest"]


def test_regularisers_on_one_rung_do_not_cover_each_other() -> None:
    names = ("norm decay, l_inf", "norm decay, l_1", "weight decay", "clipped singular values")
    (ax,) = ladders({"clean": {"a": {name: {1: THREE} for name in names}}}).axes
    places = sorted(x for x, _ in marks(ax))
    assert min(b - a for a, b in zip(places, places[1:], strict=False)) > 0.1


def test_factors_are_on_a_logarithmic_axis_with_every_layer_numbered() -> None:
    figure = factors({"a": {norm: {"AT": NORM} for norm in ("linf", "l1", "spectral")}}, comparable=0.9)
    for ax in figure.axes:
        assert ax.get_xscale() == "log" and [text.get_text() for text in ax.texts] == ["1", "2"]
        assert marks(ax) == [(pytest.approx(1.0), pytest.approx(-0.1))]
        assert {line.get_xdata()[0] for line in ax.lines} >= {1, 0.9}
    assert named(figure.axes[0]) == ["AT"]


@pytest.mark.parametrize(("first", "colours"), [((), 1), (("AT",), 2)])
def test_dots_are_in_percent_and_the_first_names_have_a_colour_of_their_own(first: Sequence[str], colours: int) -> None:
    panels = {"a": {"both": {"AT": THREE, "norm decay, l_1": ONE}}, "b": {"both": {"norm decay, l_1": THREE}}}
    figure = dots(panels, first, label="%", zero=False)
    above, below = figure.axes
    assert marks(above) == [(pytest.approx(2.0), 0), (pytest.approx(2.0), 1)] and hollow(above) == [False, True]
    assert marks(below) == [(pytest.approx(2.0), 1)]
    assert named(above) == ["AT", r"norm decay, $\ell_1$"]
    assert len({line.get_color() for line in above.lines}) == colours


def test_differences_have_a_line_at_zero() -> None:
    (ax,) = dots({"a": {"both": {"AT": THREE}}}, label="points", zero=True).axes
    assert any(set(line.get_xdata()) == {0} for line in ax.lines)


@pytest.mark.parametrize(
    "figure", [landscape({}, []), ladders({}), factors({}), dots({}, label="%", zero=True)], ids=lambda _: ""
)
def test_before_there_are_runs_a_figure_is_drawn_without_a_warning(figure: Figure) -> None:
    figure.draw_without_rendering()
    assert math.isfinite(figure.get_figwidth())
