"""Claims about the figures of chapter 3: h* is one corner of the box, and the margin passes the printed bound."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

import nsr.figures  # noqa: F401  (the house style)
from nsr.figures import theorem as draw
from nsr.theory import counterexamples


@pytest.fixture
def corner() -> Figure:
    case = counterexamples.COUNTEREXAMPLE
    parts = (counterexamples.repaired, counterexamples.printed, counterexamples.attained)
    names = ("repaired bound", "printed bound", "margin reached")
    return draw.corner(
        counterexamples.first_layer(case), {name: part(case) for name, part in zip(names, parts, strict=True)}
    )


def test_h_star_and_the_adversary_are_marked_at_their_corners_with_what_layer_2_makes_of_them(corner: Figure) -> None:
    above, _ = corner.axes
    places = {(float(*line.get_xdata()), float(*line.get_ydata())): line.get_marker() for line in above.lines}
    assert places == {(1, 1): "o", (2, 2): "s", (2, 0): "X"}
    told = [text.get_text() for text in above.texts]
    assert any("h^{1*}" in words and words.endswith("up to 4") for words in told)
    assert any("adversary" in words and words.endswith("up to 6") for words in told)


def test_the_bars_stand_in_one_order_from_zero_with_their_numbers(corner: Figure) -> None:
    _, below = corner.axes
    assert [label.get_text() for label in below.get_yticklabels()] == list(draw.BARS)
    assert [bar.get_width() for bar in below.patches] == [16, 18, 20]
    assert [text.get_text() for text in below.texts] == ["16", "18", "20"]
    assert below.get_xlim()[0] == 0


def test_the_words_stay_legible_on_a_telephone(corner: Figure) -> None:
    corner.draw_without_rendering()
    scale = min(1, 4.5 / corner.get_size_inches()[0])
    texts = [text for ax in corner.axes for text in (*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels())]
    assert min(text.get_fontsize() * scale for text in texts if text.get_text()) >= 8
