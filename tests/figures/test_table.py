"""Claims about the table of a figure: it has the numbers that are drawn, where they are, by the names they have."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from nbval.plugin import get_sanitize_patterns

from nsr.contour import Contour
from nsr.figures import claims, inside, style, threat, truth
from nsr.figures.beyond import Interval
from nsr.figures.contours import contours
from nsr.figures.table import HEAD, MOST, table
from nsr.paths import ROOT

GRID = (0, 0.05, 0.1), (0, 0.01, 0.02)
ATTACKED = Contour(*GRID, ((1, 0.8, 0.5), (0.9, 0.6, 0.2), (0.7, 0.3, 0.12345)))
CERTIFIED = Contour(*GRID, ((0.9, 0.5, 0.2), (0.3, 0.2, 0.1), (0.1, 0.1, 0)))


def rows(figure: style.Figure, **wanted: str) -> list[dict[str, str]]:
    """The rows of its table that have these entries."""
    found = list(csv.DictReader(table(figure).splitlines()))
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def drawn() -> tuple[style.Figure, style.Axes]:
    figure, ((ax,),) = style.subplots()
    return figure, ax


def test_a_contour_is_in_the_table_cell_by_cell_and_what_is_certified_beside_it():
    figure = contours({"one": ATTACKED}, {"one": CERTIFIED})
    for name, contour in (("accuracy (%)", ATTACKED), ("certified (%)", CERTIFIED)):
        found = rows(figure, kind="grid", series=name)
        assert len(found) == 9, "fill and lines of one contour are its grid once"
        for row in found:
            i, j = contour.grid_x.index(float(row["x"])), contour.grid_w.index(float(row["y"]))
            assert float(row["value"]) == pytest.approx(100 * contour.accuracy[i][j], rel=5e-4)
    assert {row["title"] for row in found} == {f"one AUC {ATTACKED.auc:.3f}"}
    assert {(row["x axis"], row["y axis"]) for row in found} == {(style.RADIUS_X, style.RADIUS_W["absolute"])}


def test_numbers_have_four_digits_and_no_other_number_is_in_the_table():
    figure = style.lines(
        [1, 2], {"": {"one": [1 / 3, 20_000 / 3], "two": [-0.0, float("nan")]}}, ("a", "b"), size=(4, 3)
    )
    assert [(row["series"], row["x"], row["y"]) for row in rows(figure)] == [
        *(("one", "1", "0.3333"), ("one", "2", "6667")),
        *(("two", "1", "0"), ("two", "2", "")),
    ]


def test_of_two_curves_that_coincide_both_are_in_the_table():
    figure = style.lines([1, 2], {"": {"one": [3, 4], "two": [3, 4]}}, ("a", "b"), size=(4, 3))
    assert [row["series"] for row in rows(figure)] == ["one", "one", "two", "two"]


def test_a_heat_map_has_its_radii_and_not_the_places_of_its_cells():
    figure = threat.joint_grid([0, 0.02], [0, 0.01, 0.03], {"left (%)": torch.tensor([[1, 0.5, 0], [0.2, 0.1, 0]])})
    found = [(row["x"], row["y"], row["value"]) for row in rows(figure, kind="grid")]
    assert found == [("0", "0", "100"), ("0.02", "0", "20"), ("0", "0.01", "50"), ("0.02", "0.01", "10"), *found[4:]]
    assert not rows(figure, kind="text"), "a text that is a number only says what is drawn"


def test_a_cell_of_a_plane_of_verdicts_has_its_word():
    figure = truth.planes((0, 0.1), (0, 0.2), {"image": "rrbo"})
    assert [(row["x"], row["y"], row["value"]) for row in rows(figure, kind="grid")] == [
        *(("0", "0", "robust"), ("0.1", "0", "broken"), ("0", "0.2", "robust"), ("0.1", "0.2", "open"))
    ]


def test_intervals_have_the_name_of_their_points_and_that_of_their_row():
    figure, ax = drawn()
    style.spans(ax, [0.1, 1.1], [1, 2], [2, 3], [3, 5], color="black", label="strong")
    style.rows(ax, ["first", "second"])
    assert [(row["series"], row["x"], row["x_to"], row["y_name"]) for row in rows(figure, kind="interval")] == [
        *(("strong", "1", "3", "first"), ("strong", "2", "5", "second"))
    ]
    assert [(row["series"], row["x"], row["y_name"]) for row in rows(figure, kind="points")] == [
        *(("strong", "2", "first"), ("strong", "3", "second"))
    ]


def test_error_bars_have_the_name_of_their_line_and_the_strokes_at_their_ends_are_no_data():
    courses = {"AT": {0.0: _interval(1, 2, 3), 0.1: _interval(2, 4, 5)}}
    figure = inside.courses({"share": courses})
    assert {row["series"] for row in rows(figure)} == {"AT"}
    assert [(row["x"], row["y"]) for row in rows(figure, kind="line")] == [("0", "2"), ("0.1", "4")]
    assert [(row["y"], row["y_to"]) for row in rows(figure, kind="interval")] == [("1", "3"), ("2", "5")]


def _interval(low: float, mean: float, high: float) -> Interval:
    return type("Interval", (), {"low": low, "mean": mean, "high": high})()


def test_a_bar_has_its_height_and_one_that_starts_elsewhere_both_ends():
    figure, ax = drawn()
    ax.bar([1, 2], [3, -4], label="up")
    ax.barh([7], [2], left=[5], label="across")
    assert [(row["series"], row["x"], row["y"]) for row in rows(figure, kind="bar")][:2] == [
        *(("up", "1", "3"), ("up", "2", "-4"))
    ]
    assert [(row["x"], row["x_to"], row["y"]) for row in rows(figure, series="across")] == [("5", "7", "7")]


def test_a_band_reaches_from_low_to_high_and_a_line_across_the_panel_has_its_place_alone():
    figure, ax = drawn()
    ax.fill_between([0, 1, 2], [1, 2, 3], [4, 6, 8], label="open")
    ax.axvline(0.5, label="radius")
    assert [(row["x"], row["y"], row["y_to"]) for row in rows(figure, kind="band")] == [
        *(("0", "1", "4"), ("1", "2", "6"), ("2", "3", "8"))
    ]
    assert [(row["x"], row["y"]) for row in rows(figure, series="radius")] == [("0.5", "")]


def test_ticks_have_their_names_all_or_none():
    figure, ((left, right),) = style.subplots(1, 2)
    for ax, names in ((left, ["0", "0.1"]), (right, ["0", "1"])):
        ax.plot([0, 1], [5, 6])
        ax.set_xticks([0, 1], names)
    assert [row["x_name"] for row in rows(figure)] == ["0", "0.1", "", ""]


def test_a_ridge_has_shares_and_not_heights_on_the_page():
    figure = inside.ridges([0, 1, 2], {0.0: [0.25, 0.75], 0.1: [0.5, 0.5]}, 0.1, training={0.1: [0.4, 0.6]})
    shares = {(row["series"], row["y"]): [] for row in rows(figure, kind="grid")}
    for row in rows(figure, kind="grid"):
        shares[row["series"], row["y"]].append(float(row["value"]))
    assert shares == {
        ("share of samples", "0"): [0.25, 0.75],
        ("share of samples", "0.1"): [0.5, 0.5],
        ("share of samples, training", "0.1"): [0.4, 0.6],
    }


def test_what_is_written_in_a_cell_is_in_the_table_and_so_is_the_line_below_the_panels():
    figure = claims.matrix({"C1": {"strong": "holds"}, "C2": {"strong": "does not hold"}})
    figure.text(0, 0, "2 runs")
    found = [(row["panel"], row["series"], row["x_name"], row["y_name"]) for row in rows(figure, kind="text")]
    assert found == [("1", "holds", "strong", "C1"), ("1", "does not hold", "strong", "C2"), ("", "2 runs", "", "")]


def test_a_large_picture_is_left_out_and_says_so():
    figure, ax = drawn()
    ax.imshow(np.ones((2, 2)))
    ax.imshow(np.ones((MOST, 2)))
    small, large = rows(figure)[:4], rows(figure)[4:]
    assert [row["value"] for row in small] == ["1"] * 4
    assert [row["value"] for row in large] == [f"{MOST} x 2 numbers, left out"]


def test_panels_that_share_an_axis_share_its_name_and_a_scale_of_colours_is_no_panel():
    figure, grid = style.subplots(2, 2, sharex="col", sharey="row")
    for k, ax in enumerate(grid.flat):
        shown = ax.scatter([1], [k], c=[k])
    figure.colorbar(shown, ax=grid.ravel().tolist())
    grid[1, 0].set(xlabel="left")
    grid[1, 1].set(xlabel="right")
    grid[0, 0].set(ylabel="above")
    found = [(row["panel"], row["x axis"], row["y axis"], row["y"]) for row in rows(figure)]
    assert found == [
        ("1", "left", "above", "0"),
        ("2", "right", "above", "1"),
        ("3", "left", "", "2"),
        ("4", "right", "", "3"),
    ]


def test_a_notebook_that_shows_a_figure_has_its_table_beside_the_picture_and_nbval_compares_neither():
    figure = style.lines([1, 2], {"": {"one": [1, 2]}}, ("a", "b"), size=(4, 3))
    shown, _ = DisplayFormatter().format(figure)
    assert shown["text/csv"] == table(figure) and re.match("<Figure size", shown["text/plain"])
    patterns = get_sanitize_patterns((ROOT / "tests" / "nbval_sanitize.cfg").read_text())
    cleaned = {kind: text for kind, text in shown.items()}
    for regex, replace in patterns:
        cleaned = {kind: re.sub(regex, replace, text) for kind, text in cleaned.items()}
    assert cleaned["text/csv"] == "NUMBERS" and cleaned["text/plain"] == "FIGURE"
    assert table(figure).startswith(",".join(HEAD))
