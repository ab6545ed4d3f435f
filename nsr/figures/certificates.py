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
from nsr.figures import style
from nsr.figures.contours import CALM, FILL, SHARE, TICKS
from nsr.figures.table import keep

ATTACKED, PRINTED = "attacked", "printed"
# name, colour, line, width, marker; tau and zeta nearly coincide, and narrower lines on wider ones keep both visible
LOOKS = {
    PRINTED: ("printed (no bound)", style.GREY, ":", 1.2, "x"),
    "norms": ("R2 norms", style.PINK, "-", 6.0, "v"),
    "repaired": ("R1 repaired", style.ORANGE, "--", 3.6, "o"),
    "telescoped": ("R3 telescoped", style.AMBER, "-.", 1.6, "s"),
    "interval": ("R4 interval", style.SKY, "-", 2.0, "D"),
    "linear": ("R5 CROWN", style.BLUE, "-", 2.0, "^"),
    "tight": ("R6 tight boxes", style.GREEN, (0, (5, 1)), 2.4, "P"),
    "alpha": ("R7 optimised slopes", style.BLACK, (0, (3, 1, 1, 1)), 2.0, "X"),
    ATTACKED: ("attacked", style.BLACK, "-", 2.0, "*"),
}
HALF = 50  # % whose line is drawn for every method
HALO = [patheffects.withStroke(linewidth=3.5, foreground="white")]


def tightness(ratios: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """(bound - f) / gain of the best attack, method -> budget -> [B]: medians, lines from quartile to quartile."""
    first, *_ = ratios.values()
    figure, ((ax,),) = style.subplots(size=(6.4, 1.1 + 0.46 * len(ratios)))
    for number, budget in enumerate(first):
        at = np.arange(len(ratios)) + 0.22 * (number - (len(first) - 1) / 2)
        low, middle, high = np.transpose([np.quantile(by[budget], (0.25, 0.5, 0.75)) for by in ratios.values()])
        style.spans(ax, at, low, middle, high, color=f"C{number}", marker=style.MARKERS[number], label=budget)
        for y, value in zip(at, middle, strict=True):
            ax.annotate(f"{value:.3g}", (high[round(y)], y), (5, 0), textcoords="offset points", va="center", size=8)
    style.rows(ax, [LOOKS[method][0] for method in ratios])
    ax.axvline(1, color="black", linewidth=1)
    ax.set(xscale="log", xlabel="(bound - margin) / gain of the best attack found (1: bound attained)")
    ax.margins(x=0.09)
    ax.legend(loc="lower right", title=r"radii $(\epsilon_x, \epsilon_w)$", bbox_to_anchor=(1, 0))
    return figure


def certified_accuracy(
    attacked: Contour,
    certified: Mapping[str, Contour],
    line: Sequence[tuple[float, float]],
    shares: Mapping[str, Sequence[float]],
) -> Figure:
    """What is broken, what is safe, what is open.

    Above: attacked accuracy over the plane of radii as fill, and the line of each method on which half of the inputs
    are still right. Below: accuracies along `line`, the plane's diagonal of radii (eps_x, eps_w), by method.
    """
    figure, ((above,), (below,)) = style.subplots(2, 1, (6.2, 8.6), height_ratios=(1.1, 1))
    fill = _plane(above, attacked, certified)
    diagonal = above.plot(*zip(*line, strict=True), color="black", linewidth=1.2, linestyle=(0, (1, 2)))
    plt.setp(diagonal, path_effects=[patheffects.withStroke(linewidth=2.4, foreground="white", alpha=0.6)])
    figure.colorbar(fill, ax=above, label="attacked accuracy (%)", ticks=TICKS, pad=0.02)
    radii = [eps_x for eps_x, _ in line]
    for method, share in shares.items():
        look = dict(zip(("label", "color", "linestyle", "linewidth", "marker"), LOOKS[method], strict=True))
        look |= {"markevery": 3, "markersize": 5, "zorder": 4 if method == PRINTED else 3}
        below.plot(radii, 100 * np.array(share), **look)
    safe, open_to = (100 * np.array(shares[method]) for method in ("tight", ATTACKED))
    below.fill_between(radii, safe, open_to, color="0.9", zorder=0, label="not decided")
    words = f"input radius {style.RADIUS_X}, {_slope(line)}"
    below.set(xscale="log", xlabel=words, ylabel="test images (%)", ylim=(-2, 102))
    below.set_title("Along the dotted line")
    style.legend(figure, 3)
    return figure


def _plane(ax: Axes, attacked: Contour, certified: Mapping[str, Contour]) -> plt.cm.ScalarMappable:
    """Both radii logarithmic, hence without the two edges where one of them is 0."""
    fill = ax.contourf(attacked.grid_x[1:], attacked.grid_w[1:], _percent(attacked), FILL, cmap=CALM)
    keep(fill, f"{ATTACKED}, {SHARE}", attacked.grid_x[1:], attacked.grid_w[1:], _percent(attacked))
    for method, contour in (certified | {ATTACKED: attacked}).items():
        values = _percent(contour)
        if values.min() < HALF < values.max():
            name, color, line, *_ = LOOKS[method]
            radii = contour.grid_x[1:], contour.grid_w[1:]
            drawn = ax.contour(*radii, values, [HALF], colors=color, linestyles=[line], linewidths=2)
            drawn.set_path_effects(HALO)
            keep(drawn, f"{name}, {SHARE}", *radii, values)
            foot = min(np.concatenate(drawn.allsegs[0]), key=lambda point: point[1])
            side = 1 if method == ATTACKED else -1  # no certificate lies outside the attack
            beside = {"textcoords": "offset points", "ha": "left" if side > 0 else "right", "rotation": 90}
            ax.annotate(name, foot, (4 * side, 6), color=color, path_effects=HALO, fontsize=9, **beside)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"input radius {style.RADIUS_X}",
        ylabel=f"weight radius {style.RADIUS_W['absolute']}",
    )
    ax.set_title(f"Up to each line, {HALF} % of the test images hold")
    ax.grid(visible=False)
    return fill


def _percent(contour: Contour) -> np.ndarray:
    """Accuracy in % with the weight radius upwards, without the edges."""
    return 100 * np.array(contour.accuracy)[1:, 1:].T


def _slope(line: Sequence[tuple[float, float]]) -> str:
    eps_x, eps_w = line[-1]
    return rf"with $\epsilon_w$ = {eps_w / eps_x:.3g} $\epsilon_x$"
