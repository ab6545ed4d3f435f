"""The stored runs: each found, verified by the digests of its files, loaded; and how files are put into a store.

Weights are written last: a folder without them is no run, unless its provenance says that they may be missing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from nsr import paths
from nsr.attack import PAPER
from nsr.contour import Contour, Decided
from nsr.files import StoreError, digested, locked, read_digested, sha256, write_whole
from nsr.inside import Inside
from nsr.network import Network, Weights
from nsr.runs.code_digest import changed_roles
from nsr.runs.protocols import MEASUREMENTS
from nsr.runs.specification import Spec, what_is_wrong

WEIGHTS, CHECKPOINT = "weights.safetensors", "checkpoint.safetensors"
LEFT_OUT = "left out"  # in a provenance: files that may be missing, known by their digests where they are


@dataclass(frozen=True)
class Run:
    """A stored run: `contours` as they were measured; `stale` names the roles whose code has changed since.

    `readings` are what was read off the network itself, so that a run can be shipped without its weights.
    """

    spec: Spec
    _network: Network | None
    history: tuple[dict[str, float], ...]
    contours: dict[str, Contour]
    provenance: dict[str, Any]
    folder: Path
    stale: tuple[str, ...]
    readings: dict[str, Inside] = field(default_factory=dict)

    @property
    def has_weights(self) -> bool:
        return self._network is not None

    @property
    def network(self) -> Network:
        """f_W at the trained weights."""
        if self._network is None:
            raise StoreError(
                f"{self.folder}: is stored without its weights; nsr.runs.run(spec) or nsr train trains it again"
            )
        return self._network

    @property
    def seconds(self) -> float:
        """What the training cost, on one thread of the machine that the provenance names."""
        return float(self.provenance["training"]["seconds"])

    def contour(self, kind: str) -> Contour:
        """A contour as it is reported: what a strong attack broke inside a budget is broken inside larger ones.

        The paper's attack and certificates stand as they were measured.
        """
        return self.contours[kind] if MEASUREMENTS[kind].attack in (None, PAPER) else self.contours[kind].envelope


def load(folder: Path) -> Run:
    """The run in this folder, every file checked against its digest; a changed byte is refused."""
    provenance = read_provenance(folder)
    try:
        files = _files(folder, provenance)
        spec = Spec.model_validate_json(files["spec.json"])
        network = spec.network(unpacked_weights(files[WEIGHTS])) if WEIGHTS in files else None
        contours = {name: _contour(files[f"contours/{name}.json"]) for name in provenance["contours"]}
        readings = {name: _reading(files[f"readings/{name}.json"]) for name in provenance.get("readings", {})}
        history, stale = tuple(json.loads(files["history.json"])), changed_roles(provenance)
    except (ValidationError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = what_is_wrong(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise StoreError(f"{folder}: not a run of this version ({reason})") from None
    if spec.folder != folder.name:
        raise StoreError(f"{folder}: holds the run {spec.folder}; give the folder that name")
    return Run(spec, network, history, contours, provenance, folder, stale, readings)


def _files(folder: Path, provenance: Mapping[str, Any]) -> dict[str, bytes]:
    """Every file of a run that is not left out, each verified."""
    missing = {name for name in provenance.get(LEFT_OUT, ()) if not (folder / name).exists()}
    return {name: verified(folder, name, d) for name, d in provenance["files"].items() if name not in missing}


def _reading(content: bytes) -> Inside:
    return _of_inside().validate_python(json.loads(content)["found"])


@functools.cache
def _of_inside() -> TypeAdapter[Inside]:
    return TypeAdapter(Inside)


def _contour(content: bytes) -> Contour:
    record = json.loads(content)
    protocol, geometry = record["protocol"], record["geometry"]
    grids = tuple(protocol["grid_x"]), tuple(protocol["grid_w"] if geometry == "absolute" else protocol["grid_r"])
    if "verdicts" in record:
        return Decided.of(*grids, record["verdicts"], geometry)
    return Contour(*grids, tuple(map(tuple, record["accuracy"])), geometry)


# what there is ------------------------------------------------------------------------------------------------------


def either(stores: tuple[Path, ...]) -> tuple[Path, ...]:
    """The stores that were named, else the user's own and the shipped one."""
    for store in {paths.SHIPPED, paths.COMPANIONS} & {*stores}:
        paths.refuse_without_shipped(store)
    return stores or (paths.store(), paths.SHIPPED)


def is_run(folder: Path) -> bool:
    """Whether a run lies here: its weights, or the word of its provenance that they were left out."""
    return (folder / WEIGHTS).exists() or is_without_weights(folder)


def is_without_weights(folder: Path) -> bool:
    """Whether a run lies here whose weights were left out."""
    if (folder / WEIGHTS).exists():
        return False
    try:
        return WEIGHTS in json.loads((folder / "provenance.json").read_bytes())[LEFT_OUT]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def folders(*stores: Path) -> Iterator[Path]:
    """The folders of the runs; the first of equals."""
    found: dict[str, Path] = {}
    for store in either(stores):
        for folder in filter(is_run, sorted(store.glob("*/"))):
            found.setdefault(folder.name, folder)
    return iter(found.values())


def runs(*stores: Path) -> Iterator[Run]:
    """Every finished run of these stores, by default the user's and the shipped one; the first of equals."""
    return map(load, folders(*stores))


def stored(spec: Spec, *stores: Path) -> Run | None:
    """The run of this specification, None where no store has it."""
    for store in either(stores):
        if is_run(store / spec.folder):
            return load(store / spec.folder)
    return None


def refuse_stale(store: Path, spec: Spec) -> None:
    """Stop where the store's run of this specification is damaged or was computed by other code."""
    found = stored(spec, store)
    if found and found.stale:
        changed = f"{found.folder}: was computed before a change of {', '.join(found.stale)}"
        if _is_shipped(found.folder):
            raise StoreError(f"{changed}; undo that change, or compute the run again in a store of your own")
        raise StoreError(f"{changed}; remove it to compute it again")


# files --------------------------------------------------------------------------------------------------------------


def write_run(folder: Path, provenance: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write these files, provenance.json with their digests, and the weights last.

    A digest that is known stays, so that a file changed since it was written is never taken for a good one.
    """
    digests = {**provenance.get("files", {}), **{name: sha256(content) for name, content in files.items()}}
    whole = digested({**provenance, "files": dict(sorted(digests.items()))})
    ordered = {**files, "provenance.json": whole}
    if WEIGHTS in files:
        ordered[WEIGHTS] = ordered.pop(WEIGHTS)
    for name, content in ordered.items():
        write_whole(folder / name, content)


def adopt(run: Run, store: Path, *, weights: bool = True) -> None:
    """Copy a run into another store, where it may grow; without its weights it is to be read only."""
    folder, files = store / run.folder.name, _files(run.folder, run.provenance)
    provenance = {key: value for key, value in run.provenance.items() if key != LEFT_OUT}
    if weights:
        run.network  # noqa: B018  refuses a run that has none
    else:
        files.pop(WEIGHTS, None)
        provenance[LEFT_OUT] = [WEIGHTS]
    with locked(folder):
        if not weights and (folder / WEIGHTS).exists():
            raise StoreError(f"{folder}: is there already, with its weights; remove it first")
        write_run(folder, provenance, files)
        if weights:
            (folder / CHECKPOINT).unlink(missing_ok=True)  # of a training that is now spared


def read_provenance(folder: Path) -> dict[str, Any]:
    """provenance.json, once its own digest is known to be right."""
    return read_digested(folder / "provenance.json", _remedy(folder))


def verified(folder: Path, name: str, digest: str) -> bytes:
    """The content of a run's file that has this digest."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise StoreError(f"{folder / name}: cannot be read ({error.strerror}); {_remedy(folder)}") from None
    if sha256(content) != digest:
        raise StoreError(f"{folder / name}: has been changed since it was written; {_remedy(folder)}")
    return content


def _remedy(folder: Path) -> str:
    if _is_shipped(folder):
        return f"git checkout -- data/runs/{folder.name} brings it back"
    return f"remove {folder} to compute the run again"


def _is_shipped(folder: Path) -> bool:
    return folder.parent.resolve() == paths.SHIPPED.resolve()


def packed_weights(W: Weights) -> bytes:
    return safetensors.save(named(W))


def unpacked_weights(content: bytes) -> Weights:
    return in_order(safetensors.load(content))


def named(W: Weights) -> dict[str, Tensor]:
    return {f"W{m}": W_m for m, W_m in enumerate(W, start=1)}


def in_order(tensors: Mapping[str, Tensor]) -> Weights:
    return tuple(tensors[f"W{m}"] for m in range(1, 1 + sum(name.startswith("W") for name in tensors)))
