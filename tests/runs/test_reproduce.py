"""Claims about tuning and reproduction: the written procedure chooses as it says, and what moved is flagged."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import nsr.runs
from nsr import paths
from nsr.attack import Ascent, Attack
from nsr.contour import Contour, Protocol
from nsr.files import StoreError
from nsr.network import mlp
from nsr.runs import Measurement, Run, reproduce, tuning
from nsr.training import BEYOND, METHODS, PANELS

TINY: dict = {"dataset": "digits", "sizes": (64, 16, 10), "images": 100}
GRID = Protocol((0.0, 0.2), (0.0, 0.05), (0.0, 0.5), images=30)
BRIEF = Attack((Ascent(steps=2, step_x=0.1, step_w=0.02),))


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


# the procedure of the tuning ----------------------------------------------------------------------------------------

STORE = Path("tuning")
RATES = [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]


@pytest.fixture
def candidates(monkeypatch, shelf):
    """Three rates of one row; gives a function that says what was found of each (clean, auc, certified)."""
    monkeypatch.setattr(tuning, "CANDIDATES", {"at": RATES, "interval": RATES})

    def having(name: str, *found: tuple[float, float, float] | None) -> list[dict]:
        for order, numbers in zip(tuning.orders([name]), found, strict=True):
            if numbers is not None:
                clean, auc, certified = numbers
                run = a_run(order.spec, clean, validation=auc, validation_certified=certified)
                shelf[STORE, order.spec.folder] = run
        return [record for record in tuning.table(STORE) if record["method"] == name]

    return having


def chosen(records: list[dict]) -> list[float]:
    return [record["numbers"]["lr"] for record in records if record["chosen"]]


def test_of_the_accurate_candidates_the_one_with_the_largest_auc_is_chosen(candidates):
    assert chosen(candidates("at", (0.96, 0.3, 0.9), (0.95, 0.4, 0.1), (0.94, 0.9, 0.9))) == [0.2]


def test_rows_for_certificates_are_chosen_by_certificates(candidates):
    assert chosen(candidates("interval", (0.96, 0.3, 0.9), (0.95, 0.4, 0.1), (0.94, 0.9, 0.9))) == [0.1]


def test_where_none_is_accurate_the_most_accurate_is_chosen(candidates):
    assert chosen(candidates("at", (0.90, 0.3, 0.3), (0.80, 0.4, 0.4), (0.70, 0.9, 0.9))) == [0.1]


def test_a_failed_candidate_is_in_the_table_and_never_chosen(candidates):
    records = candidates("at", None, (0.96, 0.2, 0.2), None)
    assert chosen(records) == [0.2] and [r["clean"] for r in records] == [None, 0.96, None]
    assert chosen(candidates("interval", None, None, None)) == []


def test_a_candidate_whose_contours_failed_counts_as_failed(candidates, shelf):
    (order, *_) = tuning.orders(["at"])
    shelf[STORE, order.spec.folder] = a_run(order.spec, 0.99, validation=0.9)
    records = candidates("at", None, (0.96, 0.2, 0.2), None)
    assert chosen(records) == [0.2] and records[0]["auc"] is None


def test_the_choice_is_read_back_as_a_table_of_methods(candidates, tmp_path):
    candidates("at", (0.96, 0.2, 0.2), None, (0.96, 0.3, 0.3))
    tuning.write(STORE, tmp_path / "table.json")
    assert tuning.chosen(tmp_path / "table.json") == {"at": replace(METHODS["at"], lr=0.3)}
    written = json.loads((tmp_path / "table.json").read_text())
    assert written["procedure"]["seed"] == tuning.SEED and len(written["candidates"]) == 6


def test_tuning_looks_at_validation_images_and_at_a_seed_that_no_result_uses():
    assert {nsr.runs.MEASUREMENTS[name].part for name in tuning.MEASURED} == {"validation"}
    assert {order.spec.seed for order in tuning.orders()} == {tuning.SEED}
    reported = [*reproduce.orders("paper"), *reproduce.orders("quick")]
    assert tuning.SEED not in {order.spec.seed for order in reported}
    assert {nsr.runs.MEASUREMENTS[name].part for order in reported for name in order.measurements} == {"test"}
    assert tuning.CANDIDATES.keys() == METHODS.keys()


# what is reproduced -------------------------------------------------------------------------------------------------


def test_the_quick_scale_has_every_method_and_the_paper_s_scale_enough_seeds():
    assert [order.spec.name for order in reproduce.orders("quick")] == list(METHODS)
    seeds = {name: set() for name in METHODS}
    for order in reproduce.orders("paper"):
        if order.spec == nsr.runs.spec(order.spec.name, order.spec.seed) and "paper" in order.measurements:
            seeds[order.spec.name].add(order.spec.seed)
    assert all(len(seeds[name]) >= 5 for name in PANELS) and all(len(seeds[name]) >= 3 for name in BEYOND)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="unknown scale 'huge': choose one of quick, paper"):
        reproduce.orders("huge")


def test_an_ablation_differs_from_its_row_and_no_two_are_the_same():
    specs = [order.spec for order in reproduce.ablations()]
    assert all(spec.key != nsr.runs.spec(spec.name, spec.seed).key for spec in specs)
    assert len({spec.key for spec in specs}) == len(specs)


OURS = Path("ours")


@pytest.mark.parametrize("moved, agrees", [(0.0, True), (0.049, True), (0.051, False), (-0.051, False), (-0.04, True)])
def test_a_number_that_moved_by_more_than_the_tolerance_is_flagged(moved, agrees, shelf):
    assert reproduce.TOLERANCE == 0.05
    spec = reproduce.orders("paper")[0].spec
    shelf[OURS, spec.folder] = a_run(spec, 0.97, paper=0.3 + moved, certified=0.2, strong=0.9)
    shelf[paths.SHIPPED, spec.folder] = a_run(spec, 0.97, paper=0.3, certified=0.2, full=0.1)
    found = {agreement.what: agreement for agreement in reproduce.compare("paper", OURS)}
    assert found.keys() == {"validation accuracy", "AUC paper", "AUC certified"}
    assert found["AUC paper"].agrees is agrees and found["AUC certified"].agrees
    assert found["AUC paper"].ours == pytest.approx(0.3 + moved) and found["AUC paper"].reference == pytest.approx(0.3)


def test_a_clean_accuracy_that_moved_is_flagged_and_so_is_nan(shelf):
    first, second = (order.spec for order in reproduce.orders("paper")[:2])
    shelf[OURS, first.folder], shelf[paths.SHIPPED, first.folder] = a_run(first, 0.90), a_run(first, 0.97)
    shelf[OURS, second.folder], shelf[paths.SHIPPED, second.folder] = a_run(second, float("nan")), a_run(second, 0.97)
    assert [agreement.agrees for agreement in reproduce.compare("paper", OURS)] == [False, False]


def test_runs_that_one_side_lacks_are_not_compared(shelf):
    first, second = (order.spec for order in reproduce.orders("paper")[:2])
    shelf[OURS, first.folder], shelf[paths.SHIPPED, second.folder] = a_run(first, 0.9), a_run(second, 0.9)
    assert reproduce.compare("paper", OURS) == []


def test_quick_runs_are_compared_with_the_written_reference(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "QUICK", tmp_path / "quick.json")
    for order in reproduce.orders("quick"):
        shelf[OURS, order.spec.folder] = a_run(order.spec, 0.9, quick=0.4)
    reproduce.write_reference(OURS, reproduce.QUICK)
    found = reproduce.compare("quick", OURS)
    assert len(found) == 2 * len(METHODS) and all(agreement.agrees for agreement in found)
    spec = reproduce.orders("quick")[1].spec
    shelf[OURS, spec.folder] = a_run(spec, 0.9, quick=0.46)
    (apart,) = [agreement for agreement in reproduce.compare("quick", OURS) if not agreement.agrees]
    assert (apart.run, apart.what, apart.ours, apart.reference) == (spec.name, "AUC", 0.46, 0.4)
    shelf[OURS, spec.folder] = a_run(spec, 0.9)  # its contour failed
    assert len(reproduce.compare("quick", OURS)) == 2 * len(METHODS) - 2


def test_a_changed_shipped_run_is_no_reference(tmp_path, monkeypatch):
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "paper", Measurement(GRID, BRIEF))
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    spec = nsr.runs.spec("standard", epochs=1, **TINY)
    monkeypatch.setattr(reproduce, "orders", lambda scale: [reproduce.Order(spec, ("paper",))])
    for store in (paths.SHIPPED, tmp_path / "ours"):
        nsr.runs.run(spec, ("paper",), store=store)
    assert [agreement.agrees for agreement in reproduce.compare("paper", tmp_path / "ours")] == [True, True]
    path = paths.SHIPPED / spec.folder / "contours" / "paper.json"
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))
    with pytest.raises(StoreError, match=r"paper\.json: has been changed"):
        reproduce.compare("paper", tmp_path / "ours")


def test_quick_and_tuning_runs_are_trained_and_measured_for_real(tmp_path, monkeypatch):
    """One run of each, through `lab` and back, on a tiny net."""
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "quick", Measurement(GRID, BRIEF))
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "validation", Measurement(GRID, BRIEF, part="validation"))
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "validation_certified", Measurement(GRID, part="validation"))
    monkeypatch.setattr(nsr.runs, "spec", partial(nsr.runs.spec, **TINY))
    monkeypatch.setattr(tuning, "EPOCHS", 1)
    monkeypatch.setattr(tuning, "CANDIDATES", {"standard": [{"lr": 0.1}, {"lr": 0.2}]})
    monkeypatch.setattr(reproduce, "METHODS", {"standard": METHODS["standard"]})
    monkeypatch.setattr(reproduce, "_QUICK_NUMBERS", {"epochs": 1})
    for order in [*tuning.orders(["standard"]), *reproduce.orders("quick")]:
        nsr.runs.run(order.spec, order.measurements, store=tmp_path)
    first, second = tuning.table(tmp_path)
    assert first["chosen"] != second["chosen"] and 0 <= first["certified"] <= first["auc"] <= 1
    reproduce.write_reference(tmp_path, tmp_path / "quick.json")
    monkeypatch.setattr(reproduce, "QUICK", tmp_path / "quick.json")
    assert [agreement.agrees for agreement in reproduce.compare("quick", tmp_path)] == [True, True]
