"""What is under way in the folder of a run: the checkpoint of a training, the finished cells of a contour.

Either says under a digest what it belongs to and by which code it was begun. What is damaged, belongs to something
else or was begun before the code changed is refused, never gone on with: a run is computed by one state of the code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nsr import paths
from nsr.contour.stored import REMEDY, Cells, refuse_other
from nsr.files import StoreError, sha256, write_whole
from nsr.runs.code_digest import code_at_first_use
from nsr.runs.protocols import MEASUREMENTS, deciding
from nsr.runs.specification import Spec
from nsr.runs.store import CHECKPOINT, WEIGHTS, either, in_order, is_without_weights, named, read_provenance
from nsr.training import State


def write_checkpoint(folder: Path, spec: Spec, state: State, code: Mapping[str, str]) -> None:
    tensors = {**named(state.W), "generator": state.generator}
    for at, parts in state.optimiser.items():
        # what was computed from a kernel may lie in memory in another order, which the file format refuses
        tensors |= {f"optimiser.{at}.{name}": part.contiguous() for name, part in parts.items() if part is not None}
    words = json.dumps({"history": state.history, **_begun(spec, code)})
    write_whole(folder / CHECKPOINT, save(tensors, {"words": words, "sha256": _digest(tensors, words)}))


def read_checkpoint(folder: Path, spec: Spec) -> State | None:
    """The state of this training after its last finished epoch, None before the first."""
    if not (folder / CHECKPOINT).exists():
        return None
    state, words = _opened(folder / CHECKPOINT)
    refuse_other(folder / CHECKPOINT, words, _begun(spec, code_at_first_use(deciding("training"), paths.PACKAGE)))
    return state


def _begun(spec: Spec, code: Mapping[str, str]) -> dict[str, Any]:
    return {"specification": spec.model_dump(mode="json"), "code": dict(code)}


def _opened(path: Path) -> tuple[State, dict[str, Any]]:
    """The state in a checkpoint, and what it belongs to."""
    try:
        with safe_open(path, "pt") as file:
            tensors, known = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        if known.get("sha256") != _digest(tensors, known.get("words", "")):
            raise ValueError("its digest is missing or another")
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"{path}: is damaged ({' '.join(str(error).split())}); {REMEDY}") from None
    optimiser: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, at, name = key.split(".")
            optimiser.setdefault(int(at), {})[name] = tensor
    words = json.loads(known["words"])
    history = tuple(words["history"])
    return State(len(history), in_order(tensors), optimiser, tensors["generator"], history), words


def _digest(tensors: Mapping[str, torch.Tensor], words: str) -> str:
    return sha256(save(dict(tensors)) + words.encode())


def rows_path(folder: Path, name: str) -> Path:
    return folder / "contours" / f"{name}.unfinished.json"


def write_rows(folder: Path, name: str, rows: Sequence[Sequence[float]], code: Mapping[str, str]) -> None:
    _cells(folder, name, code).write({(i, j): a for i, row in enumerate(rows) for j, a in enumerate(row)})


def read_rows(folder: Path, name: str) -> list[list[float]]:
    """The finished rows of this contour of these weights, none before the first."""
    found = _cells(folder, name, code_at_first_use(deciding(name), paths.PACKAGE)).read()
    width = MEASUREMENTS[name].shape[1]
    return [[found[i, j] for j in range(width)] for i in range(len(found) // width)]


def _cells(folder: Path, name: str, code: Mapping[str, str]) -> Cells:
    what = MEASUREMENTS[name]
    belongs = {"protocol": what.record, "weights": read_provenance(folder)["files"][WEIGHTS], "code": code}
    return Cells(rows_path(folder, name), belongs, what.shape)


def under_way(*stores: Path) -> Iterator[Path]:
    """The folders in which something is unfinished, not looked into."""
    for store in either(stores):
        for folder in sorted(path for path in store.glob("[!.]*") if path.is_dir()):
            if any(path.exists() for path in _signs(folder)):
                yield folder


def _signs(folder: Path) -> list[Path]:
    """What shows that something is unfinished here; in a folder that is no run, anything of a run."""
    if (folder / WEIGHTS).exists():
        return _unfinished(folder)
    names = (CHECKPOINT,) if is_without_weights(folder) else (CHECKPOINT, "spec.json", "provenance.json")
    return [folder / name for name in names]


def how_far(folder: Path) -> str:
    """In words: what is finished of what is under way in this folder."""
    if (folder / WEIGHTS).exists():
        names = (path.name.partition(".")[0] for path in _unfinished(folder))
        return ", ".join(
            f"{n}: {len(read_rows(folder, n))} of {MEASUREMENTS[n].shape[0]} {MEASUREMENTS[n].unit}s" for n in names
        )
    if not (folder / CHECKPOINT).exists():
        raise StoreError(f"{folder}: has no weights; remove it, or train it again")
    state, begun = _opened(folder / CHECKPOINT)
    return f"{state.epoch} of {begun['specification']['method']['epochs']} epochs"


def _unfinished(folder: Path) -> list[Path]:
    return [path for path in (rows_path(folder, name) for name in MEASUREMENTS) if path.exists()]
