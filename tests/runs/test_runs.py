"""Claims about runs: what decides one, that it is stored whole, verified, resumed to the bit, never stale unseen."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, save

import nsr.runs
from nsr import contour, data, files, mlp, mlp_init, paths, training
from nsr.attack import PAPER, STRONG, Ascent, Attack
from nsr.contour import Protocol
from nsr.contour import stored as cells
from nsr.files import StoreError, write_whole
from nsr.runs import (
    Measurement,
    Spec,
    checkpoint,
    circumstances,
    code_digest,
    compute,
    jobs,
    reproduce,
    sealed,
    specification,
    tensors,
    tuning,
)
from nsr.runs import store as stores
from nsr.training import Method

TINY: dict = {"dataset": "digits", "sizes": (64, 16, 10), "images": 200, "epochs": 3, "batch": 50}
GRID = Protocol((0.0, 0.2), (0.0, 0.05), (0.0, 0.5), images=40)
BRIEF = Attack((Ascent(steps=3, step_x=0.1, step_w=0.02),))
KINDS = {
    "paper": Measurement(GRID, BRIEF),
    "relative": Measurement(GRID, BRIEF, "relative"),
    "per_sample": Measurement(GRID, BRIEF, images_per_W=1),
    "certified": Measurement(GRID, part="validation"),
}


BOOK = dict(nsr.runs.MEASUREMENTS)


@pytest.fixture(autouse=True)
def kinds():
    """Measurements of seconds; asked for before `monkeypatch`, so that what a test changes among them is undone first."""
    with mock.patch.dict(nsr.runs.MEASUREMENTS, KINDS, clear=True):
        yield


@pytest.fixture(autouse=True)
def tiny(kinds, monkeypatch, tmp_path):
    """A user's own store that is nobody's."""
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")


def tiny_spec(name: str = "standard", seed: int = 0, **numbers) -> Spec:
    return nsr.runs.spec(name, seed, **{**TINY, **numbers})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A store with one whole run; tests work on copies of it."""
    store = tmp_path_factory.mktemp("finished")
    with mock.patch.dict(nsr.runs.MEASUREMENTS, KINDS, clear=True):
        nsr.runs.run(tiny_spec(), tuple(KINDS), store=store)
    return store


@pytest.fixture
def store(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "store"))


def contents(folder: Path) -> dict[str, bytes]:
    """What has to be the same however a run came about: all its files but the provenance, which holds the time.

    A process killed while it writes leaves a hidden file behind, for test_files to ask about.
    """
    files = (path for path in folder.rglob("[!.]*") if path.is_file() and path.name != "provenance.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# what decides a run -------------------------------------------------------------------------------------------------


def test_the_key_does_not_depend_on_the_order_of_keys_on_int_or_float_or_on_the_title():
    spec = tiny_spec(lr=1)
    words = spec.model_dump(mode="json")
    turned = {name: words[name] for name in reversed(words)} | {"method": dict(reversed(words["method"].items()))}
    same = [
        Spec.model_validate(turned),
        Spec.model_validate_json(json.dumps(turned)),
        tiny_spec(lr=1.0),
        tiny_spec(lr=1.0, beta=-0.0),
        Spec(**{**dict(spec), "sizes": [64, 16, 10]}),
        Spec(**{**dict(spec), "method": replace(spec.method, lr=1, title="By another name")}),
    ]
    assert {other.key for other in same} == {spec.key} and {other.folder for other in same} == {spec.folder}


OTHER = {"bound": "repaired", "optimiser": "adam", "certified": 0.5, "ramp": 0.7, "momentum": 0.5}


@pytest.mark.parametrize("number", nsr.runs.NUMBERS)
def test_every_number_of_the_method_changes_the_key(number):
    value = OTHER[number] if number in OTHER else getattr(tiny_spec().method, number) + 1
    assert tiny_spec(**{number: value}).key != tiny_spec().key


@pytest.mark.parametrize(
    "change",
    [{"name": "at"}, {"seed": 1}, {"dataset": "mnist", "sizes": (784, 10)}, {"sizes": (64, 17, 10)}, {"images": 201}],
    ids=lambda change: next(iter(change)),
)
def test_every_other_field_changes_the_key(change):
    spec = tiny_spec()
    assert Spec(**{**dict(spec), **change}).key != spec.key


def test_the_fields_of_a_specification_are_those_tested_here():
    assert set(Spec.model_fields) == {"dataset", "sizes", "images", "name", "method", "seed"}
    assert {f.name for f in fields(Method)} == {*nsr.runs.NUMBERS, "title"}


def test_a_specification_cannot_be_changed():
    with pytest.raises(ValidationError):
        tiny_spec().seed = 1


WRONG = {
    "an unknown method": ({"name": "nope"}, "unknown method 'nope': choose one of standard, "),
    "an unknown number": ({"lrate": 0.1}, "unknown number 'lrate': a method has alpha, "),
    "the title": ({"title": "Mine"}, "unknown number 'title': a method has alpha, "),
    "a word for a rate": ({"lr": "x"}, "lr must be a number above 0 and at most 1e30, got 'x'"),
    "a negative rate": ({"lr": -1}, "lr must be a number above 0 and at most 1e30, got -1.0"),
    "no rate": ({"lr": 0}, "lr must be a number above 0 and at most 1e30, got 0.0"),
    "NaN": ({"lr": float("nan")}, "lr must be a number above 0 and at most 1e30, got nan"),
    "a rate that no float holds": ({"lr": 1e38}, r"lr must be a number above 0 and at most 1e30, got 1e\+38"),
    "infinite": ({"beta": float("inf")}, "beta must be a number from 0 to 1e30, got inf"),
    "a negative radius": ({"attack_x": -0.1}, "attack_x must be a number from 0 to 1e30, got -0.1"),
    "no epochs": ({"epochs": 0}, "epochs must be a whole number from 1 to 10\\*\\*9, got 0"),
    "half an epoch": ({"epochs": 1.5}, "epochs must be a whole number from 1 to 10\\*\\*9, got 1.5"),
    "no batch": ({"batch": 0}, "batch must be a whole number from 1 to 10\\*\\*9, got 0"),
    "no steps": ({"attack_steps": 0}, "attack_steps must be a whole number from 1 to 10\\*\\*9, got 0"),
    "more than all": ({"certified": 1.1}, "certified must be a number from 0 to 1, got 1.1"),
    "momentum of 1": ({"momentum": 1}, "momentum must be a number from 0 to below 1, got 1.0"),
    "an unknown bound": ({"bound": "best"}, "bound must be one of printed, repaired, norms, interval, got 'best'"),
    "a number for a bound": ({"bound": 3}, "bound must be one of printed, repaired, norms, interval, got 3"),
    "an unknown optimiser": ({"optimiser": "lion"}, "optimiser must be sgd or adam, got 'lion'"),
    "a negative seed": ({"seed": -1}, r"seed must be a whole number from 0 to below 2\*\*63, got -1"),
    "an unknown data set": ({"dataset": "imagenet"}, "dataset must be one of mnist, fashion-mnist, digits, got"),
    "one width": ({"sizes": (64,)}, r"sizes must be two or more whole numbers of at least 1, got \(64,\)"),
    "no width": ({"sizes": (64, 0, 10)}, r"sizes must be two or more whole numbers of at least 1, got"),
    "half a width": ({"sizes": (64, 7.5, 10)}, r"sizes must be two or more whole numbers of at least 1, got 7.5"),
    "widths of other data": ({"sizes": (784, 16, 10)}, "sizes must begin with 64 and end with 10 for digits"),
    "too few classes": ({"sizes": (64, 16, 9)}, "sizes must begin with 64 and end with 10 for digits"),
    "more images than there are": ({"images": 1_198}, "images: digits has 1,197 to train on, not 1,198"),
    "no images": ({"images": 0}, "images must be a whole number of at least 1, got 0"),
}


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_what_is_unknown_ill_typed_or_senseless_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        tiny_spec(**change)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not isinstance(caught.value, ValidationError)


@pytest.mark.parametrize("change", [{"images": 200, "extra": 1}, {"method": {"title": "T", "extra": 1}}])
def test_keys_that_a_file_should_not_have_are_refused(change):
    with pytest.raises(ValidationError):
        Spec.model_validate({**tiny_spec().model_dump(), **change})


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", "."])
def test_no_name_leads_out_of_the_store(name):
    with pytest.raises(ValidationError, match="name must be a word"):
        Spec(**{**dict(tiny_spec()), "name": name})


def test_all_images_of_a_data_set_may_be_trained_on():
    for name in ("mnist", "digits"):
        found = data.load(name)
        assert (found.train.x.shape[1], len(found.train)) == (specification._WIDTH[name], specification._IMAGES[name])
        assert int(found.train.y.max()) + 1 == specification._CLASSES


def test_all_specifications_of_the_book_are_sensible_and_none_shares_a_folder_with_another():
    orders = [*reproduce.orders("paper"), *reproduce.orders("quick"), *tuning.orders()]
    specs = {order.spec.key: order.spec.folder for order in orders}
    assert len(set(specs.values())) == len(specs)


# computing and storing ----------------------------------------------------------------------------------------------


def test_a_stored_run_is_what_was_computed(store):
    spec = tiny_spec()
    found = nsr.runs.load(store / spec.folder)
    assert found.spec == spec and found.stale == () and found.seconds >= 0
    assert [record["epoch"] for record in found.history] == [1, 2, 3]
    assert {"loss", "validation"} <= found.history[-1].keys() and "seconds" not in found.history[-1]
    generator = torch.Generator().manual_seed(spec.seed)
    samples = jobs._data("digits").train.first(200)
    network = mlp(mlp_init(spec.sizes, generator))
    trained = training.fit(network, samples.x, samples.y, spec.method, generator=generator)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found.network.W, trained.W, strict=True))
    part = jobs._data("digits").test.first(40)
    clean = (found.network(part.x).argmax(1) == part.y).double().mean()
    assert found.contours["paper"].clean == pytest.approx(float(clean))
    assert found.contours["relative"].geometry == "relative" and found.contours["relative"].grid_w == GRID.grid_r


def test_the_provenance_says_what_decided_the_numbers(store):
    provenance = nsr.runs.load(store / tiny_spec().folder).provenance
    for part in (provenance["training"], *provenance["contours"].values()):
        assert part["threads"] == 1 and part["torch"] == torch.__version__ and part["package"]
        assert part["hardware"] and part["data"].keys() == {"digits"}
    assert provenance["training"]["seconds"] >= 0
    assert provenance["training"]["code"] == nsr.runs.code_digests(nsr.runs.TRAINING)
    assert provenance["contours"]["paper"]["code"] == nsr.runs.code_digests(nsr.runs.ATTACKING)


def test_a_stored_run_is_returned_and_not_computed_again(store, monkeypatch):
    monkeypatch.setattr(compute, "next_job", None)
    assert nsr.runs.run(tiny_spec(), ("paper",), store=store).spec == tiny_spec()


def test_the_shipped_run_is_returned_where_the_user_has_none(finished, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED", finished)
    found = nsr.runs.run(tiny_spec(), ("paper",))
    assert found.folder.parent == finished and not paths.store().exists()


def test_a_contour_is_added_to_a_run_without_training_again(tmp_path):
    nsr.runs.run(tiny_spec(), store=tmp_path)
    before = contents(tmp_path / tiny_spec().folder)
    watched = []
    nsr.runs.run(tiny_spec(), ("paper",), store=tmp_path, watch=lambda job, value: watched.append(job.what))
    after = contents(tmp_path / tiny_spec().folder)
    assert watched == ["paper", "paper"] and after.keys() - before.keys() == {"contours/paper.json"}
    assert all(after[name] == content for name, content in before.items())


def test_an_unknown_contour_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(ValueError, match="unknown kind of contour 'nope': choose one of paper, "):
        nsr.runs.run(tiny_spec(), ("paper", "nope"), store=tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_a_training_that_diverges_leaves_no_run(tmp_path):
    with pytest.raises(training.CollapseError):
        nsr.runs.run(tiny_spec(lr=1e30), store=tmp_path)
    assert list(nsr.runs.runs(tmp_path)) == []


def test_a_training_whose_only_step_diverges_leaves_no_run(tmp_path):
    """The weights stay finite, so the loop of `train` ends well; the logits do not."""
    spec = tiny_spec(lr=1e30, epochs=1, batch=200)
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
        nsr.runs.run(tiny_spec(epochs=1), store=tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_job_leaves_the_number_of_threads_as_it_was(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        nsr.runs.run(tiny_spec(epochs=1), store=tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_run_is_computed_where_there_is_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    circumstances._commit.cache_clear()
    found = nsr.runs.run(tiny_spec(epochs=1), store=tmp_path)
    circumstances._commit.cache_clear()
    assert found.provenance["training"]["commit"] is None


def test_the_run_of_another_specification_in_this_folder_is_refused(store):
    (store / tiny_spec().folder).rename(store / tiny_spec(seed=1).folder)
    with pytest.raises(StoreError, match=f"holds the run {tiny_spec().folder}"):
        nsr.runs.stored(tiny_spec(seed=1), store)


# cells that are known without being measured ------------------------------------------------------------------------

WIDE = Protocol((0.0, 0.1, 0.2), (0.0, 0.01, 0.02), (0.0, 0.01, 0.02), images=10)


@pytest.mark.parametrize(
    "attack, inherits", [(PAPER, False), (STRONG, True), (None, True)], ids=["paper", "strong", "certified"]
)
def test_cells_behind_a_dead_one_are_skipped_unless_the_attack_is_the_paper_s(attack, inherits, monkeypatch):
    measured = []

    def dead_from_the_middle(network, x, y, budgets, *_, **scope):
        (xi,) = budgets
        measured.append((xi.eps_x, xi.eps_w[0]))
        return [0.0 if xi.eps_x >= 0.1 and xi.eps_w[0] >= 0.01 else 0.5]

    monkeypatch.setattr(contour, "attacked", dead_from_the_middle)
    monkeypatch.setattr(contour, "certifiable", dead_from_the_middle)
    what, weights = Measurement(WIDE, attack), tensors.packed_weights((torch.zeros(10, 64),))
    rows: list[list[float]] = []
    for _ in WIDE.grid_x:
        rows.append(nsr.runs.measure_row(tiny_spec(), weights, what, rows))
    assert rows == [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]
    skipped = {(0.1, 0.02), (0.2, 0.01), (0.2, 0.02)}
    every = {(eps_x, eps_w) for eps_x in WIDE.grid_x for eps_w in WIDE.grid_w}
    assert set(measured) == (every - skipped if inherits else every) and len(measured) == len(set(measured))


def test_a_loader_returns_what_is_stored_and_a_strong_attack_is_read_as_the_lowest_inside_each_budget(store):
    rows = ((0.9, 0.2), (0.5, 0.6))
    known = contour.Contour(GRID.grid_x, GRID.grid_w, rows)
    run = replace(nsr.runs.load(store / tiny_spec().folder), contours=dict.fromkeys(BOOK, known))
    with mock.patch.dict(nsr.runs.MEASUREMENTS, BOOK, clear=True):
        for kind, shown in (("paper", 0.6), ("strong", 0.2), ("per_sample", 0.2), ("certified", 0.6)):
            assert run.contours[kind].accuracy == rows and run.contour(kind).accuracy[1][1] == shown


# taken up where it stopped ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standard", "joint_at", "jiwp"])
@pytest.mark.parametrize("after", [1, 2])
def test_a_training_resumed_after_any_epoch_ends_in_the_same_weights(name, after, tmp_path):
    spec = tiny_spec(name)
    whole = nsr.runs.run(spec, store=tmp_path / "whole")
    for _ in range(after):
        job = nsr.runs.next_job(tmp_path / "cut", spec, ())
        nsr.runs.keep(tmp_path / "cut", job, *job.result())
    assert nsr.runs.progress(tmp_path / "cut", spec)["epoch"] == after and list(nsr.runs.runs(tmp_path / "cut")) == []
    jobs._data.cache_clear()  # nothing but the folder is left of the first process
    resumed = nsr.runs.run(spec, store=tmp_path / "cut")
    assert contents(resumed.folder) == contents(whole.folder)


def crash_at(write: int, monkeypatch) -> list[str]:
    """Let the process fail when it is about to write its file number `write`; the names of the files so far."""
    written: list[str] = []

    def failing(path: Path, content: bytes) -> None:
        if len(written) == write:
            raise KeyboardInterrupt
        write_whole(path, content)
        written.append(path.name)

    monkeypatch.setattr(compute, "write_whole", failing)
    monkeypatch.setattr(sealed, "write_whole", failing)
    monkeypatch.setattr(stores, "write_whole", failing)
    monkeypatch.setattr(checkpoint, "write_whole", failing)
    monkeypatch.setattr(cells, "write_whole", failing)
    return written


def test_whichever_write_is_the_last_a_run_is_listed_when_it_is_whole_and_resumed_to_the_same_bytes(
    finished, tmp_path, monkeypatch
):
    spec, whole = tiny_spec(), contents(finished / tiny_spec().folder)
    for write in range(100):
        store = tmp_path / str(write)
        with monkeypatch.context() as patch:
            written = crash_at(write, patch)
            try:
                nsr.runs.run(spec, tuple(KINDS), store=store)
            except KeyboardInterrupt:
                pass
        listed = list(nsr.runs.runs(store))  # verifies
        assert bool(listed) == ("weights.safetensors" in written)
        assert not [path for path in store.rglob(".*")]
        resumed = nsr.runs.run(spec, tuple(KINDS), store=store)
        assert resumed.contours.keys() == KINDS.keys() and contents(resumed.folder) == whole
        if len(written) < write:
            break
    assert write == 2 + 4 + 4 * 3 + 1  # checkpoints; spec, history, provenance, weights; rows and the seal of each kind


TRAINING = """
import os, signal, sys, threading
from pathlib import Path
import nsr.runs
spec, store, seen = nsr.runs.Spec.model_validate_json(sys.argv[1]), Path(sys.argv[2]), []

def watch(job, value):
    seen.append(nsr.runs.progress(store, spec)["epoch"])
    print(seen[-1], flush=True)
    if len(seen) == 2:  # from here on the end comes at any moment, in the middle of an epoch or of a write
        threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), signal.SIGKILL)).start()

nsr.runs.run(spec, store=store, watch=watch)
"""


@pytest.mark.parametrize("later", [0.0, 0.05])
def test_kill_9_loses_at_most_the_epoch_under_way_and_the_final_weights_are_the_same(later, tmp_path):
    spec = tiny_spec(images=None, epochs=20, batch=40)
    words = [sys.executable, "-c", TRAINING, spec.model_dump_json(), str(tmp_path / "killed"), str(later)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    victim = subprocess.run(words, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    seen = [int(line) for line in victim.stdout.splitlines()]
    assert victim.returncode == -signal.SIGKILL and seen == list(range(1, len(seen) + 1))
    kept = nsr.runs.progress(tmp_path / "killed", spec)["epoch"]
    assert len(seen) <= kept <= len(seen) + 1 and kept < 20
    trained = []
    resumed = nsr.runs.run(spec, store=tmp_path / "killed", watch=lambda job, value: trained.append(job))
    assert len(trained) == 20 - kept
    assert contents(resumed.folder) == contents(nsr.runs.run(spec, store=tmp_path / "whole").folder)


def test_two_processes_at_the_same_run_leave_one_whole_run(finished, tmp_path):
    """Each computes what the other does; the slower one's results change nothing."""
    spec = tiny_spec()
    late = []
    while job := nsr.runs.next_job(tmp_path, spec, tuple(KINDS)):
        late.append((job, *job.result()))
        nsr.runs.keep(tmp_path, job, *job.result())
        for old in late:
            nsr.runs.keep(tmp_path, *old)
    assert contents(tmp_path / spec.folder) == contents(finished / spec.folder)
    assert nsr.runs.load(tmp_path / spec.folder).contours.keys() == KINDS.keys()


def begun(store: Path, *measurements: str, train_first: bool = True) -> Path:
    """A file with the first epoch of a training, or the first row of a contour."""
    if train_first and measurements:
        nsr.runs.run(tiny_spec(), store=store)
    job = nsr.runs.next_job(store, tiny_spec(), measurements)
    nsr.runs.keep(store, job, *job.result())
    (path,) = (path for path in store.rglob("*") if path.name.startswith("checkpoint") or "unfinished" in path.name)
    return path


def test_rows_of_another_protocol_are_not_gone_on_with(tmp_path, monkeypatch):
    begun(tmp_path, "paper")
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "paper", replace(KINDS["paper"], protocol=replace(GRID, images=41)))
    with pytest.raises(StoreError, match=r"paper\.unfinished\.json: holds cells measured with other protocol"):
        nsr.runs.run(tiny_spec(), ("paper",), store=tmp_path)


def test_a_finished_contour_of_another_protocol_is_not_taken_for_this_one(store, monkeypatch):
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, "paper", replace(KINDS["paper"], protocol=replace(GRID, images=41)))
    with pytest.raises(StoreError, match=r"paper\.json: was measured by another protocol"):
        nsr.runs.next_job(store, tiny_spec(), ("paper",))


def test_rows_that_were_changed_are_refused_with_the_file_s_name(tmp_path):
    path = begun(tmp_path, "paper")
    for content in flipped(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path}: .*remove it"):
            nsr.runs.run(tiny_spec(), ("paper",), store=tmp_path)
    path.unlink()
    assert nsr.runs.run(tiny_spec(), ("paper",), store=tmp_path).contours.keys() == {"paper"}


def test_rows_of_other_weights_are_not_gone_on_with(finished, tmp_path):
    path = begun(tmp_path, "paper")
    path.write_bytes(files.digested(json.loads(path.read_bytes()) | {"weights": 64 * "0"}))
    with pytest.raises(StoreError, match=r"paper\.unfinished\.json: holds cells measured with other weights"):
        nsr.runs.run(tiny_spec(), ("paper",), store=tmp_path)


def test_weights_that_were_changed_are_not_measured(tmp_path):
    path = nsr.runs.run(tiny_spec(), store=tmp_path).folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(StoreError, match=r"weights\.safetensors: has been changed"):
        nsr.runs.next_job(tmp_path, tiny_spec(), ("paper",))


@pytest.mark.parametrize("measurements", [(), ("paper",)], ids=["a training", "a contour"])
def test_what_was_begun_before_the_code_changed_is_not_gone_on_with(measurements, tmp_path, monkeypatch):
    """Else the run would bear the fingerprint of code that computed only its end."""
    nsr.runs.run(tiny_spec(), store=tmp_path) if measurements else None
    with monkeypatch.context() as patch:
        patch.setattr(
            jobs, "code_at_first_use", lambda modules, package: {**nsr.runs.code_digests(modules), "dense": "old"}
        )
        path = begun(tmp_path, *measurements, train_first=False)
    with pytest.raises(StoreError, match=rf"{path}: .*; remove it to start afresh"):
        nsr.runs.run(tiny_spec(), measurements, store=tmp_path)
    path.unlink()
    assert nsr.runs.run(tiny_spec(), measurements, store=tmp_path).stale == ()


def test_the_checkpoint_of_another_run_is_not_gone_on_with(tmp_path):
    path, other = begun(tmp_path), tiny_spec(seed=1)
    shutil.copytree(path.parent, tmp_path / other.folder)
    with pytest.raises(StoreError, match=r"checkpoint\.safetensors: belongs to another run; remove it"):
        nsr.runs.run(other, store=tmp_path)


def test_what_is_under_way_is_found_and_says_how_far_it_is(finished, tmp_path):
    assert list(nsr.runs.under_way(finished)) == [] == list(nsr.runs.under_way(tmp_path))
    for done in (1, 2):
        folder = begun(tmp_path).parent
        assert list(nsr.runs.under_way(tmp_path)) == [folder] and nsr.runs.how_far(folder) == f"{done} of 3 epochs"
    begun(tmp_path, "paper")
    assert list(nsr.runs.under_way(tmp_path)) == [folder] and nsr.runs.how_far(folder) == "paper: 1 of 2 rows"
    nsr.runs.run(tiny_spec(), ("paper",), store=tmp_path)
    assert list(nsr.runs.under_way(tmp_path)) == []
    (folder / "weights.safetensors").unlink()
    assert list(nsr.runs.under_way(tmp_path)) == [folder]
    with pytest.raises(StoreError, match="has no weights; remove it, or train it again"):
        nsr.runs.how_far(folder)


def test_a_store_that_nothing_can_be_written_to_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(compute, "next_job", None)
    with pytest.raises(OSError, match=f"nothing can be written there .*{tmp_path / 'file' / 'store'}"):
        nsr.runs.run(tiny_spec(), store=tmp_path / "file" / "store")


def test_a_damaged_checkpoint_is_refused_with_its_name(tmp_path):
    spec = tiny_spec()
    job = nsr.runs.next_job(tmp_path, spec, ())
    nsr.runs.keep(tmp_path, job, *job.result())
    path = tmp_path / spec.folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"checkpoint\.safetensors: is damaged \(.*\); remove it"):
        nsr.runs.run(spec, store=tmp_path)


def test_a_changed_byte_of_a_checkpoint_is_refused_with_its_name(tmp_path):
    spec = tiny_spec()
    job = nsr.runs.next_job(tmp_path, spec, ())
    nsr.runs.keep(tmp_path, job, *job.result())
    path = tmp_path / spec.folder / "checkpoint.safetensors"
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for at in (*range(0, header, 3), *range(header, len(content), 199), len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(StoreError, match=rf"{path}: is damaged \(.*\); remove it to start afresh"):
            nsr.runs.next_job(tmp_path, spec, ())
    path.write_bytes(content)
    assert nsr.runs.next_job(tmp_path, spec, ()).what == "training"


def test_a_checkpoint_without_a_digest_is_refused(tmp_path):
    """As an older version wrote them."""
    spec = tiny_spec()
    job = nsr.runs.next_job(tmp_path, spec, ())
    nsr.runs.keep(tmp_path, job, *job.result())
    path = tmp_path / spec.folder / "checkpoint.safetensors"
    path.write_bytes(save(load(path.read_bytes()), {"epoch": "1", "history": "[]", "begun": "{}"}))
    with pytest.raises(StoreError, match=r"checkpoint\.safetensors: is damaged \(its digest is missing.*; remove it"):
        nsr.runs.run(spec, store=tmp_path)


# a changed byte -----------------------------------------------------------------------------------------------------

FILES = ("spec.json", "weights.safetensors", "history.json", "provenance.json") + tuple(
    f"contours/{name}.json" for name in KINDS
)


def flipped(content: bytes) -> Iterator[bytes]:
    for at in sorted({0, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1}):
        yield content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    yield content + b"\n"
    yield content[:-1]
    yield b""


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused_with_the_file_s_name(name, store):
    folder = store / tiny_spec().folder
    path = folder / name
    for content in flipped(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path}: .*remove") as caught:
            nsr.runs.load(folder)
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError):
            nsr.runs.run(tiny_spec(), tuple(KINDS), store=store)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_with_its_name_and_without_weights_there_is_no_run(name, store):
    (store / tiny_spec().folder / name).unlink()
    if name == "weights.safetensors":
        assert list(nsr.runs.runs(store)) == [] and nsr.runs.stored(tiny_spec(), store) is None
    with pytest.raises(StoreError, match=name):
        nsr.runs.load(store / tiny_spec().folder)


def test_another_contour_does_not_make_a_changed_file_a_good_one(tmp_path):
    """A seal set after the change must not take the changed file's digest for the right one."""
    spec = tiny_spec()
    folder = nsr.runs.run(spec, store=tmp_path).folder
    jobs = []
    while job := nsr.runs.next_job(tmp_path, spec, ("paper",)):
        jobs.append(job)
        (folder / "history.json").write_bytes(b"[]\n")
        nsr.runs.keep(tmp_path, job, *job.result())
    with pytest.raises(StoreError, match=r"history\.json: has been changed"):
        nsr.runs.load(folder)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff\xfe", b"", b"null", b"[" * 10**5], ids=range(6))
def test_a_foreign_provenance_is_refused_in_one_line(content, store):
    path = store / tiny_spec().folder / "provenance.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"provenance\.json"):
        nsr.runs.load(path.parent)


def test_a_run_of_another_version_is_refused_in_one_line(store):
    folder = store / tiny_spec().folder
    for change in ({"contours": {}, "training": {}}, {"files": {}}, {"training": None}):
        other = Path(shutil.copytree(folder, folder.parent / f"other{len(str(change))}"))
        (other / "provenance.json").write_bytes(files.digested(sealed.read_provenance(folder) | change))
        with pytest.raises(StoreError, match="not a run of this version") as caught:
            nsr.runs.load(other)
        assert "\n" not in str(caught.value)


def test_of_equal_runs_the_first_store_s_is_taken(store, finished):
    assert [run.folder.parent for run in nsr.runs.runs(store, finished)] == [store]
    assert [folder.parent for folder in nsr.runs.folders(finished, store)] == [finished]


def test_a_run_is_copied_into_another_store_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    spec, run, own = tiny_spec(), nsr.runs.load(finished / tiny_spec().folder), tmp_path / "own"
    job = nsr.runs.next_job(own, spec, ())
    nsr.runs.keep(own, job, *job.result())  # a training that was interrupted
    for write in range(len(FILES)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            crash_at(write, patch)
            nsr.runs.adopt(run, own)
        assert list(nsr.runs.runs(own)) == []
        assert [path.name for path in own.rglob("*.*") if path.is_file()] == ["checkpoint.safetensors"]
    nsr.runs.adopt(run, own)
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")} for f in (run.folder, own / spec.folder)]
    assert files[0] == files[1] and nsr.runs.run(spec, tuple(KINDS), store=own).provenance == run.provenance


# stale --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package, which now counts as the code."""
    copy = shutil.copytree(paths.PACKAGE, tmp_path / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "PACKAGE", copy)
    return copy


def edit(path: Path, old: str, new: str) -> None:
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))


CHANGES = {
    "budget": ("def uniform(", "def uniform_(", True),
    "training.loop": ("2.5 / method.attack_steps", "2.4 / method.attack_steps", True),
    "training.loss": ("return F.cross_entropy", "x = x\n    return F.cross_entropy", True),
    "attack.joint": ("import torch", "import torch  # a comment", False),
    "attack.engine": ("from nsr.attack import mlp_gradients", "from nsr.attack import mlp_gradients, losses", False),
    "contour.measure": ('"""The share of inputs certified', '"""Other words for the share of inputs certified', False),
    "theory.norms": ("def linf(layer: Tensor | nn.Module) -> Tensor", "\n\n\ndef linf(layer) -> object", False),
}


@pytest.mark.parametrize("role", CHANGES)
def test_a_changed_line_of_code_makes_a_run_stale_and_words_do_not(role, store, package):
    assert nsr.runs.load(store / tiny_spec().folder).stale == ()
    old, new, stale = CHANGES[role]
    edit(package / code_digest.ROLES[role], old, new)
    assert nsr.runs.load(store / tiny_spec().folder).stale == ((role,) if stale else ())


def test_code_that_moves_to_another_file_makes_no_run_stale(store, package, monkeypatch):
    (package / "attack" / "losses.py").rename(package / "climbed.py")
    monkeypatch.setitem(code_digest.ROLES, "attack.losses", "climbed.py")
    assert nsr.runs.load(store / tiny_spec().folder).stale == ()


def test_a_role_that_is_gone_makes_a_run_stale(store, monkeypatch):
    monkeypatch.delitem(code_digest.ROLES, "attack.losses")
    assert nsr.runs.load(store / tiny_spec().folder).stale == ("attack.losses",)


def test_the_digest_sees_code_and_not_comments_docstrings_annotations_or_empty_lines():
    for role, file in code_digest.ROLES.items():
        source = (paths.PACKAGE / file).read_text()
        bare = code_digest.bare(source)
        assert code_digest.bare("# a comment\n\n" + source.replace("\n\n", "\n\n\n") + "\n# another\n") == bare, role
        assert code_digest.bare(source + "\nextra = 1\n") != bare, role
    assert code_digest.bare('def f(x: int) -> int: "words"\n') == code_digest.bare("def f(x): 'other words'\n")
    assert code_digest.bare('def f(x): "words"\n') != code_digest.bare('def f(x, y): "words"\n')


def test_a_name_is_the_same_code_with_and_without_its_module():
    whole = code_digest.bare("from nsr.theory import theorem\nx = theorem.tau(W)\n")
    assert code_digest.bare("from nsr.theory.theorem import tau\nx = tau(W)\n") == whole
    assert code_digest.bare("import theorem\nx = theorem.tau(W)\n") != whole


def test_a_stale_run_is_refused_and_not_used_until_it_is_removed(store, package):
    edit(package / "training" / "loss.py", "return F.cross_entropy", "x = x\n    return F.cross_entropy")
    folder = store / tiny_spec().folder
    with pytest.raises(StoreError, match=f"{folder}: was computed before a change of training.loss; remove it"):
        nsr.runs.run(tiny_spec(), ("paper",), store=store)
    shutil.rmtree(folder)
    assert nsr.runs.run(tiny_spec(), ("paper",), store=store).stale == ()


def test_a_stale_shipped_run_is_computed_anew_in_the_user_s_store(store, package, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED", store)
    edit(package / "training" / "loss.py", "return F.cross_entropy", "x = x\n    return F.cross_entropy")
    found = nsr.runs.run(tiny_spec())
    assert found.folder.parent == paths.store() and found.stale == ()


def test_the_fingerprint_is_of_the_code_that_computed_and_not_of_what_was_edited_meanwhile(package, tmp_path):
    edited = SimpleNamespace(done=False)

    def edit_once(job, value):
        if not edited.done:
            edit(package / "training" / "loss.py", "return F.cross_entropy", "x = x\n    return F.cross_entropy")
            edited.done = True

    assert nsr.runs.run(tiny_spec(), store=tmp_path, watch=edit_once).stale == ("training.loss",)


def test_every_module_that_training_and_measuring_import_has_a_role():
    """But for the table of methods, whose numbers are in the specification, and what no number hangs on."""
    idle = {"training/methods.py", "paths.py", "files.py", "vision.py", "chain.py", "contour/contour.py"}
    for roles, roots in (
        (code_digest.TRAINING, ("training/loop.py", "data.py")),
        (code_digest.ATTACKING, ("attack/joint.py", "attack/offsets.py", "data.py")),
        (code_digest.CERTIFYING, ("certify/margins.py", "data.py")),
    ):
        assert set().union(*map(imported, roots)) - idle <= {code_digest.ROLES[role] for role in roles}


def imported(file: str) -> set[str]:
    """The files of the package that a file imports, itself included, through packages' fronts too."""
    found, todo = set(), [file]
    while todo:
        found.add(file := todo.pop())
        for module, names in re.findall(r"^from (nsr[\w.]*) import (.*)$", (paths.PACKAGE / file).read_text(), re.M):
            for name in ("", *re.split(r",\s*", names)):
                path = "/".join([*module.split(".")[1:], *([name] if name else [])]) + ".py"
                if (paths.PACKAGE / path).is_file() and path not in found and "__init__" not in path:
                    todo.append(path)
    return found
