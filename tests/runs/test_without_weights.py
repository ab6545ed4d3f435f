"""Claims about runs that are stored without their weights: they show all that was found, and are trained again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny

import nsr.runs
from nsr import files, paths
from nsr.files import StoreError
from nsr.runs import compute
from nsr.runs.store import LEFT_OUT, WEIGHTS


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    """A store with one run that has weights, a contour and a reading."""
    store = tmp_path_factory.mktemp("full")
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in tiny.KINDS.items():
            patch.setitem(nsr.runs.MEASUREMENTS, name, kind)
        nsr.runs.run(tiny.spec(), ("certified", "inside"), store=store)
    return store


@pytest.fixture
def run(full) -> nsr.runs.Run:
    return nsr.runs.load(full / tiny.spec().folder)


@pytest.fixture
def shipped(run, tmp_path) -> nsr.runs.Run:
    """The same run without its weights, in the store that is shipped."""
    nsr.runs.adopt(run, paths.SHIPPED, weights=False)
    return nsr.runs.load(paths.SHIPPED / run.folder.name)


def test_all_but_the_weights_is_copied_and_shown(run, shipped):
    before, after = tiny.contents(run.folder), tiny.contents(shipped.folder)
    assert before.pop(WEIGHTS) and after == before
    assert run.has_weights and not shipped.has_weights
    assert (shipped.spec, shipped.history, shipped.seconds, shipped.stale) == (run.spec, run.history, run.seconds, ())
    assert (shipped.contours, shipped.readings) == (run.contours, run.readings)
    assert shipped.provenance == run.provenance | {LEFT_OUT: [WEIGHTS], "sha256": shipped.provenance["sha256"]}
    assert shipped.provenance["files"][WEIGHTS] == files.sha256((run.folder / WEIGHTS).read_bytes())


def test_its_network_is_refused_in_one_line_that_says_what_to_do(shipped):
    why = rf"{shipped.folder}: is stored without its weights; nsr\.runs\.run\(spec\) or nsr train trains it again$"
    with pytest.raises(StoreError, match=why):
        shipped.network  # noqa: B018


def test_it_is_found_wherever_runs_are_looked_for(shipped):
    assert [folder.name for folder in nsr.runs.folders()] == [shipped.folder.name]
    assert [found.folder for found in nsr.runs.runs()] == [shipped.folder]
    assert nsr.runs.stored(tiny.spec()).folder == shipped.folder
    assert list(nsr.runs.under_way()) == []  # finished, for all that can be done with it


@pytest.mark.parametrize("others", [[], ["history.json"], None, 3, {}], ids=range(5))
def test_a_folder_that_merely_lacks_its_weights_is_no_run(others, full, tmp_path):
    folder = shutil.copytree(full / tiny.spec().folder, tmp_path / "store" / tiny.spec().folder)
    (folder / WEIGHTS).unlink()
    if others is not None:  # other words in their place
        provenance = json.loads((folder / "provenance.json").read_bytes()) | {LEFT_OUT: others}
        (folder / "provenance.json").write_bytes(files.digested(provenance))
    assert list(nsr.runs.runs(tmp_path / "store")) == [] and nsr.runs.stored(tiny.spec(), tmp_path / "store") is None
    with pytest.raises(StoreError):
        nsr.runs.load(folder)


@pytest.mark.parametrize("content", [b"[" * 10**5, b"\xff", b"null", b""], ids=range(4))
def test_a_foreign_provenance_makes_no_run(content, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "provenance.json").write_bytes(content)
    assert list(nsr.runs.folders(tmp_path)) == [] and list(nsr.runs.under_way(tmp_path)) == [tmp_path / "some"]


@pytest.mark.parametrize("name", ["spec.json", "history.json", "contours/certified.json", "readings/inside.json"])
def test_what_was_not_left_out_is_verified(name, shipped):
    content = (shipped.folder / name).read_bytes()
    for changed in tiny.flipped(content):
        (shipped.folder / name).write_bytes(changed)
        with pytest.raises(StoreError, match=rf"{name}: has been changed .*git checkout -- data/runs/"):
            nsr.runs.load(shipped.folder)
    (shipped.folder / name).unlink()
    with pytest.raises(StoreError, match=f"{name}: cannot be read"):
        nsr.runs.load(shipped.folder)


def test_weights_that_come_back_are_verified_too(run, shipped):
    (shipped.folder / WEIGHTS).write_bytes((run.folder / WEIGHTS).read_bytes())
    assert nsr.runs.load(shipped.folder).has_weights
    (shipped.folder / WEIGHTS).write_bytes(b"junk")
    with pytest.raises(StoreError, match=rf"{WEIGHTS}: has been changed"):
        nsr.runs.load(shipped.folder)


def test_it_is_trained_again_into_the_user_s_store_to_the_same_weights(run, shipped):
    before, trained = tiny.contents(shipped.folder), []
    found = nsr.runs.run(tiny.spec(), watch=lambda job, value: trained.append(job.what))
    assert trained == 3 * ["training"] and found.folder.parent == paths.store() and found.has_weights
    assert found.provenance["files"][WEIGHTS] == shipped.provenance["files"][WEIGHTS]
    assert (found.folder / WEIGHTS).read_bytes() == (run.folder / WEIGHTS).read_bytes()
    assert (found.contours, found.readings) == (run.contours, run.readings)  # of the same weights
    assert tiny.contents(shipped.folder) == before
    trained.clear()
    assert nsr.runs.run(tiny.spec(), watch=lambda job, value: trained.append(job)).folder == found.folder
    assert trained == []


def test_trained_again_in_its_own_place_it_keeps_what_was_found_of_the_same_weights(run):
    nsr.runs.adopt(run, paths.store(), weights=False)
    compute._data.cache_clear()
    found = nsr.runs.run(tiny.spec(), ("certified",))
    assert found.has_weights and tiny.contents(found.folder) == tiny.contents(run.folder)
    assert (found.contours, found.readings) == (run.contours, run.readings)
    assert found.provenance["contours"] == run.provenance["contours"]


def test_a_training_that_is_under_way_is_gone_on_with(shipped):
    tiny.step(paths.store(), tiny.spec())
    trained = []
    found = nsr.runs.run(tiny.spec(), watch=lambda job, value: trained.append(job.what))
    assert trained == 2 * ["training"] and found.has_weights and found.readings == shipped.readings


def test_what_was_found_of_other_weights_is_not_kept(run):
    """As where another machine adds in another order."""
    nsr.runs.adopt(run, paths.store(), weights=False)
    path = paths.store() / run.folder.name / "provenance.json"
    provenance = json.loads(path.read_bytes())
    provenance["files"][WEIGHTS] = 64 * "0"
    path.write_bytes(files.digested(provenance))
    found = nsr.runs.run(tiny.spec())
    assert found.has_weights and found.contours == {} and found.readings == {} and LEFT_OUT not in found.provenance
    assert nsr.runs.run(tiny.spec(), ("certified", "inside")).readings == run.readings


def test_while_it_is_trained_again_it_is_a_run_that_is_under_way(run):
    nsr.runs.adopt(run, paths.store(), weights=False)
    tiny.step(paths.store(), tiny.spec())
    (folder,) = nsr.runs.under_way()
    assert nsr.runs.how_far(folder) == "1 of 3 epochs" and [found.folder for found in nsr.runs.runs()] == [folder]
    assert nsr.runs.run(tiny.spec()).has_weights and list(nsr.runs.under_way()) == []


@pytest.mark.parametrize("write", range(5))
def test_however_far_copying_came_it_is_no_run_before_it_is_whole(write, run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        tiny.crash_at(write, patch)
        nsr.runs.adopt(run, tmp_path / "store", weights=False)
    assert list(nsr.runs.runs(tmp_path / "store")) == []
    nsr.runs.adopt(run, tmp_path / "store", weights=False)
    (found,) = nsr.runs.runs(tmp_path / "store")
    assert found.readings == run.readings and not list(found.folder.rglob(".*"))


def test_without_weights_it_is_copied_as_it_is_and_never_with_them(shipped, tmp_path):
    nsr.runs.adopt(shipped, tmp_path / "copy", weights=False)
    copies = [tiny.contents(folder) for folder in (shipped.folder, tmp_path / "copy" / shipped.folder.name)]
    assert copies[0] == copies[1] and nsr.runs.load(tmp_path / "copy" / shipped.folder.name).provenance == (
        shipped.provenance
    )
    with pytest.raises(StoreError, match="is stored without its weights"):
        nsr.runs.adopt(shipped, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_copy_never_takes_the_weights_from_a_run_that_has_them(run, full):
    before = tiny.contents(run.folder)
    with pytest.raises(StoreError, match=rf"{run.folder}: is there already, with its weights; remove it first"):
        nsr.runs.adopt(run, full, weights=False)
    assert tiny.contents(run.folder) == before and nsr.runs.load(run.folder).has_weights


def test_with_its_weights_again_it_is_copied_as_any_other(run, tmp_path):
    nsr.runs.adopt(run, tmp_path, weights=False)
    (tmp_path / run.folder.name / WEIGHTS).write_bytes((run.folder / WEIGHTS).read_bytes())
    nsr.runs.adopt(nsr.runs.load(tmp_path / run.folder.name), paths.store())
    found = nsr.runs.load(paths.store() / run.folder.name)
    assert found.provenance == run.provenance and tiny.contents(found.folder) == tiny.contents(run.folder)


def test_a_stale_one_is_refused_where_it_lies_and_trained_in_the_user_s_store(run, tmp_path, monkeypatch):
    nsr.runs.adopt(run, paths.SHIPPED, weights=False)
    monkeypatch.setattr(paths, "PACKAGE", tiny.other_code(tmp_path))
    assert nsr.runs.stored(tiny.spec()).stale == ("training.loss",)
    with pytest.raises(StoreError, match="was computed before a change of training.loss"):
        nsr.runs.run(tiny.spec(), store=paths.SHIPPED)
    assert nsr.runs.run(tiny.spec()).folder.parent == paths.store()
