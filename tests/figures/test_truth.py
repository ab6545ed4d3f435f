"""Claims about the figures of the truth: every verdict stands in its cell and shows without colour."""

from __future__ import annotations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nsr.contour import Contour, Decided
from nsr.figures.truth import ATTACKED, CERTIFIED, POSSIBLE, ROBUST, nested, planes, witness

GRID_X, GRID_W = (0.0, 0.1, 0.2), (0.0, 0.01)
LETTERS = "rrrobb"  # rows of eps_x


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for key in figure.legends for text in key.get_texts()]


def test_each_verdict_stands_at_its_radii_and_has_a_sign_of_its_own() -> None:
    figure = planes(GRID_X, GRID_W, {"a": LETTERS})
    (ax,) = (ax for ax in figure.axes if ax.get_visible())
    signs = {text.get_position(): text.get_text() for text in ax.texts}
    assert signs[1, 1] == "?" and signs[0, 1] == signs[1, 0] == ""
    assert signs[2, 0] == signs[2, 1] not in ("", "?")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.1", "0.2"]


@pytest.mark.parametrize(("letters", "named"), [("rrrrrr", 1), ("rrrrbb", 2), (LETTERS, 3)])
def test_the_legend_names_the_verdicts_that_occur(letters: str, named: int) -> None:
    assert len(legend(planes(GRID_X, GRID_W, {"a": letters, "b": "rrrrrr"}))) == named


def test_a_verdict_of_another_letter_is_refused() -> None:
    with pytest.raises(ValueError, match="z"):
        planes(GRID_X, GRID_W, {"a": "rrrrrz"})


def layers(*names: str) -> dict[str, Contour]:
    exact = Decided.of(GRID_X, GRID_W, [LETTERS, "rrrbbb"])
    found = {CERTIFIED: Contour(GRID_X, GRID_W, ((1.0, 0.6), (0.4, 0.0), (0.0, 0.0))), ROBUST: exact}
    found |= {POSSIBLE: exact.possible, ATTACKED: exact.possible}
    return {name: found[name] for name in names}


def test_a_layer_that_nobody_measured_is_left_out() -> None:
    assert legend(nested({"a": layers(CERTIFIED, ROBUST, POSSIBLE)})) == [CERTIFIED, ROBUST, POSSIBLE]
    figure = nested({"a": layers(ROBUST, POSSIBLE), "b": layers(ROBUST, POSSIBLE, ATTACKED)})
    assert legend(figure) == [ROBUST, POSSIBLE, ATTACKED]


def test_the_panel_of_a_network_that_nothing_breaks_is_drawn_without_lines() -> None:
    whole = Decided.of(GRID_X, GRID_W, ["rrrrrr"])
    FigureCanvasAgg(nested({"a": {ROBUST: whole, POSSIBLE: whole.possible}})).draw()


def test_a_witness_is_shown_with_both_answers_and_one_stripe_a_layer() -> None:
    x, offsets = torch.rand(16), [torch.ones(5), -torch.ones(3)]
    logits = {"clean": torch.tensor([1.0, 0.0, 0.5]), "attacked": torch.tensor([0.0, 1.0, 0.5])}
    figure = witness(x, x + 0.01, offsets, logits, 0, 0.01)
    FigureCanvasAgg(figure).draw()
    _, _, answer, stripes, *_ = figure.axes
    assert [text.get_text() for text in answer.get_legend().get_texts()] == ["clean: 0", "attacked: 1"]
    assert [label.get_text() for label in stripes.get_yticklabels()] == ["$t^1$, 5", "$t^2$, 3"]
