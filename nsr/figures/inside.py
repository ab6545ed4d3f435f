"""The figures of chapter 15: what every radius of training leaves inside a network, and the claims about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nsr.figures import style
from nsr.figures.table import keep


class Interval(Protocol):
    """A mean with its interval."""

    mean: float
    low: float
    high: float


Course = Mapping[float, Interval]  # by the radius of the training
Courses = Mapping[str, Course]

# outcome -> colour and sign of its cell; they differ in grey and without colour too
OUTCOMES = {
    "holds": (style.SKY, "✓"),
    "the other side": (style.ORANGE, "✗"),
    "undecided": ("0.88", "?"),
    "too few seeds": ("white", "…"),
    "not measured": ("white", "–"),
}


def shades(count: int) -> list[tuple[float, ...]]:
    """So many colours from light to dark."""
    return [tuple(colour) for colour in colormaps["cividis_r"](np.linspace(0.12, 1, count))]


def courses(panels: Mapping[str, Courses], shares: Sequence[str] = ()) -> Figure:
    """Numbers over the radius of the training, a panel a title, a line with intervals a name.

    The panels named in `shares` have an axis in %.
    """
    names = list(dict.fromkeys(name for named in panels.values() for name in named))
    figure, axes = style.wrapped(len(panels), 2, (3.0, 2.5), (0.3, 0.5))
    for ax, (title, named) in zip(axes.flat, panels.items(), strict=False):
        for name, course in named.items():
            _course(ax, course, label=name, **style.look(name, names.index(name)))
        ax.set(title=title, xlabel=f"trained at {style.RADIUS_X}")
        if title in shares:
            _in_percent(ax)
    style.legend(figure, 4)
    return figure


def _course(ax: Axes, course: Course, **look: object) -> None:
    """One line with its intervals; the axis has ticks at the radii of the training."""
    low, mean, high = np.array([(at.low, at.mean, at.high) for at in course.values()]).T
    ax.errorbar(list(course), mean, [mean - low, high - mean], capsize=3, **look)
    ax.set_xticks(list(course), [f"{radius:g}" for radius in course])


def _in_percent(ax: Axes) -> None:
    """Shares as %; what an interval has below 0 or above 1 is cut off."""
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -0.03), min(high, 1.03))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def ridges(edges: Sequence[float], filled: Mapping[float, Sequence[float]], near: float, **lines: Mapping) -> Figure:
    """Shares of samples between `edges`, a ridge a radius, radius 0 on top; `lines` are drawn over the `filled` ones.

    Samples between -near and near are those near the boundary.
    """
    rows, middles = sorted(filled), (np.array(edges[:-1]) + np.array(edges[1:])) / 2
    figure, ((ax,),) = style.subplots(size=(6.4, 1.1 + 0.75 * len(rows)))
    height = 1.5 / max(max(shares) for shares in filled.values())
    ax.axvspan(-near, near, color="0.9", linewidth=0, zorder=0, label="near the boundary")
    ax.axvline(0, color="black", linewidth=1, zorder=0)
    for k, (radius, colour) in enumerate(zip(rows, shades(len(rows)), strict=True)):
        ridge = -k + height * np.array(filled[radius])
        hill = ax.fill_between(middles, -k, ridge, color=colour, alpha=0.9, linewidth=0, zorder=2 * k + 1)
        keep(hill, "share of samples", middles, [f"{radius:g}"], [filled[radius]])
        for name, drawn in lines.items():
            if radius in drawn:
                over = -k + height * np.array(drawn[radius])
                look = {"color": "black", "linewidth": 1, "linestyle": "--"}
                (over,) = ax.plot(middles, over, label=name, zorder=2 * k + 2, **look)
                keep(over, f"share of samples, {name}", middles, [f"{radius:g}"], [drawn[radius]])
    ax.set_yticks([-k for k in range(len(rows))], [f"{radius:g}" for radius in rows])
    ax.set(xlabel="normalised margin", ylabel=f"trained at {style.RADIUS_X}", xlim=(edges[0], edges[-1]))
    ax.grid(axis="x", visible=False)
    style.legend(figure, 3)
    return figure


def layers(
    panels: Mapping[str, Mapping[float | str, Sequence[Interval]]], names: Sequence[str], what: str, key: str = ""
) -> Figure:
    """A multiple of what radius 0 has, layer by layer on a logarithmic axis, a line a radius or a name.

    Lines of radii go from light to dark; `key` says behind a name what it stands for.
    """
    figure, (axes,) = style.subplots(1, len(panels), (3.2 * len(panels), 3.6), sharey=True)
    for ax, (title, found) in zip(axes, panels.items(), strict=True):
        for k, (name, line) in enumerate(found.items()):
            low, mean, high = np.array([(at.low, at.mean, at.high) for at in line]).T
            at = np.arange(len(mean)) + 0.06 * (k - (len(found) - 1) / 2)
            look, label = style.look(str(name), k), f"{name} {key}".strip()
            if not isinstance(name, str):
                look = look | {"color": shades(len(found))[k], "linestyle": "-"}
                label = rf"trained at $\epsilon_x$ {name:g}"
            ax.errorbar(at, mean, [mean - low, high - mean], label=label, capsize=2, **look)
        ax.axhline(1, color="black", linewidth=0.8)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:.3g}")
        ax.yaxis.set_minor_formatter("")
        ax.set(title=title, xticks=range(len(names)), xticklabels=names)
    _readable(axes[0])
    axes[0].set_ylabel(what)
    style.legend(figure, 3)
    return figure


def _readable(ax: Axes) -> None:
    """Three ticks or more: at powers of ten, at 1, 2 and 5 times these, or nearer to each other."""
    low, high = ax.get_ylim()
    powers = 10.0 ** np.arange(-9, 9)
    for steps in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 3, 5, 8)):
        places = sorted(step * power for step in steps for power in powers if low <= step * power <= high)
        if len(places) >= 3:
            break
    else:
        places = [place for place in MaxNLocator(5).tick_values(low, high) if low <= place <= high]
    ax.set_yticks(places)


def beside(ladders: Mapping[str, tuple[str, Courses]], shares: Sequence[str] = ()) -> Figure:
    """Ladder -> (name of its radius, quantity -> course): a column a ladder, a row a quantity on one scale.

    The quantities named in `shares` have an axis in %.
    """
    quantities = list(next(iter(ladders.values()))[1])
    size = (min(style.WIDEST, 0.4 + 2.35 * len(ladders)), 0.5 + 1.75 * len(quantities))
    figure, axes = style.subplots(len(quantities), len(ladders), size, sharey="row", sharex="col")
    for k, (column, (name, (radius, named))) in enumerate(zip(axes.T, ladders.items(), strict=True)):
        for ax, quantity in zip(column, quantities, strict=True):
            _course(ax, named[quantity], **style.look(name, k))
        column[0].set_title(name)
        column[-1].set_xlabel(radius)
        column[-1].tick_params(axis="x", labelsize=8)
    for ax, quantity in zip(axes[:, 0], quantities, strict=True):
        ax.set_ylabel(quantity)
        if quantity in shares:
            _in_percent(ax)
    return figure


def matrix(cells: Mapping[str, Mapping[str, tuple[str, str]]]) -> Figure:
    """Claim -> what is attacked -> (outcome, the number that tells): a cell each, named by sign and word."""
    columns = list(dict.fromkeys(name for found in cells.values() for name in found))
    figure, ((ax,),) = style.subplots(size=(min(style.WIDEST, 2.1 + 1.7 * len(columns)), 0.7 + 0.85 * len(cells)))
    for row, found in enumerate(cells.values()):
        for column, name in enumerate(columns):
            outcome, number = found.get(name, ("not measured", ""))
            colour, sign = OUTCOMES[outcome]
            place = ((column - 0.48, column + 0.48), row - 0.45, row + 0.45)
            ax.fill_between(*place, facecolor=colour, edgecolor="0.4", linewidth=0.8)
            ax.text(column, row - 0.22, f"{sign} {outcome}", ha="center", va="center", fontsize=8)
            ax.text(column, row + 0.18, number.replace(" [", "\n["), ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(columns)), columns)
    ax.xaxis.tick_top()
    ax.set_xlim(-0.5, len(columns) - 0.5)
    style.rows(ax, [fill(claim, 26) for claim in cells])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return figure
