"""The runs that are stored: each found, verified and loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError

from nsr import paths
from nsr.attack import PAPER
from nsr.contour import Contour
from nsr.files import StoreError, as_json, write_whole
from nsr.network import Network, mlp
from nsr.runs.checkpoint import checkpoint_path
from nsr.runs.code_digest import changed_roles
from nsr.runs.protocols import MEASUREMENTS
from nsr.runs.sealed import read_provenance, verified
from nsr.runs.specification import Spec, what_is_wrong
from nsr.runs.tensors import unpacked_weights


@dataclass(frozen=True)
class Run:
    """A stored run. `stale` names the modules that decide its numbers and have changed since they were computed."""

    spec: Spec
    network: Network
    history: tuple[dict[str, float], ...]
    contours: dict[str, Contour]
    provenance: dict[str, Any]
    folder: Path
    stale: tuple[str, ...]

    def contour(self, kind: str) -> Contour:
        """A contour as this book reads it: where a strong attack broke an input in a ball, it is broken in larger ones.

        The paper's attack and certificates stand as they were measured. `contours` holds all as they are stored.
        """
        stored = self.contours[kind]
        return stored if MEASUREMENTS[kind].attack in (None, PAPER) else stored.envelope

    @property
    def seconds(self) -> float:
        """What the training cost, on one thread of the machine that the provenance names."""
        return float(self.provenance["training"]["seconds"])


def load(folder: Path) -> Run:
    """The run in this folder, every file checked against its digest; a changed byte is refused."""
    provenance = read_provenance(folder)
    files = {name: verified(folder, name, digest) for name, digest in provenance.get("files", {}).items()}
    try:
        spec = Spec.model_validate_json(files["spec.json"])
        network = mlp(unpacked_weights(files["weights.safetensors"]))
        contours = {name: _contour(files[f"contours/{name}.json"]) for name in provenance["contours"]}
        history, stale = tuple(json.loads(files["history.json"])), changed_roles(provenance)
    except (ValidationError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = what_is_wrong(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise StoreError(f"{folder}: not a run of this version ({reason})") from None
    if spec.folder != folder.name:
        raise StoreError(f"{folder}: holds the run {spec.folder}; give the folder that name")
    return Run(spec, network, history, contours, provenance, folder, stale)


def runs(*stores: Path) -> Iterator[Run]:
    """Every finished run of these stores, by default the user's and the shipped one; the first of equals."""
    return map(load, folders(*stores))


def folders(*stores: Path) -> Iterator[Path]:
    """The folders of the runs, not looked into."""
    seen: set[str] = set()
    for store in stores or (paths.store(), paths.SHIPPED):
        for folder in sorted(path.parent for path in store.glob("*/weights.safetensors")):
            if folder.name not in seen:
                seen.add(folder.name)
                yield folder


def stored(spec: Spec, *stores: Path) -> Run | None:
    """The run of this specification, None where no store has it."""
    for store in stores or (paths.store(), paths.SHIPPED):
        if (store / spec.folder / "weights.safetensors").exists():
            return load(store / spec.folder)
    return None


def adopt(run: Run, store: Path) -> None:
    """Copy a run into another store, where it may grow; the weights come last: they make a run a run."""
    folder = store / run.folder.name
    files = {name: verified(run.folder, name, digest) for name, digest in run.provenance["files"].items()}
    weights = files.pop("weights.safetensors")
    copied = {**files, "provenance.json": as_json(run.provenance), "weights.safetensors": weights}
    try:
        for name, content in copied.items():
            write_whole(folder / name, content)
    except BaseException:  # half a copy is of no use to anybody
        for name in copied:
            (folder / name).unlink(missing_ok=True)
        raise
    checkpoint_path(folder).unlink(missing_ok=True)  # of a training that is now spared


def refuse_stale(store: Path, spec: Spec) -> None:
    """Stop where the store's run of this specification is damaged or was computed by other code."""
    found = stored(spec, store)
    if found and found.stale:
        raise StoreError(
            f"{found.folder}: was computed before a change of {', '.join(found.stale)}; remove it to compute it again"
        )


def _contour(content: bytes) -> Contour:
    record = json.loads(content)
    protocol, rows = record["protocol"], tuple(map(tuple, record["accuracy"]))
    grid_w = protocol["grid_w"] if record["geometry"] == "absolute" else protocol["grid_r"]
    return Contour(tuple(protocol["grid_x"]), tuple(grid_w), rows, record["geometry"])
