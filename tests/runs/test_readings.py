"""Claims about readings: what is read off a network is kept beside its contours, as well guarded as they are."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny
import torch
from dask.distributed import Client

import nsr.runs
from nsr import data, files, inside, paths
from nsr.files import StoreError
from nsr.runs import code_digest, sweep
from nsr.runs.protocols import READINGS, deciding


@pytest.fixture(scope="module")
def read(finished, tmp_path_factory) -> Path:
    """A store with one run that has contours and a reading."""
    store = Path(shutil.copytree(finished, tmp_path_factory.mktemp("read") / "store"))
    for part in ("paper", "certified", "relative", "per_sample"):
        assert (store / tiny.spec().folder / "contours" / f"{part}.json").exists()
    while job := nsr.runs.next_job(store, tiny.spec(), ("inside",)):
        nsr.runs.keep(store, job, *job.result())
    return store


@pytest.fixture
def store(read, tmp_path) -> Path:
    return Path(shutil.copytree(read, tmp_path / "store"))


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_a_reading_is_what_is_read_off_the_stored_network(net, tmp_path):
    spec = tiny.spec(epochs=1, net=net, sizes={"mlp": (64, 16, 10), "cnn": (1, 3, 10)}[net])
    run = nsr.runs.run(spec, ("inside",), store=tmp_path)
    digits, seeded = data.load("digits"), torch.Generator().manual_seed(0)
    expected = asdict(inside.inside(run.network, digits.train, digits.test, READINGS["inside"].eps, seeded))
    (found,) = run.readings.values()
    assert isinstance(found, inside.Inside) and found.eps == 0.1 and len(found.norms) == 2
    for name, value in asdict(found).items():
        assert tiny.leaves(value) == pytest.approx(tiny.leaves(expected[name]), rel=1e-4, abs=1e-6), name
    assert run.contours == {} and tiny.contents(run.folder).keys() >= {"readings/inside.json"}


def test_a_reading_is_added_once_to_what_is_there(finished, store):
    folder = tiny.spec().folder
    before, after = (tiny.contents(place / folder) for place in (finished, store))
    assert after.keys() - before.keys() == {"readings/inside.json"}
    assert all(after[name] == content for name, content in before.items())
    watched = []
    run = nsr.runs.run(tiny.spec(), ("paper", "inside"), store=store, watch=lambda *step: watched.append(step))
    assert watched == [] and run.readings.keys() == {"inside"} and run.contours.keys() == tiny.KINDS.keys()
    assert nsr.runs.next_job(store, tiny.spec(), ("inside", "paper")) is None


def test_a_reading_that_was_interrupted_is_taken_up_and_comes_out_the_same(read, tmp_path, monkeypatch):
    spec, write = tiny.spec(), 0
    while True:
        cut = tmp_path / str(write)
        shutil.copytree(read / spec.folder, cut / spec.folder, ignore=shutil.ignore_patterns("readings"))
        provenance = json.loads((cut / spec.folder / "provenance.json").read_bytes())
        del provenance["readings"], provenance["files"]["readings/inside.json"]
        (cut / spec.folder / "provenance.json").write_bytes(files.digested(provenance))
        with monkeypatch.context() as patch:
            written = tiny.crash_at(write, patch)
            try:
                nsr.runs.run(spec, ("inside",), store=cut)
            except KeyboardInterrupt:
                assert nsr.runs.load(cut / spec.folder).readings == {}
        resumed = nsr.runs.run(spec, ("inside",), store=cut)
        assert tiny.contents(resumed.folder) == tiny.contents(read / spec.folder)
        if len(written) < write:
            break
        write += 1
    assert write == 3  # the reading, the provenance


def test_a_reading_that_comes_late_changes_nothing(store, read):
    job = nsr.runs.Job(tiny.spec(), "inside", None, ([],))
    nsr.runs.keep(store, job, {"train": None}, {"code": {}, "seconds": 0.0})
    assert tiny.contents(store / tiny.spec().folder) == tiny.contents(read / tiny.spec().folder)


def test_the_provenance_of_a_reading_names_the_code_that_read(store):
    provenance = nsr.runs.load(store / tiny.spec().folder).provenance
    part = provenance["readings"]["inside"]
    assert part["code"] == nsr.runs.code_digests(nsr.runs.READING) and deciding("inside") == nsr.runs.READING
    assert {"inside", "attack.joint", "network.steps"} <= part["code"].keys()
    assert part["threads"] == 1 and part["torch"] == torch.__version__ and part["data"].keys() == {"digits"}
    assert "seconds" not in part and part.keys() == provenance["contours"]["paper"].keys()
    record = json.loads((store / tiny.spec().folder / "readings" / "inside.json").read_bytes())
    assert record.keys() == {"eps", "found"} and record["eps"] == READINGS["inside"].eps


def test_a_changed_byte_or_a_missing_reading_is_refused_with_its_name(store):
    folder = store / tiny.spec().folder
    path = folder / "readings" / "inside.json"
    for content in tiny.flipped(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path}: has been changed .*remove {folder} to compute") as caught:
            nsr.runs.load(folder)
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError):
            nsr.runs.run(tiny.spec(), ("inside",), store=store)
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path}: cannot be read"):
        nsr.runs.load(folder)


@pytest.mark.parametrize("content", [b"{}", b'{"found": {}}', b'{"found": {"train": 1}}', b"[]", b"junk"], ids=range(5))
def test_a_reading_of_another_version_is_refused_in_one_line(content, store):
    folder = store / tiny.spec().folder
    (folder / "readings" / "inside.json").write_bytes(content)
    provenance = json.loads((folder / "provenance.json").read_bytes())
    provenance["files"]["readings/inside.json"] = files.sha256(content)
    (folder / "provenance.json").write_bytes(files.digested(provenance))
    with pytest.raises(StoreError, match="not a run of this version") as caught:
        nsr.runs.load(folder)
    assert "\n" not in str(caught.value)


def test_a_reading_by_other_directions_is_not_taken_for_this_one(store, monkeypatch):
    monkeypatch.setitem(READINGS, "inside", nsr.runs.Reading(eps=0.2))
    with pytest.raises(StoreError, match=r"inside\.json: was measured by another protocol; remove its run"):
        nsr.runs.next_job(store, tiny.spec(), ("inside",))


def test_other_code_of_the_readings_makes_a_run_stale_that_has_one(finished, store, tmp_path, monkeypatch):
    package = shutil.copytree(paths.PACKAGE, tmp_path / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "PACKAGE", package)
    assert nsr.runs.load(store / tiny.spec().folder).stale == ()
    tiny.edit(package / code_digest.ROLES["inside"], "STEPS, REACH = 20, 2.5", "STEPS, REACH = 30, 2.5")
    assert nsr.runs.load(store / tiny.spec().folder).stale == ("inside",)
    assert nsr.runs.load(finished / tiny.spec().folder).stale == ()
    with pytest.raises(StoreError, match="was computed before a change of inside; remove it to compute it again"):
        nsr.runs.run(tiny.spec(), ("inside",), store=store)


def test_a_run_from_before_there_were_readings_loads_and_gets_one(finished, store):
    """Its provenance knows nothing of them."""
    folder = finished / tiny.spec().folder
    assert "readings" not in json.loads((folder / "provenance.json").read_bytes())
    assert nsr.runs.load(folder).readings == {} and nsr.runs.load(folder).stale == ()


def test_an_unknown_reading_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(ValueError, match="unknown kind of contour 'outside': .*, or the reading inside$"):
        nsr.runs.run(tiny.spec(), ("inside", "outside"), store=tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_a_sweep_reads_too_and_gives_what_one_process_gives(tmp_path):
    spec = tiny.spec(epochs=1)
    order, done = sweep.Order(spec, ("paper", "inside")), []
    assert order.jobs == 1 + 2 + 1
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as thread:
        report = sweep.run([order], tmp_path / "many", thread, lambda job, n: done.append((job and job.what, n)))
    assert report.failed == {} and report.finished == [spec.folder]
    assert done == [("training", 1), ("paper", 1), ("paper", 1), ("inside", 1), (None, 0)]
    alone = nsr.runs.run(spec, ("paper", "inside"), store=tmp_path / "alone")
    assert tiny.contents(tmp_path / "many" / spec.folder) == tiny.contents(alone.folder)
