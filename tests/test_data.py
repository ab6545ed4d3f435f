"""Data: what `nsr.data.load` hands out is right, and what is not right is refused with a sentence."""

import ast
import dataclasses
import errno
import gzip
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nsr import data, paths, vision

SHIPPED = paths.DATA / "MNIST" / "raw"
FILES = [name for name, _, _ in data._SOURCES["mnist"].files]
SMALL = "t10k-labels-idx1-ubyte"  # 10,008 bytes, 4,542 packed: the file that is damaged below, the others are links


@pytest.fixture(scope="module")
def mnist():
    """MNIST as shipped; afterwards the shipped folder holds the unpacked files too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NSR_DATA", raising=False)
        return data.load("mnist", flat=False)


@pytest.fixture
def raw(tmp_path, monkeypatch, mnist):
    """Another root named by NSR_DATA, all files links to the shipped ones but the packed and unpacked `SMALL`."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in [*FILES, *(f"{name}.gz" for name in FILES)]:
        if Path(file).stem == SMALL:
            (raw / file).write_bytes((SHIPPED / file).read_bytes())
        else:
            (raw / file).symlink_to(SHIPPED / file)
    monkeypatch.setenv("NSR_DATA", str(tmp_path))
    return raw


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def repack(path: Path) -> None:
    """A sound gzip file whose content is not what the name says."""
    path.write_bytes(gzip.compress(b"another file"))


def refusal(name: str = "mnist") -> str:
    """The message `load` refuses with; an exception behind it would be a traceback on the reader's screen."""
    with pytest.raises(data.DataError) as caught:
        data.load(name)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def idx(path: Path) -> np.ndarray:
    """An IDX file read by its definition: two zeros, type 8 (uint8), number of axes, the axes, the values."""
    content = gzip.decompress(path.read_bytes())
    assert content[:3] == b"\0\0\x08"
    axes = struct.unpack_from(f">{content[3]}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(axes)).reshape(axes)


# --- what is handed out


def test_mnist_is_the_content_of_the_four_files_divided_by_255(mnist):
    x = torch.cat([mnist.train.x, mnist.validation.x, mnist.test.x])
    y = torch.cat([mnist.train.y, mnist.validation.y, mnist.test.y])
    images = np.concatenate([idx(SHIPPED / f"{name}.gz") for name in FILES if "images" in name])
    labels = np.concatenate([idx(SHIPPED / f"{name}.gz") for name in FILES if "labels" in name])
    assert np.array_equal(x[:, 0].numpy(), images / np.float32(255))
    assert np.array_equal(y.numpy(), labels)


def test_validation_is_the_last_10000_training_images_and_nothing_is_in_two_parts(mnist):
    assert [len(part) for part in (mnist.train, mnist.validation, mnist.test)] == [50_000, 10_000, 10_000]
    last = idx(SHIPPED / "train-images-idx3-ubyte.gz")[-10_000:]
    assert np.array_equal((mnist.validation.x[:, 0] * 255).round().numpy(), last)


def test_x_lies_in_the_unit_interval_and_reaches_both_ends_and_y_is_int64(mnist):
    for part in (mnist.train, mnist.validation, mnist.test):
        assert part.x.dtype == torch.float32 and (part.x.min(), part.x.max()) == (0, 1)
        assert part.y.dtype == torch.int64 and part.y.unique().tolist() == list(range(10))


def test_flat_and_images_are_the_same_pixels_in_the_same_order(mnist):
    flat = data.load("mnist")
    assert flat.test.x.shape == (10_000, 784) and mnist.test.x.shape == (10_000, 1, 28, 28)
    assert torch.equal(flat.test.x, mnist.test.x.reshape(10_000, 784))


def test_two_loads_share_no_memory(mnist):
    mine = data.load("digits")
    mine.train.x.zero_()
    assert data.load("digits").train.x.max() == 1


def test_digits_are_scikit_learns_in_stored_order_split_1197_300_300():
    from sklearn.datasets import load_digits

    digits, parts = load_digits(), data.load("digits")
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [1_197, 300, 300]
    x = torch.cat([parts.train.x, parts.validation.x, parts.test.x])
    y = torch.cat([parts.train.y, parts.validation.y, parts.test.y])
    assert np.array_equal(x.numpy(), digits.data.astype(np.float32) / 16)
    assert np.array_equal(y.numpy(), digits.target) and y.dtype == torch.int64
    assert data.load("digits", flat=False).test.x.shape == (300, 1, 8, 8)


def test_every_part_of_the_digits_has_every_class():
    parts = data.load("digits")
    assert all(part.y.unique().numel() == 10 for part in (parts.train, parts.validation, parts.test))


def test_float64_is_divided_in_float64_and_not_widened_afterwards(fashion):
    sharp = data.load("fashion-mnist", dtype=torch.float64).test.x.flatten()
    widened = data.load("fashion-mnist").test.to(torch.float64).x.flatten()
    assert sharp[85] == 85 / 255 != widened[85]


def test_first_n_is_the_first_n_and_refuses_what_the_split_does_not_have():
    split = data.load("digits").test
    assert torch.equal(split.first(7).x, split.x[:7]) and torch.equal(split.first(7).y, split.y[:7])
    assert len(split.first(300)) == 300
    for n in (0, -1, 301):
        with pytest.raises(ValueError, match=f"300.*got {n}"):
            split.first(n)


def test_to_changes_the_dtype_of_x_and_leaves_labels_whole():
    split = data.load("digits").test.to(torch.float64)
    assert (split.x.dtype, split.y.dtype) == (torch.float64, torch.int64)
    assert split.to("meta").x.device == split.to("meta").y.device == torch.device("meta")


def test_a_data_set_is_a_value_and_cannot_be_reassigned():
    parts = data.load("digits")
    with pytest.raises(dataclasses.FrozenInstanceError):
        parts.test = parts.train
    with pytest.raises(dataclasses.FrozenInstanceError):
        parts.test.x = parts.train.x


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'cifar10'; known are mnist, fashion-mnist, digits"):
        data.load("cifar10")


def test_an_integer_dtype_is_refused_because_it_would_round_every_pixel_to_zero_or_one():
    with pytest.raises(ValueError, match=r"floating.*torch\.int64"):
        data.load("digits", dtype=torch.int64)


# --- the four files: right or refused


def test_our_digests_of_the_packed_files_are_the_ones_torchvision_publishes():
    datasets = vision.torchvision().datasets
    for source in data._SOURCES.values():
        ours = [(f"{name}.gz", packed_md5) for name, packed_md5, _ in source.files]
        assert ours == getattr(datasets, source.kind).resources


def test_the_readme_of_the_data_prints_the_digests_that_are_checked():
    rows = re.findall(r"^\| `(\S+)` \| `(\w+)` \| `(\w+)` \|$", (paths.DATA / "README.md").read_text(), re.MULTILINE)
    assert tuple(rows) == data._SOURCES["mnist"].files


@pytest.mark.parametrize("damage", [flip_a_byte, halve, empty, repack])
@pytest.mark.parametrize("unpacked_before", [True, False])
def test_a_damaged_packed_file_is_refused_by_name_and_nothing_is_unpacked(raw, damage, unpacked_before):
    packed = raw / f"{SMALL}.gz"
    damage(packed)
    if not unpacked_before:
        (raw / SMALL).unlink()
    before = sorted(os.listdir(raw))
    message = refusal()
    assert message.startswith(f"{packed}: ") and "ec29112dd5afa0611ce80d1b7f02629c" in message
    assert "git checkout" in message and "NSR_DATA" in message
    assert sorted(os.listdir(raw)) == before


@pytest.mark.parametrize("damage", [flip_a_byte, halve, empty, repack])
def test_a_damaged_unpacked_file_is_unpacked_again(raw, mnist, damage):
    damage(raw / SMALL)
    assert torch.equal(data.load("mnist").test.y, mnist.test.y)
    assert (raw / SMALL).read_bytes() == (SHIPPED / SMALL).read_bytes()


@pytest.mark.parametrize("damage", [flip_a_byte, halve, empty, repack])
def test_a_damaged_unpacked_file_with_no_packed_one_is_refused_by_name(raw, damage):
    (raw / f"{SMALL}.gz").unlink()
    damage(raw / SMALL)
    message = refusal()
    assert message.startswith(f"{raw / SMALL}: ") and "27ae3e4e09519cfbb04c329615203637" in message


def test_a_missing_file_is_refused_by_name_although_the_shipped_folder_has_it(raw):
    (raw / f"{SMALL}.gz").unlink()
    (raw / SMALL).unlink()
    message = refusal()
    assert message.startswith(f"{raw / SMALL}.gz: the file is missing") and "git checkout" in message


def test_unpacked_files_alone_are_enough_and_are_only_read(raw, mnist):
    for name in FILES:
        (raw / f"{name}.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in raw.iterdir()}
    assert torch.equal(data.load("mnist").test.y, mnist.test.y)
    assert {path: path.stat().st_mtime_ns for path in raw.iterdir()} == before


def test_a_second_load_writes_nothing(raw, monkeypatch):
    data.load("mnist")
    monkeypatch.setattr(data, "_write", lambda *_: pytest.fail("unpacked what was there"))
    data.load("mnist")


def test_a_folder_in_the_place_of_a_file_is_refused_by_name(raw):
    (raw / SMALL).unlink()
    (raw / SMALL).mkdir()
    assert refusal().startswith(f"{raw / SMALL}: ")


def test_what_an_old_torchvision_left_is_refused_because_it_would_be_read_unchecked(raw):
    legacy = raw.parent / "processed"
    legacy.mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28), torch.zeros(1)), legacy / file)
    message = refusal()
    assert message.startswith(f"{legacy / 'training.pt'}: ") and "Remove" in message


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_folder_that_cannot_be_written_is_refused_by_name_and_left_as_it_was(raw, monkeypatch, step, reason):
    # simulated at the two calls that write: for the superuser no folder is read-only
    (raw / SMALL).unlink()
    before = sorted(os.listdir(raw))

    def fail(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, step, fail)
    message = refusal()
    assert message.startswith(f"{raw / SMALL}: cannot be written ({os.strerror(reason)})") and "NSR_DATA" in message
    assert sorted(os.listdir(raw)) == before


def test_an_interrupt_while_unpacking_leaves_no_file_behind(raw, monkeypatch):
    (raw / SMALL).unlink()
    before = sorted(os.listdir(raw))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist")
    assert sorted(os.listdir(raw)) == before


def test_a_process_killed_while_unpacking_does_no_harm_and_what_it_leaves_is_ignored_by_git(raw, mnist):
    (raw / SMALL).unlink()
    before = set(os.listdir(raw))
    script = "import os; from nsr import data; os.replace = lambda *_: os.kill(os.getpid(), 9); data.load('mnist')"
    assert subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT).returncode == -9
    (left,) = set(os.listdir(raw)) - before
    assert left != SMALL and left.endswith("-ubyte")  # the pattern of .gitignore
    assert "data/MNIST/raw/*-ubyte" in (paths.ROOT / ".gitignore").read_text().splitlines()
    halve(raw / left)
    assert torch.equal(data.load("mnist").test.y, mnist.test.y)


def test_two_processes_that_unpack_at_once_both_get_the_right_data(raw, mnist):
    unpacked = [name for name in FILES if name.startswith("t10k")]
    for name in unpacked:
        (raw / name).unlink()
    script = """
import sys
from nsr import data, vision
vision.torchvision()
print("ready", flush=True)
sys.stdin.read(1)
test = data.load("mnist").test
print(round(float(test.x.double().sum() * 255)), int(test.y.sum()))
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": paths.ROOT}
    both = [subprocess.Popen([sys.executable, "-c", script], **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("!")
        process.stdin.flush()
    expected = f"{round(float(mnist.test.x.double().sum() * 255))} {int(mnist.test.y.sum())}\n"
    assert [process.communicate()[0] for process in both] == [expected] * 2
    assert all((raw / name).read_bytes() == (SHIPPED / name).read_bytes() for name in unpacked)
    assert sorted(os.listdir(raw)) == sorted([*FILES, *(f"{name}.gz" for name in FILES)])


# --- NSR_DATA


def test_an_empty_nsr_data_is_none(monkeypatch):
    monkeypatch.setenv("NSR_DATA", "")
    assert paths.data_roots() == (paths.DATA,)


def test_nsr_data_is_looked_at_first_and_a_tilde_in_it_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NSR_DATA", "~/sets")
    assert paths.data_roots() == (tmp_path / "sets", paths.DATA)


def test_a_folder_with_other_data_sets_does_not_hide_the_shipped_one(monkeypatch, tmp_path, mnist):
    monkeypatch.setenv("NSR_DATA", str(tmp_path))
    assert torch.equal(data.load("mnist").test.y, mnist.test.y)
    assert not list(tmp_path.iterdir())


def test_nsr_data_that_names_no_folder_is_refused_and_not_created(monkeypatch, tmp_path):
    monkeypatch.setenv("NSR_DATA", str(tmp_path / "typo"))
    message = refusal()
    assert message.startswith(f"{tmp_path / 'typo'}: ") and "NSR_DATA" in message
    assert not (tmp_path / "typo").exists()


# --- Fashion-MNIST: the published files cannot be shipped, so small ones stand in, with digests of their own


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """A folder of four small packed files, served on this machine as the mirror; an empty root named by NSR_DATA."""
    mirror, root = tmp_path / "mirror", tmp_path / "root"
    mirror.mkdir()
    root.mkdir()
    files = []
    for part, n in (("train", data.VALIDATION + 20), ("t10k", 30)):
        for what, axes in (("images-idx3", (n, 2, 3)), ("labels-idx1", (n,))):
            values = np.arange(np.prod(axes)) % (256 if len(axes) == 3 else 10)
            content = struct.pack(f">BBBB{len(axes)}I", 0, 0, 8, len(axes), *axes) + values.astype(np.uint8).tobytes()
            packed, name = gzip.compress(content), f"{part}-{what}-ubyte"
            (mirror / f"{name}.gz").write_bytes(packed)
            files.append((name, hashlib.md5(packed).hexdigest(), hashlib.md5(content).hexdigest()))
    source = dataclasses.replace(data._SOURCES["fashion-mnist"], files=tuple(files))
    monkeypatch.setitem(data._SOURCES, "fashion-mnist", source)
    torchvision_class = vision.torchvision().datasets.FashionMNIST
    monkeypatch.setattr(torchvision_class, "resources", [(f"{name}.gz", md5) for name, md5, _ in files])
    monkeypatch.setattr(paths, "DATA", tmp_path / "nothing here")
    monkeypatch.setenv("NSR_DATA", str(root))
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=mirror)) as server:
        monkeypatch.setattr(torchvision_class, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield mirror, root / "FashionMNIST" / "raw"
        server.shutdown()


def assert_is_the_stand_in(parts: data.Dataset) -> None:
    assert [tuple(part.x.shape) for part in (parts.train, parts.validation, parts.test)] == [
        (20, 6),
        (10_000, 6),
        (30, 6),
    ]
    assert torch.equal(parts.test.x.flatten() * 255, torch.arange(180.0))
    assert torch.equal(parts.validation.y, torch.arange(20, 10_020) % 10)


def test_fashion_mnist_is_found_packed_without_a_network(fashion, monkeypatch):
    mirror, raw = fashion
    raw.parent.mkdir()
    mirror.rename(raw)
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("asked the network for what was there"))
    assert_is_the_stand_in(data.load("fashion-mnist"))


def test_fashion_mnist_is_found_unpacked_without_a_network(fashion, monkeypatch):
    mirror, raw = fashion
    raw.mkdir(parents=True)
    for packed in mirror.iterdir():
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("asked the network for what was there"))
    assert_is_the_stand_in(data.load("fashion-mnist"))


def test_fashion_mnist_is_downloaded_by_torchvision_and_the_scratch_folder_goes(fashion):
    mirror, raw = fashion
    assert_is_the_stand_in(data.load("fashion-mnist"))
    assert sorted(path.name for path in raw.glob("*.gz")) == sorted(path.name for path in mirror.iterdir())
    assert not list(raw.glob(".*"))


def test_a_download_fills_what_is_missing_and_leaves_alone_what_is_there(fashion):
    mirror, raw = fashion
    raw.mkdir(parents=True)
    there = raw / "t10k-images-idx3-ubyte.gz"
    there.write_bytes((mirror / there.name).read_bytes())
    before = there.stat().st_ino
    assert_is_the_stand_in(data.load("fashion-mnist"))
    assert there.stat().st_ino == before


def test_without_a_network_fashion_mnist_is_refused_with_what_to_do(fashion, monkeypatch):
    _, raw = fashion
    with socket.socket() as deaf:  # a port that is taken, and where nobody listens
        deaf.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        monkeypatch.setattr(vision.torchvision().datasets.FashionMNIST, "mirrors", [nowhere])
        message = refusal("fashion-mnist")
    assert message.startswith(f"{raw}: ") and "could not be downloaded" in message and "\n" not in message
    assert "NSR_DATA" in message and "FashionMNIST/raw" in message
    assert not list(raw.iterdir())


def test_a_mirror_that_serves_something_else_is_refused_and_nothing_of_it_kept(fashion):
    mirror, raw = fashion
    repack(mirror / "t10k-images-idx3-ubyte.gz")
    assert "could not be downloaded" in refusal("fashion-mnist")
    assert not list(raw.iterdir())


@pytest.mark.parametrize("damage", [flip_a_byte, halve, repack])
def test_a_damaged_fashion_mnist_is_refused_by_name(fashion, damage):
    mirror, raw = fashion
    raw.parent.mkdir()
    mirror.rename(raw)
    damage(raw / "train-labels-idx1-ubyte.gz")
    message = refusal("fashion-mnist")
    assert message.startswith(f"{raw / 'train-labels-idx1-ubyte.gz'}: ") and "Delete" in message


def test_a_root_that_cannot_be_written_is_refused_before_anything_is_downloaded(fashion, monkeypatch):
    _, raw = fashion

    def fail(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", fail)
    assert refusal("fashion-mnist").startswith(f"{raw}: cannot be written (Permission denied)")


# --- torchvision, native or with two operators declared


def test_torchvision_reads_the_data_natively_or_through_the_shim():
    torchvision = vision.torchvision()
    assert torchvision is sys.modules["torchvision"] is vision.torchvision()
    assert len(vision._declared) == (0 if torchvision.extension._has_ops() else 1)


STAND_INS = {  # stand-ins for the package, tried in this order in one process: a declaration is for good
    "native": "ready = True",
    "other": 'raise RuntimeError("operator torchvision::nms does not exist, and more")',
    "absent": "raise ModuleNotFoundError(\"No module named 'PIL'\")",
    "mismatch": """
import torch, torchvision.part
if not (hasattr(torch.ops.torchvision, "nms") and hasattr(torch.ops.torchvision, "qnms")):
    raise RuntimeError("operator torchvision::nms does not exist")
ready = True""",
}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    """For every stand-in: the outcome, the declarations made so far, and how often its module `part` was run."""
    folder = tmp_path_factory.mktemp("stand_ins")
    for kind, source in STAND_INS.items():
        package = folder / kind / "torchvision"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source)
        (package / "part.py").write_text("import builtins\nbuiltins.parts += 1")
    script = f"""
import builtins, json, sys
from nsr import vision
attempts = {{}}
for kind in {list(STAND_INS)}:
    builtins.parts = 0
    sys.modules.pop("torchvision", None)
    sys.path.insert(0, {str(folder)!r} + "/" + kind)
    try:
        outcome = "ready" if vision.torchvision().ready else "unready"
    except Exception as error:
        outcome = str(error)
    attempts[kind] = [outcome, len(vision._declared), builtins.parts]
print(json.dumps(attempts))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_native_import_declares_nothing(attempts):
    assert attempts["native"] == ["ready", 0, 0]


def test_any_other_import_error_is_passed_on_and_declares_nothing(attempts):
    assert attempts["other"] == ["operator torchvision::nms does not exist, and more", 0, 0]
    assert attempts["absent"] == ["No module named 'PIL'", 0, 0]


def test_the_documented_error_declares_two_operators_and_imports_from_the_start(attempts):
    assert attempts["mismatch"] == ["ready", 1, 2]  # part ran twice: what was half imported had been dropped


def test_only_the_vision_module_imports_torchvision():
    for module in (paths.ROOT / "nsr").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "torchvision"], module


# --- digests, which runs are marked with


def test_digests_are_those_of_the_files_that_torchvision_reads(mnist):
    found = data.digests("mnist")
    assert list(found) == FILES
    for name, md5 in found.items():
        assert hashlib.md5(gzip.decompress((SHIPPED / f"{name}.gz").read_bytes())).hexdigest() == md5
    fashion_mnist = data.digests("fashion-mnist")
    assert fashion_mnist.keys() == found.keys() and not set(fashion_mnist.values()) & set(found.values())


def test_the_digest_of_the_digits_is_of_their_pixels_and_one_pixel_changes_it(monkeypatch):
    pixels = load_digits().images.astype(np.uint8)
    before = data.digests("digits")
    assert before == {"digits": hashlib.md5(pixels.tobytes()).hexdigest()}
    parts = [(images.clone(), labels) for images, labels in data._digits()]
    parts[-1][0][-1, -1, -1] += 1
    monkeypatch.setattr(data, "_digits", lambda: parts)
    assert data.digests("digits") != before
