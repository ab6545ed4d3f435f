"""The numbers in the table of methods are those that the recorded search chose, by the rule that its record states.

And the search that is written now: what it asks for, how it chooses on results that nobody trained, what it records.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from dask.distributed import Client

import nsr.runs
from nsr.contour import Contour
from nsr.network import mlp
from nsr.runs import Job, Run, Spec, compute, reproduce, tuning
from nsr.training import METHODS, CollapseError, Method

BOOK = dict(nsr.runs.MEASUREMENTS)  # as it is, for tests have smaller ones

# the recorded search ------------------------------------------------------------------------------------------------

RECORD = json.loads(tuning.TABLE.read_text())
RULE = RECORD["procedure"]
SEARCHES = RECORD["searches"]


def candidates_of(search: dict) -> list[dict]:
    own = [record for record in RECORD["candidates"] if record["method"] == search["method"]]
    return [record for record in own if record["numbers"]["optimiser"] == search["optimiser"]]


def test_the_table_of_methods_holds_the_numbers_that_were_chosen() -> None:
    assert tuning.chosen() == METHODS


def test_every_row_of_the_table_was_searched_and_nothing_is_left_open() -> None:
    assert {(s["method"], s["optimiser"]) for s in SEARCHES} == set(itertools.product(METHODS, tuning.OPTIMISERS))
    assert all(search["ended"] and search["edges"] == [] for search in SEARCHES)


def test_the_record_states_the_present_procedure() -> None:
    assert RULE == tuning.procedure()


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: "-".join((search["method"], search["optimiser"])))
def test_the_chosen_candidate_is_the_best_of_those_that_are_accurate_enough(search: dict) -> None:
    (best,) = (record for record in candidates_of(search) if record["chosen"])
    rules = {"clean": "by clean accuracy", "certified": "by certificates", "own": "by weights of each image's own"}
    by = next((what for what, rule in rules.items() if search["method"] in RULE[rule]), "auc")
    trained = [record for record in candidates_of(search) if record["clean"] is not None]
    accurate = [record for record in trained if record["clean"] >= RULE["least clean accuracy"]]
    assert best in accurate and best[by] == max(record[by] for record in accurate)


# the rule -----------------------------------------------------------------------------------------------------------


def found(clean: float | None, auc: float = 0.5, certified: float = 0.5, own: float = 0.5) -> dict[str, float | None]:
    return {"clean": clean, "auc": auc, "certified": certified, "own": own}


def test_an_accurate_candidate_is_worth_what_it_is_chosen_by_and_more_than_any_other():
    worths = [
        tuning.worth(found(None), "auc", 0.2),
        tuning.worth(found(None), "auc", 0.1),
        tuning.worth(found(0.10, auc=0.9), "auc", 0.1),
        tuning.worth(found(0.94, auc=0.1), "auc", 0.1),
        tuning.worth(found(0.95, auc=0.2), "auc", 0.1),
        tuning.worth(found(0.95, auc=0.1, certified=0.3), "certified", 0.1),
        tuning.worth(found(0.99, auc=0.1, certified=0.1, own=0.4), "own", 0.1),
    ]
    assert worths == sorted(set(worths))


def test_the_main_optimiser_has_the_larger_mean_and_a_tie_is_no_coin():
    assert tuning.main_optimiser({"sgd": [0.3, 0.3], "adam": [0.1, 0.4]}) == "sgd"
    assert tuning.main_optimiser({"sgd": [0.3, 0.3], "adam": [0.1, 0.6]}) == "adam"
    assert tuning.main_optimiser({"sgd": [0.3], "adam": [0.3]}) == "sgd"


def test_epochs_are_enough_where_doubling_them_helps_no_row():
    assert tuning.settled({4: [0.1, 0.3], 8: [0.1, 0.4], 16: [0.105, 0.405]}) == 8
    assert tuning.settled({4: [0.1, 0.3], 8: [0.1, 0.4], 16: [0.2, 0.405]}) is None
    assert tuning.settled({8: [0.1]}) is None


def test_three_rows_are_trained_ever_longer_by_both_optimisers_and_kept_in_the_record(searching, tmp_path):
    searching(peak(lr=0.1))
    record = tuning.write(STORE, tmp_path / "table.json")
    assert record["epochs that are enough"] == min(tuning.LENGTHS)
    lengths = {(r["method"], r["optimiser"], r["epochs"]) for r in record["lengths"]}
    assert len(record["lengths"]) == len(lengths) == len(tuning.LENGTHS) * 3 * 2


# what is searched ---------------------------------------------------------------------------------------------------


def test_every_row_is_searched():
    assert tuning.SEARCHES.keys() == METHODS.keys()


def test_every_row_is_searched_twice_and_alike(tmp_path):
    orders = tuning.orders(tmp_path)
    methods = [order.spec.method for order in orders if order not in [*tuning.lengths(), *tuning.beside()]]
    assert {(m.clip, m.epochs, m.batch) for m in methods} == {(tuning.CLIP, tuning.EPOCHS, tuning.BATCH)}
    for name, search in tuning.SEARCHES.items():
        own = [o.spec.method for o in tuning.orders(tmp_path, [name]) if o.spec.name == name]
        round_of_one = 0 if search.beta_of else 3 + 2 * len(search.free)  # the start, and a rung either side
        assert [m.optimiser for m in own] == ["sgd"] * round_of_one + ["adam"] * round_of_one


def test_the_same_kind_of_number_lies_on_one_ladder():
    frees = [(kind, free) for search in tuning.SEARCHES.values() for kind, free in search.free.items()]
    assert {len({free.ladder for name, free in frees if name == kind}) for kind, _ in frees} == {1}
    must = tuning.SEARCHES["at"].free["attack_x"]
    assert must.always == (0.05, 0.1, 0.15, 0.2, 0.3) and [must.ladder.rung(value) for value in must.always]


def test_a_candidate_does_not_depend_on_the_numbers_that_the_table_of_methods_has_today(tmp_path, monkeypatch):
    def candidates() -> list[Method]:
        beside = tuning.beside()  # these do
        return [order.spec.method for order in tuning.orders(tmp_path) if order not in beside]

    before = candidates()
    for name, search in tuning.SEARCHES.items():
        tuned = dict.fromkeys(("lr", *search.free), 0.7) | {"optimiser": "adam", "clip": 3.0, "epochs": 9, "batch": 7}
        monkeypatch.setitem(METHODS, name, replace(METHODS[name], **tuned))
    assert candidates() == before


def test_the_search_uses_no_seed_of_a_reported_run_and_no_test_image(tmp_path):
    assert {BOOK[name].part for name in tuning.WHAT.values()} == {"validation"}
    assert {order.spec.seed for order in tuning.orders(tmp_path)} == {tuning.SEED}
    reported = [*reproduce.orders("paper"), *reproduce.orders("quick")]
    assert tuning.SEED not in {order.spec.seed for order in reported}
    assert {BOOK[name].part for order in reported for name in order.measurements} == {"test"}


def test_weights_of_each_image_s_own_are_met_in_training_as_in_the_choice(tmp_path):
    orders = tuning.orders(tmp_path, ["joint_at_own"])
    assert {(o.spec.name, o.spec.method.images_per_W) for o in orders} == {("joint_at_own", 1)}
    assert all("validation_own" in order.measurements for order in orders)
    own, shared = BOOK["validation_own"], BOOK["validation"]
    assert own.images_per_W == 1 and replace(own, images_per_W=None) == shared


# the search on results that nobody trained --------------------------------------------------------------------------

STORE = Path("tuning")
Rule = Callable[[Spec], tuple[float, float] | None]  # what a candidate would be found to have: (clean, AUC)


def flat(level: float) -> Contour:
    return Contour((0.0, 1.0), (0.0, 1.0), ((level, level), (level, level)))


class Shelf:
    """A store that nobody trained for: what has been asked for is there, as the rule has it."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.runs, self.collapsed = rule, {}, set()

    def train(self, spec: Spec) -> None:
        assert spec.folder not in self.runs.keys() | self.collapsed, "trained twice"
        numbers = self.rule(spec)
        if numbers is None:
            self.collapsed.add(spec.folder)
            return
        contours = {name: flat(numbers[1]) for name in tuning.WHAT.values()}
        history = ({"validation": numbers[0]},)
        self.runs[spec.folder] = Run(spec, mlp((torch.eye(2),)), history, contours, {}, Path(spec.folder), ())


@pytest.fixture
def searching(monkeypatch) -> Callable[..., Shelf]:
    """Gives a shelf on which the searches of some rows have been driven to their end."""

    def search(rule: Rule, *names: str) -> Shelf:
        shelf = Shelf(rule)
        monkeypatch.setattr(nsr.runs, "stored", lambda spec, store: shelf.runs.get(spec.folder))
        monkeypatch.setattr(tuning, "_has_collapsed", lambda spec, store: spec.folder in shelf.collapsed)
        while orders := tuning.orders(STORE, names or tuple(tuning.SEARCHES)):
            for spec in {order.spec.folder: order.spec for order in orders}.values():
                shelf.train(spec)
        return shelf

    return search


def peak(**best: float) -> Rule:
    """A landscape whose AUC falls with the distance from these numbers, by the factor between them."""

    def rule(spec: Spec) -> tuple[float, float]:
        apart = (abs(math.log(getattr(spec.method, name) / value)) for name, value in best.items())
        return 0.97, round(1 / (2 + sum(apart)), 4)

    return rule


def the_chosen(records: list[dict], name: str, optimiser: str = "sgd") -> dict:
    own = [r for r in records if r["method"] == name and r["numbers"]["optimiser"] == optimiser]
    (best,) = (r for r in own if r["chosen"])
    return best["numbers"]


def test_the_best_is_found_wherever_it_lies_by_both_optimisers(searching):
    searching(peak(lr=2.0, attack_x=0.02), "at")
    for optimiser in ("sgd", "adam"):
        numbers = {"optimiser": optimiser, "lr": 2.0, "attack_x": 0.02}
        assert the_chosen(tuning.table(STORE), "at", optimiser) == numbers
    tried = [r["numbers"] for r in tuning.table(STORE)]
    assert {r["attack_x"] for r in tried if r["lr"] == 2.0} >= {0.05, 0.1, 0.15, 0.2, 0.3}


def test_the_smaller_beta_is_a_tenth_of_the_best_and_waits_for_it(searching):
    assert tuning.searched("at_beta_low", "sgd", STORE) is None
    searching(peak(beta=0.3, lr=0.5), "at_beta_low")
    records = tuning.table(STORE)
    assert the_chosen(records, "at_beta_high")["beta"] == 0.3
    assert {r["numbers"]["beta"] for r in records if r["method"] == "at_beta_low"} == {0.03}
    assert the_chosen(records, "at_beta_low")["lr"] == 0.5


def test_a_collapsed_candidate_is_in_the_table_and_never_chosen(searching):
    shelf = searching(lambda spec: None if spec.method.lr > 0.015 else peak(lr=0.5)(spec), "standard")
    records = [r for r in tuning.table(STORE) if r["numbers"]["optimiser"] == "sgd"]
    assert the_chosen(records, "standard")["lr"] == 0.01  # the start had collapsed
    collapsed = [r["clean"] for r in records if r["numbers"]["lr"] > 0.015]
    assert shelf.collapsed and len(collapsed) >= 4 and set(collapsed) == {None}


def test_where_all_collapse_the_search_ends_at_its_limit_and_nothing_is_chosen(searching):
    searching(lambda spec: None, "standard")
    record = tuning.record(STORE)
    ends = [end for end in record["searches"] if end["method"] == "standard"]
    assert [end["edges"] for end in ends] == [["lr"], ["lr"]] and all(end["ended"] for end in ends)
    assert not any(r["chosen"] for r in record["candidates"])


def test_below_the_floor_the_more_accurate_wins(searching):
    searching(lambda spec: (0.9 - abs(spec.method.lr - 0.05), spec.method.lr), "standard")
    assert the_chosen(tuning.table(STORE), "standard")["lr"] == 0.05


def test_before_all_have_ended_there_is_no_main_optimiser(searching, tmp_path):
    searching(peak(lr=0.1), "standard")
    record = tuning.write(STORE, tmp_path / "table.json")
    assert record["main optimiser"] is None
    assert [end["method"] for end in record["searches"] if end["ended"]] == ["standard", "standard"]
    with pytest.raises(ValueError, match="table.json: the search has not ended"):
        tuning.chosen(tmp_path / "table.json")
    assert tuning.chosen(tmp_path / "table.json", "adam").keys() == {"standard"}


def test_the_choice_of_all_rows_is_read_back_as_a_table_of_methods(searching, tmp_path):
    """Adam is better everywhere by as much as a rate can be."""
    searching(lambda spec: peak(lr=0.05)(spec) if spec.method.optimiser == "adam" else (0.97, 0.1))
    record = tuning.write(STORE, tmp_path / "table.json")
    assert record["main optimiser"] == "adam" and all(end["ended"] for end in record["searches"])
    found = tuning.chosen(tmp_path / "table.json")
    assert found.keys() == METHODS.keys()
    assert {(m.optimiser, m.clip, m.batch) for m in found.values()} == {("adam", tuning.CLIP, tuning.BATCH)}
    assert {m.lr for name, m in found.items() if name != "standard"} == {0.05}  # that row is chosen by clean accuracy
    assert found["joint_at_own"].images_per_W == 1 and found["jiwp"].xi_x == METHODS["jiwp"].xi_x
    assert {m.optimiser for m in tuning.chosen(tmp_path / "table.json", "sgd").values()} == {"sgd"}
    assert tuning.recorded(path=tmp_path / "table.json") == record["candidates"]
    assert json.loads((tmp_path / "table.json").read_text())["procedure"] == tuning.procedure()


# the search with real runs ------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch) -> None:
    """Candidates of milliseconds."""
    kinds = {"validation": "paper", "validation_own": "per_sample", "validation_certified": "certified"}
    for name, kind in kinds.items():
        monkeypatch.setitem(nsr.runs.MEASUREMENTS, name, tiny.KINDS[kind])
    monkeypatch.setattr(nsr.runs, "spec", partial(nsr.runs.spec, **tiny.NET))
    monkeypatch.setattr(tuning, "EPOCHS", 1)
    monkeypatch.setattr(tuning, "OPTIMISERS", {"sgd": 0.2})


@pytest.fixture
def thread():
    """A worker that is a thread of this process, and costs nothing to start."""
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as client:
        yield client


def test_a_search_is_driven_to_its_end_and_what_is_stored_is_not_trained_again(small, thread, tmp_path):
    jobs, grown = [], []
    search = partial(tuning.run, tmp_path / "store", tmp_path / "table.json", thread, names=["standard"])
    report = search(watch=lambda job, done: jobs.append(done), grow=grown.append)
    record = json.loads((tmp_path / "table.json").read_text())
    assert report.failed == {} and record == tuning.record(tmp_path / "store")
    tried = [r for r in record["candidates"] if r["method"] == "standard"]
    assert len(tried) >= 3 and sum(r["chosen"] for r in tried) == 1 and sum(jobs) == sum(grown) == 5 * len(tried)
    again = search(grow=grown.append)
    assert again.finished == [] and sum(jobs) == sum(grown)


def test_a_training_that_collapses_is_a_result_that_is_kept(small, thread, tmp_path, monkeypatch):
    train, calls = compute.train_epoch, []

    def collapsing(spec, state):
        calls.append(spec.folder)
        if spec.method.lr > 0.07:
            raise CollapseError("training diverged")
        return train(spec, state)

    monkeypatch.setattr(compute, "train_epoch", collapsing)
    report = tuning.run(tmp_path, tmp_path / "table.json", thread, names=["standard"])
    records = tuning.table(tmp_path)
    assert report.failed == {} and the_chosen(records, "standard")["lr"] < 0.07
    assert {r["numbers"]["lr"] for r in records if r["clean"] is None} == {0.1, 0.2}
    seen = len(calls)
    tuning.run(tmp_path, tmp_path / "table.json", thread, names=["standard"])
    assert len(calls) == seen
    note = next(tmp_path.glob("*/collapsed.json"))
    note.write_text(json.dumps({**json.loads(note.read_text()), "code": {}}))  # as if by other code
    assert len(tuning.orders(tmp_path, ["standard"])) == 1


def test_a_candidate_that_fails_for_another_reason_stops_its_search_alone(small, thread, tmp_path, monkeypatch):
    result = Job.result

    def failing(job):
        if job.spec.name == "standard" and job.spec.method.lr == 0.5:
            raise RuntimeError("the disk is on fire")
        return result(job)

    monkeypatch.setattr(Job, "result", failing)
    report = tuning.run(tmp_path, tmp_path / "table.json", thread, names=["standard", "weight_perturb"])
    assert list(report.failed.values()) == ["RuntimeError: the disk is on fire"]
    ends = {end["method"]: end["ended"] for end in tuning.record(tmp_path)["searches"]}
    assert not ends["standard"] and ends["weight_perturb"]
    assert not any(r["chosen"] for r in tuning.table(tmp_path) if r["method"] == "standard")


def test_a_run_without_its_contours_or_by_other_code_is_no_result(small, tmp_path, monkeypatch):
    order, *_ = tuning.orders(tmp_path, ["joint_at_own"])
    nsr.runs.run(order.spec, order.measurements[:-1], store=tmp_path)
    assert order in tuning.orders(tmp_path, ["joint_at_own"])
    run = nsr.runs.run(order.spec, order.measurements, store=tmp_path)
    assert order not in tuning.orders(tmp_path, ["joint_at_own"])
    monkeypatch.setattr(nsr.runs, "stored", lambda spec, store: replace(run, stale=("training.loss",)))
    assert order in tuning.orders(tmp_path, ["joint_at_own"])


def test_a_search_goes_on_from_its_table_where_the_runs_are_gone(small, thread, tmp_path):
    out = tmp_path / "table.json"
    tuning.run(tmp_path / "here", out, thread, names=["standard"])
    record = json.loads(out.read_text())
    assert tuning.take(out, tmp_path / "there") == len(record["candidates"]) > 0
    assert tuning.orders(tmp_path / "there", ["standard"]) == []
    assert tuning.table(tmp_path / "there") == record["candidates"]


@pytest.mark.parametrize("other", [{"code": {}}, {"procedure": {}}])
def test_nothing_is_taken_from_a_table_by_other_code_or_another_procedure(small, thread, tmp_path, other):
    out = tmp_path / "table.json"
    tuning.run(tmp_path / "here", out, thread, names=["standard"])
    out.write_text(json.dumps({**json.loads(out.read_text()), **other}))
    assert tuning.take(out, tmp_path / "there") == 0 == tuning.take(tmp_path / "no file", tmp_path / "there")
    assert len(tuning.orders(tmp_path / "there", ["standard"])) == 3


def test_a_taken_candidate_by_code_that_has_changed_is_tried_again(small, thread, tmp_path):
    out = tmp_path / "table.json"
    tuning.run(tmp_path / "here", out, thread, names=["standard"])
    tuning.take(out, tmp_path / "there")
    note = next((tmp_path / "there").glob("*/taken.json"))
    note.write_text(json.dumps({**json.loads(note.read_text()), "code": {}}))
    assert len(tuning.orders(tmp_path / "there", ["standard"])) in (1, 3)
