"""Claims about writing: whole or not at all, through links, never over what is no plain file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsr.files import write_whole


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "far" / "file")
    write_whole(link, b"new")
    assert link.is_symlink() and (tmp_path / "far" / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path / "far") == ["file"]


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, tmp_path):
        with pytest.raises(OSError, match="is no plain file"):
            write_whole(target, b"new")
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device.*{path.name}"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and list(Path(tmp_path).iterdir()) == [path]
