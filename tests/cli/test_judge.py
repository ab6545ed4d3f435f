"""Claims about `nsr assess`: what it prints, what it writes, and that every mistake costs one clear line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from nsr import assess, cli, data
from nsr.attack import PAPER, Ascent, Attack
from nsr.contour import decided
from nsr.paths import ROOT

QUICK = {"paper": Attack((Ascent(steps=3),)), "strong": Attack((Ascent(steps=4, T=0.2),))}

MODELS = """
    import os
    import threading
    import time
    import torch
    from torch import nn

    def dense():
        return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

    def cnn():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))

    def pooled():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 10))

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

    class Held(nn.Linear):
        # halts in the first cell that moves its weights, which is the second, while there is a file named hold

        def __init__(self):
            super().__init__(64, 10)
            nn.init.constant_(self.bias[6:7], 10.0)  # so that the first image, a 6, is left to be attacked
            self.at_first = self.weight.detach().clone()

        def forward(self, x):
            moved = not torch.equal(self.weight, self.at_first)  # a decision: no chain of layers is read from it
            in_a_cell = threading.current_thread() is not threading.main_thread()
            while moved and in_a_cell and os.path.exists("hold"):
                time.sleep(0.01)
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


EXACT = ("m.py:dense", "--data", "digits", "--images", 9, "--points", 2, "--no-strong", "--eps-x", 0.05)
EXACT = (*EXACT, "--exact", "--exact-images", 4, "--seconds", 1)


def test_the_truth_is_printed_between_its_bounds_and_open_is_explained(tmp_path):
    done = nsr("assess", *EXACT, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    truth = done.stdout.partition("the truth about the first 4 samples, each facing weights of its own")[2]
    exact = assess.Assessment.from_json((tmp_path / "assessment.json").read_text()).truth["exact"]
    only_x, only_w, auc = re.findall(r"^  proved robust (.*)$", truth, re.MULTILINE)
    assert shares(only_x) == [round(100 * a, 1) for a in exact.edge_x]
    assert shares(only_w) == [round(100 * a, 1) for a in exact.edge_w] and auc.strip() == f"{exact.auc:.3f}"
    assert "exact: 100%" in done.stderr and "4/4" in done.stderr and " open" in done.stderr
    assert ("neither proved nor broken within 1 s; the truth lies between" in truth) == bool(exact.open)
    assert ("nothing is open" in truth) != bool(exact.open)


def test_ctrl_c_among_the_verdicts_shows_and_keeps_what_is_decided(tmp_path, monkeypatch):
    def interrupting(*args, watch, **how):
        def watched(planes, settled):
            watch(planes, settled)
            if len(planes) == 2:
                raise KeyboardInterrupt

        return decided(*args, watch=watched, **how)

    monkeypatch.setattr(assess, "decided", interrupting)
    stopped = nsr("assess", *EXACT, "--out", tmp_path)
    assert stopped.exit_code == 130 and "interrupted; the same command goes on" in stopped.stderr.splitlines()[-1]
    assert "the truth about the first 2 samples" in stopped.stdout and "proved robust" in stopped.stdout
    kept = json.loads((tmp_path / "cells" / "exact.json").read_text())["planes"]
    assert len(kept) == 2


@pytest.mark.slow
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
    options = "data weights images eps-x eps-w points geometry certify no-certify strong no-strong out device exact"
    assert all(f"--{name}" in help_text for name in options.split())
    assert "--exact-images" in help_text and "--seconds" in help_text and "stays open" in help_text
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
    "a certificate for maxima": (
        ("m.py:pooled", "--data", "digits", "--certify"),
        "certificates are for chains of dense and ReLU layers or convolutions; this is none: 2 is a MaxPool2d layer",
    ),
    "more memory than there is": (("m.py:dense", "--data", "vast.npz"), "vast.npz: not an .npz file of plain arrays"),
    "a grid without end": ((*GOOD, "--points", 10**7), "at least two points a side and takes 1,000"),
    "exact verdicts on a CNN": (
        ("m.py:cnn", "--data", "digits", "--exact"),
        "exact verdicts are for chains of dense and ReLU layers; this is none: .*; it can be assessed without --exact",
    ),
    "seconds for nothing": ((*GOOD, "--seconds", 5), "--exact-images and --seconds are for --exact"),
    "samples to decide for nothing": ((*GOOD, "--exact-images", 5), "are for --exact, which was not given"),
    "no time for a question": ((*GOOD, "--exact", "--seconds", 0), "must be a positive number, got 0"),
    "seconds that are no number": ((*GOOD, "--exact", "--seconds", "nan"), "must be a positive number, got nan"),
    "exact verdicts where no tensor moves": (
        (*GOOD, "--exact", "--only", "conv"),
        "--only: .*names none of the weight",
    ),
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


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line_and_130_and_the_same_command_goes_on(tmp_path, here, monkeypatch):
    words = ["assess", "m.py:Held", "--data", "digits", "--images", "6", "--points", "3", "--no-strong", "--no-certify"]
    words += ["--out", str(tmp_path / "out")]
    cells = tmp_path / "out" / "cells" / "paper.json"
    (here / "hold").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # a process inherits an ignored SIGINT, as tests started in the background have it; one that is caught is reset
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    victim = subprocess.Popen(
        [sys.executable, "-m", "nsr.cli", *words], stderr=subprocess.PIPE, text=True, env=environment
    )
    signal.signal(signal.SIGINT, ours)
    while not (cells.exists() and json.loads(cells.read_text())["cells"]):
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.05)
    victim.send_signal(signal.SIGINT)
    _, errors = victim.communicate(timeout=60)
    (here / "hold").unlink()
    assert victim.returncode == 130 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("nsr: interrupted; the same command goes on")
    assert not (tmp_path / "out" / "assessment.json").exists()
    finished = json.loads(cells.read_text())["cells"]
    assert len(finished) == 1
    monkeypatch.setattr(assess, "ATTACKS", {"paper": PAPER})  # what the interrupted process was at
    done = nsr(*words)
    assert done.exit_code == 0 and "1/9" in done.stderr and "9/9" in done.stderr
    assert all(cell in json.loads(cells.read_text())["cells"] for cell in finished)
