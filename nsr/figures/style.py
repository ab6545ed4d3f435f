"""One style for every figure: names of colours, one look a training method, panels, curves, legends, heat maps.

seaborn draws strips of seeds and heat maps. It draws no point with an interval: it would compute an interval of its
own, and the intervals of this book are computed in one place, before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn
from matplotlib import figure as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from nsr.figures.table import keep, table
from nsr.training import METHODS

# Okabe and Ito's colours, in the order in which series take them, and a grey
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#7F7F7F"
PALETTE = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, BLACK, GREY)
MARKERS, STYLES = "os^Dv*PX", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

WIDEST = 6.4  # inches, of a figure of several panels: on a phone of 390 px its letters of 10 pt are then 7 px high

RADIUS_X = r"$\epsilon_x$ (unit of $x$)"
RADIUS_W = {"absolute": r"$\epsilon_w$ (unit of $W$)", "relative": r"$r$ (share of mean $|W^m|$)"}
ACCURACY = "accuracy under attack (%)"

Look = dict[str, object]  # colour, marker and linestyle as `Axes.plot` takes them
Curves = Mapping[str, ArrayLike]  # name -> heights, one for each place on the axis

# Seven colours show on white: the last four rows share theirs with a row of another family and differ by marker and
# line. No marker is hollow: what that says is for each figure to choose.
_ROWS = {
    "standard": (BLACK, "o", "-"),
    "weight_perturb": (AMBER, "s", "--"),
    "at": (BLUE, "^", "-"),
    "at_beta_low": (SKY, "D", "-."),
    "at_beta_high": (GREEN, "v", ":"),
    "jiwp": (ORANGE, "X", (0, (5, 1))),
    "joint_at": (PINK, "P", "-"),
    "joint_at_own": (PINK, "p", "--"),
    "interval": (BLACK, "*", (0, (1, 1))),
    "awp": (ORANGE, "<", (0, (3, 1, 1, 1))),
    "trades": (AMBER, ">", "-."),
}


def look(name: str, k: int) -> Look:
    """The look of a method, named by its row or its title; of any other series, the look of place `k`."""
    row = next((row for row, method in METHODS.items() if name in (row, method.title)), None)
    placed = (part[k % len(part)] for part in (PALETTE, MARKERS, STYLES))
    return dict(zip(("color", "marker", "linestyle"), _ROWS.get(row, placed), strict=True))


# figures and their panels -------------------------------------------------------------------------------------------


class Figure(mpl.Figure):
    """A figure that brings its numbers along where a notebook shows it."""

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/csv": table(self)}


def subplots(
    rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, **options: object
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [rows, columns]; pyplot forgets it at once, so nobody has to close it."""
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, FigureClass=Figure, **options)
    plt.close(figure)
    return figure, axes


def wrapped(
    count: int, most: int, panel: tuple[float, float], more: tuple[float, float], **options: object
) -> tuple[Figure, np.ndarray]:
    """`count` panels in rows of at most `most`, and of what `WIDEST` has room for; `panel` and `more` are in inches."""
    columns = max(1, min(most, count, int((WIDEST - more[0]) / panel[0])))
    rows = max(1, -(-count // columns))
    size = (panel[0] * columns + more[0], panel[1] * rows + more[1])
    figure, axes = subplots(rows, columns, size, **options)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, axes


def outer(axes: np.ndarray, count: int, geometry: str) -> None:
    """Name the radii of `count` panels at the left of each row and below the last panel of each column."""
    columns = axes.shape[1]
    for k, ax in enumerate(axes.flat[:count]):
        if k % columns == 0:
            ax.set_ylabel(RADIUS_W[geometry])
        if k + columns >= count:
            ax.set_xlabel(RADIUS_X)
            ax.tick_params(labelbottom=True)


def legend(figure: Figure, columns: int) -> None:
    """One legend below all panels: every label once."""
    pairs = [pair for ax in figure.axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in reversed(pairs)}
    names = list(dict.fromkeys(label for _, label in pairs))
    if names:
        shown = [handles[name] for name in names]
        figure.legend(shown, names, loc="outside lower center", ncols=min(columns, len(names)))


def ticks(ax: Axes, places: Sequence[float], names: Sequence[str] = ()) -> None:
    """A logarithmic axis with ticks at these places and nowhere else."""
    ax.set_xscale("log")
    ax.set_xticks(places, names or [f"{place:g}" for place in places])
    ax.minorticks_off()


def rows(ax: Axes, names: Sequence[str]) -> None:
    """Names down the vertical axis, the first one on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


# what is drawn in a panel -------------------------------------------------------------------------------------------


def curves(ax: Axes, places: Sequence[float] | None, named: Curves, factor: float = 1) -> None:
    """Named curves over these places; without places over 1, 2, 3, ..., the epochs."""
    for k, (name, heights) in enumerate(named.items()):
        heights = factor * np.asarray(heights, dtype=float)
        ax.plot(range(1, 1 + len(heights)) if places is None else places, heights, label=name, **look(name, k))


def lines(
    places: Sequence[float],
    panels: Mapping[str, Curves],
    labels: tuple[str, str],
    *,
    size: tuple[float, float],
    log: bool = False,
    factor: float = 1,
    top: float | None = None,
    columns: int = 3,
) -> Figure:
    """Curves over the same places, a panel a title; `size` is that of one panel in inches."""
    figure, axes = wrapped(len(panels), 2, size, (0, 0), sharey=True)
    for ax, (title, named) in zip(axes.flat, panels.items(), strict=False):
        curves(ax, places, named, factor)
        ax.set(title=title, xlabel=labels[0])
        if log:
            ticks(ax, places)
    for ax in axes[:, 0]:
        ax.set(ylabel=labels[1], ylim=(0, top))
    legend(figure, columns)
    return figure


def spans(ax: Axes, at: ArrayLike, low: ArrayLike, middle: ArrayLike, high: ArrayLike, **marked: object) -> None:
    """Points with horizontal intervals; `marked` says how the points look and has their colour."""
    ax.hlines(at, low, high, color=marked["color"], linewidth=1.8, alpha=0.55, gid=marked.get("label"))
    ax.plot(middle, at, **{"marker": "o"} | marked | {"linestyle": "none"})


def heat(
    ax: Axes,
    values: ArrayLike,
    across: Sequence[object],
    up: Sequence[object],
    limits: tuple[float, float],
    form: str = ".0f",
    **options: object,
) -> None:
    """Numbers [across, up] as a heat map with each number in its cell; nan leaves a cell empty."""
    shown = np.asarray(values, dtype=float).T + 0.0  # no -0
    options = {"annot": True, "cmap": "cividis", "annot_kws": {"fontsize": 9}} | options
    seaborn.heatmap(shown, ax=ax, cbar=False, fmt=form, vmin=limits[0], vmax=limits[1], **options)
    keep(ax.collections[-1], "", across, up, shown)
    for text, value in zip(ax.texts, shown[~np.isnan(shown)], strict=True):
        text.set_color("white" if value <= np.mean(limits) else "black")
    ax.set_xticks(np.arange(len(across)) + 0.5, [_word(name) for name in across], rotation=0)
    ax.set_yticks(np.arange(len(up)) + 0.5, [_word(name) for name in up], rotation=0)
    ax.set_ylim(0, len(up))
    ax.grid(visible=False)


def _word(name: object) -> str:
    return name if isinstance(name, str) else f"{name:.3g}"
