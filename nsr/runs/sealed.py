"""The files of a run as they lie in its folder: read, checked against their digests, and sealed by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nsr import paths
from nsr.files import StoreError, digested, read_digested, sha256, write_whole


def seal(folder: Path, provenance: dict[str, Any], weights: bytes | None = None) -> None:
    """Write provenance.json with the digests of all finished files; the weights last: they make a run a run.

    A digest that is known stays, so that a file changed since it was written is never taken for a good one.
    """
    files = {"spec.json", "history.json", *(f"contours/{name}.json" for name in provenance["contours"])}
    known = provenance.get("files", {})
    digests = {name: known.get(name) or sha256((folder / name).read_bytes()) for name in sorted(files)}
    digests["weights.safetensors"] = known["weights.safetensors"] if weights is None else sha256(weights)
    write_whole(folder / "provenance.json", digested({**provenance, "files": digests}))
    if weights is not None:
        write_whole(folder / "weights.safetensors", weights)


def read_provenance(folder: Path) -> dict[str, Any]:
    """provenance.json, once its own digest and its layout are known to be right."""
    return read_digested(folder / "provenance.json", remedy(folder))


def remedy(folder: Path) -> str:
    """What to do about a damaged run: those that are shipped come back from the repository."""
    if folder.resolve().parent == paths.SHIPPED.resolve():
        return f"git checkout -- data/runs/{folder.name} brings it back"
    return f"remove {folder} to compute the run again"


def verified(folder: Path, name: str, digest: str) -> bytes:
    """The content of a file of a run that has this digest."""
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); {remedy(folder)}") from None
    if sha256(content) != digest:
        raise StoreError(f"{path}: has been changed since it was written; {remedy(folder)}")
    return content


def on_one_line(content: Any) -> bytes:
    """The same where there are many files: indented, a contour is twice as long."""
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"
