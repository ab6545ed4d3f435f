"""Claims about writing: whole or not at all, through links, never over what is no plain file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


KILLED = """
import os, signal, sys
from pathlib import Path
from nsr.files import write_whole
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), b"new")
"""


def test_what_a_killed_process_left_half_written_is_seen_by_nobody_and_cleared_an_hour_later(tmp_path):
    path, mine = tmp_path / "file", tmp_path / f".{'g' * 32}-file"
    write_whole(path, b"old")
    write_whole(mine, b"a hidden file of somebody else's")
    victim = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert victim.returncode == -signal.SIGKILL and path.read_bytes() == b"old"
    (left,) = set(tmp_path.iterdir()) - {path, mine}
    write_whole(path, b"newer")
    assert left.exists()  # its writer could still be at work
    os.utime(left, (time.time() - 3601,) * 2)
    os.utime(mine, (time.time() - 3601,) * 2)
    write_whole(path, b"newest")
    assert set(tmp_path.iterdir()) == {path, mine} and path.read_bytes() == b"newest"
