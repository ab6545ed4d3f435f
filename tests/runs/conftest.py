"""A user's own store that is nobody's, measurements of milliseconds, and one finished run to work on copies of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import tiny

import nsr.runs
from nsr import paths


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    """Asked for before `monkeypatch`, so that what a test changes among them is undone first."""
    with mock.patch.dict(nsr.runs.MEASUREMENTS, tiny.KINDS):
        yield


@pytest.fixture(autouse=True)
def nobodys(kinds, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A store with one whole run."""
    store = tmp_path_factory.mktemp("finished")
    with mock.patch.dict(nsr.runs.MEASUREMENTS, tiny.KINDS):
        nsr.runs.run(tiny.spec(), tuple(tiny.KINDS), store=store)
    return store


@pytest.fixture
def store(finished, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "store"))
