"""The numbers in the table of methods are those that the recorded search chose, by the rule that it states."""

import json

import pytest

import nsr.runs
from nsr.runs import tuning
from nsr.training import METHODS

RECORD = json.loads(tuning.TABLE.read_text())


def rows() -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {name: [] for name in METHODS}
    for record in RECORD["candidates"]:
        found[record["method"]].append(record)
    return found


def test_the_table_of_methods_holds_the_numbers_that_were_chosen() -> None:
    assert tuning.chosen() == METHODS


def test_every_candidate_of_every_row_was_trained_and_recorded() -> None:
    assert {name: [r["numbers"] for r in group] for name, group in rows().items()} == {
        name: [dict(change) for change in tuning.CANDIDATES[name]] for name in METHODS
    }
    assert all(record["clean"] is not None for record in RECORD["candidates"])


def test_the_recorded_procedure_is_the_one_in_the_code() -> None:
    assert RECORD["procedure"] == tuning.procedure()


@pytest.mark.parametrize("name", METHODS)
def test_the_chosen_candidate_is_the_best_of_those_that_are_accurate_enough(name: str) -> None:
    (best,) = (record for record in rows()[name] if record["chosen"])
    criterion = "certified" if name in tuning.BY_CERTIFICATES else "auc"
    accurate = [record for record in rows()[name] if record["clean"] >= tuning.FLOOR]
    if accurate:
        assert best["clean"] >= tuning.FLOOR and best[criterion] == max(record[criterion] for record in accurate)
    else:
        assert best["clean"] == max(record["clean"] for record in rows()[name])


def test_the_search_uses_no_seed_of_a_reported_run_and_no_test_image() -> None:
    assert tuning.SEED not in range(5)
    assert all(nsr.runs.MEASUREMENTS[name].part == "validation" for name in tuning.MEASURED)
