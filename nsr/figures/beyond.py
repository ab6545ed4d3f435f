"""The figures of chapter 12: ten methods on the same axes, how min-max training goes, what is certified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from nsr.contour import Contour
from nsr.figures.contours import FILL, LINES, RADIUS_W, RADIUS_X, label, lines, percent
from nsr.figures.style import look

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
COLOURS, MARKERS = (BLUE, ORANGE, GREEN, "#CC79A7", "black"), "os^Dv"
STYLES = ("-", "--", "-.", ":", "-")
COLUMNS = 5

Interval = tuple[float, float, float]  # mean, low, high


def planes(contours: Mapping[str, Contour]) -> Figure:
    """Accuracy over both radii, one small panel a title, all on the same axes and colour scale."""
    rows = -(-len(contours) // COLUMNS)
    size = (1.48 * COLUMNS + 1.1, 2.15 * rows + 0.2)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (title, contour) in zip(grid.flat, contours.items(), strict=False):
        fill = ax.contourf(contour.grid_x, contour.grid_w, percent(contour), FILL)
        label(ax, lines(ax, contour, LINES, colors="white", linewidths=1))
        ax.set_title(title, fontsize=9)
        ax.locator_params(nbins=3)
        ax.grid(visible=False)
    for ax in grid.flat[len(contours) :]:
        ax.set_visible(False)
    for row in grid:
        row[0].set_ylabel(RADIUS_W[contour.geometry])
    for ax in grid[-1]:
        ax.set_xlabel(RADIUS_X)
    figure.colorbar(fill, ax=grid.ravel().tolist(), label="accuracy (%)", ticks=FILL[::2])
    plt.close(figure)
    return figure


def intervals(measures: Mapping[str, Mapping[str, Interval]], first: Sequence[str] = ()) -> Figure:
    """AUCs with their intervals, a panel a measure, a line a row; the rows named in `first` in another colour."""
    names = list(dict.fromkeys(name for found in measures.values() for name in found))
    size = (1.7 + 2.35 * len(measures), 1.0 + 0.3 * len(names))
    figure, axes = plt.subplots(1, len(measures), figsize=size, sharey=True, squeeze=False)
    for ax, (measure, found) in zip(axes[0], measures.items(), strict=True):
        for name, (mean, low, high) in found.items():
            place, old = names.index(name), name in first
            colour, marker = (BLUE, "o") if old else (ORANGE, "D")
            ax.hlines(place, max(low, 0), high, color=colour, linewidth=2.2, alpha=0.55)
            ax.plot(mean, place, marker, color=colour)
        ax.set(title=measure, xlabel="AUC")
        ax.set_xlim(left=0)
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    plt.close(figure)
    return figure


def training(panels: Mapping[str, Mapping[str, Sequence[float]]], units: Sequence[str]) -> Figure:
    """Curves over the epochs, a panel a quantity, a line a method."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.9 * len(panels), 3.6), squeeze=False)
    for ax, (title, curves), unit in zip(axes[0], panels.items(), units, strict=True):
        for k, (name, values) in enumerate(curves.items()):
            ax.plot(range(1, 1 + len(values)), values, label=name, **look(name, k))
        ax.set(title=title, xlabel="epoch", ylabel=unit)
        ax.set_ylim(bottom=0)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    plt.close(figure)
    return figure


def weight_edge(radii: Sequence[float], curves: Mapping[str, Sequence[float]], radius: float) -> Figure:
    """Accuracy against the weight radius with inputs left alone; a vertical line at the radius of the training."""
    figure, ax = plt.subplots(figsize=(6.0, 3.7))
    for (name, values), colour, marker, style in zip(curves.items(), COLOURS, MARKERS, STYLES, strict=False):
        ax.plot(radii, [100 * v for v in values], color=colour, marker=marker, linestyle=style, label=name)
    ax.axvline(radius, color="0.55", linewidth=1, linestyle=":", label="radius in training")
    ax.set(xlabel=r"weight radius $\epsilon_w$ (unit of $W$)", ylabel="accuracy under attack (%)", ylim=(0, 100))
    ax.legend()
    plt.close(figure)
    return figure


def certified(panels: Mapping[str, tuple[Contour | None, Contour]]) -> Figure:
    """(attacked, certified) along the diagonal of their grid, a panel a row; the band is what neither decides."""
    figure, axes = plt.subplots(1, len(panels), figsize=(1.0 + 2.1 * len(panels), 3.5), sharey=True, squeeze=False)
    for ax, (title, (attacked, safe)) in zip(axes[0], panels.items(), strict=True):
        radii, lower = safe.grid_x, _diagonal(safe)
        if attacked is not None:
            upper = _diagonal(attacked)
            ax.plot(radii, upper, color=ORANGE, marker="s", linestyle="--", label="strong attack")
            ax.fill_between(radii, lower, upper, color="0.88", label="not decided")
        ax.plot(radii, lower, color=BLUE, marker="o", label="certified")
        slope = safe.grid_w[-1] / safe.grid_x[-1]
        ax.set(title=title, xlabel=rf"$\epsilon_x$; $\epsilon_w = {slope:.3g}\,\epsilon_x$")
    axes[0][0].set(ylabel="test images (%)", ylim=(-2, 102))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    plt.close(figure)
    return figure


def _diagonal(contour: Contour) -> np.ndarray:
    """Accuracies in % where both radii are the same share of their largest."""
    return 100 * np.diagonal(np.array(contour.accuracy))
