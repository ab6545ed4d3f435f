"""Claims about reproduction: every method and enough seeds are computed again, and what moved is flagged."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import tiny
import torch

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.files import StoreError
from nsr.network import mlp
from nsr.runs import Run, reproduce
from nsr.runs.sweep import Order
from nsr.training import METHODS

OURS = Path("ours")


def flat(level: float) -> Contour:
    return Contour((0.0, 1.0), (0.0, 1.0), ((level, level), (level, level)))


def a_run(spec: nsr.runs.Spec, clean: float, **levels: float) -> Run:
    contours = {name: flat(level) for name, level in levels.items()}
    return Run(spec, mlp((torch.eye(2),)), ({"validation": clean},), contours, {}, Path(spec.folder), ())


@pytest.fixture
def shelf(monkeypatch) -> dict[tuple[Path, str], Run]:
    """Stores that are a dictionary: (store, folder) -> run."""
    found: dict[tuple[Path, str], Run] = {}
    monkeypatch.setattr(nsr.runs, "stored", lambda spec, store: found.get((store, spec.folder)))
    return found


# what is reproduced -------------------------------------------------------------------------------------------------


def test_the_quick_scale_has_every_method_and_the_paper_s_scale_enough_seeds():
    assert [order.spec.name for order in reproduce.orders("quick")] == list(METHODS)
    seeds = {name: set() for name in METHODS}
    for order in reproduce.orders("paper"):
        if order.spec == nsr.runs.spec(order.spec.name, order.spec.seed) and "paper" in order.measurements:
            seeds[order.spec.name].add(order.spec.seed)
    assert seeds == dict.fromkeys(METHODS, set(reproduce.SEEDS)) and len(reproduce.SEEDS) >= 3


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge': choose one of quick, paper"):
        reproduce.orders("huge")


def test_an_ablation_differs_from_its_row_and_no_two_are_the_same():
    specs = [order.spec for order in reproduce.ablations()]
    assert all(spec.key != nsr.runs.spec(spec.name, spec.seed).key for spec in specs)
    assert len({spec.key for spec in specs}) == len(specs)


# what is compared ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved, agrees", [(0.0, True), (0.049, True), (0.051, False), (-0.051, False), (-0.04, True)])
def test_a_number_that_moved_by_more_than_the_tolerance_is_flagged(moved, agrees):
    known = {"at-0": {"validation accuracy": 0.97, "AUC paper": 0.3, "AUC full": 0.1}}
    ours = {"at-0": {"validation accuracy": 0.97, "AUC paper": 0.3 + moved, "AUC strong": 0.9}}
    found = {agreement.what: agreement for agreement in reproduce.compare(ours, known)}
    assert reproduce.TOLERANCE == 0.05 and found.keys() == {"validation accuracy", "AUC paper"}
    assert found["AUC paper"].agrees is agrees and found["validation accuracy"].agrees
    assert (found["AUC paper"].ours, found["AUC paper"].reference) == (0.3 + moved, 0.3)


def test_nan_agrees_with_nothing_and_what_one_side_lacks_is_not_compared():
    found = reproduce.compare({"a": {"AUC": float("nan")}, "b": {"AUC": 0.1}}, {"a": {"AUC": 0.3}, "c": {"AUC": 0.1}})
    assert [(agreement.run, agreement.agrees) for agreement in found] == [("a", False)]


def test_the_numbers_of_a_scale_are_those_of_the_runs_that_a_store_has(shelf):
    first, second, *_ = (order.spec for order in reproduce.orders("paper"))
    shelf[OURS, first.folder] = a_run(first, 0.9, paper=0.4, certified=0.2)
    shelf[OURS, second.folder] = a_run(second, 0.8)
    assert reproduce.numbers("paper", OURS) == {
        first.folder: {"validation accuracy": 0.9, "AUC paper": 0.4, "AUC certified": 0.2},
        second.folder: {"validation accuracy": 0.8},
    }
    quick, failed, *_ = (order.spec for order in reproduce.orders("quick"))
    shelf[OURS, quick.folder] = a_run(quick, 0.9, quick=0.4)
    shelf[OURS, failed.folder] = a_run(failed, 0.9)  # its contour failed
    assert reproduce.numbers("quick", OURS) == {quick.name: {"validation accuracy": 0.9, "AUC": 0.4}}


@pytest.fixture
def quick(monkeypatch, tmp_path) -> Path:
    """The file of the quick reference, here a copy that may be spoilt."""
    copy = Path(shutil.copy(reproduce.QUICK, tmp_path / "quick.json"))
    monkeypatch.setattr(reproduce, "QUICK", copy)
    return copy


def test_the_quick_reference_holds_two_numbers_of_every_method(quick):
    assert {name: len(numbers) for name, numbers in reproduce.reference("quick").items()} == dict.fromkeys(METHODS, 2)


SPOILT = {
    "no JSON": (lambda text: text[:-9], "Invalid JSON"),
    "a list": (lambda text: "[]", "Input should be an object"),
    "null": (lambda text: "null", "Input should be an object"),
    "a renamed number": (lambda text: text.replace('"AUC"', '"AUK"', 1), "standard: is missing, unknown or not whole"),
    "a damaged name": (lambda text: text.replace('"trades"', '"tradez"'), "trades: is missing, unknown or not whole"),
    "a word": (lambda text: re.sub(r'("AUC": )([\d.]+)', r'\1"\2"', text, count=1), "AUC of standard: .* valid number"),
    "more than all": (
        lambda text: re.sub(r'("AUC": )[\d.]+', r"\g<1>2.55", text, count=1),
        "AUC of standard: .* less than or equal to 1",
    ),
    "a number for a method": (
        lambda text: json.dumps({**json.loads(text), "at": 0.5}),
        "at: Input should be an object",
    ),
    "a name without end": (lambda text: json.dumps({**json.loads(text), 10**5 * "x": {}}), "xxx: is missing, unkn"),
}


@pytest.mark.parametrize("spoil, message", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_reference_is_refused_in_one_line_with_the_file_and_the_remedy(spoil, message, quick):
    text = quick.read_text()
    assert (spoilt := spoil(text)) != text
    quick.write_text(spoilt)
    with pytest.raises(ValueError, match=rf"{quick}: .*{message}.*; git checkout -- data/quick.json") as caught:
        reproduce.reference("quick")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_changed_shipped_run_is_no_reference(store, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED", store)
    monkeypatch.setattr(reproduce, "orders", lambda scale: [reproduce.Order(tiny.spec(), ("paper",))])
    ours = reproduce.numbers("paper", store)
    assert all(agreement.agrees for agreement in reproduce.compare(ours, reproduce.reference("paper")))
    path = store / tiny.spec().folder / "contours" / "paper.json"
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))
    with pytest.raises(StoreError, match=r"paper\.json: has been changed"):
        reproduce.reference("paper")


def test_quick_runs_are_trained_and_measured_for_real(tmp_path, monkeypatch, quick):
    """One, through the store and back, on a tiny net."""
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "quick", tiny.KINDS["paper"])
    monkeypatch.setattr(reproduce, "orders", lambda scale: [Order(tiny.spec(epochs=1), ("quick",))])
    for order in reproduce.orders("quick"):
        nsr.runs.run(order.spec, order.measurements, store=tmp_path)
    reproduce.write_reference(tmp_path, quick)
    found = reproduce.compare(reproduce.numbers("quick", tmp_path), reproduce.reference("quick"))
    assert [agreement.agrees for agreement in found] == [True, True]
