"""Claims about the command line: what it prints, what it writes, and that every mistake costs one clear line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from dask.distributed import Client
from safetensors.torch import save_file
from typer.testing import CliRunner

from nsr import assess, cli, data, paths, runs
from nsr.attack import PAPER, Ascent, Attack
from nsr.contour import Protocol
from nsr.paths import ROOT
from nsr.runs import Measurement, checkpoint, jobs, reproduce, sweep, tuning
from nsr.training import METHODS

QUICK = {"paper": Attack((Ascent(steps=3),)), "strong": Attack((Ascent(steps=4, T=0.2),))}

MODELS = """
    import time
    import torch
    from torch import nn

    def dense():
        return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

    def cnn():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))

    def raising():
        raise KeyError("no such layer\\nat all")

    def leaving():
        raise SystemExit(0)

    class Mute(BaseException):
        def __str__(self):
            raise self

    def mute():
        raise Mute

    def interrupting():
        raise KeyboardInterrupt

    def printing():
        print("from the model")
        return dense()

    def walking():
        import os
        os.chdir("/")
        return dense()

    def kind():
        return nn.Linear

    def unmade():
        return nn.LazyLinear(10)

    def nowhere():
        return nn.Linear(64, 10, device="meta")

    class Leaving(nn.Linear):
        def __init__(self):
            super().__init__(64, 10)

        def forward(self, x):
            raise SystemExit(0)

    def nothing():
        pass

    def empty():
        return nn.ReLU()

    def wide():
        return nn.Linear(65, 10)

    def image():
        return nn.Conv2d(1, 2, 3)

    def pair():
        return nn.LSTM(64, 10)

    def few():
        return nn.Linear(64, 3)

    def nan():
        module = dense()
        nn.init.constant_(module[0].weight, float("nan"))
        return module

    def needs_size(size):
        return nn.Linear(size, 10)

    class Slow(nn.Linear):
        def __init__(self):
            super().__init__(64, 10)

        def forward(self, x):
            time.sleep(0.003)
            return super().forward(x)

    number = 3
"""

runner = CliRunner()


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with models, weights and data, right and wrong."""
    folder, x, y = tmp_path_factory.mktemp("here"), np.full((5, 64), 0.5), np.arange(5)
    (folder / "m.py").write_text(textwrap.dedent(MODELS))
    (folder / "broken.py").write_text("def make(:\n")
    (folder / "failing.py").write_text("import no_such_package\n")
    (folder / "m.txt").write_text("def make(): pass\n")
    (folder / "junk.safetensors").write_bytes(b"junk" * 9)
    save_file({"0.weight": torch.zeros(3, 4)}, folder / "other.safetensors")
    (folder / "junk.npz").write_bytes(b"junk")
    (folder / "empty.npz").write_bytes(b"")
    wrong = {
        "no_x": {"y": y},
        "no_y": {"x": x},
        "objects": {"x": np.array([{}] * 5), "y": y},
        "lengths": {"x": x, "y": y[:4]},
        "floats": {"x": x, "y": y + 0.5},
        "flat": {"x": x[:, 0], "y": y},
        "none": {"x": x[:0], "y": y[:0]},
        "nan": {"x": np.where(x.cumsum(1) == 0.5, np.nan, x), "y": y},
        "bytes": {"x": 255 * x, "y": y},
        "below": {"x": x - 0.6, "y": y},
        "labels": {"x": x, "y": y + 6},
        "negative": {"x": x, "y": y - 1},
        "narrow": {"x": x[:, :63], "y": y},
        "good": {"x": x, "y": y},
    }
    for name, arrays in wrong.items():
        np.savez(folder / f"{name}.npz", **arrays)
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 64)}
    with ZipFile(folder / "vast.npz", "w") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch, here):
    monkeypatch.setattr(assess, "ATTACKS", QUICK)
    monkeypatch.chdir(here)


def nsr(*words: object):
    return runner.invoke(cli.app, [str(word) for word in words])


def shares(line: str) -> list[float]:
    return [float(share) for share in re.findall(r"\d+\.\d", line)]


# what it prints and writes ------------------------------------------------------------------------------------------


def test_it_prints_the_table_and_writes_figure_and_json(tmp_path):
    done = nsr("assess", "m.py:dense", "--data", "digits", "--images", 20, "--points", 3, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = assess.Assessment.from_json((tmp_path / "out" / "assessment.json").read_text())
    assert (tmp_path / "out" / "contour.png").read_bytes().startswith(b"\x89PNG")
    assert f"clean accuracy {100 * found.clean:.1f} %" in done.stdout
    for name, contour in found.contours.items():
        only_x, only_w, auc = re.findall(rf"^  {re.escape(assess.NAMES[name])} (.*)$", done.stdout, re.MULTILINE)
        assert shares(only_x) == [round(100 * a, 1) for a in contour.edge_x]
        assert shares(only_w) == [round(100 * a, 1) for a in contour.edge_w]
        assert auc.strip() == f"{contour.auc:.3f}"
    assert "flags" in done.stdout and "written: " in done.stdout


def test_progress_counts_cells_on_stderr_and_leaves_stdout_alone(tmp_path):
    done = nsr("assess", "m.py:dense", "--data", "digits", "--images", 9, "--points", 2, "--out", tmp_path)
    assert all(f"{curve}: 100%" in done.stderr and "4/4" in done.stderr for curve in ("paper", "strong", "certified"))
    assert "%|" not in done.stdout


def test_every_option_changes_what_is_found(tmp_path):
    folders = iter(range(100))

    def found(*options: object) -> dict:
        out = tmp_path / str(next(folders))
        usual = ("--data", "digits", "--images", 12, "--points", 2)
        done = nsr("assess", "m.py:dense", *usual, *options, "--out", out)
        assert done.exit_code == 0, done.output
        return json.loads((out / "assessment.json").read_text())

    usual = found()
    assert found() == usual
    first = int(data.load("digits").test.y[0])  # weights that give every input this label
    always = {"0.weight": torch.zeros(12, 64), "0.bias": torch.zeros(12)}
    always |= {"2.weight": torch.zeros(10, 12), "2.bias": torch.eye(10)[first]}
    save_file(always, tmp_path / "w.safetensors")
    for options in (
        ("--data", "good.npz"),
        ("--weights", tmp_path / "w.safetensors"),
        ("--images", 13),
        ("--points", 3),
        ("--eps-x", 0.1),
        ("--eps-w", 0.1),
        ("--geometry", "relative"),
        ("--no-strong",),
        ("--no-certify",),
    ):
        assert found(*options) != usual, options


def test_help_teaches_with_an_example_and_names_every_option():
    help_text = nsr("assess", "--help").stdout
    assert "nsr assess model.py:make --weights trained.safetensors --data digits" in help_text
    options = "data weights images eps-x eps-w points geometry certify no-certify strong no-strong out device"
    assert all(f"--{name}" in help_text for name in options.split())
    assert "assess" in nsr("--help").stdout


# what goes wrong ----------------------------------------------------------------------------------------------------

GOOD = ("m.py:dense", "--data", "good.npz")
MISTAKES = {
    "no function named": (("m.py", "--data", "digits"), "name a model as file.py:function"),
    "a path that is not there": (("gone.py:make", "--data", "digits"), "gone.py: there is no such file"),
    "no Python file": (("m.txt:make", "--data", "digits"), "is no Python file"),
    "a file with a syntax error": (("broken.py:make", "--data", "digits"), "cannot be imported: SyntaxError"),
    "a file that fails": (("failing.py:make", "--data", "digits"), "No module named 'no_such_package'"),
    "a function that is not there": (("m.py:gone", "--data", "digits"), "has no function gone"),
    "not a function": (("m.py:number", "--data", "digits"), "has no function number"),
    "a function that raises": (("m.py:raising", "--data", "digits"), r"raising\(\) failed: KeyError"),
    "a function that exits": (("m.py:leaving", "--data", "digits"), r"leaving\(\) failed: SystemExit"),
    "a function that returns a class": (("m.py:kind", "--data", "digits"), "returned an object of type type"),
    "a module that has no weights yet": (("m.py:unmade", "--data", "digits"), "m.py:unmade: ValueError|do not fit"),
    "a module on no device": (("m.py:nowhere", "--data", "digits"), "cannot be brought to the device cpu|do not fit"),
    "a module that exits": (("m.py:Leaving", "--data", "digits"), "do not fit: .* raises SystemExit: 0"),
    "a function that wants arguments": (("m.py:needs_size", "--data", "digits"), "required positional argument"),
    "a function that returns nothing": (("m.py:nothing", "--data", "digits"), "returned None"),
    "a module without parameters": (("m.py:empty", "--data", "digits"), "no parameters"),
    "weights that are not there": ((*GOOD, "--weights", "gone.safetensors"), "gone.safetensors: "),
    "weights that are a folder": ((*GOOD, "--weights", "."), r"\.: "),
    "weights under no name": ((*GOOD, "--weights", ""), "an empty path"),
    "weights under a name that is none": ((*GOOD, "--weights", "\udcff"), r"\\udcff: "),
    "weights in another format": ((*GOOD, "--weights", "junk.safetensors"), "not a safetensors file"),
    "weights of another model": ((*GOOD, "--weights", "other.safetensors"), "do not fit m.py:dense"),
    "a module of another input size": (("m.py:wide", "--data", "digits"), "do not fit: x .* raises RuntimeError"),
    "a module that gives images": (("m.py:image", "--data", "digits"), "instead of logits"),
    "a module that gives a pair": (("m.py:pair", "--data", "good.npz"), "an object of type tuple instead of logits"),
    "logits that are NaN": (("m.py:nan", "--data", "digits"), "logits are NaN"),
    "too few logits": (("m.py:few", "--data", "digits"), r"labels span \[0, 9\].* classes 0 to 2"),
    "an unknown data set": (("m.py:dense", "--data", "imagenet"), "unknown data 'imagenet'"),
    "data that are not there": (("m.py:dense", "--data", "gone.npz"), "gone.npz: there is no such file"),
    "data in another format": (("m.py:dense", "--data", "junk.npz"), "not an .npz file"),
    "an empty file": (("m.py:dense", "--data", "empty.npz"), "not an .npz file"),
    "pickled objects": (("m.py:dense", "--data", "objects.npz"), "plain arrays"),
    "no x": (("m.py:dense", "--data", "no_x.npz"), "x missing; it has y"),
    "no y": (("m.py:dense", "--data", "no_y.npz"), "y missing; it has x"),
    "x and y of unlike length": (("m.py:dense", "--data", "lengths.npz"), "one whole-numbered label for each"),
    "labels that are no whole numbers": (("m.py:dense", "--data", "floats.npz"), "one whole-numbered label"),
    "one number a sample": (("m.py:dense", "--data", "flat.npz"), "one row of numbers per sample"),
    "no samples": (("m.py:dense", "--data", "none.npz"), "no samples"),
    "NaN": (("m.py:dense", "--data", "nan.npz"), "x holds NaN"),
    "values up to 255": (("m.py:dense", "--data", "bytes.npz"), r"\[0, 1\], and its values span \[127.5, 127.5\]"),
    "negative values": (("m.py:dense", "--data", "below.npz"), r"must lie in \[0, 1\]"),
    "labels outside the logits": (("m.py:dense", "--data", "labels.npz"), r"labels span \[6, 10\]"),
    "negative labels": (("m.py:dense", "--data", "negative.npz"), r"labels span \[-1, 3\]"),
    "inputs of another size": (("m.py:dense", "--data", "narrow.npz"), r"do not fit: x \[5, 63\]"),
    "a certificate for a CNN": (("m.py:cnn", "--data", "digits", "--certify"), "chains of dense and ReLU"),
    "more memory than there is": (("m.py:dense", "--data", "vast.npz"), "vast.npz: not an .npz file of plain arrays"),
    "a grid without end": ((*GOOD, "--points", 10**7), "at least two points a side and takes 1,000"),
    "an empty range": ((*GOOD, "--eps-x", "0"), "eps_x must be positive"),
    "a range without end": ((*GOOD, "--eps-w", "inf"), "eps_w must be positive"),
}


@pytest.mark.parametrize("words, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_costs_one_line_exit_code_2_and_leaves_nothing(words, message, tmp_path):
    done = nsr("assess", *words, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("nsr: ") and re.search(message, line), line
    assert done.stdout == "" and isinstance(done.exception, SystemExit)
    assert not (tmp_path / "out").exists()


def test_what_a_model_prints_and_where_it_goes_is_no_part_of_what_was_found(tmp_path, here):
    words = ("--data", "digits", "--images", 5, "--points", 2, "--no-strong")
    done = nsr("assess", "m.py:printing", *words, "--out", "printed")
    assert done.exit_code == 0 and "from the model" in done.stderr and "from the model" not in done.stdout
    assert nsr("assess", "m.py:walking", *words, "--out", "walked").exit_code == 0
    assert (here / "walked" / "assessment.json").exists()


def test_a_model_that_raises_what_ctrl_c_raises_ends_as_ctrl_c_does(tmp_path):
    done = nsr("assess", "m.py:interrupting", "--data", "digits", "--out", tmp_path / "out")
    assert done.exit_code == 130 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_an_empty_folder_for_results_is_refused(tmp_path):
    done = nsr("assess", *GOOD, "--out", "")
    assert done.exit_code == 2 and re.match("nsr: .*an empty path.*\n$", done.stderr)


def test_a_place_that_takes_no_results_is_refused_before_anything_is_computed():
    done = nsr("assess", *GOOD, "--out", "m.py/below")
    assert done.exit_code == 2 and re.match("nsr: .*nothing can be written there.*m.py/below/cells'\n$", done.stderr)


def test_a_folder_where_a_result_should_go_is_found_before_anything_is_computed(tmp_path):
    (tmp_path / "assessment.json").mkdir()
    done = nsr("assess", *GOOD, "--out", tmp_path)
    assert done.exit_code == 2 and re.match("nsr: .*assessment.json: .* no plain file\n$", done.stderr)


def test_stored_cells_that_no_reader_can_follow_are_refused(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "paper.json").write_text("[" * 100_000)
    done = nsr("assess", *GOOD, "--out", tmp_path)
    assert done.exit_code == 2 and re.match("nsr: .*paper.json: cannot be read .*\n$", done.stderr)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_named(tmp_path):
    done = nsr("assess", *GOOD, "--device", "cuda", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "no CUDA device" in done.stderr


def test_results_do_not_go_where_a_file_is(tmp_path):
    (tmp_path / "out").write_text("mine")
    done = nsr("assess", *GOOD, "--out", tmp_path / "out")
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert (tmp_path / "out").read_text() == "mine"


def test_results_of_another_model_are_not_written_over(tmp_path):
    words = ("--data", "digits", "--images", 8, "--points", 2, "--out", tmp_path)
    assert nsr("assess", "m.py:dense", *words).exit_code == 0
    before = (tmp_path / "assessment.json").read_bytes()
    done = nsr("assess", "m.py:cnn", *words)
    assert done.exit_code == 2 and "choose another --out" in done.stderr.splitlines()[-1]
    assert (tmp_path / "assessment.json").read_bytes() == before


# Ctrl-C -------------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_in_one_line_and_130_and_the_same_command_goes_on(tmp_path, monkeypatch):
    words = ["assess", "m.py:Slow", "--data", "digits", "--images", "6", "--points", "3", "--no-strong", "--no-certify"]
    words += ["--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # a process inherits an ignored SIGINT, as tests started in the background have it; one that is caught is reset
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    victim = subprocess.Popen(
        [sys.executable, "-m", "nsr.cli", *words], stderr=subprocess.PIPE, text=True, env=environment
    )
    signal.signal(signal.SIGINT, ours)
    cells = tmp_path / "out" / "cells" / "paper.json"
    while not (cells.exists() and json.loads(cells.read_text())["cells"]):
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.05)
    victim.send_signal(signal.SIGINT)
    _, errors = victim.communicate(timeout=60)
    assert victim.returncode == 130 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("nsr: interrupted; the same command goes on")
    assert not (tmp_path / "out" / "assessment.json").exists()
    finished = json.loads(cells.read_text())["cells"]
    assert 0 < len(finished) < 9
    monkeypatch.setattr(assess, "ATTACKS", {"paper": PAPER})  # what the interrupted process was at
    done = nsr(*words)
    assert done.exit_code == 0 and f"{len(finished)}/9" in done.stderr and "9/9" in done.stderr
    assert all(cell in json.loads(cells.read_text())["cells"] for cell in finished)


# what is stored as runs: train, contour, runs, tune, reproduce --------------------------------------------------------

GRID = Protocol((0.0, 0.2), (0.0, 0.05), (0.0, 0.5), images=30)
KINDS = {
    "paper": Measurement(GRID, QUICK["paper"]),
    "quick": Measurement(GRID, QUICK["paper"]),
    "validation": Measurement(GRID, QUICK["paper"], part="validation"),
    "validation_certified": Measurement(GRID, part="validation"),
}
NET = ("--dataset", "digits", "--sizes", "64,16,10", "--images", 100, "--set", "epochs=2")


@pytest.fixture
def own(tmp_path, monkeypatch) -> Iterator[Path]:
    """The user's own store, no shipped one, and measurements of seconds."""
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    with mock.patch.dict(runs.MEASUREMENTS, KINDS, clear=True):
        yield tmp_path / "own"


def trained(*words: object) -> Path:
    """The folder that `nsr train` names."""
    done = nsr("train", *words)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.splitlines()[-1].removeprefix("in "))


def test_train_stores_a_run_and_shows_it_when_it_is_stored_already(own):
    done = nsr("train", "standard", *NET, "--seed", 3, "--set", "lr=0.05")
    folder = Path(done.stdout.splitlines()[-1].removeprefix("in "))
    run = runs.load(folder)
    assert folder.parent == own and "2/2" in done.stderr and "validation" in done.stderr
    assert run.spec == runs.spec("standard", 3, dataset="digits", sizes=(64, 16, 10), images=100, epochs=2, lr=0.05)
    assert f"{100 * run.history[-1]['validation']:.2f} %" in done.stdout and folder.name in done.stdout
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = nsr("train", "standard", *NET, "--seed", 3, "--set", "lr=5e-2")
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_train_goes_on_after_ctrl_c_and_ends_in_the_same_weights(own, tmp_path, monkeypatch):
    result, calls = runs.Job.result, []

    def interrupted(job):
        calls.append(job)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return result(job)

    monkeypatch.setattr(runs.Job, "result", interrupted)
    done = nsr("train", "standard", *NET)
    assert done.exit_code == 130 and "Traceback" not in done.output
    assert done.stderr.splitlines()[-1] == "nsr: interrupted; the same command goes on from what is stored"
    assert nsr("runs").stdout.startswith("there are no runs yet")
    folder = trained("standard", *NET)
    assert len(calls) == 3
    whole = trained("standard", *NET, "--store", tmp_path / "whole")
    assert (folder / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


USUAL = ("train", "standard", "--dataset", "digits", "--sizes", "64,16,10")
REFUSALS = {
    "an unknown method": (("train", "nope"), "unknown method 'nope': choose one of standard, "),
    "an unknown number": ((*USUAL, "--set", "lrate=1"), "unknown number 'lrate': a method has alpha, "),
    "a seed among the numbers": ((*USUAL, "--set", "seed=1"), "unknown number 'seed'"),
    "an assignment to nothing": ((*USUAL, "--set", "=1"), "--set takes NAME=VALUE, got '=1'"),
    "no assignment": ((*USUAL, "--set", "lr"), "--set takes NAME=VALUE, got 'lr'"),
    "a word for a number": ((*USUAL, "--set", "lr=x"), "lr must be a number above 0 and at most 1e30, got 'x'"),
    "nothing for a number": ((*USUAL, "--set", "lr="), "lr must be a number above 0 and at most 1e30, got ''"),
    "a negative number": ((*USUAL, "--set", "lr=-1"), "lr must be a number above 0 and at most 1e30, got -1.0"),
    "a radius that no float holds": (
        (*USUAL, "--set", "attack_x=1e39"),
        "attack_x must be a number from 0 to 1e30, got 1e",
    ),
    "a batch without end": (
        (*USUAL, "--set", "batch=1e10"),
        "batch must be a whole number from 1 to 10\\*\\*9, got 1",
    ),
    "NaN": ((*USUAL, "--set", "beta=nan"), "beta must be a number from 0 to 1e30, got nan"),
    "no epochs": ((*USUAL, "--set", "epochs=0"), "epochs must be a whole number from 1 to 10\\*\\*9, got 0"),
    "half a batch": ((*USUAL, "--set", "batch=0.5"), "batch must be a whole number from 1 to 10\\*\\*9, got 0.5"),
    "an unknown bound": ((*USUAL, "--set", "bound=best"), "bound must be one of printed, repaired, norms, interval"),
    "widths that are none": (("train", "standard", "--sizes", "784,x"), "--sizes takes whole numbers and commas"),
    "widths that no memory holds": (("train", "standard", "--sizes", "784,1000000000,10"), "784-1000000000-10 is too"),
    "widths that no number holds": (("train", "standard", "--sizes", f"784,{10**400},10"), "too large to be trained"),
    "widths of other data": (("train", "standard", "--dataset", "digits"), "sizes must begin with 64 and end with 10"),
    "more images than there are": ((*USUAL, "--images", 1_198), "images: digits has 1,197 to train on"),
    "runs of a store that is not there": (("runs", "--store", "gone"), "gone: there is no such folder of runs"),
    "a ledger of a store that is not there": (("claims", "--store", "gone"), "gone: there is no such folder of runs"),
    "training into no folder": ((*USUAL, "--store", ""), "an empty path"),
    "measuring in no folder": (("contour", "at", "quick", "--store", ""), "an empty path"),
    "runs of no folder": (("runs", "--store", ""), "an empty path"),
    "a ledger into no file": (("claims", "--out", ""), "an empty path"),
    "a table into no file": (("claims", "--markdown", " "), "an empty path"),
    "candidates in no folder": (("tune", "--store", ""), "an empty path"),
    "a table of candidates in no file": (("tune", "--out", ""), "an empty path"),
    "a reproduction in no folder": (("reproduce", "--store", ""), "an empty path"),
    "a reproduction by no scheduler": (("reproduce", "--scheduler", ""), "an empty address"),
    "parameters of no file": (("run", "01", "--params", ""), "an empty path"),
    "a parameter without a name": (("run", "01", "-p", "=1"), "-p takes NAME VALUE, got '=1'"),
    "a parameter with an empty name": (("run", "01", "-p", "", "1"), "-p takes NAME VALUE, got '=1'"),
    "a parameter of the book without a name": (("book", "--set", "=1"), "--set takes NAME=VALUE, got '=1'"),
    "a parameter of a chapter without a name": (("book", "--set", "04.=1"), "--set takes NAME=VALUE, got '04.=1'"),
    "a value nested too deeply": (("run", "04", "-p", "seed", "&a [*a]"), "nested too deeply"),
    "a ledger in place of a folder": (("claims", "--out", "."), "is no plain file: name another one to write to"),
    "a ledger below a file": (
        ("claims", "--out", "/dev/null/l.json"),
        "nothing can be.*/dev/null",
    ),
    "a ledger and a table in one file": (("claims", "--out", "one", "--markdown", "./one"), "name two files"),
    "a table of candidates in place of a folder": (("tune", "--out", "."), "is no plain file"),
    "an unknown run": (("contour", "nope", "paper"), "no run begins with 'nope': nsr runs lists them all"),
    "a path for a run": (("contour", "/etc", "paper"), "no run begins with '/etc'"),
    "a pattern for a run": (("contour", "*", "paper"), r"no run begins with '\*'"),
    "an unknown contour": (("contour", "standard", "nope"), "unknown kind of contour 'nope': choose one of paper, "),
    "an unknown method to reproduce": (("reproduce", "--only", "nope"), "unknown method 'nope': choose one of"),
    "no scheduler": (("reproduce", "--scheduler", "tcp://127.0.0.1:9"), "127.0.0.1:9"),
    "no scheduler to tune on": (("tune", "--scheduler", "127.0.0.1:9"), "127.0.0.1:9"),
    "no address": (("tune", "--scheduler", "nowhere at all"), ""),
}


@pytest.mark.parametrize("words, message", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_done_costs_one_line_and_exit_code_2_and_leaves_nothing(
    words, message, own, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep, "PATIENCE", "1s")
    monkeypatch.chdir(tmp_path)
    done = nsr(*words)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("nsr: ") and re.search(message, line) and len(line) < 300, line
    assert done.stdout == "" and isinstance(done.exception, SystemExit)
    assert list(tmp_path.rglob("*")) == []


def test_a_training_that_diverges_costs_one_line_and_leaves_no_run(own):
    done = nsr("train", "standard", *NET, "--set", "lr=1e30")
    assert done.exit_code == 2
    assert re.match(r"nsr: training diverged.* below lr=1e\+30$", done.stderr.splitlines()[-1])
    assert list(runs.runs()) == []


def test_contour_measures_a_run_named_by_the_start_of_its_name(own):
    folder = trained("standard", *NET)
    done = nsr("contour", "standard-0", "paper")
    assert done.exit_code == 0 and "2/2" in done.stderr
    contour = runs.load(folder).contours["paper"]
    assert f"AUC {contour.auc:.3f}" == done.stdout.splitlines()[-1]
    for eps_x, accuracies in zip(contour.grid_x, contour.accuracy, strict=True):
        (line,) = re.findall(rf"^  {eps_x:<15.3g}(.*)$", done.stdout, re.MULTILINE)
        assert shares(line) == [round(100 * a, 1) for a in accuracies]
    assert nsr("contour", folder.name, "paper").stdout == done.stdout


def test_contour_measures_a_copy_of_a_shipped_run_unless_its_store_is_named(own):
    def files(folder: Path) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    shipped = trained("standard", *NET, "--store", paths.SHIPPED)
    before = files(shipped)
    done = nsr("contour", "standard-0", "paper")
    copied = f"nsr: {shipped.name} is a shipped run: copied to {own} and measured there"
    assert done.exit_code == 0 and done.stderr.splitlines().count(copied) == 1
    assert files(shipped) == before and runs.load(own / shipped.name).contours.keys() == {"paper"}
    again = nsr("contour", "standard-0", "paper")
    assert again.stdout == done.stdout and "copied" not in again.stderr
    shutil.rmtree(own)
    named = nsr("contour", "standard-0", "paper", "--store", paths.SHIPPED)
    assert named.stdout == done.stdout and runs.load(shipped).contours.keys() == {"paper"}
    assert nsr("contour", "standard-0", "paper").stdout == done.stdout  # shown, so no copy is needed
    assert not own.exists()


def test_contour_refuses_a_stale_shipped_run_and_copies_nothing(own, monkeypatch):
    with monkeypatch.context() as patch:
        for module in (jobs, checkpoint):
            patch.setattr(module, "code_at_first_use", lambda modules, package: {"train": "another"})
        trained("standard", *NET, "--store", paths.SHIPPED)
    done = nsr("contour", "standard-0", "paper")
    assert done.exit_code == 2 and "was computed before a change of train" in done.stderr.splitlines()[-1]
    assert not own.exists()


def test_a_name_that_several_runs_begin_with_is_refused(own):
    trained("standard", *NET, "--seed", 1)
    trained("standard", *NET, "--seed", 2)
    done = nsr("contour", "standard", "paper")
    both = ", ".join(folder.name for folder in runs.folders())
    assert done.exit_code == 2
    assert done.stderr == f"nsr: 2 runs begin with 'standard': {both}; give more of one name\n"


def test_of_many_runs_that_a_name_may_mean_the_first_few_are_listed(own):
    for k in range(30):
        (own / f"standard-{k:02}").mkdir(parents=True)
        (own / f"standard-{k:02}" / "weights.safetensors").touch()
    done = nsr("contour", "standard", "paper")
    first = "standard-00, standard-01, standard-02, standard-03"
    assert done.stderr == f"nsr: 30 runs begin with 'standard': {first} and 26 more; give more of one name\n"


def test_a_memory_that_does_not_suffice_costs_one_line(own, monkeypatch):
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(runs.Job, "result", full)
    done = nsr("train", "standard", *NET)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("nsr: the memory does not suffice: ")


def test_runs_lists_the_user_s_and_the_shipped_and_equal_ones_once(own):
    first = trained("standard", *NET, "--seed", 1)
    trained("standard", *NET, "--seed", 2, "--store", paths.SHIPPED)
    shutil.copytree(first, paths.SHIPPED / first.name)
    nsr("contour", "standard-1", "paper")
    done = nsr("runs")
    header, *lines = done.stdout.splitlines()
    assert done.exit_code == 0 and [line.split("-")[1] for line in lines] == ["1", "2"]
    assert "AUC paper" in header and f"{runs.load(first).contours['paper'].auc:.3f}" in lines[0] and " - " in lines[1]
    assert len(nsr("runs", "--store", own).stdout.splitlines()) == 2
    (own / "empty").mkdir(parents=True)
    assert nsr("runs", "--store", own / "empty").stdout.startswith("there are no runs yet: see nsr train --help")


def test_runs_lists_what_is_good_beside_what_is_refused_or_foreign(own):
    good = trained("standard", *NET)
    (own / "notes.txt").write_text("mine")
    (own / "an empty folder").mkdir()
    (own / "half").mkdir()
    (own / "half" / "checkpoint.safetensors").write_bytes(b"junk")
    bad = ["half", "no provenance", "no JSON", "another name", "a folder for weights", "changed", "no weights"]
    for name in bad[1:]:
        shutil.copytree(good, own / name)
    (own / "no provenance" / "provenance.json").unlink()
    (own / "no JSON" / "provenance.json").write_bytes(b"\xff\x00junk")
    (own / "a folder for weights" / "weights.safetensors").unlink()
    (own / "a folder for weights" / "weights.safetensors").mkdir()
    (own / "changed" / "history.json").write_text("[]")
    (own / "no weights" / "weights.safetensors").unlink()
    done = nsr("runs")
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert len(done.stdout.splitlines()) == 2 and good.name in done.stdout
    refused = done.stderr.splitlines()
    assert len(refused) == len(bad) and all(line.startswith("nsr: refused: ") for line in refused)
    assert all(any(str(own / name) in line for line in refused) for name in bad)


def test_a_file_in_the_place_of_the_store_is_no_empty_store(own, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "file"))
    done = nsr("runs")
    assert done.exit_code == 2 and "file: NSR_RUNS names a file, and runs lie in a folder" in done.stderr


def test_runs_lists_what_is_under_way(own):
    spec = runs.spec("standard", dataset="digits", sizes=(64, 16, 10), images=100, epochs=2)
    job = runs.next_job(own, spec, ())
    runs.keep(own, job, *job.result())
    done = nsr("runs")
    assert done.exit_code == 0 and done.stdout.splitlines()[-1] == f"  {spec.folder}: 1 of 2 epochs"
    trained("standard", *NET)
    assert "under way" not in nsr("runs").stdout


def test_runs_names_the_code_that_made_a_run_stale(own, tmp_path, monkeypatch):
    trained("standard", *NET)
    shutil.copytree(paths.PACKAGE, tmp_path / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "nsr")
    assert "stale" not in nsr("runs").stdout
    with (tmp_path / "nsr" / "training" / "loss.py").open("a") as file:
        file.write("\nextra = 1\n")
    done = nsr("runs")
    assert done.exit_code == 0 and done.stdout.splitlines()[1].endswith("  stale: training.loss")
    done = nsr("train", "standard", *NET)
    assert (
        done.exit_code == 2
        and "was computed before a change of training.loss; remove it" in done.stderr.splitlines()[-1]
    )


@pytest.fixture
def scheduler(own, monkeypatch) -> Iterator[str]:
    """The address of a cluster inside this process; a tuning and a reproduction of two tiny runs each."""
    numbers = {"dataset": "digits", "sizes": (64, 16, 10), "images": 100}
    monkeypatch.setattr(runs, "spec", partial(runs.spec, **numbers))
    two = {name: METHODS[name] for name in ("standard", "weight_perturb")}
    rates = {"standard": [{"lr": 0.1}, {"lr": 0.2}]}
    monkeypatch.setattr(tuning, "CANDIDATES", dict.fromkeys(METHODS, ()) | rates)
    monkeypatch.setattr(tuning, "EPOCHS", 1)
    monkeypatch.setattr(reproduce, "METHODS", two)
    monkeypatch.setattr(reproduce, "_QUICK_NUMBERS", {"epochs": 1})
    monkeypatch.setattr(reproduce, "QUICK", own.parent / "quick.json")
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as client:
        yield client.scheduler.address


def test_tune_prints_and_writes_the_table_of_candidates(scheduler, own, tmp_path):
    words = ("tune", "--scheduler", scheduler, "--store", own, "--out", tmp_path / "table.json")
    done = nsr(*words)
    assert done.exit_code == 0, done.output
    first, second = json.loads((tmp_path / "table.json").read_text())["candidates"]
    assert first["chosen"] != second["chosen"] and done.stdout.count("<- chosen") == 1
    for record in (first, second):
        assert f"{100 * record['clean']:.2f}" in done.stdout and f"{record['auc']:.3f}" in done.stdout
    assert "10/10" in done.stderr and f"written: {tmp_path / 'table.json'}" in done.stdout
    assert nsr(*words).stdout == done.stdout and len(list(runs.runs(own))) == 2


def test_tune_lists_a_candidate_that_failed_and_ends_with_1(scheduler, own, tmp_path, monkeypatch):
    monkeypatch.setitem(tuning.CANDIDATES, "standard", [{"lr": 0.1}, {"lr": 1e30}])
    done = nsr("tune", "--scheduler", scheduler, "--store", own, "--out", tmp_path / "table.json")
    assert done.exit_code == 1 and re.search(r"standard .*lr=1e\+30 +failed", done.stdout)
    assert re.match(r"nsr: failed: standard-100-\w+: CollapseError: ", done.stderr.splitlines()[-1])


def test_reproduce_compares_with_the_reference_and_a_number_apart_ends_with_1(scheduler, own):
    store = own / "reproduced"
    words = ("reproduce", "--scheduler", scheduler, "--store", store)
    without = nsr(*words, "--only", "standard")
    assert without.exit_code == 2 and "quick.json" in without.stderr.splitlines()[-1]
    for order in reproduce.orders("quick"):
        runs.run(order.spec, order.measurements, store=store)
    reproduce.write_reference(store, reproduce.QUICK)
    done = nsr(*words)
    assert done.exit_code == 0 and done.stdout.splitlines()[-1].startswith("4 of 4 numbers agree")
    assert nsr(*words, "--only", "standard").exit_code == 0
    reference = json.loads(reproduce.QUICK.read_text())
    reference["standard"]["AUC"] += 0.06
    reproduce.QUICK.write_text(json.dumps(reference))
    done = nsr(*words)
    assert done.exit_code == 1 and done.stdout.splitlines()[-1].startswith("3 of 4 numbers agree")
    (line,) = [line for line in done.stdout.splitlines() if "<- differs" in line]
    assert line.startswith("standard ") and " AUC " in line
    whole = json.loads(reproduce.QUICK.read_text())
    for other in ("{}", "{", "3", json.dumps({**whole, "stndard": whole["standard"]}), json.dumps({"standard": 1})):
        reproduce.QUICK.write_text(other)
        done = nsr(*words)  # before anything is computed
        assert done.exit_code == 2 and "git checkout -- data/quick.json" in done.stderr and "job" not in done.stderr


def test_reproduce_lists_a_run_that_failed_and_goes_on(scheduler, own, monkeypatch):
    monkeypatch.setitem(reproduce.METHODS, "at", METHODS["at"])
    for order in reproduce.orders("quick"):
        runs.run(order.spec, order.measurements, store=own)
    reproduce.write_reference(own, reproduce.QUICK)
    damaged = own / reproduce.orders("quick")[0].spec.folder / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = nsr("reproduce", "--scheduler", scheduler, "--store", own)
    assert done.exit_code != 0 and "weights.safetensors: has been changed" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["train", "contour", "runs", "tune", "reproduce"])
def test_each_command_s_help_says_what_it_does_and_is_listed(command):
    words = " ".join(nsr(command, "--help").stdout.split())
    assert command in nsr("--help").stdout
    teaching = {
        "train": ("nsr train at_beta_high --seed 3", "goes on from its last finished epoch", "--set", "--sizes"),
        "contour": ("accuracy over a grid of input and weight radii", "the paper's attack", "relative", "certified"),
        "runs": ("every file checked against its digest", "stale", "Exit code 1"),
        "tune": ("on validation images", "--scheduler", "--out"),
        "reproduce": ("from nothing", "--scale", "--only", "Exit code 1", "tolerance"),
    }
    assert all(words.count(part) for part in teaching[command])
