"""Options that several commands take, and what an option may be given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nsr.cli.leave import REFUSED
from nsr.cli.terminal import stop


def path_option(help: str) -> Any:
    """An option that takes a path: an empty one would silently be the current folder."""
    return typer.Option(help=help, parser=_path, metavar="<path>")


def _path(text: str | Path) -> Path:
    if not str(text).strip():
        stop("an option was given an empty path: name a file or a folder, or . for the current one", REFUSED)
    return Path(text)


Store = Annotated[Path | None, path_option("folder of runs; default: NSR_RUNS, or runs/")]
Scheduler = Annotated[
    str | None, typer.Option(help="tcp:// or tls://host:port of a dask scheduler; default: workers on this machine")
]
Workers = Annotated[int | None, typer.Option(min=1, help="worker processes on this machine; default: its cores")]
