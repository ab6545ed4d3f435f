"""Accuracy over the plane of input and weight radii, the form of the paper's Figure 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, same_color
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path

from nsr.contour import Contour
from nsr.figures.style import GREEN, ORANGE, PINK, RADIUS_W, RADIUS_X, wrapped
from nsr.figures.table import keep

# the more accuracy is left, the deeper; its lightness alone tells the shares apart
SHADES = ("#f6f3ea", "#d3e1e0", "#97bdc6", "#4f8fac", "#235f87", "#0e3556")
CALM = LinearSegmentedColormap.from_list("accuracy", SHADES)
FILL = np.arange(0, 101, 2.5)  # % between which the fill changes its colour
TICKS = np.arange(0, 101, 20)
LINES = (20, 40, 60, 80)  # % where a labelled line runs
SHARE = "accuracy (%)"
SURE = (10, 50, 90)  # % where a certified line runs
DIVERGING = "RdBu"  # of a difference: red below zero, blue above, apart for colour-blind readers too
INPUTS, WEIGHTS, CERTIFIED = ORANGE, GREEN, PINK
MARGIN = 0.09  # share of a panel's sides: how far the middle of a label keeps from its frame
CORNER = 0.34, 0.17  # the upper left and the lower right belong to the ends of the singular edges
FAR, NEAR = (0.18, 0.12), (0.085, 0.055)  # across and up: from a label to another, and to the lines of others
DARK, LIGHT = "#16222b", "#ffffff"  # of what stands on few and on many per cent
HALO = [patheffects.withStroke(linewidth=2.5, foreground="black")]
PLATE = [patheffects.withStroke(linewidth=3, foreground=LIGHT, alpha=0.85)]  # under what stands on other lines


def contours(attacked: Mapping[str, Contour], certified: Mapping[str, Contour] | None = None) -> Figure:
    """One panel per attacked contour: accuracy as fill and labelled lines, its two singular edges, its AUC above.

    A contour of the same name in `certified` is drawn over it as dashed lines: what no perturbation can break.
    """
    certified = certified or {}
    figure, grid = wrapped(len(attacked), 3, (2.5, 2.8), (1.3, 0.7))
    for ax, (name, contour) in zip(grid.flat, attacked.items(), strict=False):
        fill = plane(ax, contour, certified.get(name))
        edges(ax, contour)
        ax.locator_params(nbins=3)
        ax.set(title=f"{name}\nAUC {contour.auc:.3f}", xlabel=RADIUS_X, ylabel=RADIUS_W[contour.geometry])
    figure.colorbar(fill, ax=grid.ravel().tolist(), label="accuracy (%)", ticks=TICKS)
    *most, last = SURE
    sure = f"certified: {', '.join(map(str, most))} and {last} %, interpolated" if certified else ""
    figure.legend(handles=legend(sure), loc="outside lower center", ncols=grid.shape[1])
    return figure


def plane(
    ax: Axes,
    contour: Contour,
    certified: Contour | None = None,
    sure: Sequence[int] = SURE,
    *,
    linewidths: float = 1.4,
) -> ScalarMappable:
    """Accuracy as fill and labelled lines, and the lines `sure` of what is certified.

    A single one of these needs no label: the plane is hatched on its safe side.
    """
    fill = filled(ax, contour, SHARE)
    drawn = [
        one
        for levels, ink in ((LINES[:2], DARK), (LINES[2:], LIGHT))
        for one in lines(ax, contour, SHARE, levels, halo=False, colors=ink, linestyles="solid", linewidths=linewidths)
    ]
    look = {"colors": CERTIFIED, "linestyles": "dashed", "linewidths": 2}
    safe = lines(ax, certified, "certified (%)", sure, **look) if certified else []
    ax.set(xlim=(0, contour.grid_x[-1]), ylim=(0, contour.grid_w[-1]))
    if safe and len(sure) == 1:
        hatched = ax.contourf(
            certified.grid_x, certified.grid_w, percent(certified), (*sure, 101), colors="none", hatches=["///"]
        )
        hatched.set(edgecolor=CERTIFIED, linewidth=0)
    several = safe if len(sure) > 1 else []
    label(ax, drawn + several, beside=[] if several else safe)
    ax.grid(visible=False)
    return fill


def percent(contour: Contour) -> np.ndarray:
    """Accuracy in % with the weight radius upwards."""
    return 100 * np.array(contour.accuracy).T


def filled(ax: Axes, contour: Contour, what: str) -> ContourSet:
    """The accuracy as fill; `what` it is stands in the table of the figure's numbers."""
    drawn = ax.contourf(contour.grid_x, contour.grid_w, percent(contour), FILL, cmap=CALM)
    keep(drawn, what, contour.grid_x, contour.grid_w, percent(contour))
    return drawn


def lines(
    ax: Axes, contour: Contour, what: str, levels: Sequence[int], *, halo: bool = True, **style: object
) -> list[ContourSet]:
    """Lines at those levels that the accuracy crosses, still without labels: one set, or none."""
    values = percent(contour)
    crossed = [level for level in levels if values.min() < level < values.max()]
    if not crossed:
        return []
    drawn = ax.contour(contour.grid_x, contour.grid_w, values, crossed, **style)
    if halo:
        drawn.set_path_effects(HALO)
    keep(drawn, what, contour.grid_x, contour.grid_w, values)
    return [drawn]


def label(ax: Axes, sets: Sequence[ContourSet], beside: Sequence[ContourSet] = (), fontsize: float = 8) -> None:
    """Label every line near the panel's diagonal, where no other label and no other line is, one of `beside` neither.

    Where lines crowd, one goes without: its neighbours and the colours tell what it is.
    """
    courses = [(drawn, _course(ax, path)) for drawn in (*sets, *beside) for path in drawn.get_paths()]
    taken: list[np.ndarray] = []
    for k, (drawn, course) in enumerate(courses[: sum(len(drawn.levels) for drawn in sets)]):
        others = [point for j, (_, other) in enumerate(courses) if j != k for point in other]
        free = [at for at in course if _inside(at) and _clear(at, others, NEAR) and _clear(at, taken, FAR)]
        if free:
            taken.append(min(free, key=lambda at: abs(at[0] - at[1])))
            place = (ax.transAxes - ax.transData).transform(taken[-1])
            for text in ax.clabel(drawn, fmt="%d", fontsize=fontsize, manual=[tuple(place)]):
                ground = LIGHT if same_color(text.get_color(), DARK) else DARK
                text.set(path_effects=[patheffects.withStroke(linewidth=2, foreground=ground)], rotation=0)


def _course(ax: Axes, path: Path) -> np.ndarray:
    """Points close together along a line, [n, 2], in shares of the panel."""
    pieces = [(ax.transData - ax.transAxes).transform(piece) for piece in path.to_polygons(closed_only=False)]
    steps = np.linspace(0, 1, 20, endpoint=False)[:, None]
    dense = [(piece[:-1, None] + steps * np.diff(piece, axis=0)[:, None]).reshape(-1, 2) for piece in pieces]
    return np.concatenate([np.empty((0, 2)), *dense])


def _inside(at: np.ndarray) -> bool:
    """Whether a label fits there: away from the frame and from the shares in the two corners."""
    (x, w), (wide, high) = at, CORNER
    corner = (x < wide and w > 1 - high) or (x > 1 - wide and w < high)
    return MARGIN < min(x, w) and max(x, w) < 1 - MARGIN and not corner


def _clear(at: np.ndarray, others: Sequence[np.ndarray], distance: tuple[float, float]) -> bool:
    return not len(others) or np.linalg.norm((np.asarray(others) - at) / distance, axis=1).min() > 1


def edges(ax: Axes, contour: Contour) -> None:
    """The two singular edges, where only inputs or only weights move, with the accuracy at their far ends."""
    end_x, end_w = contour.grid_x[-1], contour.grid_w[-1]
    thick = {"linewidth": 4, "clip_on": False, "zorder": 4}
    ax.plot([0, end_x], [0, 0], label="only inputs move", color=INPUTS, solid_capstyle="butt", **thick)
    ax.plot([0, 0], [0, end_w], label="only weights move", color=WEIGHTS, linestyle=(0, (2, 0.6)), **thick)
    for place, value, align in (
        ((end_x, 0), contour.edge_x[-1], {"ha": "right", "va": "bottom", "xytext": (-3, 4)}),
        ((0, end_w), contour.edge_w[-1], {"ha": "left", "va": "top", "xytext": (5, -3)}),
    ):
        share = f"{100 * value:.0f} %"
        text = ax.annotate(share, place, textcoords="offset points", fontsize=9, color=DARK, zorder=5, **align)
        text.set_path_effects(PLATE)


def legend(certified: str = "") -> list[Line2D]:
    """What the edges are, and what the certified lines are, if there are any."""
    handles = [
        Line2D([], [], color=INPUTS, linewidth=4, label="only inputs move"),
        Line2D([], [], color=WEIGHTS, linewidth=4, linestyle=(0, (2, 0.6)), label="only weights move"),
    ]
    sure = Line2D([], [], color=CERTIFIED, linewidth=2, linestyle="dashed", path_effects=HALO, label=certified)
    return [*handles, sure] if certified else handles
