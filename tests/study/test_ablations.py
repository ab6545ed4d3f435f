"""What may be concluded from a few seeds."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import nsr.runs
from nsr.contour import Contour
from nsr.data import Split
from nsr.network import mlp
from nsr.runs import Run
from nsr.study import ablations, statistics
from nsr.study.statistics import estimate
from nsr.training import METHODS


def run(name: str = "at", seed: int = 0, auc: float = 0.5, **changes: object) -> Run:
    contour = Contour((0.0, 0.1), (0.0, 0.01), ((auc, auc), (auc, auc)))
    network = mlp((torch.eye(2), torch.full((2, 2), -3.0)))
    return Run(nsr.runs.spec(name, seed, **changes), network, (), {"paper": contour}, {}, Path(), ())


def test_the_interval_is_the_one_of_the_two_sample_t_test():
    first, second = (0.3, 0.34, 0.31), (0.2, 0.28, 0.22, 0.25)
    low, high = stats.ttest_ind(first, second).confidence_interval(0.95)
    found = statistics.difference(first, second)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.seen == (stats.ttest_ind(first, second).pvalue < 0.05)


def test_one_more_seed_falls_into_the_interval_in_19_of_20_cases():
    draws = np.random.default_rng(0).normal(size=(4000, 6))
    inside = [low <= own <= high for *known, own in draws for low, high in [statistics.next_seed(known)]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_a_single_value_leaves_the_interval_of_next_seed_exactly_if_it_counts():
    known = (0.3, 0.31, 0.33)
    low, high = statistics.next_seed(known)
    for value, counts in ((low - 1e-9, True), (low + 1e-9, False), (high - 1e-9, False), (high + 1e-9, True)):
        assert statistics.difference([value], known).seen is counts


def test_one_seed_against_one_decides_nothing():
    found = statistics.difference([0.9], [0.1])
    assert math.isnan(found.low) and not found.seen and "not decided" in str(found)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        statistics.difference([], [0.1])


def test_a_ladder_holds_the_row_and_what_differs_in_the_named_number_alone():
    other = 0.9
    runs = [run(seed=1), run(seed=0), run(attack_x=other), run(attack_x=other, lr=0.7), run("standard"), run(lr=0.7)]
    found = ablations.ladder(runs, ("at",), "attack_x")
    assert list(found) == [f"{METHODS['at'].attack_x:g}", "0.9"]
    assert [[r.spec.seed for r in group] for group in found.values()] == [[0, 1], [0]]
    assert ablations.rung_of(found, "at") == next(iter(found))
    with pytest.raises(ValueError, match="none of the rungs"):
        ablations.rung_of(found, "standard")


def test_what_a_number_switches_off_is_no_difference():
    adam = nsr.runs.spec("standard", 0, optimiser="adam", momentum=0.1, bound="repaired", xi_w=0.3, attack_steps=9)
    sgd = nsr.runs.spec("standard", 0, optimiser="sgd")
    assert set(ablations.changes(adam, sgd)) == {"optimiser"}
    assert ablations.changes(sgd, sgd) == {}


def test_the_widths_of_a_ladder_are_named_by_the_hidden_layers():
    found = ablations.ladder([run(), run(sizes=(784, 5, 7, 10))], ("at",), "sizes")
    assert "5-7" in found
    assert "hidden widths 5-7 instead of" in ablations.confounds(found, ablations.rung_of(found, "at"))["5-7"]
    assert ablations.confounds(found, ablations.rung_of(found, "at"), "sizes") == {}


def test_a_ladder_as_a_table_says_seeds_and_verdict():
    runs = [*(run(seed=k, auc=0.5 + k / 1000) for k in range(3)), run(auc=0.9, attack_x=0.9)]
    found = ablations.ladder(runs, ("at",), "attack_x")
    table = ablations.rungs(found, ablations.rung_of(found, "at"), "attack_x")
    assert list(table["seeds"]) == [3, 1] and table["difference (seed spread)"].iloc[0] == "the reference"
    assert "outside" in table["difference (seed spread)"].iloc[1] and "one seed" in table["AUC"].iloc[1]
    assert "differs in other numbers" not in table
    table = ablations.rungs(found, ablations.rung_of(found, "at"), "lr")
    assert table["differs in other numbers"].iloc[1].startswith("input radius in training 0.9 instead of")
    told = ablations.verdicts(found, "at", "paper")
    assert ablations.outside({"radius": told}) == ["radius = 0.9"]
    assert ablations.band(found, "at", "paper")[1] == statistics.next_seed([0.5, 0.501, 0.502])


def test_the_size_of_weights_is_the_mean_over_the_layers():
    assert ablations.weight_size(run()) == pytest.approx((0.5 + 3.0) / 2)


def test_a_target_is_reached_by_the_mean_or_missed_by_the_rest():
    found = estimate([0.4, 0.5])
    assert ablations.target(found, 0.45) == {"found": str(found), "seeds": 2, "target": 0.45, "verdict": "reached"}
    assert ablations.target(found, 0.5)["verdict"] == "missed by 0.050"
    assert ablations.target(None, 0.5)["verdict"] == "not measured"


def test_the_best_row_is_the_best_of_those_accurate_enough():
    runs = {"at": (run(auc=0.4),), "trades": (run("trades", auc=0.6),), "awp": (run("awp", auc=0.9),)}
    accuracy = {name: estimate([share]) for name, share in (("at", 0.97), ("trades", 0.95), ("awp", 0.94))}
    assert ablations.best(runs, "paper", accuracy, 0.95)[0] == "trades"
    assert ablations.best(runs, "paper", accuracy, 0.99) is None
    assert ablations.best(runs, "paper", accuracy)[0] == "awp"


def test_a_ratio_is_taken_seed_by_seed():
    assert statistics.ratio({0: 0.6, 1: 0.8, 7: 1.0}, {0: 0.3, 1: 0.2}).values == (2.0, 4.0)
    assert statistics.ratio({0: 0.6}, {1: 0.3}) is None


def test_clean_accuracy_is_counted_on_all_samples():
    identity = replace(run(), _network=mlp((torch.eye(2), torch.eye(2))))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.0], [0.0, 0.5]])
    assert ablations.clean((identity,), Split(x, torch.tensor([0, 1, 0, 0]))).mean == 0.75


def test_a_recipe_names_what_is_switched_on():
    told = ablations.recipe(METHODS["standard"])
    assert told["learning rate"] == f"{METHODS['standard'].lr:g}" and told["optimiser"] == "Adam"
    assert not {"weight beta of the weight term", "title", "norm"} & told.keys()
    assert "weight radius in training" in ablations.recipe(METHODS["joint_at"])
