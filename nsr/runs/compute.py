"""A run step by step: what it lacks next, computed from values alone, and kept so that nothing finished is lost."""

from __future__ import annotations

import copy
import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsr import data, paths, training
from nsr.data import Split
from nsr.files import StoreError, as_json, locked, parsed, refuse_unwritable, sha256, write_whole
from nsr.network import Weights
from nsr.runs.checkpoint import read_checkpoint, read_rows, rows_path, write_checkpoint, write_rows
from nsr.runs.circumstances import circumstances
from nsr.runs.code_digest import code_at_first_use
from nsr.runs.protocols import Measurement, Reading, deciding, measurement
from nsr.runs.specification import Spec
from nsr.runs.store import (
    CHECKPOINT,
    WEIGHTS,
    Run,
    adopt,
    is_without_weights,
    load,
    packed_weights,
    read_provenance,
    refuse_stale,
    stored,
    unpacked_weights,
    verified,
    write_run,
)
from nsr.training import CollapseError, Method, State


@dataclass(frozen=True)
class Job:
    """A piece of work on one run: an epoch of training, a row of cells of a contour, an image's plane, a reading."""

    spec: Spec
    what: str  # "training", or the name of a contour or a reading
    call: Callable[..., Any]
    arguments: tuple[Any, ...]

    def result(self) -> tuple[Any, dict[str, Any]]:
        """What it gives, and by what it was computed: on one thread, denormal numbers read as 0, for time's sake."""
        code = code_at_first_use(deciding(self.what), paths.PACKAGE)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # a training step on them takes ten times as long
        started = time.perf_counter()
        try:
            value = self.call(*self.arguments)
            here = circumstances(self.spec.dataset)
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
        return value, {**here, "seconds": round(time.perf_counter() - started, 3), "code": dict(code)}


def run(
    spec: Spec,
    measurements: Sequence[str] = (),
    *,
    store: Path | None = None,
    watch: Callable[[Job, Any], None] = lambda job, value: None,
) -> Run:
    """The run of this specification with these contours and readings: a stored one that is complete, with its weights,
    and not stale, else computed.

    What is computed goes into `store`, the user's own by default, piece by piece; `watch` sees each piece.
    """
    for name in measurements:
        measurement(name)
    found = stored(spec, *([store] if store else []))
    if found and found.has_weights and not found.stale and set(measurements) <= {*found.contours, *found.readings}:
        return found
    store = store or paths.store()
    refuse_stale(store, spec)
    refuse_unwritable(store)
    if found and not (found.has_weights or found.stale or stored(spec, store)):
        adopt(found, store, weights=False)  # what is known of it stands if it is trained to the same weights
    while job := next_job(store, spec, measurements):
        value, by = job.result()
        keep(store, job, value, by)
        watch(job, value)
    return load(store / spec.folder)


def next_job(store: Path, spec: Spec, measurements: Sequence[str]) -> Job | None:
    """What the run lacks next, None if nothing; contours and readings in the order of `measurements`."""
    folder = store / spec.folder
    if not (folder / WEIGHTS).exists():
        return Job(spec, "training", train_epoch, (spec, read_checkpoint(folder, spec)))
    known = read_provenance(folder)
    for name in measurements:
        what = measurement(name)
        if name not in known.get(what.folder, {}):
            W = unpacked_weights(verified(folder, WEIGHTS, known["files"][WEIGHTS]))
            before = [] if isinstance(what, Reading) else read_rows(folder, name)
            return Job(spec, name, measure_piece, (spec, W, what, before))
        _refuse_other_protocol(folder / what.folder / f"{name}.json", what)
    return None


def keep(store: Path, job: Job, value: Any, by: dict[str, Any]) -> None:
    """Put the result of a job into the store, each file whole; where another process was faster, its own stays."""
    folder = store / job.spec.folder
    with locked(folder):  # two processes may finish two contours of one run
        if job.what == "training":
            _keep_epoch(folder, job.spec, value, by)
        else:
            _keep_piece(folder, job.what, [*job.arguments[-1], value], by)


def _keep_epoch(folder: Path, spec: Spec, state: State, by: dict[str, Any]) -> None:
    known = read_checkpoint(folder, spec)
    if (folder / WEIGHTS).exists() or (known and known.epoch >= state.epoch):
        return
    *before, last = state.history
    history = (*before, {**last, "seconds": by["seconds"]})
    if state.epoch < spec.method.epochs:
        write_checkpoint(folder, spec, replace(state, history=history), by["code"])
        return
    seconds = round(sum(record["seconds"] for record in history), 3)
    numbers = [{name: value for name, value in record.items() if name != "seconds"} for record in history]
    files = {
        "spec.json": spec.model_dump_json(indent=1).encode() + b"\n",
        "history.json": as_json(numbers),
        WEIGHTS: packed_weights(state.W),
    }
    if _are_those_left_out(folder, files[WEIGHTS]):
        write_whole(folder / WEIGHTS, files[WEIGHTS])  # all that was found of them stands
    else:
        write_run(folder, {"training": {**by, "seconds": seconds}, "contours": {}}, files)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _are_those_left_out(folder: Path, weights: bytes) -> bool:
    return is_without_weights(folder) and read_provenance(folder)["files"].get(WEIGHTS) == sha256(weights)


def _keep_piece(folder: Path, name: str, rows: list[Any], by: dict[str, Any]) -> None:
    what, known = measurement(name), read_provenance(folder)
    if name in known.get(what.folder, {}):
        return
    if isinstance(what, Reading):
        _keep_whole(folder, name, {"found": rows[0]}, by)
        return
    if len(read_rows(folder, name)) >= len(rows):
        return
    if len(rows) < what.shape[0]:
        write_rows(folder, name, rows, by["code"])
        return
    # on one line, as there are many contours: indented, each is twice as long
    found = (
        {"verdicts": ["".join(map(LETTERS.get, row)) for row in rows]} if what.method == "exact" else {"accuracy": rows}
    )
    _keep_whole(folder, name, found, by)
    rows_path(folder, name).unlink(missing_ok=True)


def _keep_whole(folder: Path, name: str, found: dict[str, Any], by: dict[str, Any]) -> None:
    """A finished contour or reading, and its part of the provenance."""
    what, known = measurement(name), read_provenance(folder)
    content = json.dumps({**what.record, **found}, separators=(",", ":")).encode() + b"\n"
    part = {key: value for key, value in by.items() if key != "seconds"}  # of one row
    grown = {**known, what.folder: {**known.get(what.folder, {}), name: part}}
    write_run(folder, grown, {f"{what.folder}/{name}.json": content})


def _refuse_other_protocol(path: Path, what: Measurement | Reading) -> None:
    record = parsed(path)
    record = {key: value for key, value in record.items() if key not in ("accuracy", "verdicts", "found")}
    if record != what.record:
        raise StoreError(f"{path}: was measured by another protocol; remove its run to measure it again")


# what a job computes ------------------------------------------------------------------------------------------------


def train_epoch(spec: Spec, state: State | None) -> State:
    """The state after one more epoch; its record says how well the validation images are classified.

    A network that has diverged or collapsed is refused, so that none is kept as a run, whichever step it was.
    """
    parts = _data(spec.dataset)
    samples = parts.train if spec.images is None else parts.train.first(spec.images)
    generator = torch.Generator().manual_seed(spec.seed)
    network = spec.fresh(generator)
    state = copy.deepcopy(state)  # the optimiser goes on in the tensors that it is given
    reached = next(training.states(network, samples.x, samples.y, spec.method, generator=generator, state=state))
    logits = network.at(reached.W)(parts.validation.x)
    _refuse_collapse(logits, spec.method)
    *before, last = reached.history
    return replace(reached, history=(*before, {**last, "validation": _accuracy(logits, parts.validation)}))


LETTERS = {1.0: "r", 0.0: "b", 0.5: "o"}  # verdicts, and the numbers that stand for them while a contour is unfinished


def measure_piece(spec: Spec, W: Weights, what: Measurement | Reading, rows: Sequence[Sequence[float]]) -> Any:
    """The accuracies of the next row of cells, or the verdicts on the next image, behind the `rows` that are known; a
    reading is whole at once."""
    if isinstance(what, Reading):
        return what.of(spec.network(W), _data(spec.dataset))
    part: Split = getattr(_data(spec.dataset), what.part)
    samples, network = part.first(min(what.protocol.images, len(part))), spec.network(W)
    if what.method == "exact":
        numbers = {letter: number for number, letter in LETTERS.items()}
        return [numbers[letter] for letter in what.plane(network, samples, len(rows))]
    eps_x, found = what.protocol.grid_x[len(rows)], []
    for j, radius in enumerate(what.grid_w):
        dead = what.inherits and (0 in found or any(row[j] == 0 for row in rows))
        found.append(0.0 if dead else what.cell(network, samples, eps_x, radius))
    return found


@functools.lru_cache(maxsize=1)
def _data(name: str) -> data.Dataset:
    return data.load(name)


def _refuse_collapse(logits: Tensor, method: Method) -> None:
    """By the logits of all validation images; the training itself looks at the weights and at one batch.

    Weights may be finite and so large that the logits overflow: the training would find that in its next step, and
    behind the last there is none.
    """
    if not bool(torch.isfinite(logits).all()):
        raise CollapseError(f"training diverged to NaN or infinite logits: try a rate below lr={method.lr}")
    if bool((logits == logits[0]).all()):
        raise CollapseError(
            "the network has collapsed: it gives every input the same logits; weaken or ramp the added terms"
        )


def _accuracy(logits: Tensor, split: Split) -> float:
    return round(float((logits.argmax(-1) == split.y).double().mean()), 6)
