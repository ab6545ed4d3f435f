"""Claims about results: which runs a row has, AUCs by seed, intervals against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.network import mlp
from nsr.runs import Run
from nsr.study import select
from nsr.training import BEYOND, METHODS, PANELS


def flat(level: float) -> Contour:
    return Contour((0.0, 1.0), (0.0, 1.0), ((level, level), (level, level)))


def a_run(name: str = "standard", seed: int = 0, contours: dict | None = None, **changes) -> Run:
    spec = nsr.runs.spec(name, seed, **changes)
    return Run(spec, mlp((torch.eye(2),)), (), contours or {}, {}, Path(spec.folder), ())


# which runs ---------------------------------------------------------------------------------------------------------


def test_every_row_of_the_table_is_there_in_its_order_with_its_runs_by_seed():
    runs = [a_run("at", 2), a_run("standard", 1), a_run("at", 0), a_run("at", 1)]
    found = select.by_method(iter(runs))
    assert tuple(found) == tuple(METHODS) and {*PANELS, *BEYOND} == set(METHODS)
    assert [run.spec.seed for run in found["at"]] == [0, 1, 2] and found["jiwp"] == ()


@pytest.mark.parametrize(
    "change",
    [{"beta": 0.5}, {"optimiser": "sgd"}, {"images": 100}, {"sizes": (784, 10)}, {"dataset": "fashion-mnist"}],
    ids=lambda change: next(iter(change)),
)
def test_ablations_are_not_among_the_runs_of_a_row(change):
    ablation = a_run("standard", **change)
    assert ablation.spec != nsr.runs.spec("standard")
    assert select.by_method([ablation, a_run("standard", 1)])["standard"][0].spec.seed == 1
    assert sum(map(len, select.by_method([ablation]).values())) == 0


def test_a_new_title_does_not_hide_the_runs_of_a_row(monkeypatch):
    run = a_run("at")
    monkeypatch.setitem(METHODS, "at", replace(METHODS["at"], title="Adversarial training"))
    assert select.by_method([run])["at"] == (run,)


def test_a_run_of_a_row_that_the_table_no_longer_has_is_left_out(monkeypatch):
    run = a_run("at")
    monkeypatch.delitem(METHODS, "at")
    assert run not in sum(select.by_method([run]).values(), ())


TINY: dict = {"dataset": "digits", "sizes": (64, 10), "images": 50, "epochs": 1}


@pytest.fixture
def stores(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """The shipped store and the user's, both with the same run."""
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    for store in (paths.SHIPPED, paths.store()):
        nsr.runs.run(nsr.runs.spec("standard", 1, **TINY), store=store)
    return paths.SHIPPED, paths.store()


def test_the_book_takes_shipped_runs_whatever_lies_in_the_user_s_store(stores, monkeypatch):
    shipped, own = stores
    (own / "standard-0-junk").mkdir()
    (own / "standard-0-junk" / "weights.safetensors").write_bytes(b"junk")
    original = nsr.runs.spec
    monkeypatch.setattr(nsr.runs, "spec", lambda name, seed=0, **changes: original(name, seed, **{**TINY, **changes}))
    assert [run.folder.parent for run in select.by_method()["standard"]] == [shipped]
    assert [run.folder.parent for run in select.stored("standard", range(3))] == [shipped]


def test_the_runs_of_an_ablation_are_found_for_the_seeds_that_there_are(stores):
    (found,) = select.stored("standard", range(3), **TINY)
    assert found.spec.seed == 1 and select.stored("standard", (0, 2), **TINY) == ()
    assert select.stored("standard", (1,), stores[1], **TINY)[0].folder.parent == stores[1]
    assert select.stored("standard", (1,), **{**TINY, "epochs": 2}) == ()


# numbers over seeds -------------------------------------------------------------------------------------------------


def test_aucs_and_mean_contours_are_of_the_runs_that_have_the_contour():
    runs = [a_run(seed=seed, contours={"paper": flat(level)}) for seed, level in ((0, 0.2), (4, 0.5))]
    runs.append(a_run(seed=9, contours={"strong": flat(0.1)}))
    assert select.having(runs, "paper") == tuple(runs[:2])
    assert select.aucs(runs, "paper") == pytest.approx({0: 0.2, 4: 0.5}) and select.aucs(runs, "full") == {}
    assert select.scores({"at": runs, "jiwp": runs[2:]}, "paper", lambda c: c.clean) == {"at": {0: 0.2, 4: 0.5}}
    assert select.mean_contour(runs, "paper").accuracy == ((0.35, 0.35), (0.35, 0.35))
    with pytest.raises(ValueError, match="none of these runs has the contour 'full'"):
        select.mean_contour(runs, "full")


def test_the_mean_contour_is_the_mean_cell_by_cell():
    runs = [
        a_run(contours={"paper": Contour((0.0, 1.0), (0.0, 2.0), rows, "relative")})
        for rows in (((1.0, 0.5), (0.75, 0.0)), ((0.5, 0.5), (0.25, 1.0)))
    ]
    mean = select.mean_contour(runs, "paper")
    assert mean == Contour((0.0, 1.0), (0.0, 2.0), ((0.75, 0.5), (0.5, 0.5)), "relative")
