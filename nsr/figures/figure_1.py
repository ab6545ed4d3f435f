"""The paper's Figure 1, and what its AUCs hang on: the seed, the axes' ranges, who attacks the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nsr.contour import Contour
from nsr.figures.contours import CERTIFIED, FILL, HALO, LINES, RADIUS_W, RADIUS_X, edges, label, legend, lines, percent
from nsr.figures.style import look

SHAPE = 2, 3
HALF = 50  # % whose certified line is drawn
SURE = {"color": CERTIFIED, "linestyle": "dashed", "linewidth": 2}


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
    figure, grid = plt.subplots(*SHAPE, figsize=(9.4, 6.8), sharex=True, sharey=True)
    figure.suptitle(protocol, fontsize=9, color="0.3")
    fill = None
    for ax, panel in zip(grid.flat, panels, strict=True):
        ax.set_title(f"{panel.name}\n{panel.auc}")
        if panel.attacked is None:
            ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color="0.45")
            continue
        fill = _plane(ax, panel)
    geometry = next((panel.attacked.geometry for panel in panels if panel.attacked), "absolute")
    for ax in grid[-1]:
        ax.set_xlabel(RADIUS_X)
    for ax in grid[:, 0]:
        ax.set_ylabel(RADIUS_W[geometry])
    if fill is not None:
        figure.colorbar(fill, ax=grid.ravel().tolist(), label="accuracy (%)", ticks=FILL[::2], aspect=30)
    handles = legend(certified=False)
    if any(panel.certified for panel in panels):
        handles.append(Line2D([], [], **SURE, path_effects=HALO, label=f"{HALF} % of the images certified"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    plt.close(figure)
    return figure


def _plane(ax: Axes, panel: Panel) -> plt.cm.ScalarMappable:
    contour = panel.attacked
    fill = ax.contourf(contour.grid_x, contour.grid_w, percent(contour), FILL)
    drawn = lines(ax, contour, LINES, colors="white", linestyles="solid")
    sure = []
    if panel.certified is not None:
        sure = lines(ax, panel.certified, [HALF], **{f"{key}s": value for key, value in SURE.items()})
    ax.set(xlim=(0, contour.grid_x[-1]), ylim=(0, contour.grid_w[-1]))
    label(ax, drawn, beside=sure)
    edges(ax, contour)
    ax.locator_params(nbins=4)
    ax.grid(visible=False)
    return fill


def seeds(kinds: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """AUCs by kind of contour and method: a marker for each seed, a bar for the mean."""
    names = list(dict.fromkeys(name for by_name in kinds.values() for name in by_name))
    size = 1.6 + 2.5 * len(kinds), 0.9 + 0.36 * len(names)
    figure, axes = plt.subplots(1, len(kinds), figsize=size, sharey=True, squeeze=False)
    for ax, (kind, by_name) in zip(axes[0], kinds.items(), strict=True):
        for name, values in by_name.items():
            k = names.index(name)
            ax.vlines(np.mean(values), k - 0.36, k + 0.36, color="0.35", linewidth=1.4)
            ax.plot(values, k + _spread(len(values)), **look(name, k) | {"linestyle": "none"})
        ax.set(title=kind, xlabel="AUC")
        ax.set_xlim(left=0)
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    plt.close(figure)
    return figure


def ranges(shares: Sequence[float], cuts: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The AUC over a part of the plane, by the share of the axes that is left: a panel for each way to cut."""
    return _lines_of(shares, cuts, "share of the range that is left")


def attackers(sizes: Sequence[int], curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The AUC by the number of images that one perturbed weight set has to serve."""
    figure = _lines_of(sizes, curves, r"images that share one $\hat W$")
    for ax in figure.axes:
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{n}" for n in sizes])
        ax.minorticks_off()
    return figure


def _lines_of(places: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> Figure:
    size = (max(4.6, 0.9 + 2.9 * len(panels)), 3.9)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for k, (name, values) in enumerate(curves.items()):
            ax.plot(places, values, label=name, **look(name, k))
        ax.set(title=title, xlabel=label)
    axes[0][0].set(ylabel="AUC")
    axes[0][0].set_ylim(0, 1)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    plt.close(figure)
    return figure


def _spread(n: int) -> np.ndarray:
    """Heights at which n markers of one row do not hide each other."""
    return 0.5 * (np.arange(n) + 0.5) / n - 0.25
