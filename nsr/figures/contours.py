"""Floor 5: accuracy over the plane of input and weight radii, the form of the paper's Figure 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nsr.contour import Contour

FILL = np.arange(0, 101, 10)  # % between which the fill changes its colour
LINES = (20, 40, 60, 80)  # % where a labelled line runs
SURE = (10, 50, 90)  # % where a certified line runs
COLUMNS = 3
INPUTS, WEIGHTS, CERTIFIED = "#D55E00", "#009E73", "#CC79A7"
RADIUS_X = r"$\epsilon_x$ (unit of $x$)"
RADIUS_W = {
    "absolute": r"$\epsilon_w$ (unit of $W$)",
    "relative": r"$r$ (share of mean $|W^m|$)",
}
HALO = [patheffects.withStroke(linewidth=2.5, foreground="black")]


def contours(attacked: Mapping[str, Contour], certified: Mapping[str, Contour] | None = None) -> Figure:
    """One panel per attacked contour: accuracy as fill and labelled lines, its two singular edges, its AUC above.

    A contour of the same name in `certified` is drawn over it as dashed lines: what no perturbation can break.
    """
    certified = certified or {}
    columns = min(COLUMNS, len(attacked))
    rows = -(-len(attacked) // columns)
    size = (2.5 * columns + 1.3, 2.8 * rows + 0.7)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax, (name, contour) in zip(grid.flat, attacked.items(), strict=False):
        fill = ax.contourf(contour.grid_x, contour.grid_w, percent(contour), FILL)
        lines(ax, contour, LINES, colors="white", linestyles="solid")
        if name in certified:
            lines(ax, certified[name], SURE, colors=CERTIFIED, linestyles="dashed")
        edges(ax, contour)
        ax.locator_params(nbins=3)
        ax.set(title=f"{name}\nAUC {contour.auc:.3f}", xlabel=RADIUS_X, ylabel=RADIUS_W[contour.geometry])
    for ax in grid.flat[len(attacked) :]:
        ax.set_visible(False)
    figure.colorbar(fill, ax=grid.ravel().tolist(), label="accuracy (%)", ticks=FILL[::2])
    figure.legend(handles=legend(bool(certified)), loc="outside lower center", ncols=3)
    plt.close(figure)
    return figure


def percent(contour: Contour) -> np.ndarray:
    """Accuracy in % with the weight radius upwards."""
    return 100 * np.array(contour.accuracy).T


def lines(ax: Axes, contour: Contour, levels: Sequence[int], **style: str) -> None:
    """Labelled lines at those levels that the accuracy crosses."""
    values = percent(contour)
    crossed = [level for level in levels if values.min() < level < values.max()]
    if crossed:
        drawn = ax.contour(contour.grid_x, contour.grid_w, values, crossed, linewidths=1.4, **style)
        drawn.set_path_effects(HALO)
        for text in ax.clabel(drawn, fmt="%d %%", fontsize=8):
            text.set_path_effects(HALO)


def edges(ax: Axes, contour: Contour) -> None:
    """The two singular edges, where only inputs or only weights move, with the accuracy at their far ends."""
    end_x, end_w = contour.grid_x[-1], contour.grid_w[-1]
    ax.plot([0, end_x], [0, 0], color=INPUTS, linewidth=4, solid_capstyle="butt", clip_on=False, zorder=4)
    ax.plot([0, 0], [0, end_w], color=WEIGHTS, linewidth=4, linestyle=(0, (2, 0.6)), clip_on=False, zorder=4)
    for place, value, align in (
        ((end_x, 0), contour.edge_x[-1], {"ha": "right", "va": "bottom", "xytext": (-3, 4)}),
        ((0, end_w), contour.edge_w[-1], {"ha": "left", "va": "top", "xytext": (5, -3)}),
    ):
        share = f"{100 * value:.0f} %"
        text = ax.annotate(share, place, textcoords="offset points", fontsize=9, color="white", **align)
        text.set_path_effects(HALO)


def legend(certified: bool) -> list[Line2D]:
    handles = [
        Line2D([], [], color=INPUTS, linewidth=4, label="only inputs move"),
        Line2D([], [], color=WEIGHTS, linewidth=4, linestyle=(0, (2, 0.6)), label="only weights move"),
    ]
    if certified:
        handles.append(Line2D([], [], color=CERTIFIED, linestyle="dashed", path_effects=HALO, label="certified"))
    return handles
