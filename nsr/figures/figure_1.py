"""Our Figure 1, and what its AUCs hang on: the seed, the axes' ranges, who attacks the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nsr.contour import Contour
from nsr.figures.contours import DIVERGING, TICKS, edges, legend, percent, plane
from nsr.figures.contours import lines as contour_lines
from nsr.figures.style import RADIUS_W, RADIUS_X, Curves, lines, look, rows, subplots

HALF = 50  # % whose certified line is drawn


@dataclass(frozen=True)
class Panel:
    """One panel: its name and AUC in words, what an attack leaves and what a certificate promises, if measured."""

    name: str
    auc: str
    attacked: Contour | None
    certified: Contour | None = None


def panels(panels: Sequence[Panel], protocol: str = "") -> Figure:
    """Accuracy over the plane of radii as fill and labelled lines, one scale for all; a certified line over it.

    `protocol` says above all panels how the accuracies were measured.
    A panel whose contour has not been measured stays empty and says so.
    """
    figure, grid = subplots(2, 3, (6.4, 6.4), sharex=True, sharey=True)
    figure.suptitle(protocol, fontsize=9, color="0.3")
    fill = None
    for ax, panel in zip(grid.flat, panels, strict=True):
        ax.set_title(f"{panel.name}\n{panel.auc}", fontsize=9)
        if panel.attacked is None:
            ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color="0.45")
            continue
        fill = plane(ax, panel.attacked, panel.certified, (HALF,))
        edges(ax, panel.attacked)
        ax.locator_params(nbins=4)
    geometry = next((panel.attacked.geometry for panel in panels if panel.attacked), "absolute")
    for ax in grid[-1]:
        ax.set_xlabel(RADIUS_X)
    for ax in grid[:, 0]:
        ax.set_ylabel(RADIUS_W[geometry])
    if fill is not None:
        bar = {"location": "bottom", "aspect": 40, "pad": 0.02}
        figure.colorbar(fill, ax=grid.ravel().tolist(), label="accuracy (%)", ticks=TICKS, **bar)
    sure = f"{HALF} % of the images certified" if any(panel.certified for panel in panels) else ""
    figure.legend(handles=legend(sure), loc="outside lower center", ncols=3)
    return figure


def pair(left: Panel, right: Panel) -> Figure:
    """Two planes and, below, the second minus the first in points: a line each 10, none where they are as good."""
    if left.attacked is None or right.attacked is None:
        figure, ((ax,),) = subplots()
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color="0.45")
        return figure
    figure, ((one, other), (below, keys)) = subplots(2, 2, (6.2, 6.2))
    keys.axis("off")
    for ax, panel in ((one, left), (other, right)):
        fill = plane(ax, panel.attacked)
        ax.set_title(f"{panel.name}\n{panel.auc}")
    contour, difference = left.attacked, percent(right.attacked) - percent(left.attacked)
    most = max(10, 10 * np.ceil(abs(difference).max() / 10))
    look = {"cmap": DIVERGING, "norm": Normalize(-most, most)}
    change = below.contourf(contour.grid_x, contour.grid_w, difference, np.linspace(-most, most, 101), **look)
    drawn = below.contour(
        contour.grid_x, contour.grid_w, difference, np.arange(-95, 96, 10), colors="0.3", linewidths=1
    )
    below.clabel(drawn, fmt="%+d", colors="black")
    below.set_title(f"{right.name.split(',')[0]} minus {left.name.split(',')[0]}")
    for ax in (one, other, below):
        ax.set(xlabel=RADIUS_X, ylabel=RADIUS_W[contour.geometry])
        ax.grid(visible=False)
        ax.locator_params(nbins=4)
    for filled, height, text in ((fill, 0.7, "accuracy (%)"), (change, 0.25, "difference (points)")):
        bar = keys.inset_axes((0.1, height, 0.85, 0.08))
        figure.colorbar(filled, cax=bar, orientation="horizontal", label=text).locator = MaxNLocator(5)
    return figure


def halves(contours: Mapping[str, Contour]) -> Figure:
    """One plane with a line for each method up to which half of the images are still right."""
    figure, ((ax,),) = subplots(size=(6.0, 5.0))
    for k, (name, contour) in enumerate(contours.items()):
        style = look(name, k)
        drawn = {"colors": style["color"], "linestyles": [style["linestyle"]]}
        if contour_lines(ax, contour, name, (HALF,), halo=False, **drawn):
            ax.plot([], [], **style | {"marker": ""}, label=name)
    last = next(reversed(contours.values()))
    ax.set(xlabel=RADIUS_X, ylabel=RADIUS_W[last.geometry], xlim=(0, None), ylim=(0, last.grid_w[-1]))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def seeds(kinds: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """AUCs by kind of contour and method: a marker for each seed, a bar for the mean."""
    names = list(dict.fromkeys(name for by_name in kinds.values() for name in by_name))
    figure, (axes,) = subplots(1, len(kinds), (1.6 + 1.6 * len(kinds), 0.9 + 0.36 * len(names)), sharey=True)
    for ax, (kind, by_name) in zip(axes, kinds.items(), strict=True):
        for name, values in by_name.items():
            k, n = names.index(name), len(values)
            ax.vlines(np.mean(values), k - 0.36, k + 0.36, color="0.35", linewidth=1.4, gid="mean")
            apart = 0.5 * (np.arange(n) + 0.5) / n - 0.25  # so that markers of one row do not hide each other
            ax.plot(values, k + apart, gid="seed", **look(name, k) | {"linestyle": "none"})
        ax.set(title=kind, xlabel="AUC", xlim=(0, None))
    rows(axes[0], names)
    return figure


def ranges(shares: Sequence[float], cuts: Mapping[str, Curves]) -> Figure:
    """The AUC over a part of the plane, by the share of the axes that is left: a panel for each way to cut."""
    return lines(shares, cuts, ("share of the range that is left", "AUC"), size=(3.2, 3.2), top=1)


def attackers(sizes: Sequence[int], panels: Mapping[str, Curves]) -> Figure:
    """The AUC by the number of images that one perturbed weight set has to serve."""
    return lines(sizes, panels, (r"images that share one $\hat W$", "AUC"), size=(4.6, 3.9), log=True, top=1)
