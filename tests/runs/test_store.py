"""Claims about the store: a run is whole or not there, every byte is verified, and processes do not undo each other."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import nsr.runs
from nsr import files, paths
from nsr.attack import PAPER, STRONG
from nsr.files import StoreError
from nsr.runs import Measurement

FILES = ("spec.json", "weights.safetensors", "history.json", "provenance.json") + tuple(
    f"contours/{name}.json" for name in tiny.KINDS
)


@pytest.mark.slow
def test_whichever_write_is_the_last_a_run_is_listed_when_it_is_whole_and_resumed_to_the_same_bytes(
    finished, tmp_path, monkeypatch
):
    spec, whole = tiny.spec(), tiny.contents(finished / tiny.spec().folder)
    for write in range(100):
        store = tmp_path / str(write)
        with monkeypatch.context() as patch:
            written = tiny.crash_at(write, patch)
            try:
                nsr.runs.run(spec, tuple(tiny.KINDS), store=store)
            except KeyboardInterrupt:
                pass
        listed = list(nsr.runs.runs(store))  # verifies
        assert bool(listed) == ("weights.safetensors" in written)
        assert not list((store / spec.folder).rglob(".*"))
        resumed = nsr.runs.run(spec, tuple(tiny.KINDS), store=store)
        assert resumed.contours.keys() == tiny.KINDS.keys() and tiny.contents(resumed.folder) == whole
        if len(written) < write:
            break
    assert write == 2 + 4 + 4 * 3 + 1  # checkpoints; spec, history, provenance, weights; of each kind a row and its end


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused_with_the_file_s_name(name, store):
    folder = store / tiny.spec().folder
    path = folder / name
    for content in tiny.flipped(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path}: .*remove {folder} to compute the run again") as caught:
            nsr.runs.load(folder)
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError):
            nsr.runs.run(tiny.spec(), tuple(tiny.KINDS), store=store)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_shipped_run_is_restored_from_the_repository(name, store, monkeypatch):
    monkeypatch.setattr(paths, "SHIPPED", store)
    folder = store / tiny.spec().folder
    (folder / name).write_bytes(b"junk")
    with pytest.raises(
        StoreError, match=rf"{folder / name}: .*; git checkout -- data/runs/{folder.name} brings it back"
    ):
        nsr.runs.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_with_its_name_and_without_weights_there_is_no_run(name, store):
    (store / tiny.spec().folder / name).unlink()
    if name == "weights.safetensors":
        assert list(nsr.runs.runs(store)) == [] and nsr.runs.stored(tiny.spec(), store) is None
    with pytest.raises(StoreError, match=name):
        nsr.runs.load(store / tiny.spec().folder)


def test_weights_that_were_changed_are_not_measured(tmp_path):
    path = nsr.runs.run(tiny.spec(), store=tmp_path).folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(StoreError, match=r"weights\.safetensors: has been changed"):
        nsr.runs.next_job(tmp_path, tiny.spec(), ("paper",))


def test_another_contour_does_not_make_a_changed_file_a_good_one(tmp_path):
    """Digests written after the change must not take the changed file for the right one."""
    folder = nsr.runs.run(tiny.spec(), store=tmp_path).folder
    (folder / "history.json").write_bytes(b"[]\n")
    for _ in tiny.GRID.grid_x:
        tiny.step(tmp_path, tiny.spec(), "paper")
    with pytest.raises(StoreError, match=r"history\.json: has been changed"):
        nsr.runs.load(folder)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff\xfe", b"", b"null", b"[" * 10**5], ids=range(6))
def test_a_foreign_provenance_is_refused_in_one_line(content, store):
    path = store / tiny.spec().folder / "provenance.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"provenance\.json") as caught:
        nsr.runs.load(path.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"contours": {}, "training": {}}, {"files": {}}, {"training": None}, {"files": [1]}], ids=range(4)
)
def test_a_run_of_another_version_is_refused_in_one_line(change, store):
    path = store / tiny.spec().folder / "provenance.json"
    path.write_bytes(files.digested(json.loads(path.read_bytes()) | change))
    with pytest.raises(StoreError, match="not a run of this version") as caught:
        nsr.runs.load(path.parent)
    assert "\n" not in str(caught.value)


def test_the_run_of_another_specification_in_this_folder_is_refused(store):
    (store / tiny.spec().folder).rename(store / tiny.spec(seed=1).folder)
    with pytest.raises(StoreError, match=f"holds the run {tiny.spec().folder}"):
        nsr.runs.stored(tiny.spec(seed=1), store)


def test_of_equal_runs_the_first_store_s_is_taken(store, finished):
    assert [run.folder.parent for run in nsr.runs.runs(store, finished)] == [store]
    assert [folder.parent for folder in nsr.runs.folders(finished, store)] == [finished]


def test_contours_are_loaded_as_they_are_stored_and_those_of_strong_attacks_shown_as_the_lowest_inside_each_budget(
    store, monkeypatch
):
    folder, kinds = store / tiny.spec().folder, {"paper": PAPER, "relative": STRONG, "certified": None}
    provenance = json.loads((folder / "provenance.json").read_bytes())
    for name, attack in kinds.items():
        monkeypatch.setitem(
            nsr.runs.MEASUREMENTS, name, Measurement(tiny.GRID, attack, method=None if attack else "linear")
        )
        path = folder / "contours" / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"accuracy": [[0.9, 0.2], [0.5, 0.6]]}))
        provenance["files"][f"contours/{name}.json"] = files.sha256(path.read_bytes())
    (folder / "provenance.json").write_bytes(files.digested(provenance))
    run = nsr.runs.load(folder)
    assert {run.contours[name].accuracy[1][1] for name in kinds} == {0.6}
    assert [run.contour(name).accuracy[1][1] for name in kinds] == [0.6, 0.2, 0.6]


def test_a_run_is_copied_into_another_store_byte_by_byte_and_listed_once_it_is_whole(finished, tmp_path, monkeypatch):
    spec, run, own = tiny.spec(), nsr.runs.load(finished / tiny.spec().folder), tmp_path / "own"
    tiny.step(own, spec)  # a training that was interrupted
    for write in range(len(FILES)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            tiny.crash_at(write, patch)
            nsr.runs.adopt(run, own)
        assert list(nsr.runs.runs(own)) == []
    nsr.runs.adopt(run, own)
    both = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")} for f in (run.folder, own / spec.folder)]
    assert both[0] == both[1] and nsr.runs.run(spec, tuple(tiny.KINDS), store=own).provenance == run.provenance


# several processes --------------------------------------------------------------------------------------------------


def test_results_that_come_late_change_nothing(finished, tmp_path):
    """As where two processes compute the same run: each does what the other does."""
    spec = tiny.spec()
    late = []
    while job := nsr.runs.next_job(tmp_path, spec, tuple(tiny.KINDS)):
        late.append((job, *job.result()))
        nsr.runs.keep(tmp_path, job, *job.result())
        for old in late:
            nsr.runs.keep(tmp_path, *old)
    assert tiny.contents(tmp_path / spec.folder) == tiny.contents(finished / spec.folder)
    assert nsr.runs.load(tmp_path / spec.folder).contours.keys() == tiny.KINDS.keys()


KEEPING = """
import pickle, sys
from pathlib import Path
import nsr.runs
nsr.runs.MEASUREMENTS.update(pickle.loads(Path(sys.argv[1]).read_bytes()))
results = pickle.loads(Path(sys.argv[2]).read_bytes())
print("ready", flush=True)
for store, *result in results:
    sys.stdin.readline()
    nsr.runs.keep(store, *result)
    print("kept", flush=True)
"""


@pytest.mark.slow
def test_two_processes_that_finish_two_contours_of_one_run_at_once_lose_none(finished, tmp_path):
    nsr.runs.run(tiny.spec(), store=tmp_path / "begun")
    stores = [Path(shutil.copytree(tmp_path / "begun", tmp_path / f"store{k}")) for k in range(10)]
    (tmp_path / "kinds").write_bytes(pickle.dumps(tiny.KINDS))
    workers = []
    for name in ("paper", "certified"):
        results = []
        for store in stores:
            tiny.step(store, tiny.spec(), name)
            job = nsr.runs.next_job(store, tiny.spec(), (name,))
            results.append((store, job, *job.result()))
        (tmp_path / name).write_bytes(pickle.dumps(results))
        words = [sys.executable, "-c", KEEPING, tmp_path / "kinds", tmp_path / name]
        workers.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for _ in ("ready", *stores):
        assert all(worker.stdout.readline() for worker in workers)
        for worker in workers:
            print(file=worker.stdin, flush=True)
    for worker in workers:
        worker.communicate()
    for store in stores:
        assert nsr.runs.load(store / tiny.spec().folder).contours.keys() == {"paper", "certified"}
