"""Claims about computing a run: it is what its specification says, step by step, and a dead network is none."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest
import tiny
import torch

import nsr.runs
from nsr import data, mlp, mlp_init, paths, training
from nsr.attack import PAPER, STRONG
from nsr.contour import Protocol
from nsr.files import StoreError
from nsr.runs import Measurement, circumstances, compute


def test_a_stored_run_is_what_was_computed(finished):
    spec = tiny.spec()
    found = nsr.runs.load(finished / spec.folder)
    assert found.spec == spec and found.stale == () and found.seconds >= 0
    assert [record["epoch"] for record in found.history] == [1, 2, 3]
    assert {"loss", "validation"} <= found.history[-1].keys() and "seconds" not in found.history[-1]
    generator, digits = torch.Generator().manual_seed(spec.seed), data.load("digits")
    samples = digits.train.first(200)
    network = mlp(mlp_init(spec.sizes, generator))
    trained = training.fit(network, samples.x, samples.y, spec.method, generator=generator)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found.network.W, trained.W, strict=True))
    part = digits.test.first(tiny.GRID.images)
    clean = (found.network(part.x).argmax(1) == part.y).double().mean()
    assert found.contours["paper"].clean == pytest.approx(float(clean))
    assert found.contours["relative"].geometry == "relative"
    assert found.contours["relative"].grid_w == tiny.GRID.grid_r


def test_the_provenance_says_what_decided_the_numbers(finished):
    provenance = nsr.runs.load(finished / tiny.spec().folder).provenance
    for part in (provenance["training"], *provenance["contours"].values()):
        assert part["threads"] == 1 and part["torch"] == torch.__version__ and part["package"]
        assert part["hardware"] and part["data"].keys() == {"digits"}
    seconds = provenance["training"]["seconds"]
    assert math.isfinite(seconds) and seconds == round(seconds, 3)
    assert provenance["training"]["code"] == nsr.runs.code_digests(nsr.runs.TRAINING)
    assert provenance["contours"]["paper"]["code"] == nsr.runs.code_digests(nsr.runs.ATTACKING)
    assert provenance["contours"]["certified"]["code"] == nsr.runs.code_digests(nsr.runs.CERTIFYING)


def test_a_stored_run_is_returned_and_not_computed_again(store):
    watched = []
    found = nsr.runs.run(tiny.spec(), ("paper",), store=store, watch=lambda *step: watched.append(step))
    assert found.spec == tiny.spec() and watched == []


def test_the_shipped_run_is_returned_where_the_user_has_none(finished, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED", finished)
    assert nsr.runs.run(tiny.spec(), ("paper",)).folder.parent == finished and not paths.store().exists()


def test_a_contour_is_added_to_a_run_without_training_again(tmp_path):
    nsr.runs.run(tiny.spec(), store=tmp_path)
    before = tiny.contents(tmp_path / tiny.spec().folder)
    watched = []
    nsr.runs.run(tiny.spec(), ("paper",), store=tmp_path, watch=lambda job, value: watched.append(job.what))
    after = tiny.contents(tmp_path / tiny.spec().folder)
    assert watched == ["paper", "paper"] and after.keys() - before.keys() == {"contours/paper.json"}
    assert all(after[name] == content for name, content in before.items())


def test_an_unknown_contour_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(ValueError, match="unknown kind of contour 'nope': choose one of paper, "):
        nsr.runs.run(tiny.spec(), ("paper", "nope"), store=tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_a_store_that_nothing_can_be_written_to_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("mine")
    watched = []
    with pytest.raises(OSError, match=f"nothing can be written there .*{tmp_path / 'file' / 'store'}"):
        nsr.runs.run(tiny.spec(), store=tmp_path / "file" / "store", watch=lambda *step: watched.append(step))
    assert watched == []


def test_a_training_that_diverges_leaves_no_run(tmp_path):
    with pytest.raises(training.CollapseError):
        nsr.runs.run(tiny.spec(lr=1e30), store=tmp_path)
    assert list(nsr.runs.runs(tmp_path)) == []


def test_a_training_whose_only_step_diverges_leaves_nothing(tmp_path):
    """The weights stay finite, so the training's own loop ends well; the logits do not."""
    spec = tiny.spec(lr=1e30, epochs=1, batch=200)
    samples, generator = data.load("digits").train.first(200), torch.Generator().manual_seed(0)
    reached = training.fit(mlp(mlp_init(spec.sizes, generator)), samples.x, samples.y, spec.method, generator=generator)
    assert all(torch.isfinite(W_m).all() for W_m in reached.W)
    with pytest.raises(training.CollapseError, match=r"diverged to NaN or infinite logits: try a rate below lr=1e\+30"):
        nsr.runs.run(spec, store=tmp_path)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "scale, message",
    [(float("nan"), "training diverged"), (1e30, "training diverged"), (0.0, "gives every input the same logits")],
)
def test_whatever_weights_a_last_step_leaves_a_dead_network_is_no_run(scale, message, tmp_path, monkeypatch):
    def states(network, x, y, method, *, generator, state):
        W = tuple(scale * W_m for W_m in network.W)
        yield training.State(1, W, {}, generator.get_state(), ({"epoch": 1, "loss": 0.0},))

    monkeypatch.setattr(training, "states", states)
    with pytest.raises(training.CollapseError, match=message):
        nsr.runs.run(tiny.spec(epochs=1), store=tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_job_leaves_the_number_of_threads_as_it_was(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        nsr.runs.run(tiny.spec(epochs=1), store=tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_job_knows_no_store(tmp_path):
    """It is computed from values alone, so that a worker needs no disk and only the client writes."""
    seen = []
    while job := nsr.runs.next_job(tmp_path, tiny.spec(), ("paper",)):
        seen.append(job.what)
        assert str(tmp_path).encode() not in pickle.dumps(job)
        nsr.runs.keep(tmp_path, job, *pickle.loads(pickle.dumps(job)).result())
    assert seen == 3 * ["training"] + 2 * ["paper"]


def test_a_run_is_computed_where_there_is_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    circumstances._commit.cache_clear()
    found = nsr.runs.run(tiny.spec(epochs=1), store=tmp_path)
    circumstances._commit.cache_clear()
    assert found.provenance["training"]["commit"] is None


# cells that are known without being measured ------------------------------------------------------------------------

WIDE = Protocol((0.0, 0.1, 0.2), (0.0, 0.01, 0.02), (0.0, 0.01, 0.02), images=10)


@pytest.mark.parametrize(
    "attack, inherits", [(PAPER, False), (STRONG, True), (None, True)], ids=["paper", "strong", "certified"]
)
def test_cells_behind_a_dead_one_are_skipped_unless_the_attack_is_the_paper_s(attack, inherits, monkeypatch):
    measured = []

    def dead_from_the_middle(what, network, samples, eps_x, radius):
        measured.append((eps_x, radius))
        return 0.0 if eps_x >= 0.1 and radius >= 0.01 else 0.5

    monkeypatch.setattr(Measurement, "cell", dead_from_the_middle)
    what, W = Measurement(WIDE, attack, method=None if attack else "linear"), (torch.zeros(10, 64),)
    rows: list[list[float]] = []
    for _ in WIDE.grid_x:
        rows.append(compute.measure_piece(tiny.spec(), W, what, rows))
    assert rows == [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]
    skipped = {(0.1, 0.02), (0.2, 0.01), (0.2, 0.02)}
    every = {(eps_x, eps_w) for eps_x in WIDE.grid_x for eps_w in WIDE.grid_w}
    assert set(measured) == (every - skipped if inherits else every) and len(measured) == len(set(measured))


# taken up where it stopped ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standard", "joint_at", "jiwp"])
@pytest.mark.parametrize("after", [1, 2])
def test_a_training_resumed_after_any_epoch_ends_in_the_same_weights(name, after, tmp_path):
    spec = tiny.spec(name)
    whole = nsr.runs.run(spec, store=tmp_path / "whole")
    for _ in range(after):
        tiny.step(tmp_path / "cut", spec)
    assert list(nsr.runs.runs(tmp_path / "cut")) == []
    compute._data.cache_clear()  # nothing but the folder is left of the first process
    resumed = nsr.runs.run(spec, store=tmp_path / "cut")
    assert tiny.contents(resumed.folder) == tiny.contents(whole.folder)


def test_a_finished_contour_of_another_protocol_is_not_taken_for_this_one(store, monkeypatch):
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "paper", nsr.runs.MEASUREMENTS["relative"])
    with pytest.raises(StoreError, match=r"paper\.json: was measured by another protocol"):
        nsr.runs.next_job(store, tiny.spec(), ("paper",))


@pytest.mark.parametrize("row", ["standard", "at", "joint_at"])
def test_a_cnn_is_trained_stored_and_measured_as_a_dense_network_is(row, tmp_path, monkeypatch):
    for kind in ("paper", "certified"):
        monkeypatch.setitem(nsr.runs.MEASUREMENTS, kind, tiny.KINDS[kind])
    own = replace(tiny.KINDS["paper"], images_per_W=1)
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "per_sample", own)
    spec = nsr.runs.spec(row, dataset="digits", net="cnn", sizes=(1, 4, 10), images=200, epochs=2)
    found = nsr.runs.run(spec, ("paper", "certified", "per_sample"), store=tmp_path)
    again = nsr.runs.load(found.folder)
    assert [tuple(W_m.shape) for W_m in again.network.W] == [(4, 1, 4, 4), (10, 64)]
    assert (again.contours["certified"].array <= again.contours["paper"].array).all()
    assert (again.contours["per_sample"].array <= again.contours["paper"].array + 0.05).all()
