"""The package far from its checkout: installed from a wheel, with folders of its own for data and runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nsr.paths import ROOT

pytestmark = pytest.mark.slow

MODEL = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what the wheel of this tree installs, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    tree = folder / "tree"  # a copy: a build leaves files where it runs
    shutil.copytree(ROOT / "nsr", tree / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text.md"):
        shutil.copy(ROOT / name, tree)
    subprocess.run([*command, "--target", folder / "site", tree], check=True, cwd=folder)
    shutil.rmtree(tree)
    return folder


@pytest.fixture
def far(installed, tmp_path):
    """Run Python far from the checkout, its platform folders in `tmp_path`."""
    (tmp_path / "model.py").write_text(MODEL)
    names = ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE")
    kept = {key: value for key, value in os.environ.items() if key not in ("NSR_DATA", "NSR_RUNS")}
    env = {**kept, "PYTHONPATH": str(installed / "site"), **dict.fromkeys(names, str(tmp_path / "home"))}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    return run


def nsr(far, *words: str) -> subprocess.CompletedProcess[str]:
    return far("-m", "nsr.cli", *words)


def test_the_wheel_holds_the_package_and_what_it_draws_with(installed, far):
    done = far("-c", "import nsr, nsr.figures, nsr.paths; print(nsr.__file__); print(nsr.paths.store())")
    home, store = done.stdout.splitlines()
    assert Path(home).is_relative_to(installed) and "home" in store and not Path(store).is_relative_to(ROOT), (
        done.stderr
    )


def test_a_model_is_trained_listed_and_assessed_from_another_folder(far, tmp_path):
    words = ("--dataset", "digits", "--sizes", "64,8,10", "--set", "epochs=1", "--images", "100")
    trained = nsr(far, "train", "standard", *words)
    assert trained.returncode == 0, trained.stderr
    assert "standard-0-" in nsr(far, "runs").stdout and list((tmp_path / "home").rglob("weights.safetensors"))
    judged = nsr(far, "assess", "model.py:make", "--data", "digits", "--images", "5", "--points", "2", "--no-strong")
    assert judged.returncode == 0 and (tmp_path / "assessment" / "contour.png").exists(), judged.stderr


@pytest.mark.parametrize("words", [("run", "04"), ("book", "--set", "seed=1"), ("claims",), ("provenance",)])
def test_what_needs_the_checkout_says_so_in_one_line(far, words):
    done = nsr(far, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "lie in the repository of this book" in done.stderr
