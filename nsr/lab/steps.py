"""A run step by step: what it lacks next, and how the result is kept so that nothing finished is ever lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nsr import paths, train
from nsr.files import StoreError, write_whole
from nsr.lab.jobs import Job, measure_row, train_epoch
from nsr.lab.measurements import MEASUREMENTS, measurement
from nsr.lab.seal import as_json, parsed, read_provenance, seal
from nsr.lab.specification import Spec
from nsr.lab.store import Run, load, refuse_stale, stored
from nsr.lab.tensors import packed_state, packed_weights, unpacked_state


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
    while job := next_job(store, spec, measurements):
        value, circumstances = job.result()
        keep(store, job, value, circumstances)
        watch(job, value)
    return load(store / spec.folder)


def next_job(store: Path, spec: Spec, measurements: Sequence[str]) -> Job | None:
    """What the run lacks next, None if nothing; the contours in the order of `measurements`."""
    folder = store / spec.folder
    if not (folder / "weights.safetensors").exists():
        return Job(spec, "training", train_epoch, (spec, _unfinished(folder)))
    for name in measurements:
        what, rows = measurement(name), _rows(folder, name)
        if len(rows) < len(what.protocol.grid_x):
            weights = (folder / "weights.safetensors").read_bytes()
            return Job(spec, name, measure_row, (spec, weights, what, rows))
    return None


def keep(store: Path, job: Job, value: Any, circumstances: dict[str, Any]) -> None:
    """Put the result of a job into the store, each file whole; a run is complete when its provenance says so."""
    folder = store / job.spec.folder
    if job.what == "training":
        _keep_epoch(folder, job.spec, value, circumstances)
        return
    what, rows = MEASUREMENTS[job.what], [*job.arguments[-1], value]
    if len(_rows(folder, job.what)) >= len(rows):
        return  # another process at the same run was faster
    record = {**what.record, "accuracy": rows}
    write_whole(folder / "contours" / f"{job.what}.json", as_json(record))
    if len(rows) == len(what.protocol.grid_x):
        known = read_provenance(folder)
        known["files"].pop(f"contours/{job.what}.json", None)
        circumstances = {name: value for name, value in circumstances.items() if name != "seconds"}  # of one row
        seal(folder, {**known, "contours": {**known["contours"], job.what: circumstances}})


def _keep_epoch(folder: Path, spec: Spec, checkpoint: bytes, circumstances: dict[str, Any]) -> None:
    state, known = unpacked_state(checkpoint), _unfinished(folder)
    if (folder / "weights.safetensors").exists() or (known and unpacked_state(known).epoch >= state.epoch):
        return  # another process at the same run was faster
    history = list(state.history)
    history[-1]["seconds"] = circumstances["seconds"]
    if state.epoch < spec.method.epochs:
        state = train.State(state.epoch, state.W, state.optimiser, state.generator, tuple(history))
        write_whole(folder / "checkpoint.safetensors", packed_state(state))
        return
    seconds = round(sum(record.pop("seconds", 0.0) for record in history), 1)
    write_whole(folder / "spec.json", spec.model_dump_json(indent=1).encode() + b"\n")
    write_whole(folder / "history.json", as_json(history))
    training = {**circumstances, "seconds": seconds}
    seal(folder, {"training": training, "contours": {}}, weights=packed_weights(state.W))
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def progress(store: Path, spec: Spec) -> dict[str, float]:
    """The record of the last finished epoch of a run that may be under way."""
    folder = store / spec.folder
    if (folder / "weights.safetensors").exists():
        return json.loads((folder / "history.json").read_bytes())[-1]
    return unpacked_state(_unfinished(folder) or b"").history[-1]


def _unfinished(folder: Path) -> bytes | None:
    """The checkpoint of a training that is under way, None before its first."""
    path = folder / "checkpoint.safetensors"
    try:
        content = path.read_bytes()
        unpacked_state(content)
    except FileNotFoundError:
        return None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    return content


def _rows(folder: Path, name: str) -> list[list[float]]:
    """The finished rows of a contour that may be under way; a file of another protocol is refused."""
    path = folder / "contours" / f"{name}.json"
    if not path.exists():
        return []
    record = parsed(path)
    rows = record.pop("accuracy", None)
    if record != MEASUREMENTS[name].record or not isinstance(rows, list):
        raise StoreError(f"{path}: was measured by another protocol; remove it to measure it again")
    sealed = name in read_provenance(folder)["contours"]
    return rows if sealed else rows[: len(MEASUREMENTS[name].protocol.grid_x) - 1]  # killed just before the seal
