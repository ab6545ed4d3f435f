"""The figures of chapter 11: eleven methods on the same axes, how min-max training goes, what is certified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure

from nsr.contour import Contour
from nsr.figures import style
from nsr.figures.contours import TICKS, plane
from nsr.figures.style import Curves


class Interval(Protocol):
    """A mean with its interval."""

    mean: float
    low: float
    high: float


def planes(contours: Mapping[str, Contour], across: int = 5) -> Figure:
    """Accuracy over both radii, one small panel a title, all on the same axes and colour scale."""
    figure, grid = style.wrapped(len(contours), across, (1.3, 1.9), (1.1, 0.2), sharex=True, sharey=True)
    for ax, (title, contour) in zip(grid.flat, contours.items(), strict=False):
        fill = plane(ax, contour, linewidths=1)
        ax.set_title(title, fontsize=9)
        ax.locator_params(nbins=3)
    style.outer(grid, len(contours), contour.geometry)
    figure.colorbar(fill, ax=grid.ravel().tolist(), label="accuracy (%)", ticks=TICKS)
    return figure


def intervals(measures: Mapping[str, Mapping[str, Interval]], first: Sequence[str] = ()) -> Figure:
    """AUCs with their intervals, a panel a measure, a line a row; the rows named in `first` in another colour."""
    names = list(dict.fromkeys(name for found in measures.values() for name in found))
    size = (1.6 + 1.6 * len(measures), 0.9 + 0.32 * len(names))
    figure, (axes,) = style.subplots(1, len(measures), size, sharey=True)
    for ax, (measure, found) in zip(axes, measures.items(), strict=True):
        for name, auc in found.items():
            color, marker = (style.BLUE, "o") if name in first or not first else (style.ORANGE, "D")
            style.spans(ax, names.index(name), max(auc.low, 0), auc.mean, auc.high, color=color, marker=marker)
        ax.set(title="\n".join(wrap(measure, 20)), xlabel="AUC", xlim=(0, None))
    style.rows(axes[0], names)
    return figure


def training(panels: Mapping[str, Curves], units: Sequence[str]) -> Figure:
    """Curves over the epochs, a panel a quantity, a line a method."""
    figure, (axes,) = style.subplots(1, len(panels), (3.2 * len(panels), 3.6))
    for ax, (title, named), unit in zip(axes, panels.items(), units, strict=True):
        style.curves(ax, None, named)
        ax.set(title=title, xlabel="epoch", ylabel=unit, ylim=(0, None))
    style.legend(figure, 3)
    return figure


def weight_edge(radii: Sequence[float], named: Curves, radius: float) -> Figure:
    """Accuracy against the weight radius with inputs left alone; a vertical line at the radius of the training."""
    figure, ((ax,),) = style.subplots(size=(6.0, 3.7))
    style.curves(ax, radii, named, 100)
    ax.axvline(radius, color="0.55", linewidth=1, linestyle=":", label="radius in training")
    ax.set(xlabel=f"weight radius {style.RADIUS_W['absolute']}", ylabel=style.ACCURACY, ylim=(0, 100))
    ax.legend()
    return figure


def certified(panels: Mapping[str, tuple[Contour | None, Contour]]) -> Figure:
    """(attacked, certified) along the diagonal of their grid, a panel a row; the band is what neither decides."""
    figure, (axes,) = style.subplots(1, len(panels), (0.8 + 1.4 * len(panels), 3.4), sharey=True)
    for ax, (title, (attacked, safe)) in zip(axes, panels.items(), strict=True):
        radii, lower = safe.grid_x, _diagonal(safe)
        if attacked is not None:
            upper = _diagonal(attacked)
            ax.plot(radii, upper, color=style.ORANGE, marker="s", linestyle="--", label="strong attack")
            ax.fill_between(radii, lower, upper, color="0.88", label="not decided")
        ax.plot(radii, lower, color=style.BLUE, marker="o", label="certified")
        slope = safe.grid_w[-1] / safe.grid_x[-1]
        ax.set(title=title, xlabel=rf"$\epsilon_x$; $\epsilon_w = {slope:.3g}\,\epsilon_x$")
    axes[0].set(ylabel="test images (%)", ylim=(-2, 102))
    style.legend(figure, 3)
    return figure


def _diagonal(contour: Contour) -> np.ndarray:
    """Accuracies in % where both radii are the same share of their largest."""
    return 100 * np.diagonal(np.array(contour.accuracy))
