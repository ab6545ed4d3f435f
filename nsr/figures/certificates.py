"""The figures of chapter 4: how tight the upper bounds on the margin are, and what they certify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nsr.contour import Contour

ATTACKED, PRINTED = "attacked", "printed"
NAMES = {
    "printed": "printed (no bound)",
    "norms": "R2 norms",
    "repaired": "R1 repaired",
    "telescoped": "R3 telescoped",
    "interval": "R4 interval",
    "crown": "R5 CROWN",
    ATTACKED: "attacked",
}
COLOURS = {
    "printed": "0.45",
    "norms": "#CC79A7",
    "repaired": "#D55E00",
    "telescoped": "#E69F00",
    "interval": "#56B4E9",
    "crown": "#0072B2",
    ATTACKED: "black",
}
STYLES = dict(zip(NAMES, (":", "-", "--", "-.", "-", "-", "-"), strict=True))
MARKERS = dict(zip(NAMES, ("x", "v", "o", "s", "D", "^", "*"), strict=True))
# the family of tau and zeta nearly coincides: narrower lines on wider ones keep all of them visible
WIDTHS = dict(zip(NAMES, (1.2, 6.0, 3.6, 1.6, 2.0, 2.0, 2.0), strict=True))
BUDGET_MARKERS = "os^Dv"
HALF = 50  # % whose line is drawn for every method
FILL = np.arange(0, 101, 10)  # % between which the fill changes its colour
RADIUS_X, RADIUS_W = r"input radius $\epsilon_x$ (unit of $x$)", r"weight radius $\epsilon_w$ (unit of $W$)"
HALO = [patheffects.withStroke(linewidth=3.5, foreground="white")]


def tightness(ratios: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """(bound - f) / gain of the best attack, method -> budget -> [B]: medians, lines from quartile to quartile."""
    first, *_ = ratios.values()
    figure, ax = plt.subplots(figsize=(6.8, 1.1 + 0.46 * len(ratios)))
    for number, (budget, marker) in enumerate(zip(first, BUDGET_MARKERS, strict=False)):
        at = np.arange(len(ratios)) + 0.22 * (number - (len(first) - 1) / 2)
        low, middle, high = np.transpose([np.quantile(by[budget], (0.25, 0.5, 0.75)) for by in ratios.values()])
        ax.hlines(at, low, high, color=f"C{number}", linewidth=1.6, alpha=0.6)
        ax.plot(middle, at, marker, color=f"C{number}", label=budget)
        for y, value in zip(at, middle, strict=True):
            ax.annotate(f"{value:.3g}", (high[round(y)], y), (5, 0), textcoords="offset points", va="center", size=8)
    ax.set_yticks(range(len(ratios)), [NAMES[method] for method in ratios])
    ax.axvline(1, color="black", linewidth=1)
    ax.set(xscale="log", xlabel="(bound - margin) / gain of the best attack found (1: bound attained)")
    ax.margins(x=0.09)
    ax.invert_yaxis()
    ax.legend(loc="lower right", title=r"radii $(\epsilon_x, \epsilon_w)$", bbox_to_anchor=(1, 0))
    plt.close(figure)
    return figure


def certified_accuracy(
    attacked: Contour,
    certified: Mapping[str, Contour],
    line: Sequence[tuple[float, float]],
    shares: Mapping[str, Sequence[float]],
) -> Figure:
    """What is broken, what is safe, what is open.

    Left: attacked accuracy over the plane of radii as fill, and the line of each method on which half of the inputs
    are still right. Right: accuracies along `line`, the plane's diagonal of radii (eps_x, eps_w), by method.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.3), width_ratios=(1.12, 1))
    fill = _plane(left, attacked, certified)
    diagonal = left.plot(*zip(*line, strict=True), color="black", linewidth=1.2, linestyle=(0, (1, 2)))
    plt.setp(diagonal, path_effects=[patheffects.withStroke(linewidth=2.4, foreground="white", alpha=0.6)])
    figure.colorbar(fill, ax=left, label="attacked accuracy (%)", ticks=FILL[::2], pad=0.02)
    radii = [eps_x for eps_x, _ in line]
    for method, share in shares.items():
        look = {"color": COLOURS[method], "linestyle": STYLES[method], "linewidth": WIDTHS[method]}
        look |= {"marker": MARKERS[method], "markevery": 3, "markersize": 5, "zorder": 4 if method == PRINTED else 3}
        right.plot(radii, 100 * np.array(share), **look, label=NAMES[method])
    safe, open_to = (100 * np.array(shares[method]) for method in ("crown", ATTACKED))
    right.fill_between(radii, safe, open_to, color="0.9", zorder=0, label="not decided")
    right.set(xscale="log", xlabel=f"{RADIUS_X},\n{_slope(line)}", ylabel="test images (%)", ylim=(-2, 102))
    right.set_title("Along the dotted line")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    plt.close(figure)
    return figure


def _plane(ax: Axes, attacked: Contour, certified: Mapping[str, Contour]) -> plt.cm.ScalarMappable:
    """Both radii logarithmic, hence without the two edges where one of them is 0."""
    fill = ax.contourf(attacked.grid_x[1:], attacked.grid_w[1:], _percent(attacked), FILL)
    for method, contour in (certified | {ATTACKED: attacked}).items():
        values = _percent(contour)
        if values.min() < HALF < values.max():
            drawn = ax.contour(
                contour.grid_x[1:],
                contour.grid_w[1:],
                values,
                [HALF],
                colors=COLOURS[method],
                linestyles=STYLES[method],
                linewidths=2,
            )
            drawn.set_path_effects(HALO)
            foot = min(np.concatenate(drawn.allsegs[0]), key=lambda point: point[1])
            text = ax.annotate(
                NAMES[method], foot, (-4, 6), textcoords="offset points", ha="right", rotation=90, fontsize=9
            )
            text.set(color=COLOURS[method], path_effects=HALO)
    ax.set(xscale="log", yscale="log", xlabel=RADIUS_X, ylabel=RADIUS_W)
    ax.set_title(f"Up to each line, {HALF} % of the test images hold")
    ax.grid(visible=False)
    return fill


def _percent(contour: Contour) -> np.ndarray:
    """Accuracy in % with the weight radius upwards, without the edges."""
    return 100 * np.array(contour.accuracy)[1:, 1:].T


def _slope(line: Sequence[tuple[float, float]]) -> str:
    eps_x, eps_w = line[-1]
    return rf"with $\epsilon_w$ = {eps_w / eps_x:.3g} $\epsilon_x$"
