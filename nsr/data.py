"""Data sets as whole tensors. torchvision downloads, checks and unpacks them; what is unpacked is checked on each load.

`load(name)` gives train, validation and test. The validation set is fixed and never drawn: the last 10,000 training
images of MNIST and Fashion-MNIST; the digits of scikit-learn come as one set of 1,797, in its stored order the first
1,197 train, the next 300 validate and the last 300 test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from nsr import paths, vision

VALIDATION = 10_000  # the last training images of MNIST and Fashion-MNIST
DIGITS_TRAIN, DIGITS_VALIDATION = 1_197, 300
KINDS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}  # torchvision's classes, and the folders they read
NAMES = (*KINDS, "digits")
# md5 of the unpacked files, which torchvision reads without a look at them
MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


class DataError(RuntimeError):
    """A data set is missing, damaged or out of reach; the message names the folder and says what to do."""


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


def load(name: str, *, flat: bool = True, dtype: torch.dtype = torch.float32) -> Dataset:
    """The data set `name` ("mnist", "fashion-mnist" or "digits"), x flattened to [B, d] or as images [B, 1, h, w].

    >>> import nsr
    >>> digits = nsr.data.load("digits")
    >>> digits.test.x.shape, len(digits.train), len(digits.validation)
    (torch.Size([300, 64]), 1197, 300)
    """
    _known(name)
    if not dtype.is_floating_point:
        raise ValueError(f"x lies in [0, 1], so its dtype has to be a floating one; got {dtype}")
    top, parts = (16, _digits()) if name == "digits" else (255, _mnist_like(name))

    def split(images: Tensor, labels: Tensor) -> Split:  # images uint8 [B, h, w]
        x = images.to(dtype).div_(top)
        return Split(x.flatten(1) if flat else x.unsqueeze(1), labels)

    return Dataset(name, *(split(images, labels) for images, labels in parts))


def digests(name: str) -> dict[str, str]:
    """The md5 of every unpacked file of a data set, as checked on each load; for the digits, of their pixels."""
    _known(name)
    return MD5.get(name) or {name: _md5(b"".join(images.numpy().tobytes() for images, _ in _digits()))}


def _known(name: str) -> None:
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r:.60}; known are {', '.join(NAMES)}")


def _digits() -> Iterable[tuple[Tensor, Tensor]]:
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

    digits = load_digits()
    images, labels = torch.from_numpy(digits.images).to(torch.uint8), torch.from_numpy(digits.target).long()
    sizes = [DIGITS_TRAIN, DIGITS_VALIDATION, len(labels) - DIGITS_TRAIN - DIGITS_VALIDATION]
    return zip(images.split(sizes), labels.split(sizes), strict=True)


def _mnist_like(name: str) -> Iterable[tuple[Tensor, Tensor]]:
    """(images uint8 [B, h, w], labels [B]) of train, validation and test, read by torchvision's own class."""
    roots = paths.data_roots()
    root = next((root for root in roots if (root / KINDS[name] / "raw").is_dir()), roots[0])
    folder = root / KINDS[name]
    if (folder / "processed" / "training.pt").exists():  # torchvision prefers it, and nothing could check it
        raise DataError(f"{folder / 'processed'}: a format that old releases of torchvision left behind; remove it")
    if _wrong(folder / "raw", name):
        _fetch(root, name)
    kind = getattr(vision.torchvision().datasets, KINDS[name])
    train, test = kind(root, train=True), kind(root, train=False)
    sizes = [len(train) - VALIDATION, VALIDATION]
    images, labels = train.data.split(sizes), train.targets.split(sizes)
    return zip((*images, test.data), (*labels, test.targets), strict=True)


def _fetch(root: Path, name: str) -> None:
    """Let torchvision unpack the packed files, or download them; one process at a time, the others wait."""
    raw = root / KINDS[name] / "raw"
    made = [folder for folder in (raw, raw.parent) if not folder.exists()]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw / ".lock"):
            for file in _wrong(raw, name):  # unpacked anew, if it was there at all
                file.unlink(missing_ok=True)
            getattr(vision.torchvision().datasets, KINDS[name])(root, download=True)
    except (RuntimeError, OSError, EOFError, HTTPException) as error:
        for folder in made:
            if folder.exists() and not [f for f in folder.iterdir() if f.name != ".lock"]:
                (folder / ".lock").unlink(missing_ok=True)
                folder.rmdir()
        reason = " ".join(str(error).split())[:200]
        what = f"{KINDS[name]} is missing or damaged there and cannot be had ({reason})"
        raise DataError(f"{raw}: {what}. {_remedy(name)}") from None
    if wrong := _wrong(raw, name):
        raise DataError(f"{wrong[0]}: has not the md5 {MD5[name][wrong[0].name]}. {_remedy(name)}")


def _remedy(name: str) -> str:
    shipped = "git checkout -- data/MNIST/raw brings back the files of this repository; or " if name == "mnist" else ""
    return (
        f"{shipped}load it once where there is a network, or put its four files, packed (.gz) or unpacked, into "
        f"{KINDS[name]}/raw of a folder and name that folder with NSR_DATA."
    )


def _wrong(raw: Path, name: str) -> list[Path]:
    """The unpacked files that are missing or not what they should be."""
    files = {raw / file: md5 for file, md5 in MD5[name].items()}
    return [file for file, md5 in files.items() if not file.is_file() or _md5(file.read_bytes()) != md5]


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
