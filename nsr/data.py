"""Data sets as whole tensors, every file checked against its digest before torchvision reads it.

`load(name)` gives train, validation and test. The validation set is fixed and never drawn: the last 10,000 training
images of MNIST and Fashion-MNIST; the digits of scikit-learn come as one set of 1,797, in its stored order the first
1,197 train, the next 300 validate and the last 300 test.

A file is right, or it is not read: the `.gz` has to have the published digest, and so has the unpacked file that
torchvision reads, on every load. What was unpacked from a good `.gz` and has been damaged since is unpacked again.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from nsr import paths, vision
from nsr.files import write_whole

VALIDATION = 10_000  # the last training images of MNIST and Fashion-MNIST
DIGITS_TRAIN, DIGITS_VALIDATION = 1_197, 300


class DataError(RuntimeError):
    """A data set is missing, damaged or out of reach; the message names the file and says what to do."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples x in [0, 1], [B, d] or [B, 1, h, w], and their labels y [B], int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: int) -> Split:
        """The first n samples, in the order of the data set."""
        if not 1 <= n <= len(self):
            raise ValueError(f"first(n) needs 1 <= n <= {len(self)}, the size of this split; got {n}")
        return Split(self.x[:n], self.y[:n])

    def to(self, target: torch.dtype | torch.device | str) -> Split:
        """The same samples with x in another dtype, or x and y on another device; labels stay int64."""
        return Split(self.x.to(target), self.y if isinstance(target, torch.dtype) else self.y.to(target))


@dataclass(frozen=True, eq=False)
class Dataset:
    """One data set in its three fixed parts."""

    name: str
    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class _Source:
    """Where an MNIST-like data set comes from: torchvision's class, and (file, md5 of its .gz, md5 unpacked)."""

    kind: str  # torchvision's class, and so the folder it reads
    files: tuple[tuple[str, str, str], ...]
    remedy: str
    downloads: bool


_SOURCES = {
    "mnist": _Source(
        kind="MNIST",
        files=(
            ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
            ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
            ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
            ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
        ),
        remedy="The four files are part of this repository: restore them with `git checkout -- data/MNIST/raw`, "
        "or name with NSR_DATA a folder that has them in MNIST/raw.",
        downloads=False,
    ),
    "fashion-mnist": _Source(
        kind="FashionMNIST",
        files=(
            ("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
            ("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
            ("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
        remedy="Delete what is damaged and load it once where there is a network, or put the four original files, "
        "packed (.gz) or unpacked, into FashionMNIST/raw of a folder and name that folder with NSR_DATA.",
        downloads=True,
    ),
}

NAMES = (*_SOURCES, "digits")


def load(name: str, *, flat: bool = True, dtype: torch.dtype = torch.float32) -> Dataset:
    """The data set `name` ("mnist", "fashion-mnist" or "digits"), x flattened to [B, d] or as images [B, 1, h, w]."""
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(NAMES)}")
    if not dtype.is_floating_point:
        raise ValueError(f"x lies in [0, 1], so its dtype has to be a floating one; got {dtype}")
    top, parts = (16, _digits()) if name == "digits" else (255, _mnist_like(_SOURCES[name]))

    def split(images: Tensor, labels: Tensor) -> Split:  # images uint8 [B, h, w]
        x = images.to(dtype).div_(top)
        return Split(x.flatten(1) if flat else x.unsqueeze(1), labels)

    return Dataset(name, *(split(images, labels) for images, labels in parts))


def digests(name: str) -> dict[str, str]:
    """The md5 of every unpacked file of a data set, as checked on each load; for the digits, of their pixels."""
    if name in _SOURCES:
        return {file: md5 for file, _, md5 in _SOURCES[name].files}
    return {name: _md5(b"".join(images.numpy().tobytes() for images, _ in _digits()))}


def _digits() -> Iterable[tuple[Tensor, Tensor]]:
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

    digits = load_digits()
    images, labels = torch.from_numpy(digits.images).to(torch.uint8), torch.from_numpy(digits.target).long()
    sizes = [DIGITS_TRAIN, DIGITS_VALIDATION, len(labels) - DIGITS_TRAIN - DIGITS_VALIDATION]
    return zip(images.split(sizes), labels.split(sizes), strict=True)


def _mnist_like(source: _Source) -> Iterable[tuple[Tensor, Tensor]]:
    """(images uint8 [B, h, w], labels [B]) of train, validation and test, read by torchvision's own class."""
    root = _root(source)
    raw, legacy = root / source.kind / "raw", root / source.kind / "processed" / "training.pt"
    if os.path.exists(legacy):  # torchvision prefers it to the files in raw, and nothing could check it
        raise DataError(f"{legacy}: a format that old releases of torchvision left behind. Remove its folder.")
    if source.downloads and _absent(raw, source):
        _download(source, raw)
    for name, packed_md5, md5 in source.files:
        _make_ready(raw, name, packed_md5, md5, source.remedy)
    kind = getattr(vision.torchvision().datasets, source.kind)
    train, test = kind(root, train=True), kind(root, train=False)
    sizes = [len(train) - VALIDATION, VALIDATION]
    images, labels = train.data.split(sizes), train.targets.split(sizes)
    return zip((*images, test.data), (*labels, test.targets), strict=True)


def _root(source: _Source) -> Path:
    """The first root that has any file of the data set; where none has, the first root, for a download to go to."""
    roots = paths.data_roots()
    if not os.path.isdir(roots[0]):
        raise DataError(
            f"{roots[0]}: expected a folder of data sets, found none. Create it, or name one with NSR_DATA."
        )
    having = (root for root in roots if len(_absent(root / source.kind / "raw", source)) < len(source.files))
    return next(having, roots[0])


def _absent(raw: Path, source: _Source) -> list[str]:
    """The files of the data set that `raw` has neither unpacked nor packed."""
    return [
        name for name, _, _ in source.files if not (os.path.exists(raw / name) or os.path.exists(raw / f"{name}.gz"))
    ]


def _make_ready(raw: Path, name: str, packed_md5: str, md5: str, remedy: str) -> None:
    """Leave raw/name with the right bytes: as it is, or unpacked anew from a right raw/name.gz; or refuse."""
    target, packed = raw / name, raw / f"{name}.gz"
    content = _read(packed)
    if content is not None and _md5(content) != packed_md5:
        raise _wrong(packed, content, packed_md5, remedy)
    unpacked = _read(target)
    if unpacked is not None and _md5(unpacked) == md5:
        return
    if content is not None:
        _write(target, gzip.decompress(content))
    elif unpacked is not None:
        raise _wrong(target, unpacked, md5, remedy)
    else:
        raise DataError(f"{packed}: the file is missing; expected one with md5 {packed_md5}. {remedy}")


def _read(path: Path) -> bytes | None:
    """The bytes of a file, None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{path}: expected a file, but it cannot be read ({error.strerror}). Mend or remove it."
        ) from None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _wrong(path: Path, content: bytes, md5: str, remedy: str) -> DataError:
    return DataError(
        f"{path}: the file is damaged, cut short or another one; expected md5 {md5}, "
        f"found {_md5(content)} in {len(content):,} bytes. {remedy}"
    )


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be written ({error.strerror}). Data is unpacked where it lies and then takes 55 MB: "
        "make the folder writable and some room in it, or copy the data elsewhere and name that folder with NSR_DATA."
    )


def _write(target: Path, content: bytes) -> None:
    """Several processes may do it at once, each replaces the file by the same bytes."""
    try:
        write_whole(target, content)
    except OSError as error:
        raise _unwritable(target, error) from None


def _download(source: _Source, raw: Path) -> None:
    """Let torchvision download into a scratch folder, then move what is missing into place, file by whole file."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=raw, prefix=".download-")
    except OSError as error:
        raise _unwritable(raw, error) from None
    with scratch as folder:
        try:
            getattr(vision.torchvision().datasets, source.kind)(folder, download=True)
        except (RuntimeError, OSError, HTTPException) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{raw}: {source.kind} is not here and could not be downloaded ({reason}). {source.remedy}"
            ) from None
        for name in _absent(raw, source):
            os.replace(Path(folder, source.kind, "raw", f"{name}.gz"), raw / f"{name}.gz")
