"""The layers between which the truth lies: on the same images, and in their order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nsr.contour import Contour, Decided
from nsr.runs import spec, stored
from nsr.study import truth

GRID = (0.0, 0.1), (0.0, 0.01)


def contour(*accuracies: float) -> Contour:
    return Contour(*GRID, (tuple(accuracies[:2]), tuple(accuracies[2:])))


def run(*kinds: str) -> SimpleNamespace:
    return SimpleNamespace(contours=dict.fromkeys(kinds))


def test_of_each_method_the_first_run_is_taken_whose_images_were_decided() -> None:
    first, second, third = run("paper"), run("paper", "exact"), run("exact", "tight")
    assert truth.decided({"a": (first, second, third), "b": (third,), "c": (first,), "d": ()}) == {
        "a": second,
        "b": third,
    }


def test_one_cell_in_which_a_layer_exceeds_the_next_is_seen() -> None:
    low, high = contour(1, 0.5, 0.5, 0), contour(1, 0.5, 0.6, 0.1)
    assert truth.ordered({"low": low, "high": high}) and truth.ordered({"low": low, "same": low})
    assert not truth.ordered({"low": high, "high": low})
    assert not truth.ordered({"low": contour(1, 0.5, 0.5, 0.2), "high": high})


def test_what_is_undecided_is_a_mean_over_cells() -> None:
    assert truth.undecided(contour(1, 0.5, 0.5, 0), contour(1, 0.5, 0.7, 0.2)) == pytest.approx(0.1)
    assert truth.moving_both(contour(1, 0.5, 0.5, 0.25)) == 0.25


def test_the_layers_of_a_stored_run_are_on_the_same_images_and_in_order() -> None:
    found = stored(spec("jiwp", 0))
    layers = truth.layers(found, methods=("interval", "linear"))
    assert list(layers)[:5] == ["interval", "linear", "tight", "exact", "possible"]
    assert truth.ordered(layers) and isinstance(layers["exact"], Decided)
    images = len(layers["exact"].verdicts)
    for name, layer in layers.items():
        assert (layer.array * images).round(6).tolist() == (layer.array * images).round().tolist(), name
        assert (layer.grid_x, layer.grid_w) == (layers["exact"].grid_x, layers["exact"].grid_w)
