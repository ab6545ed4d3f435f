"""The figures of what training does inside: every radius, layer and outcome is there, under a name."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from nsr.figures import inside as draw


def interval(mean: float, half: float = 0.1) -> SimpleNamespace:
    return SimpleNamespace(mean=mean, low=mean - half, high=mean + half)


COURSE = {0.0: interval(0.9), 0.1: interval(0.7), 0.3: interval(0.4)}


def bars(figure: Figure) -> list[list[ErrorbarContainer]]:
    return [[c for c in ax.containers if isinstance(c, ErrorbarContainer)] for ax in figure.axes if ax.get_visible()]


def keys(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts and panels that cover each other."""
    figure.draw_without_rendering()
    texts = [(text.get_text(), text.get_window_extent()) for ax in figure.axes for text in ax.texts]
    texts += [(t.get_text(), t.get_window_extent()) for ax in figure.axes for t in ax.get_yticklabels()]
    texts += [(t.get_text(), t.get_window_extent()) for ax in figure.axes for t in ax.get_xticklabels()]
    texts = [(name, box) for name, box in texts if name]
    return [(a, b) for k, (a, one) in enumerate(texts) for b, other in texts[k + 1 :] if one.overlaps(other)]


def test_a_course_has_its_interval_at_every_radius_and_a_tick_there():
    figure = draw.courses({"one": {"test": COURSE, "training": COURSE}, "two": {"logits": COURSE}}, ["one"])
    first, second = bars(figure)
    assert [c.get_label() for c in first] == ["test", "training"] and [c.get_label() for c in second] == ["logits"]
    points, _, (lines,) = first[0]
    assert points.get_xydata().tolist() == [[0, 0.9], [0.1, 0.7], [0.3, 0.4]]
    assert [seg[:, 1].tolist() for seg in lines.get_segments()] == [
        pytest.approx([low, low + 0.2]) for low in (0.8, 0.6, 0.3)
    ]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "0.1", "0.3"]
    assert figure.axes[0].yaxis.get_major_formatter()(0.5) == "50%"
    assert keys(figure) == ["test", "training", "logits"]


def test_a_name_has_one_look_in_all_panels():
    figure = draw.courses({"one": {"a": COURSE, "b": COURSE}, "two": {"b": COURSE}})
    (_, first), (second,) = bars(figure)
    assert first.lines[0].get_color() == second.lines[0].get_color()
    assert first.lines[0].get_marker() == second.lines[0].get_marker()


def test_radii_go_from_light_to_dark():
    lightness = [np.dot((0.21, 0.72, 0.07), colour[:3]) for colour in draw.shades(5)]
    assert lightness == sorted(lightness, reverse=True) and lightness[0] < 0.85 and lightness[-1] < 0.3


def test_a_ridge_a_radius_radius_0_on_top():
    shares = {0.0: [0.1, 0.6, 0.3], 0.1: [0.5, 0.5, 0.0]}
    figure = draw.ridges([-1, 0, 1, 2], shares, 0.5, training={0.0: [0.2, 0.5, 0.3]})
    (ax,) = figure.axes
    places = dict(zip([t.get_text() for t in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert places["0"] > places["0.1"] and len(ax.lines) == 2  # the boundary, and one outline
    assert keys(figure) == ["near the boundary", "training"]


@pytest.mark.parametrize("low", [0.9, 0.6, 0.05])
def test_layers_share_an_axis_with_ticks_that_can_be_read(low: float):
    lines = {0.1: [interval(1.02, 0), interval(low, 0)], 0.3: [interval(low, 0), interval(1.0, 0)]}
    figure = draw.layers({"random": lines, "attacked": lines}, ["layer 1", "logits"], "change")
    assert [len(found) for found in bars(figure)] == [2, 2]
    assert keys(figure) == [rf"trained at $\epsilon_x$ {radius:g}" for radius in lines]
    bottom, top = figure.axes[0].get_ylim()
    assert len([tick for tick in figure.axes[0].get_yticks() if bottom <= tick <= top]) >= 2
    assert not overlaps(figure)


def test_lines_of_names_have_looks_of_their_own():
    lines = {name: [interval(0.5, 0)] * 2 for name in ("inputs", "weights")}
    figure = draw.layers({"random": lines}, ["layer 1", "logits"], "change", "attacked in training")
    first, second = bars(figure)[0]
    assert first.lines[0].get_color() != second.lines[0].get_color()
    assert keys(figure) == ["inputs attacked in training", "weights attacked in training"]


def test_ladders_side_by_side_share_the_scale_of_a_quantity():
    quantities = {"confidence": COURSE, "change": {radius: interval(radius + 1) for radius in COURSE}}
    figure = draw.beside({"inputs": ("x", quantities), "weights": ("w", quantities)}, ["confidence"])
    axes = np.array(figure.axes).reshape(2, 2)
    assert (axes[0, 0].get_ylim(), axes[1, 0].get_ylim()) == (axes[0, 1].get_ylim(), axes[1, 1].get_ylim())
    assert [ax.get_title() for ax in axes[0]] == ["inputs", "weights"]
    assert [ax.get_xlabel() for ax in axes[1]] == ["x", "w"]


def test_every_outcome_has_a_cell_with_sign_word_and_number():
    outcomes = list(draw.OUTCOMES)
    title = "a claim whose words are longer than a line may be"
    cells = {f"B{k}: {title}": {"inputs": (outcome, "+0.123 [-0.456, +0.789]")} for k, outcome in enumerate(outcomes)}
    cells["B9: one that lacks a setting"] = {"attacked\ninputs and weights": ("holds", "+0.123 [-0.456, +0.789]")}
    figure = draw.matrix(cells)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert all(any(word in text for text in said) for word in outcomes)
    assert sum("not measured" in text for text in said) == 1 + len(outcomes) + 1
    assert not overlaps(figure)
