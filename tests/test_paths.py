"""Claims about where things lie: two variables of the environment come first."""

from __future__ import annotations

import pytest

from nsr import paths


def test_without_the_variables_data_and_runs_lie_in_the_checkout(monkeypatch):
    for name in ("NSR_DATA", "NSR_RUNS"):
        monkeypatch.setenv(name, "")  # an empty one is none
    assert paths.data_roots() == (paths.DATA,) and paths.store() == paths.ROOT / "runs"


def test_the_variables_come_first_and_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NSR_DATA", "~/sets")
    monkeypatch.setenv("NSR_RUNS", "~/mine")
    assert paths.data_roots() == (tmp_path / "sets", paths.DATA) and paths.store() == tmp_path / "mine"


def test_without_a_checkout_the_users_cache_folder_stands_in(monkeypatch, tmp_path):
    for name in ("NSR_DATA", "NSR_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert paths.data_roots() == (paths.cache() / "data",) and paths.store() == paths.cache() / "runs"
    with pytest.raises(OSError, match="the chapters lie in the repository of this book"):
        paths.refuse_without_checkout("the chapters")
