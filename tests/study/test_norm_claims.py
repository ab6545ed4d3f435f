"""Each claim on norms comes out either way on ladders made up for it, and is open where runs are missing."""

from __future__ import annotations

import pytest
import torch
from companion_runs import rung

from nsr.data import Split
from nsr.network import Network, mlp, mlp_init
from nsr.runs.companions import EQUAL
from nsr.study import norm_claims
from nsr.study.claims.verdict import FAILS, HOLDS, MISSING, NO_RUNS, NOT_REPRODUCED, OPEN, REPRODUCED
from nsr.study.companions import Ladder
from nsr.study.norm_claims import REGULARISERS, Measured, best, changed, ledger

PLACE = "MNIST, dense"


def ladder(gain: float = 0.0, loss: float = 0.0, seeds: int = 3) -> Ladder:
    """Two strengths, the first with the best validation accuracy, the second worse in every respect."""
    return {
        0.0: rung(seeds=seeds),
        0.1: rung(seeds=seeds, accuracy=0.9 + gain, attacked=0.5 - loss, validation=0.95),
        0.3: rung(seeds=seeds, accuracy=0.1, attacked=0.1, validation=0.8),
    }


def known(found: Ladder, *, changed: int | None = None, **rows: object) -> Measured:
    places = {PLACE: {name: of for name, of in rows.items()}}
    return Measured({(name, PLACE): found for name in REGULARISERS}, places, changed)


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, REPRODUCED), (0.0, NOT_REPRODUCED), (-0.02, NOT_REPRODUCED)])
def test_d1_is_decided_by_clean_accuracy_at_the_best_rung(gain: float, verdict: str) -> None:
    assert ledger(known(ladder(gain=gain)))["D1"].verdict == verdict


@pytest.mark.parametrize(("loss", "verdict"), [(0.02, REPRODUCED), (0.0, NOT_REPRODUCED), (-0.02, NOT_REPRODUCED)])
def test_d2_is_decided_at_the_same_rung_and_the_strongest_only_stands_beside(loss: float, verdict: str) -> None:
    row = ledger(known(ladder(loss=loss)))["D2"]
    assert row.verdict == verdict
    beside = [case for case in row.cases if not case.decides]
    assert len(beside) == len(REGULARISERS) and {case.outcome(row.rules) for case in beside} == {HOLDS}


def test_the_rung_is_chosen_by_validation_accuracy_not_by_test_accuracy() -> None:
    steps = {
        0.0: rung(validation=0.99),
        0.1: rung(accuracy=0.5, validation=0.95),
        0.3: rung(accuracy=0.99, validation=0.9),
    }
    assert best(steps) == 0.1
    assert best({0.0: rung()}) is None and best({}) is None


def test_one_regulariser_that_does_not_improve_makes_d1_depend_on_it() -> None:
    ladders = {(name, PLACE): ladder(gain=0.02 if k else 0.0) for k, name in enumerate(REGULARISERS)}
    row = ledger(Measured(ladders, {PLACE: {}}, None))["D1"]
    assert row.words == "depends on how the nets were trained"


@pytest.mark.parametrize(
    ("norm", "verdict"), [(2.0, REPRODUCED), (0.95, REPRODUCED), (0.85, NOT_REPRODUCED), (0.5, NOT_REPRODUCED)]
)
def test_d3_calls_norms_comparable_from_nine_tenths_on(norm: float, verdict: str) -> None:
    rows = {"standard": rung(), "at": rung("at", norm=norm)}
    assert ledger(known({}, **rows))["D3"].verdict == verdict


def test_d3_is_decided_by_at_and_other_rows_stand_beside() -> None:
    rows = {"standard": rung(), "at": rung("at", norm=2.0), "jiwp": rung("jiwp", norm=0.1)}
    row = ledger(known({}, **rows))["D3"]
    assert row.verdict == REPRODUCED
    assert {case.outcome(row.rules) for case in row.cases if not case.decides} == {FAILS}


@pytest.mark.parametrize(
    ("images", "at", "outcomes"),
    [(0, 0.7, [HOLDS, HOLDS]), (1, 0.7, [FAILS, HOLDS]), (0, 0.3, [HOLDS, FAILS]), (None, 0.7, [HOLDS])],
)
def test_d4_asks_whether_small_norms_are_necessary_and_whether_they_are_effective(
    images: int | None, at: float, outcomes: list[str]
) -> None:
    ladders = {(name, PLACE): {0.0: rung(), EQUAL[name]: rung(attacked=0.5)} for name in REGULARISERS}
    row = ledger(Measured(ladders, {PLACE: {"at": rung("at", attacked=at)}}, images))["D4"]
    assert list(row.outcomes.values()) == outcomes


def test_one_regulariser_as_good_as_at_is_enough_against_the_second_half_of_d4() -> None:
    ladders = {(name, PLACE): {EQUAL[name]: rung(attacked=0.5)} for name in REGULARISERS}
    ladders["weight decay", PLACE] = {EQUAL["weight decay"]: rung(attacked=0.8)}
    row = ledger(Measured(ladders, {PLACE: {"at": rung("at", attacked=0.7)}}, 0))["D4"]
    assert list(row.outcomes.values()) == [HOLDS, FAILS]


@pytest.mark.parametrize(
    ("found", "outcomes"),
    [
        ({}, {NO_RUNS}),
        ({0.0: rung()}, {NO_RUNS}),
        (ladder(gain=0.1, loss=0.1, seeds=2), {NO_RUNS, MISSING}),
    ],
)
def test_without_runs_or_with_two_seeds_nothing_is_decided(found: Ladder, outcomes: set[str]) -> None:
    rows = ledger(known(found))
    assert {row.verdict for row in rows.values()} == {OPEN}
    assert {outcome for row in rows.values() for outcome in row.outcomes.values()} == outcomes


def test_a_run_that_was_not_read_counts_as_missing() -> None:
    unread = {seed: run for seed, run in rung("at").items()}
    for run in unread.values():
        run.readings.clear()
    assert ledger(known({}, standard=rung(), at=unread))["D3"].verdict == OPEN


# how often the scaled network decides otherwise ---------------------------------------------------------------------


def test_scaling_the_last_layer_changes_no_decision_of_a_network_without_biases() -> None:
    seeded = torch.Generator().manual_seed(0)
    network, x = mlp(mlp_init((5, 8, 3), seeded)), torch.randn(200, 5, generator=seeded)
    assert changed(network, Split(x, torch.zeros(200, dtype=torch.long))) == 0


def test_changed_counts_the_images_that_are_decided_otherwise() -> None:
    """With a bias behind the last layer a larger last layer does change decisions."""
    network = Network((torch.eye(2),), lambda W, x: x @ W[0].T + torch.tensor([0.5, 0.0]))
    x = torch.tensor([[0.0, 0.4], [0.0, 0.6], [0.3, 0.1], [0.0, 0.2]])  # (0.5, 0.4), then (0.5, 0.6), ..
    assert changed(network, Split(x, torch.zeros(4, dtype=torch.long)), scale=10) == 2


def test_what_is_measured_covers_every_regulariser_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norm_claims.companions, "rows", lambda place, *stores: {"at": rung("at", weights=True)})
    monkeypatch.setattr(norm_claims.companions, "ladder", lambda name, place, *stores: {})
    found = norm_claims.measured(Split(torch.eye(2), torch.tensor([0, 1])))
    assert found.changed == 0
    assert {name for name, _ in found.ladders} == set(REGULARISERS)
    kernels = {name for name, place in found.ladders if place == "MNIST, convolutional"}
    assert kernels == {"norm decay, l_inf", "weight decay"}
