"""Write a file whole or not at all, and know a JSON file that has been changed since."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from nsr import paths

_ABANDONED = 3600.0  # seconds: no write takes that long, so an older partial file is that of a killed process


class StoreError(RuntimeError):
    """A stored result cannot be used; the message names the file and says what to do."""


def write_whole(path: Path, content: bytes) -> None:
    """Whatever stops the process, a reader sees the old file or the new one; the last of several writers wins."""
    path = path.resolve()  # a link stays one, and what it leads to is written
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no plain file: name another one to write to")
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(path.parent)
    partial = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut after the rename could leave an empty file
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # a full disk does not say whose file it would not take
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time between reading what lies in `folder` and writing it again; the others wait."""
    locks = paths.cache() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{sha256(str(folder.resolve()).encode())[:16]}.lock"):
        yield


def refuse_unwritable(folder: Path) -> None:
    """Stop now rather than when the first result is there to be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"nothing can be written there ({error.strerror})", str(folder)) from None


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


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _clear_abandoned(folder: Path) -> None:
    """Remove what a killed process has left half written here."""
    for partial in folder.glob(f".{'[0-9a-f]' * 32}-*"):
        try:
            if time.time() - partial.stat().st_mtime > _ABANDONED:
                partial.unlink()
        except FileNotFoundError:
            pass  # its writer has just finished
