"""The files of a run as they lie in its folder: read, checked against their digests, and sealed by them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nsr.files import StoreError, write_whole


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
    return read_digested(folder / "provenance.json", "remove the folder to compute the run again")


def digested(content: dict[str, Any]) -> bytes:
    """A JSON file that ends with the digest of what stands before it."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    return as_json({**content, "sha256": sha256(as_json(content))})


def read_digested(path: Path, remedy: str) -> dict[str, Any]:
    """The content of such a file; with a byte changed it is refused."""
    content = parsed(path, remedy)
    if path.read_bytes() != digested(content):
        raise StoreError(f"{path}: has been changed since it was written; {remedy}")
    return content


def verified(path: Path, digest: str) -> bytes:
    """The content of a file that has this digest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); remove its run to compute it again") from None
    if sha256(content) != digest:
        raise StoreError(f"{path}: has been changed since it was written; remove its run to compute it again")
    return content


def parsed(path: Path, remedy: str = "remove it to start afresh") -> dict[str, Any]:
    """The content of a JSON file that holds an object."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read ({' '.join(str(error).split())}); {remedy}") from None
    if not isinstance(content, dict):
        raise StoreError(f"{path}: is not what it should be; {remedy}")
    return content


def as_json(content: Any) -> bytes:
    """Equal contents give equal bytes: digests are taken of them."""
    return json.dumps(content, indent=1).encode() + b"\n"


def on_one_line(content: Any) -> bytes:
    """The same where there are many files: indented, a contour is twice as long."""
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
