"""Where and with what something was computed, for the provenance."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nsr import data, paths


def circumstances(dataset: str) -> dict[str, Any]:
    """Where and with what something is being computed."""
    return {
        "package": version("nsr"),
        "commit": _commit(),
        "data": data.digests(dataset),
        "torch": torch.__version__,
        "hardware": f"{processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


@functools.cache
def _commit() -> str | None:
    """The commit the code was taken from, None outside its repository."""
    if not paths.in_checkout():
        return None  # a repository around it would be somebody else's
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return found.stdout.strip() or None


@functools.cache
def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
