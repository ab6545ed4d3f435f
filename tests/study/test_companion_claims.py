"""The shipped companion runs are whole, and the ledger of both companion papers is what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import nsr.runs
from nsr import cli, data, paths
from nsr.runs import companions
from nsr.runs.protocols import MEASUREMENTS
from nsr.study import companion_claims
from nsr.study.companions import ladder, rows, validation


def test_every_run_that_is_ordered_is_shipped_whole_and_by_the_present_code() -> None:
    lacking, stale = [], []
    for order in companions.orders():
        run = nsr.runs.stored(order.spec, paths.COMPANIONS)
        has = {*run.contours, *run.readings} if run else set()
        lacking += [f"{order.spec.folder} {what}" for what in order.measurements if what not in has]
        stale += [order.spec.folder] if run and run.stale else []
    assert not lacking and not stale


def test_the_shipped_ledger_is_what_the_shipped_runs_say() -> None:
    again = "write it again with: nsr companion-claims --out data/companion_claims.json"
    assert companion_claims.SHIPPED.read_text() == companion_claims.to_json(), again


@pytest.mark.parametrize("place", ["MNIST, dense", "MNIST, convolutional"])
def test_a_cell_and_the_reading_of_a_shipped_network_come_out_again(place: str) -> None:
    run, parts = rows(place)["standard"][0], data.load("mnist")
    torch.set_num_threads(1)
    what = MEASUREMENTS["coarse"]
    few = parts.test.first(what.protocol.images)
    found = what.cell(run.network, few, what.protocol.grid_x[1], 0.0)
    assert found == pytest.approx(run.contours["coarse"].accuracy[1][0], abs=0.004)
    read, stored = nsr.inside.outputs(run.network, parts.test.x, parts.test.y, 1.0), run.readings["inside"].test
    assert read.accuracy == pytest.approx(stored.accuracy, abs=2e-4)  # of 10,000 images two may turn by rounding
    assert read.margin == pytest.approx(stored.margin, rel=1e-3) and read.loss == pytest.approx(stored.loss, rel=1e-2)


def test_the_strengths_of_equal_accuracy_are_nearly_equal_over_the_reported_seeds() -> None:
    accurate = {name: validation(ladder(name)[strength]) for name, strength in companions.EQUAL.items()}
    assert max(abs(value - accurate["zeta alone"]) for value in accurate.values()) < 0.005, accurate


def test_the_command_prints_and_writes_the_ledger_of_a_store(tmp_path: Path) -> None:
    empty, out = tmp_path / "empty", tmp_path / "claims.json"
    empty.mkdir()
    done = CliRunner().invoke(cli.app, ["companion-claims", "--store", str(empty), "--out", str(out)])
    assert done.exit_code == 0 and done.stdout.count("open") >= 9
    assert {claim["verdict"] for claim in json.loads(out.read_text())["claims"]} == {"open"}
