"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[Path | None, typer.Option(help="folder of runs; default: NSR_RUNS, or runs/")]
Scheduler = Annotated[
    str | None, typer.Option(help="tcp://host:port of a dask scheduler; default: workers on this machine")
]
Workers = Annotated[int | None, typer.Option(min=1, help="worker processes on this machine; default: its cores")]
