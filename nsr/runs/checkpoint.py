"""What is under way in the folder of a run: the checkpoint of a training, the finished rows of a contour.

Either says under a digest what it belongs to and by which code it was begun. What is damaged, belongs to something
else or was begun before the code changed is refused, never gone on with: what comes of it bears one fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nsr import paths, training
from nsr.contour.stored import Cells
from nsr.files import StoreError, write_whole
from nsr.runs.code_digest import code_at_first_use
from nsr.runs.protocols import MEASUREMENTS, deciding
from nsr.runs.sealed import read_provenance
from nsr.runs.specification import Spec
from nsr.runs.tensors import how_begun, packed_state, unpacked_state

_REMEDY = "remove it to start afresh"


def checkpoint_path(folder: Path) -> Path:
    return folder / "checkpoint.safetensors"


def rows_path(folder: Path, name: str) -> Path:
    return folder / "contours" / f"{name}.unfinished.json"


def write_checkpoint(folder: Path, spec: Spec, state: training.State, code: dict[str, str]) -> None:
    begun = {"spec": spec.model_dump(mode="json"), "code": code}
    write_whole(checkpoint_path(folder), packed_state(state, begun))


def read_checkpoint(folder: Path, spec: Spec) -> bytes | None:
    """The checkpoint of this training, None before its first."""
    path = checkpoint_path(folder)
    if not path.exists():
        return None
    content, begun, _ = _opened(path)
    if begun["spec"] != spec.model_dump(mode="json"):
        raise StoreError(f"{path}: belongs to another run; {_REMEDY}")
    _refuse_other_code(path, begun["code"], deciding("training"))
    return content


def write_rows(folder: Path, name: str, rows: Sequence[Sequence[float]], code: dict[str, str]) -> None:
    _cells(folder, name, code).write({(i, j): a for i, row in enumerate(rows) for j, a in enumerate(row)})


def read_rows(folder: Path, name: str) -> list[list[float]]:
    """The finished rows of this contour of these weights, none before the first."""
    found = _cells(folder, name, code_at_first_use(deciding(name), paths.PACKAGE)).read()
    width = len(MEASUREMENTS[name].grid_w)
    return [[found[i, j] for j in range(width)] for i in range(len(found) // width)]


def _cells(folder: Path, name: str, code: dict[str, str]) -> Cells:
    what = MEASUREMENTS[name]
    belongs = {"protocol": what.record, "weights": _weights(folder), "code": code}
    return Cells(rows_path(folder, name), belongs, (len(what.protocol.grid_x), len(what.grid_w)))


def _weights(folder: Path) -> str:
    """The digest of the weights of a run."""
    return read_provenance(folder)["files"]["weights.safetensors"]


def under_way(*stores: Path) -> Iterator[Path]:
    """The folders in which something is unfinished, not looked into."""
    for store in stores or (paths.store(), paths.SHIPPED):
        for folder in sorted(path for path in store.glob("[!.]*") if path.is_dir()):
            trained = (folder / "weights.safetensors").exists()
            if any(folder.glob("contours/[!.]*.unfinished.json")) if trained else any(map(Path.exists, _signs(folder))):
                yield folder


def _signs(folder: Path) -> tuple[Path, ...]:
    """What only the folder of a run holds."""
    return checkpoint_path(folder), folder / "spec.json", folder / "provenance.json"


def how_far(folder: Path) -> str:
    """In words: what is finished of what is under way in this folder."""
    if (folder / "weights.safetensors").exists():
        names = [path.name.removesuffix(".unfinished.json") for path in folder.glob("contours/[!.]*.unfinished.json")]
        known = sorted(set(names) & set(MEASUREMENTS))
        rows = {name: (len(read_rows(folder, name)), len(MEASUREMENTS[name].protocol.grid_x)) for name in known}
        return ", ".join(f"{name}: {done} of {of} rows" for name, (done, of) in rows.items())
    path = checkpoint_path(folder)
    if not path.exists():
        raise StoreError(f"{folder}: has no weights; remove it, or train it again")
    _, begun, state = _opened(path)
    return f"{state.epoch} of {begun['spec']['method']['epochs']} epochs"


def _opened(path: Path) -> tuple[bytes, dict[str, Any], training.State]:
    """A checkpoint, how it was begun, and its state."""
    try:
        content = path.read_bytes()
        return content, how_begun(content), unpacked_state(content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


def _refuse_other_code(path: Path, code: dict[str, str], modules: Sequence[str]) -> None:
    now = code_at_first_use(modules, paths.PACKAGE)
    if code != now:
        changed = sorted(name for name in {*now, *code} if code.get(name) != now.get(name))
        raise StoreError(f"{path}: was begun before a change of {', '.join(changed)}; {_REMEDY}")
