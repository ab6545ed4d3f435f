"""Data: what `nsr.data.load` hands out is right, and what is not right is refused with a sentence."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nsr import data, paths, vision

SHIPPED = paths.DATA / "MNIST" / "raw"
FILES = tuple(data.MD5["mnist"])
SMALL = "t10k-labels-idx1-ubyte"  # 10,008 bytes: the file that is damaged below, the others are links


@pytest.fixture(scope="module")
def mnist():
    """MNIST as shipped; afterwards the shipped folder holds the unpacked files too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NSR_DATA", raising=False)
        return data.load("mnist", flat=False)


@pytest.fixture
def raw(tmp_path, monkeypatch, mnist):
    """Another root named by NSR_DATA: the packed files are links to the shipped ones, but for `SMALL`.

    Unpacked files are copies: torchvision writes them again where one is missing, through a link into the shipped
    folder, which other processes read.
    """
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in [*FILES, *(f"{name}.gz" for name in FILES)]:
        if Path(file).stem == SMALL or not file.endswith(".gz"):
            shutil.copy(SHIPPED / file, raw / file)
        else:
            (raw / file).symlink_to(SHIPPED / file)
    monkeypatch.setenv("NSR_DATA", str(tmp_path))
    return raw


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test reaches out; torchvision sees a network that is down."""

    def down(*_: object, **__: object) -> None:
        raise OSError("the network is down")

    monkeypatch.setattr("urllib.request.urlopen", down)


def refusal(name: str = "mnist") -> str:
    """The message `load` refuses with; an exception behind it would be a traceback on the reader's screen."""
    with pytest.raises(data.DataError) as caught:
        data.load(name)
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what comes out ------------------------------------------------------------------------------------------------------


def test_mnist_is_the_published_files_read_byte_by_byte(mnist):
    parts = {"train": (0, 50_000, mnist.train), "validation": (50_000, 60_000, mnist.validation)}
    for first, last, split in parts.values():
        images, labels = gzip.decompress((SHIPPED / "train-images-idx3-ubyte.gz").read_bytes()), None
        assert struct.unpack(">4i", images[:16]) == (2051, 60_000, 28, 28)
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)[first:last]
        labels = gzip.decompress((SHIPPED / "train-labels-idx1-ubyte.gz").read_bytes())
        assert torch.equal(split.x, torch.tensor(pixels).float().div(255))
        assert split.y.tolist() == list(labels[8 + first : 8 + last])
    assert len(mnist.test) == 10_000 and mnist.test.x.shape == (10_000, 1, 28, 28)
    assert mnist.test.y[:5].tolist() == [7, 2, 1, 0, 4]


def test_the_digits_are_those_of_scikit_learn_in_their_order():
    found, expected = data.load("digits", dtype=torch.float64), load_digits()
    x = torch.cat([part.x for part in (found.train, found.validation, found.test)])
    y = torch.cat([part.y for part in (found.train, found.validation, found.test)])
    assert torch.equal(x, torch.tensor(expected.data / 16)) and y.tolist() == expected.target.tolist()
    assert [len(part) for part in (found.train, found.validation, found.test)] == [1_197, 300, 300]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_inputs_lie_in_the_unit_interval_in_the_dtype_asked_for(dtype):
    found = data.load("digits", dtype=dtype).train
    assert found.x.dtype == dtype and found.x.min() == 0 and found.x.max() == 1 and found.y.dtype == torch.int64


def test_flat_inputs_are_the_images_row_by_row(mnist):
    flat = data.load("mnist").test
    assert torch.equal(flat.x, mnist.test.x.flatten(1))


def test_a_split_gives_its_first_samples_and_changes_its_dtype_alone():
    split = data.load("digits").test
    few = split.first(3).to(torch.float64)
    assert len(few) == 3 and torch.equal(few.x.float(), split.x[:3]) and few.y.dtype == torch.int64
    for n in (0, -1, 301):
        with pytest.raises(ValueError, match="1 <= n <= 300"):
            split.first(n)


@pytest.mark.parametrize("use", [data.load, data.digests])
def test_an_unknown_name_is_refused_with_the_known_ones(use):
    with pytest.raises(ValueError, match="unknown data set 'imagenet'; known are mnist, fashion-mnist, digits"):
        use("imagenet")


def test_a_whole_number_type_is_refused():
    with pytest.raises(ValueError, match="floating"):
        data.load("digits", dtype=torch.int64)


def test_the_digests_are_of_what_is_loaded(mnist):
    assert data.digests("mnist") == {name: hashlib.md5((SHIPPED / name).read_bytes()).hexdigest() for name in FILES}
    assert len(data.digests("digits")["digits"]) == 32


# where it comes from --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "halved", "emptied", "gone"])
def test_an_unpacked_file_that_is_damaged_is_unpacked_again(raw, damage, mnist):
    file = raw / SMALL
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"flipped": bytes(content), "halved": content[:5000], "emptied": b""}[damage])
    assert torch.equal(data.load("mnist").test.y, mnist.test.y)
    assert file.read_bytes() == (SHIPPED / SMALL).read_bytes()


@pytest.mark.parametrize("damage", ["flipped", "halved", "another", "gone"])
def test_packed_files_that_are_damaged_are_refused_with_what_to_do(raw, damage):
    packed, content = raw / f"{SMALL}.gz", bytearray((raw / f"{SMALL}.gz").read_bytes())
    (raw / SMALL).unlink()
    content[2000] ^= 1
    if damage == "gone":
        packed.unlink()
    else:
        packed.write_bytes({"flipped": content, "halved": content[:2000], "another": gzip.compress(b"x")}[damage])
    message = refusal()
    assert str(raw) in message and "git checkout -- data/MNIST/raw" in message and "NSR_DATA" in message


def test_a_damaged_unpacked_file_without_its_packed_one_is_refused(raw):
    (raw / f"{SMALL}.gz").unlink()
    (raw / SMALL).write_bytes(b"another")
    assert "missing or damaged" in refusal()


def test_files_of_the_old_format_are_refused_since_torchvision_would_take_them_unseen(raw):
    (raw.parent / "processed").mkdir()
    (raw.parent / "processed" / "training.pt").write_bytes(b"")
    assert "remove it" in refusal()


def test_without_a_network_fashion_mnist_is_refused_and_no_empty_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("NSR_DATA", str(tmp_path))
    assert "FashionMNIST/raw" in refusal("fashion-mnist")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NSR_DATA", str(tmp_path / "file"))
    assert "cannot be had" in refusal("fashion-mnist")


def test_a_folder_without_a_data_set_does_not_hide_the_one_in_the_repository(tmp_path, monkeypatch, mnist):
    monkeypatch.setenv("NSR_DATA", str(tmp_path))
    assert torch.equal(data.load("mnist").test.y, mnist.test.y)


@pytest.mark.slow
def test_processes_that_unpack_at_once_do_not_meet(raw):
    (raw / SMALL).unlink()
    code = "import nsr; print(int(nsr.data.load('mnist').test.y.sum()))"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({process.communicate()[0] for process in both}) == 1 and [p.returncode for p in both] == [0, 0]


# torchvision beside another build of torch ----------------------------------------------------------------------------


def test_torchvision_is_imported_beside_a_cpu_build_of_torch():
    torchvision = vision.torchvision()
    assert torchvision.transforms.Normalize and torchvision.models.resnet18
    if vision._declared:  # only then were the two operators missing
        with pytest.raises(NotImplementedError):
            torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


def test_any_other_error_at_import_is_passed_on(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(vision.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        vision.torchvision()


def test_the_shipped_files_are_not_written_while_another_folder_is_mended(raw):
    before = {file: (SHIPPED / file).stat().st_mtime_ns for file in FILES}
    (raw / SMALL).unlink()
    data.load("mnist")
    assert {file: (SHIPPED / file).stat().st_mtime_ns for file in FILES} == before
