"""Claims about what is under way: it is taken up where it stopped, or refused where it belongs to something else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from safetensors.torch import load, save

import nsr.runs
from nsr import files, paths
from nsr.files import StoreError

SPEC = tiny.spec()


def begun(store: Path, *measurements: str) -> Path:
    """A file with the first epoch of a training, or the first row of a contour."""
    if measurements:
        nsr.runs.run(SPEC, store=store)
    tiny.step(store, SPEC, *measurements)
    (path,) = [*store.rglob("checkpoint.safetensors"), *store.rglob("*.unfinished.json")]
    return path


@pytest.mark.parametrize("measurements", [(), ("paper",)], ids=["a training", "a contour"])
def test_what_was_changed_is_refused_with_the_file_s_name(measurements, tmp_path):
    path = begun(tmp_path, *measurements)
    for content in tiny.flipped(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=rf"{path}: .*remove it to start afresh"):
            nsr.runs.run(SPEC, measurements, store=tmp_path)
    path.unlink()
    assert set(nsr.runs.run(SPEC, measurements, store=tmp_path).contours) == set(measurements)


def test_a_changed_byte_anywhere_in_a_checkpoint_is_refused(tmp_path):
    path = begun(tmp_path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for at in (*range(0, header, 7), *range(header, len(content), 499), len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(StoreError, match=rf"{path}: is damaged \(.*\); remove it to start afresh"):
            nsr.runs.next_job(tmp_path, SPEC, ())
    path.write_bytes(content)
    assert nsr.runs.next_job(tmp_path, SPEC, ()).what == "training"


def test_a_checkpoint_without_a_digest_is_refused(tmp_path):
    """As an older version wrote them."""
    path = begun(tmp_path)
    path.write_bytes(save(load(path.read_bytes()), {"epoch": "1", "history": "[]", "begun": "{}"}))
    with pytest.raises(StoreError, match=r"checkpoint\.safetensors: is damaged \(its digest is missing.*; remove it"):
        nsr.runs.run(SPEC, store=tmp_path)


@pytest.mark.parametrize("measurements", [(), ("paper",)], ids=["a training", "a contour"])
def test_what_was_begun_before_the_code_changed_is_not_gone_on_with(measurements, tmp_path, monkeypatch):
    """Else the run would bear the digest of code that computed only its end."""
    if measurements:
        nsr.runs.run(SPEC, store=tmp_path / "store")
    other = tiny.other_code(tmp_path)
    tiny.edit(other / "budget.py", "def uniform(", "def uniform_(")
    with monkeypatch.context() as patch:
        patch.setattr(paths, "PACKAGE", other)
        tiny.step(tmp_path / "store", SPEC, *measurements)
    with pytest.raises(StoreError, match=r"was begun with other code \(budget.*\); remove it to start afresh"):
        nsr.runs.run(SPEC, measurements, store=tmp_path / "store")


def test_the_checkpoint_of_another_run_is_not_gone_on_with(tmp_path):
    path, other = begun(tmp_path), tiny.spec(seed=1)
    shutil.copytree(path.parent, tmp_path / other.folder)
    with pytest.raises(StoreError, match=r"checkpoint\.safetensors: was begun with other specification; remove it"):
        nsr.runs.run(other, store=tmp_path)


def test_rows_of_another_protocol_or_of_other_weights_are_not_gone_on_with(tmp_path, monkeypatch):
    path = begun(tmp_path, "paper")
    with monkeypatch.context() as patch:
        other = replace(tiny.KINDS["paper"], protocol=replace(tiny.GRID, images=41))
        patch.setitem(nsr.runs.MEASUREMENTS, "paper", other)
        with pytest.raises(StoreError, match=r"paper\.unfinished\.json: was begun with other protocol; remove it"):
            nsr.runs.run(SPEC, ("paper",), store=tmp_path)
    path.write_bytes(files.digested(json.loads(path.read_bytes()) | {"weights": 64 * "0"}))
    with pytest.raises(StoreError, match=r"paper\.unfinished\.json: was begun with other weights"):
        nsr.runs.run(SPEC, ("paper",), store=tmp_path)


# what is under way --------------------------------------------------------------------------------------------------


def test_what_is_under_way_is_found_and_says_how_far_it_is(finished, tmp_path):
    assert list(nsr.runs.under_way(finished)) == [] == list(nsr.runs.under_way(tmp_path))
    folder = tmp_path / SPEC.folder
    for done in (1, 2):
        tiny.step(tmp_path, SPEC)
        assert list(nsr.runs.under_way(tmp_path)) == [folder] and nsr.runs.how_far(folder) == f"{done} of 3 epochs"
    begun(tmp_path, "paper")
    assert list(nsr.runs.under_way(tmp_path)) == [folder] and nsr.runs.how_far(folder) == "paper: 1 of 2 rows"
    nsr.runs.run(SPEC, ("paper",), store=tmp_path)
    assert list(nsr.runs.under_way(tmp_path)) == []
    (folder / "weights.safetensors").unlink()
    assert list(nsr.runs.under_way(tmp_path)) == [folder]
    with pytest.raises(StoreError, match="has no weights; remove it, or train it again"):
        nsr.runs.how_far(folder)


def test_what_a_kill_inside_a_write_leaves_does_not_make_a_finished_run_one_under_way(store):
    contours = store / SPEC.folder / "contours"
    (contours / f".{32 * 'a'}-paper.unfinished.json").write_text("half")
    assert list(nsr.runs.under_way(store)) == []


TRAINING = """
import os, signal, sys, threading
from pathlib import Path
import nsr.runs
spec, store, seen = nsr.runs.Spec.model_validate_json(sys.argv[1]), Path(sys.argv[2]), []

def watch(job, state):
    seen.append(state.epoch)
    print(seen[-1], flush=True)
    if len(seen) == 2:  # from here on the end comes at any moment, in the middle of an epoch or of a write
        threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), signal.SIGKILL)).start()

nsr.runs.run(spec, store=store, watch=watch)
"""


@pytest.mark.slow
@pytest.mark.parametrize("later", [0.0, 0.05])
def test_kill_9_loses_at_most_the_epoch_under_way_and_the_final_weights_are_the_same(later, tmp_path):
    spec = tiny.spec(images=None, epochs=20, batch=40)
    words = [sys.executable, "-c", TRAINING, spec.model_dump_json(), str(tmp_path / "killed"), str(later)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    victim = subprocess.run(words, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    seen = [int(line) for line in victim.stdout.splitlines()]
    assert seen == list(range(1, len(seen) + 1)) and len(seen) >= 2
    resumed, trained = [], []
    for store in ("killed", "whole"):
        run = nsr.runs.run(spec, store=tmp_path / store, watch=lambda job, state: trained.append(state.epoch))
        resumed.append(tiny.contents(run.folder))
        if store == "killed":
            lost = len(seen) + len(trained) - 20
            assert victim.returncode == 0 or (victim.returncode == -signal.SIGKILL and lost in (-1, 0))
    assert resumed[0] == resumed[1]


def test_what_an_optimiser_keeps_in_another_order_of_memory_is_kept(tmp_path: Path) -> None:
    """The subgradient of a kernel's norm is such a tensor."""
    spec = tiny.spec(net="cnn", sizes=(1, 2, 10), norm_decay=0.1, norm="linf", epochs=2)
    run = nsr.runs.run(spec, store=tmp_path)
    assert len(run.history) == 2
