"""The figures of the chapter on the truth: planes of verdicts, a witness, nested contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from nsr.contour import Contour
from nsr.figures import style
from nsr.figures.contours import HALO, TICKS, filled, lines
from nsr.figures.table import keep

# letter -> name, colour, sign in its cells: the three differ in grey and without colour too
VERDICTS = {"r": ("robust", style.SKY, ""), "b": ("broken", style.ORANGE, r"$\times$"), "o": ("open", "white", "?")}
LEVEL = 75  # % whose lines are drawn: at these radii more than half of the images hold in most networks
CERTIFIED, ROBUST, POSSIBLE, ATTACKED = "certified", "proved robust", "robust or open", "attacked"
LAYERS = {  # lowest first: colour, line and width
    CERTIFIED: (style.PINK, "--", 2.0),
    ROBUST: ("white", "-", 2.0),
    POSSIBLE: ("white", (0, (1, 1)), 2.0),
    ATTACKED: (style.ORANGE, "-.", 2.0),
}


def planes(grid_x: Sequence[float], grid_w: Sequence[float], verdicts: Mapping[str, str]) -> Figure:
    """Planes of one image, title -> a letter a cell as in `Decided`: where it is robust, broken, open."""
    one = len(verdicts) == 1
    panel = (3.6, 2.9) if one else (1.8, 1.9)
    figure, axes = style.wrapped(len(verdicts), 3, panel, (0.9, 0.9), sharex=True, sharey=True)
    for ax, (title, letters) in zip(axes.flat, verdicts.items(), strict=False):
        cells = np.array(list(letters)).reshape(len(grid_x), len(grid_w))
        drawn = _plane(ax, cells, 12 if one else 8)
        keep(drawn, "verdict", grid_x, grid_w, [[VERDICTS[letter][0] for letter in row] for row in cells.T])
        ax.set_title(title)
        for axis, grid in ((ax.xaxis, grid_x), (ax.yaxis, grid_w)):
            shown = range(len(grid)) if one else (0, len(grid) - 1)
            axis.set_ticks(shown, [f"{grid[k]:.3g}" for k in shown])
    style.outer(axes, len(verdicts), "absolute")
    figure.legend(handles=_keys("".join(verdicts.values())), loc="outside upper center", ncols=3)
    return figure


def _plane(ax: Axes, letters: np.ndarray, fontsize: float) -> AxesImage:
    """One plane [input radii, weight radii], the input radius to the right and the weight radius upwards."""
    numbers = np.vectorize(list(VERDICTS).index)(letters).T
    colours = ListedColormap([colour for _, colour, _ in VERDICTS.values()])
    drawn = ax.imshow(numbers, cmap=colours, vmin=-0.5, vmax=len(VERDICTS) - 0.5, origin="lower", aspect="auto")
    for (w, x), letter in np.ndenumerate(letters.T):
        ax.text(x, w, VERDICTS[letter][2], ha="center", va="center", fontsize=fontsize)
    ax.hlines(np.arange(0.5, len(numbers) - 1), -0.5, numbers.shape[1] - 0.5, color="0.4", linewidth=0.5)
    ax.vlines(np.arange(0.5, numbers.shape[1] - 1), -0.5, len(numbers) - 0.5, color="0.4", linewidth=0.5)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return drawn


def _keys(letters: str) -> list[Patch]:
    """The legend of the verdicts that occur."""
    there = [(name, colour, sign) for letter, (name, colour, sign) in VERDICTS.items() if letter in letters]
    return [Patch(facecolor=c, edgecolor="0.4", label=f"{name} {sign}".strip()) for name, c, sign in there]


def witness(
    x: Tensor, x_hat: Tensor, offsets: Sequence[Tensor], logits: Mapping[str, Tensor], y: int, eps_x: float
) -> Figure:
    """The point that breaks an image: x [h * h] and x_hat - x, the offsets t / eps of each layer, both logits [K]."""
    figure, ((clean, moved), (answer, layers)) = style.subplots(2, 2, (6.4, 5.6))
    side = isqrt(len(x))
    clean.imshow(x.reshape(side, side).numpy(), vmin=0, vmax=1, cmap="gray_r")
    clean.set_title(f"$x$, class {y}")
    shown = moved.imshow((x_hat - x).reshape(side, side).numpy(), vmin=-eps_x, vmax=eps_x, cmap="PuOr")
    moved.set_title(r"$\hat x - x$")
    figure.colorbar(shown, ax=moved, shrink=0.8)
    for ax in (clean, moved):
        ax.set(xticks=[], yticks=[])
    for k, (name, z) in enumerate(logits.items()):
        look = {"color": (style.SKY, style.ORANGE)[k], "edgecolor": "black", "linewidth": 0.5}
        answer.bar(np.arange(len(z)) + 0.4 * k - 0.2, z.tolist(), 0.4, label=f"{name}: {int(z.argmax())}", **look)
    answer.set(title="answer", xlabel="class", ylabel="logit", xticks=range(len(z)))
    answer.axhline(0, color="black", linewidth=0.8)
    answer.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncol=2)  # below: bars fill the plane
    for m, t in enumerate(offsets):
        shown = layers.pcolormesh(
            np.linspace(0, 1, len(t) + 1), [m - 0.4, m + 0.4], t[None].numpy(), vmin=-1, vmax=1, cmap="PuOr"
        )
        keep(shown, "offset of each neuron", range(1, 1 + len(t)), [f"layer {m + 1}"], t[None])
    style.rows(layers, [f"$t^{m}$, {len(t)}" for m, t in enumerate(offsets, start=1)])
    layers.set(title=r"offsets $t_i / \epsilon_w$, one a neuron", xticks=[])
    figure.colorbar(shown, ax=layers, shrink=0.8)
    for ax in (clean, moved, layers):
        ax.grid(visible=False)
    return figure


def nested(panels: Mapping[str, Mapping[str, Contour]]) -> Figure:
    """A panel a title: the images proved robust as fill, and the line of each layer up to which `LEVEL` % of them hold.

    The layers are named as in `LAYERS`; one that is missing is left out.
    """
    figure, axes = style.wrapped(len(panels), 3, (1.65, 1.8), (1.4, 0.9), sharex=True, sharey=True)
    for ax, (title, layers) in zip(axes.flat, panels.items(), strict=False):
        robust = layers[ROBUST]
        fill = filled(ax, robust, f"{ROBUST} (%)")
        for name, (color, line, width) in LAYERS.items():
            if name in layers:
                look = {"colors": [color], "linestyles": [line], "linewidths": width}
                lines(ax, layers[name], f"{name} (%)", (LEVEL,), **look)
        ax.set_title(title)
        ax.grid(visible=False)
        ax.locator_params(nbins=3)
    style.outer(axes, len(panels), robust.geometry)
    figure.colorbar(fill, ax=axes.ravel().tolist(), label=f"{ROBUST} (%)", ticks=TICKS, aspect=30)
    there = [name for name in LAYERS if any(name in layers for layers in panels.values())]
    figure.legend(handles=[_line(name) for name in there], loc="outside upper center", ncols=2)
    return figure


def _line(name: str) -> Line2D:
    color, line, width = LAYERS[name]
    return Line2D([], [], color=color, linestyle=line, linewidth=width, path_effects=HALO, label=name)
