"""What the chapter on layer norms shows: gains and factors beside Standard, and the answer to its own question."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from companion_runs import rung

from nsr import mlp
from nsr.runs.companions import EQUAL, STRENGTHS
from nsr.study import layer_norms
from nsr.study.claims.verdict import Case, Part, Rules, Setting
from nsr.study.layer_norms import ATTACKED, CLEAN
from nsr.study.norm_claims import REGULARISERS, RULES, Measured, ledger
from nsr.study.statistics import Estimate, estimate

PLACE = "MNIST, dense"
OTHERS = [name for name in EQUAL if name != layer_norms.BASE]


def known(**rows: object) -> Measured:
    ladder = {0.0: rung(), 0.001: rung(accuracy=0.92, norm=0.5), 0.007: rung(attacked=0.3, validation=0.99)}
    return Measured({("weight decay", PLACE): ladder}, {PLACE: rows}, None)


def test_gains_are_by_the_number_of_the_rung_on_the_whole_ladder() -> None:
    assert list(STRENGTHS["weight decay"]).index(0.001) == 1
    found = layer_norms.gained(known())
    assert list(found[CLEAN][PLACE]["weight decay"]) == [2, 4]
    assert found[CLEAN][PLACE]["weight decay"][2].mean == pytest.approx(0.02)
    assert found[ATTACKED][PLACE]["weight decay"][4].mean == pytest.approx(-0.2)


def test_the_table_of_the_best_strengths_has_a_line_for_each_ladder_that_there_is() -> None:
    (line,) = layer_norms.at_the_best(known())
    assert line["strength"] == 0.007 and line[ATTACKED].startswith("-20.0 points")
    assert layer_norms.at_the_best(Measured({("weight decay", PLACE): {}}, {PLACE: {}}, None)) == []


def test_norms_are_factors_of_standards_and_their_mean_is_geometric() -> None:
    found = layer_norms.norm_of(rung("at", norm=3.0), rung(), "linf")
    assert found.layers == pytest.approx((3.0, 3.0)) and found.mean.mean == pytest.approx(3.0)
    mean = layer_norms.factor(estimate([0.0, 1.3862943611]))  # factors 1 and 4
    assert mean.mean == pytest.approx(2.0) and mean.low < 1 < 4 < mean.high
    assert layer_norms.norm_of(rung("at"), {}, "linf") is None
    assert layer_norms.times(None) == "not measured"
    assert layer_norms.times(layer_norms.norm_of(rung("at", 1), rung(), "l1")) == "1.00 (one seed)"


def test_a_row_is_one_place_of_the_landscape_and_a_ladder_has_one_for_each_rung() -> None:
    found = layer_norms.landscape(known(standard=rung(), at=rung("at", norm=2.0, attacked=0.8)), PLACE)
    assert {name: len(places) for name, places in found.items()} == {"AT": 1, "weight decay": 2}
    (at,) = found["AT"]
    assert at.norm.mean == pytest.approx(2.0) and at.gain.mean == pytest.approx(0.3)
    assert [place.norm.mean for place in found["weight decay"]] == pytest.approx([0.5, 1.0])


def test_the_contenders_stand_at_the_strengths_of_equal_clean_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    ladders = {name: {s: rung(attacked=s / 10) for s in STRENGTHS[name]} for name in EQUAL}
    rows = {"standard": rung(), "jiwp": rung("jiwp")}
    monkeypatch.setattr(layer_norms.companions, "ladder", lambda name, place, *stores: ladders[name])
    monkeypatch.setattr(layer_norms.companions, "rows", lambda place, *stores: rows)
    found = layer_norms.contenders()
    assert list(found) == ["Standard", *EQUAL]  # AT is not there
    scores = layer_norms.scores(found, "coarse")["inputs alone"]
    assert scores["weight decay"].mean == pytest.approx(EQUAL["weight decay"] / 10 + 0.001)
    assert not any(layer_norms.scores(found, "exact_few").values())


def test_differences_from_zeta_alone_are_taken_seed_by_seed_and_name_everything_else() -> None:
    named = {"Standard": rung(), "zeta alone": rung(attacked=0.7)}
    found = layer_norms.against(named, "coarse")
    assert {measure: list(of) for measure, of in found.items()} == dict.fromkeys(layer_norms.MEASURES, ["Standard"])
    assert found["joint AUC"]["Standard"].mean == pytest.approx(-0.2)
    assert not any(layer_norms.against({"Standard": rung()}, "coarse").values())


def difference(mean: float, seeds: int = 3, half: float = 0.1) -> Estimate:
    return Estimate((mean,) * seeds, mean, mean - half, mean + half)


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([-1.0] * 5, "the part that depends on the data"),
        ([-1.0] * 4 + [1.0], "not the part that depends on the data: tau alone keeps more"),
        ([-1.0] * 4 + [0.0], "not decided: tau alone cannot be told from zeta alone"),
        ([-1.0] * 4, "not decided: some of the regularisers have too few seeds"),
        ([], "not decided: some of the regularisers have too few seeds"),
    ],
)
def test_the_answer_follows_the_differences(differences: list[float], words: str) -> None:
    found = {name: difference(mean) for name, mean in zip(OTHERS, differences, strict=False)}
    assert layer_norms.verdict(found | {"AT": difference(9.0)}).startswith(words)


def test_one_seed_decides_nothing() -> None:
    found = {name: difference(-1.0, seeds=1, half=0.0) for name in OTHERS}
    assert layer_norms.verdict(found).startswith("not decided")
    assert layer_norms.answer(found, "joint AUC") == "joint AUC: not decided, there are too few seeds"


def test_the_answer_names_everyone_once() -> None:
    found = dict(zip(OTHERS, map(difference, (1.0, -1.0, 0.0, -1.0)), strict=False))
    said = layer_norms.answer(found, "joint AUC")
    assert said == (
        "joint AUC: “norm decay, l_inf” above zeta alone; “norm decay, l_1” and clipped singular values below zeta "
        "alone; weight decay not told apart from zeta alone; 1 of 5 not decided"
    )


def test_verdicts_say_how_many_settings_they_rest_on() -> None:
    rows = ledger(Measured({}, {PLACE: {"standard": rung(), "at": rung("at", norm=2.0)}}, 0))
    assert layer_norms.settled(rows["D3"]) == "reproduced; 3 of 3 settings have enough seeds"
    assert layer_norms.settled(rows["D4"]) == "reproduced; 1 of 2 settings have enough seeds"


def test_cases_that_hold_are_counted_among_those_with_enough_seeds() -> None:
    parts = (difference(1.0), difference(0.0), difference(1.0, seeds=2), None)
    cases = [Case(Setting(question=str(k)), (Part("a", found),)) for k, found in enumerate(parts)]
    assert layer_norms.counted(cases[:2], Rules()) == "1 of 2 settings"
    assert layer_norms.counted(cases, RULES) == "1 of 2 settings; 2 more have too few seeds"


@pytest.mark.parametrize(
    ("at", "seeds", "words"),
    [
        (0.7, 3, "no norm regulariser"),
        (0.3, 3, "AT is not shown"),
        (0.7, 2, "too few seeds"),
        (0.7, 0, "too few seeds"),
    ],
)
def test_the_opening_follows_the_second_half_of_d4(at: float, seeds: int, words: str) -> None:
    ladders = {(name, PLACE): {EQUAL[name]: rung()} for name in REGULARISERS}
    row = ledger(Measured(ladders, {PLACE: {"at": rung("at", seeds, attacked=at)}}, 0))["D4"]
    assert words in layer_norms.opening(row, RULES)


def test_norms_of_differently_trained_nets_are_factors_over_the_seeds_that_both_have():
    standard, at = ({seed: c * (1 + seed) for seed in range(3)} for c in (1.0, 2.0))

    def runs(sizes):
        return tuple(
            SimpleNamespace(spec=SimpleNamespace(seed=s), network=mlp((c * torch.eye(2), torch.eye(2))))
            for s, c in sizes.items()
        )

    found = layer_norms.otherwise_trained({"at": runs(at), "standard": runs(standard), "at_other": runs(at)})
    table, other = found.values()
    assert other == {}
    for factor in table.values():
        assert factor.mean == pytest.approx(2**0.5) and len(factor.values) == 3
