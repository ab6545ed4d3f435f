"""Theorem 1 as printed and repaired: the family's gap, the leak of h*, and how often tiny nets violate which."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest
from torch import Tensor

from nsr.figures.style import BLUE, GREEN, GREY, MARKERS, ORANGE, STYLES, rows, subplots
from nsr.figures.table import keep
from nsr.theory.counterexamples import Box

KINDS = ("printed", "repaired")
RISES = {
    "drawn": "best random draw",
    "printed": "$h^{2*}$ (printed)",
    "found": "ascent",
    "repaired": "$u^2$ (repaired)",
}
PLACES = {  # where layer 1 can be: its words, how it looks, and where the words stand
    "clean": ("clean $z^1$", {"color": GREY, "marker": "o"}, (-10, 0), "right"),
    "star": ("$h^{1*}$", {"color": BLUE, "marker": "s"}, (11, 0), "left"),
    "worst": ("the adversary's", {"color": ORANGE, "marker": "X"}, (11, 0), "left"),
}
BARS = {"printed bound": (BLUE, ""), "margin reached": (ORANGE, "////"), "repaired bound": (GREEN, "")}
Curve = tuple[Sequence[float], Sequence[tuple[Fraction, Fraction]]]  # radii, excess over (printed, repaired)


def corner(box: Box, bounds: Mapping[str, Fraction]) -> Figure:
    """Top: the box of layer 1 with level lines of what layer 2 makes of it. Bottom: both bounds and the margin.

    `bounds` has the values of `BARS` in any order.
    """
    figure, ((above,), (below,)) = subplots(2, 1, (5.0, 4.9), height_ratios=[3.2, 1])
    (x_0, y_0), (x_1, y_1) = box.low, box.high
    mass = np.array(box.mass)
    across, up = np.linspace(x_0, x_1, mass.shape[1]), np.linspace(y_0, y_1, mass.shape[0])
    drawn = above.contour(
        across, up, mass, levels=np.linspace(0, mass.max(), 7)[1:-1], colors="0.55", linestyles="--", linewidths=1
    )
    keep(drawn, r"what layer 2 makes of it", across, up, mass)
    above.clabel(drawn, fmt="%g", fontsize=9, colors="0.3")
    above.add_patch(Rectangle(box.low, x_1 - x_0, y_1 - y_0, fill=False, edgecolor="0.2", linewidth=1.8))
    for name, (a, b, value) in box.places.items():
        words, marked, shift, side = PLACES[name]
        above.plot(a, b, linestyle="", markersize=10, clip_on=False, zorder=4, gid=words, **marked)
        told = words if name == "clean" else f"{words}:\n$\\Vert z^2 \\Vert_1$ up to {value:g}"
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        above.annotate(told, (a, b), shift, textcoords="offset points", ha=side, va="center", size=10, bbox=ground)
    pad = 0.08 * (x_1 - x_0)
    above.set(xlim=(x_0 - pad, x_1 + 8 * pad), ylim=(y_0 - pad, y_1 + pad), aspect="equal")
    above.set(xticks=np.linspace(x_0, x_1, 3), yticks=np.linspace(y_0, y_1, 3))
    above.set(xlabel="first unit of layer 1", ylabel="second unit of layer 1")
    above.xaxis.set_label_coords((x_0 + x_1) / 2, -0.1, transform=above.get_xaxis_transform())
    above.spines["bottom"].set_bounds(x_0, x_1)
    above.spines["left"].set_bounds(y_0, y_1)
    above.grid(visible=False)
    names = [name for name in BARS if name in bounds]
    for at, name in enumerate(names):
        color, hatch = BARS[name]
        face = "white" if hatch else color
        below.barh(at, float(bounds[name]), height=0.7, color=face, edgecolor=color, hatch=hatch)
        below.annotate(f"{bounds[name]}", (float(bounds[name]), at), (5, 0), textcoords="offset points", va="center")
    rows(below, names)
    below.axvline(float(bounds["printed bound"]), color=BLUE, linewidth=1.2, linestyle="--")
    below.set(xlabel="margin (logits)", xlim=(0, 1.1 * float(max(bounds.values()))))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.tick_params(axis="y", length=0)
    below.grid(visible=False, axis="y")
    return figure


def family(closed: Mapping[float, Curve], enumerated: Mapping[float, Curve]) -> Figure:
    """Largest margin minus bound over the radius e for each B: closed forms as lines, enumerated corners as markers."""
    figure, ((ax,),) = subplots()
    for line, (B, at) in enumerate(itertools.product(closed, range(len(KINDS)))):
        color, style, marker = f"C{at}", STYLES[line // 2 % len(STYLES)], MARKERS[line % len(MARKERS)]
        for (e, excess), shape in ((closed[B], {"linestyle": style}), (enumerated[B], {"ls": "", "marker": marker})):
            ax.plot(e, [float(over[at]) for over in excess], color=color, gid=f"{KINDS[at]}, B = {B:g}", **shape)
        ax.plot([], [], linestyle=style, marker=marker, color=color, label=f"{KINDS[at]}, B = {B:g}")
    low, high = ax.get_ylim()
    ax.axhspan(0, high, color="0.93", zorder=0)
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set_ylim(low, high)
    ax.text(0.02, 0.96, "bound exceeded", transform=ax.transAxes, va="top")
    ax.set(xlabel="radius $e$ of every weight (units of $W$)", ylabel="largest margin minus bound (logits)")
    ax.legend(loc="lower left")
    return figure


def leak(predicted: Mapping[float, Tensor], found: Mapping[float, Tensor], rises: Mapping[str, Tensor]) -> Figure:
    """Left: leak of h^{2*} found by ascent against its first-order value, per radius. Right: rises of ||z^2||_1."""
    figure, ((left, right),) = subplots(1, 2, (6.4, 3.8))
    for marker, radius in zip(itertools.cycle(MARKERS), predicted, strict=False):
        left.plot(predicted[radius], found[radius], ls="", marker=marker, alpha=0.6, label=f"radius {radius:g}")
    positive = [v for values in predicted.values() for v in values.tolist() if v > 0]
    ends = [min(positive, default=1), max(positive, default=1)]
    left.plot(ends, ends, color="0.3", linewidth=1, label="equal")
    left.set(
        xscale="log", yscale="log", xlabel="first-order leak ($\\ell_1$ norm)", ylabel="leak found ($\\ell_1$ norm)"
    )
    left.legend()
    names = [RISES[name] for name in rises]
    values = [value.tolist() for value in rises.values()]
    right.boxplot(values, orientation="horizontal", tick_labels=names, showfliers=False, widths=0.6)
    right.axvline(1, color="0.3", linewidth=1, linestyle=":")
    right.set(xscale="log", xlabel="rise of $||z^2||_1$ /\nrise found by ascent")
    right.invert_yaxis()
    return figure


def violations(found: Mapping[str, Mapping[tuple[str, float], tuple[int, int]]]) -> Figure:
    """Share of random nets with a corner beyond the bound, with 95 % Wilson intervals.

    kind of bound -> (widths, radius) -> (violated, nets).
    """
    figure, ((ax,),) = subplots()
    for at, (kind, groups) in enumerate(found.items()):
        shares = [100 * count / n for count, n in groups.values()]
        ends = [wilson(count, n) for count, n in groups.values()]
        low = [max(share - 100 * end, 0) for share, (end, _) in zip(shares, ends, strict=True)]
        high = [100 * end - share for share, (_, end) in zip(shares, ends, strict=True)]
        places = [place + 0.16 * (at - (len(found) - 1) / 2) for place in range(len(groups))]
        ax.errorbar(places, shares, yerr=[low, high], linestyle="", marker=MARKERS[at], capsize=3, label=kind)
    names = [f"{widths}\n{radius:g}" for widths, radius in groups]
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="nets violated (%)", xlabel="widths and radius of every weight")
    ax.legend()
    return figure


def wilson(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share of `count` in `n`."""
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
