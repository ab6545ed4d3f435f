"""A run step by step: what it lacks next, and how the result is kept so that nothing finished is ever lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nsr import paths
from nsr.files import StoreError, as_json, locked, parsed, refuse_unwritable, write_whole
from nsr.runs.checkpoint import checkpoint_path, read_checkpoint, read_rows, rows_path, write_checkpoint, write_rows
from nsr.runs.jobs import Job, measure_row, train_epoch
from nsr.runs.protocols import MEASUREMENTS, Measurement, measurement
from nsr.runs.sealed import on_one_line, read_provenance, seal, verified
from nsr.runs.specification import Spec
from nsr.runs.store import Run, load, refuse_stale, stored
from nsr.runs.tensors import packed_weights, unpacked_state
from nsr.training import State


def run(
    spec: Spec,
    measurements: Sequence[str] = (),
    *,
    store: Path | None = None,
    watch: Callable[[Job, Any], None] = lambda job, value: None,
) -> Run:
    """The run of this specification with these contours: a stored one that is complete and not stale, else computed.

    What is computed goes into `store`, the user's own by default, piece by piece.
    """
    for name in measurements:
        measurement(name)
    found = stored(spec, *([store] if store else []))
    if found and not found.stale and set(measurements) <= set(found.contours):
        return found
    store = store or paths.store()
    refuse_stale(store, spec)
    refuse_unwritable(store)
    while job := next_job(store, spec, measurements):
        value, circumstances = job.result()
        keep(store, job, value, circumstances)
        watch(job, value)
    return load(store / spec.folder)


def next_job(store: Path, spec: Spec, measurements: Sequence[str]) -> Job | None:
    """What the run lacks next, None if nothing; the contours in the order of `measurements`."""
    folder = store / spec.folder
    if not (folder / "weights.safetensors").exists():
        return Job(spec, "training", train_epoch, (spec, read_checkpoint(folder, spec)))
    known = read_provenance(folder)
    for name in measurements:
        what = measurement(name)
        if name not in known["contours"]:
            weights = verified(folder, "weights.safetensors", known["files"]["weights.safetensors"])
            return Job(spec, name, measure_row, (spec, weights, what, read_rows(folder, name)))
        _refuse_other_protocol(folder / "contours" / f"{name}.json", what)
    return None


def keep(store: Path, job: Job, value: Any, circumstances: dict[str, Any]) -> None:
    """Put the result of a job into the store, each file whole; a run is complete when its provenance says so."""
    folder = store / job.spec.folder
    with locked(folder):  # two processes may finish two contours of one run
        if job.what == "training":
            _keep_epoch(folder, job.spec, value, circumstances)
        else:
            _keep_row(folder, job.what, [*job.arguments[-1], value], circumstances)


def _keep_epoch(folder: Path, spec: Spec, checkpoint: bytes, circumstances: dict[str, Any]) -> None:
    state, known = unpacked_state(checkpoint), read_checkpoint(folder, spec)
    if (folder / "weights.safetensors").exists() or (known and unpacked_state(known).epoch >= state.epoch):
        return  # another process at the same run was faster
    history = list(state.history)
    history[-1]["seconds"] = circumstances["seconds"]
    if state.epoch < spec.method.epochs:
        state = State(state.epoch, state.W, state.optimiser, state.generator, tuple(history))
        write_checkpoint(folder, spec, state, circumstances["code"])
        return
    seconds = round(sum(record.pop("seconds", 0.0) for record in history), 3)
    write_whole(folder / "spec.json", spec.model_dump_json(indent=1).encode() + b"\n")
    write_whole(folder / "history.json", as_json(history))
    training = {**circumstances, "seconds": seconds}
    seal(folder, {"training": training, "contours": {}}, weights=packed_weights(state.W))
    checkpoint_path(folder).unlink(missing_ok=True)


def _keep_row(folder: Path, name: str, rows: list[list[float]], circumstances: dict[str, Any]) -> None:
    what, known = MEASUREMENTS[name], read_provenance(folder)
    if name in known["contours"] or len(read_rows(folder, name)) >= len(rows):
        return  # another process at the same run was faster
    if len(rows) < len(what.protocol.grid_x):
        write_rows(folder, name, rows, circumstances["code"])
        return
    write_whole(folder / "contours" / f"{name}.json", on_one_line({**what.record, "accuracy": rows}))
    circumstances = {key: value for key, value in circumstances.items() if key != "seconds"}  # of one row
    seal(folder, {**known, "contours": {**known["contours"], name: circumstances}})
    rows_path(folder, name).unlink(missing_ok=True)


def progress(store: Path, spec: Spec) -> dict[str, float]:
    """The record of the last finished epoch of a run that may be under way."""
    folder = store / spec.folder
    if (folder / "weights.safetensors").exists():
        return json.loads((folder / "history.json").read_bytes())[-1]
    return unpacked_state(read_checkpoint(folder, spec) or b"").history[-1]


def _refuse_other_protocol(path: Path, what: Measurement) -> None:
    record = parsed(path)
    record.pop("accuracy", None)
    if record != what.record:
        raise StoreError(f"{path}: was measured by another protocol; remove its run to measure it again")
