"""The package far from its checkout: installed from a wheel, with folders of its own for data and runs."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nsr.book import notebooks
from nsr.paths import ROOT
from nsr.training import PANELS

pytestmark = pytest.mark.slow

MODEL = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
"""
COMMANDS = {
    "none": "runs",
    "train": "train standard --dataset digits --sizes 64,8,10 --set epochs=1 --images 100",
    "runs": "runs",
    "assess": "assess model.py:make --data digits --images 5 --points 2 --no-strong",
    "run": "run 04",
    "book": "book --set seed=1",
    "claims": "claims",
    "reproduce": "reproduce",
    "provenance": "provenance",
}
# all in one process: most of the time goes into the import of torch
SCRIPT = """
import json, sys
import nsr
from typer.testing import CliRunner
from nsr import cli, data, paths
answers = {}
for name, words in json.loads(sys.argv[1]).items():
    done = CliRunner().invoke(cli.app, words.split())
    answers[name] = (done.exit_code, done.stdout, done.stderr)
where = {"package": nsr.__file__, "store": str(paths.store()), "data": list(map(str, paths.data_roots()))}
print(json.dumps({"answers": answers, "where": where, "digits": len(data.load("digits").train)}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder that holds what the wheel of this tree installs, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    tree = folder / "tree"  # a copy: a build leaves files where it runs
    shutil.copytree(ROOT / "nsr", tree / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text.md"):
        shutil.copy(ROOT / name, tree)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", folder / "site", tree], check=True, cwd=folder)
    return folder / "site"


@pytest.fixture(scope="module")
def far(site, tmp_path_factory) -> dict[str, Any]:
    """What the package says in a folder far from the checkout, for a user whose home is there too."""
    folder = tmp_path_factory.mktemp("far")
    (folder / "model.py").write_text(MODEL)
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE"), str(folder / "home"))
    env = {name: value for name, value in os.environ.items() if name not in ("NSR_DATA", "NSR_RUNS")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS)],
        cwd=folder,
        env={**env, **homes, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "folder": folder}


def test_the_wheel_holds_the_package_and_data_and_runs_go_to_the_users_folders(site, far):
    home = far["folder"] / "home"
    assert Path(far["where"]["package"]).is_relative_to(site) and list(site.rglob("*.mplstyle"))
    assert all(Path(path).is_relative_to(home) for path in (far["where"]["store"], *far["where"]["data"]))
    assert far["digits"] == 1_197


def test_a_run_is_trained_and_listed_there(far):
    code, shown, _ = far["answers"]["none"]
    assert code == 0 and "there are no runs yet" in shown
    code, shown, told = far["answers"]["train"]
    assert code == 0 and far["where"]["store"] in shown, told
    code, shown, _ = far["answers"]["runs"]
    assert code == 0 and "standard-0-" in shown


def test_a_model_is_assessed_there(far):
    code, shown, told = far["answers"]["assess"]
    assert code == 0 and "clean accuracy" in shown, told
    assert (far["folder"] / "assessment" / "contour.png").exists()


@pytest.mark.parametrize("command", ["run", "book", "claims", "reproduce", "provenance"])
def test_what_needs_the_checkout_says_so_in_one_line(far, command):
    code, shown, told = far["answers"][command]
    assert (code, shown, len(told.splitlines())) == (2, "", 1)
    assert "in the repository of this book" in told


# a chapter as a page hands it out -----------------------------------------------------------------------------------

CHAPTER = ROOT / "chapters" / "05_five_models.ipynb"
EXECUTE = """
import json, sys
import nsr, papermill
print(nsr.__file__)
papermill.execute_notebook(*sys.argv[1:3], json.loads(sys.argv[3]), kernel_name="python3", progress_bar=False)
"""


def execute(site: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> subprocess.CompletedProcess:
    """The download of a chapter, executed in an empty folder with two parameters changed."""
    monkeypatch.syspath_prepend(str(ROOT / "_ext"))
    downloads = importlib.import_module("nsr_downloads")
    notebooks.write(folder / CHAPTER.name, downloads.portable(notebooks.read(CHAPTER), CHAPTER))
    changed = json.dumps({"seeds": [0], "n_test": 100, "n_terms": 20})
    env = {name: value for name, value in os.environ.items() if name not in ("NSR_DATA", "NSR_RUNS")}
    return subprocess.run(
        [sys.executable, "-c", EXECUTE, CHAPTER.name, "executed.ipynb", changed],
        cwd=folder,
        env={**env, "HOME": str(folder), "XDG_CACHE_HOME": str(folder), "PYTHONPATH": str(site), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_downloaded_chapter_runs_there_with_the_data_that_it_is_told_of(site, tmp_path, monkeypatch):
    done = execute(site, tmp_path, monkeypatch, NSR_DATA=str(ROOT / "data"))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[0]).is_relative_to(site)
    executed = notebooks.read(tmp_path / "executed.ipynb")
    shown = [o["data"].get("text/plain", "") for cell in executed.cells for o in cell.get("outputs", ()) if "data" in o]
    (table,) = (text for text in shown if re.match(r"networks .*runs +seeds\n", text))
    assert [line.split()[-2:] for line in table.splitlines()[1:]] == [["1", "0"]] * len(PANELS)
    assert notebooks.figures(executed).keys() == notebooks.figures(notebooks.read(CHAPTER)).keys()


def test_without_the_shipped_runs_it_says_in_one_line_how_to_get_them(site, tmp_path, monkeypatch):
    done = execute(site, tmp_path, monkeypatch)
    (told,) = (line for line in done.stderr.splitlines() if line.startswith("OSError: "))
    assert done.returncode and "in the repository of this book" in told and "NSR_DATA" in told
