"""The layers between which the truth lies: on the same images, and in their order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nsr import runs
from nsr.contour import Contour, Decided
from nsr.study import truth

GRID = (0.0, 0.1), (0.0, 0.01)


def contour(*accuracies: float) -> Contour:
    return Contour(*GRID, (tuple(accuracies[:2]), tuple(accuracies[2:])))


def run(seed: int, *kinds: str) -> SimpleNamespace:
    return SimpleNamespace(spec=SimpleNamespace(seed=seed), contours=dict.fromkeys(kinds))


def test_the_runs_of_one_seed_are_taken_where_their_images_were_decided() -> None:
    first, second = run(0, "paper"), run(1, "paper", "exact")
    third = run(0, "exact", "tight")
    assert truth.decided({"a": (first, second), "b": (third,), "c": ()}, 0) == {"b": third}
    assert truth.decided({"a": (first, second), "b": (third,)}, 1) == {"a": second}


def test_one_cell_in_which_a_layer_exceeds_the_next_is_seen() -> None:
    low, high = contour(1, 0.5, 0.5, 0), contour(1, 0.5, 0.6, 0.1)
    assert truth.ordered({"low": low, "high": high}) and truth.ordered({"low": low, "same": low})
    assert not truth.ordered({"low": high, "high": low})
    assert not truth.ordered({"low": contour(1, 0.5, 0.5, 0.2), "high": high})


def test_what_is_undecided_is_a_mean_over_cells() -> None:
    assert truth.undecided(contour(1, 0.5, 0.5, 0), contour(1, 0.5, 0.7, 0.2)) == pytest.approx(0.1)
    assert truth.moving_both(contour(1, 0.5, 0.5, 0.25)) == 0.25


def test_the_layers_of_a_stored_run_are_on_the_same_images_and_in_order() -> None:
    found = runs.stored(runs.spec("jiwp", 0))
    layers = truth.layers(found, methods=("interval", "linear"))
    assert list(layers)[:5] == ["interval", "linear", "tight", "exact", "possible"]
    assert truth.ordered(layers) and isinstance(layers["exact"], Decided)
    images = len(layers["exact"].verdicts)
    for name, layer in layers.items():
        assert (layer.array * images).round(6).tolist() == (layer.array * images).round().tolist(), name
        assert (layer.grid_x, layer.grid_w) == (layers["exact"].grid_x, layers["exact"].grid_w)
