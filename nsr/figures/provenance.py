"""Where the numbers of a figure come from, said in the figure itself; a pure function of the runs drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any, Protocol

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

GREY, RED = "0.45", "#C00000"
LINE, MARK = 0.18, 0.3  # inches at the bottom of the figure for the grey line and for the red mark
EDGE = 0.05  # inches on every side for the red frame


class Seeded(Protocol):
    @property
    def seed(self) -> int: ...


class Stored(Protocol):
    """What a stored run (`nsr.runs.Run`) tells about itself."""

    @property
    def spec(self) -> Seeded: ...
    @property
    def provenance(self) -> dict[str, Any]: ...
    @property
    def stale(self) -> tuple[str, ...]: ...


def stamp(figure: Figure, runs: Iterable[Stored]) -> Figure:
    """The figure with a grey line at its bottom that names the runs, their code, data and package.

    Where the code has changed since a run was computed, a red frame and a red mark name the changed roles.
    """
    runs = tuple(runs)
    stale = stale_in(runs)
    mark = wrap(f"STALE: {', '.join(stale)}", int(7 * figure.get_figwidth())) if stale else []
    _make_room(figure, *((EDGE, LINE + MARK * len(mark) + EDGE) if stale else (0, LINE)))
    figure.text(0.99, 0.04 / figure.get_figheight(), line(runs), ha="right", fontsize=7, va="bottom", color=GREY)
    if stale:
        style = {"ha": "center", "va": "bottom", "fontsize": 13, "weight": "bold", "color": RED}
        figure.text(0.5, LINE / figure.get_figheight(), "\n".join(mark), **style)
        figure.add_artist(Rectangle((0, 0), 1, 1, transform=figure.transFigure, fill=False, edgecolor=RED, linewidth=6))
    return figure


def stale_in(runs: Iterable[Stored]) -> list[str]:
    """The roles whose code has changed since one of these runs was computed."""
    return sorted({role for run in runs for role in run.stale})


def _make_room(figure: Figure, edge: float, foot: float) -> None:
    """Leave so many inches free on three sides and at the bottom, of axes and of a legend that stands there."""
    wide, high = figure.get_size_inches()
    side, top, bottom = edge / wide, edge / high, foot / high
    figure.draw_without_rendering()
    rest = bottom
    for legend in figure.legends:
        extent = legend.get_window_extent().transformed(figure.transFigure.inverted())
        if extent.y0 < bottom:
            legend.set_bbox_to_anchor((0, bottom, 1, 1 - bottom), transform=figure.transFigure)
            rest = max(rest, bottom + extent.height + extent.y0)  # the layout no longer counts it: we do
    figure.get_layout_engine().set(rect=(side, rest, 1 - 2 * side, 1 - rest - top))


def line(runs: Sequence[Stored]) -> str:
    """How many runs, their seeds, one digest of all code that decided their numbers, data and package."""
    if not runs:
        return "no stored runs"
    parts = [part for run in runs for part in (run.provenance["training"], *run.provenance["contours"].values())]
    code = sorted({f"{module} {digest}" for part in parts for module, digest in part["code"].items()})
    files = list(dict.fromkeys(digest for part in parts for digest in part["data"].values()))
    packages = sorted({part["package"] for part in parts})
    return " · ".join(
        [
            f"{len(runs)} run{'s' * (len(runs) > 1)}, {_span(sorted({run.spec.seed for run in runs}))}",
            f"code {hashlib.sha256(chr(10).join(code).encode()).hexdigest()[:8]}",
            f"data md5 {' '.join(digest[:6] for digest in files)}",
            f"nsr {', '.join(packages)}",
        ]
    )


def _span(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
