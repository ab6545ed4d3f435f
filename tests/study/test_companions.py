"""Companion runs are found by what stands on a rung and by seed; what is missing is left out."""

from __future__ import annotations

import pytest
from companion_runs import run, rung

import nsr.runs
from nsr.runs import companions as ordered
from nsr.study import companions
from nsr.study.statistics import estimate


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, nsr.runs.Run]:
    """The runs that the stores have, by folder."""
    found: dict[str, nsr.runs.Run] = {}
    monkeypatch.setattr(nsr.runs, "stored", lambda spec, *stores: found.get(spec.folder))
    return found


def put(stored: dict[str, nsr.runs.Run], *specs: nsr.runs.Spec) -> None:
    stored.update({spec.folder: run(spec) for spec in specs})


def test_a_ladder_has_standard_at_its_foot_and_leaves_out_rungs_and_seeds_without_runs(stored) -> None:
    steps = ordered.STRENGTHS["weight decay"]
    put(stored, ordered.rungs(steps, 0)[0.0], ordered.rungs(steps, 0)[0.001], ordered.rungs(steps, 2)[0.001])
    found = companions.ladder("weight decay")
    assert {strength: list(by_seed) for strength, by_seed in found.items()} == {0.0: [0], 0.001: [0, 2]}
    assert found[0.001][2].spec.seed == 2 and found[0.001][2].spec.method.weight_decay == 0.001
    assert companions.ladder("tau alone") == {0.0: found[0.0]}
    assert companions.ladder("inputs")[0.0] == found[0.0]  # ladders share their foot


def test_runs_of_one_place_are_not_taken_for_those_of_another(stored) -> None:
    put(stored, ordered.spec("at", 0, dataset="fashion-mnist"), ordered.spec("standard", 1, net="cnn"))
    assert {place: list(companions.rows(place)) for place in companions.PLACES} == {
        "MNIST, dense": [],
        "Fashion-MNIST, dense": ["at"],
        "MNIST, convolutional": ["standard"],
    }


def test_values_come_from_the_runs_that_have_them() -> None:
    found = rung(accuracy=0.8)
    found[1].readings.clear()
    assert companions.values(found, companions.accuracy, "inside") == {0: 0.8, 2: pytest.approx(0.802)}
    assert list(companions.insides({0.0: found})[0.0]) == [0, 2]
    assert companions.over_seeds(found, companions.accuracy, "exact_few") is None
    assert companions.over_seeds({}, companions.accuracy, "inside") is None


def test_a_difference_is_taken_seed_by_seed() -> None:
    found = companions.more(rung(accuracy=0.95), rung(accuracy=0.9, seeds=2), companions.accuracy, "inside")
    assert found.values == pytest.approx((0.05, 0.05))
    assert companions.more(rung(), {}, companions.accuracy, "inside") is None


def test_validation_accuracy_is_that_of_the_last_epoch() -> None:
    assert companions.validation(rung(validation=0.7)) == pytest.approx(0.7)


def test_a_run_with_its_weights_is_found_if_there_is_one() -> None:
    without, having = rung(), rung(weights=True)
    assert companions.with_weights(without) is None
    assert companions.with_weights({0: without[0], 1: having[1]}) is having[1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "not measured"),
        ([-0.0123], "-1.2 points, one seed"),
        ([0.01, 0.02, 0.03], "+2.0 points [-0.5, +4.5], n = 3"),
    ],
)
def test_a_difference_is_told_with_its_interval_and_seeds(values: list[float] | None, words: str) -> None:
    assert companions.told(None if values is None else estimate(values)) == words


def test_every_row_of_the_companion_runs_has_a_title() -> None:
    assert set(companions.TITLES) == set(ordered.ROWS)
