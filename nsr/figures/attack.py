"""The figures of chapter 6: what the joint attack reaches and moves, and how far a stronger one gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

from matplotlib.figure import Figure
from torch import Tensor

from nsr.figures.style import (
    ACCURACY,
    BLUE,
    PALETTE,
    RADIUS_X,
    STYLES,
    WIDEST,
    Curves,
    curves,
    heat,
    legend,
    lines,
    outer,
    rows,
    spans,
    subplots,
    wrapped,
)


def masking(scales: Sequence[float], panels: Mapping[str, Curves]) -> Figure:
    """Accuracies that attacks report for one net whose matrices are all multiplied by each of `scales`."""
    labels = r"scale $c$ of the weights", ACCURACY
    return lines(scales, panels, labels, size=(3.2, 3.5), log=True, factor=100, top=100, columns=2)


def crowd(sizes: Sequence[int], panels: Mapping[str, Curves]) -> Figure:
    """Accuracies against the number of inputs that share one W_hat."""
    labels = r"inputs that share one $\hat W$", ACCURACY
    return lines(sizes, panels, labels, size=(3.2, 3.4), log=True, factor=100, top=100)


def split(shares: Sequence[float], named: Curves) -> Figure:
    """Accuracies as one budget goes from the inputs alone (share 0) to the weights alone (share 1)."""
    labels = "share of the budget given to the weights (0: inputs alone, 1: weights alone)", ACCURACY
    return lines(shares, {"": named}, labels, size=(6.2, 4.0), factor=100, top=100)


def bends(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Distances in points from the straight line between two single attacks, a row a net, a panel a unit of budget."""
    names = list(dict.fromkeys(name for found in panels.values() for name in found))
    figure, (axes,) = subplots(1, len(panels), (3.2 * len(panels), 1.2 + 0.28 * len(names)), sharey=True)
    for ax, (title, found) in zip(axes, panels.items(), strict=True):
        at = [names.index(name) for name in found]
        low, middle, high = zip(*((min(v), sum(v) / len(v), max(v)) for v in found.values()), strict=True)
        spans(ax, at, low, middle, high, color=BLUE)
        ax.axvline(0, color="black", linewidth=1)
        ax.set(title=title, xlabel="above the straight line (points)")
    rows(axes[0], names)
    return figure


def trajectory(times: Sequence[int], loss: Curves, accuracy: Curves, edges: Mapping[str, float]) -> Figure:
    """Mean cross-entropy and accuracy at the iterates `times`; `edges` names the steps at which a ball is crossed."""
    figure, ((left, right),) = subplots(1, 2, (6.4, 3.8))
    curves(left, times, loss)
    curves(right, times, accuracy, 100)
    for ax in (left, right):
        for (name, t), style in zip(edges.items(), STYLES[1:], strict=False):
            ax.axvline(t, color="0.55", linewidth=1, linestyle=style, label=name)
        ax.set_xscale("symlog", linthresh=1, linscale=0.5)
        shown = [*times[:2], *times[3:-1:2], *times[-1:]]
        ax.set_xticks(shown, [f"{t}" for t in shown])
        ax.minorticks_off()
        ax.set(xlabel="step $t$", xlim=(-0.1, 1.15 * times[-1]))
    left.set_ylabel("mean cross-entropy (nats)")
    right.set(ylabel=ACCURACY, ylim=(0, 100))
    legend(figure, 5)
    return figure


def images(clean: Tensor, attacked: Mapping[str, Tensor], predictions: Mapping[str, Tensor], y: Tensor) -> Figure:
    """Inputs [n, h * h] above their perturbations, a row an attack; the predictions [n] stand over every image."""
    side, widest = isqrt(clean.shape[1]), max(float((x_hat - clean).abs().max()) for x_hat in attacked.values())
    figure, rows = subplots(1 + len(attacked), len(clean), (WIDEST, 1.6 * (1 + len(attacked))))
    for ax, x, label in zip(rows[0], clean, y.tolist(), strict=True):
        ax.imshow(x.reshape(side, side), vmin=0, vmax=1, cmap="gray_r")
        ax.set_title(f"label {label}")
    for row, (name, x_hat) in zip(rows[1:], attacked.items(), strict=True):
        for ax, d, found, label in zip(row, x_hat - clean, predictions[name].tolist(), y.tolist(), strict=True):
            shown = ax.imshow(d.reshape(side, side), vmin=-widest, vmax=widest, cmap="PuOr")
            ax.set_title(f"answer {found}\n" + ("right" if found == label else "wrong"))
        row[0].set_ylabel(name)
    rows[0][0].set_ylabel("clean")
    for ax in rows.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    figure.colorbar(shown, ax=rows[1:].ravel().tolist(), shrink=0.8, label=r"$\hat x - x$ (unit of $x$)")
    return figure


def movement(moved: Mapping[str, Sequence[Tensor]], bins: int = 21) -> Figure:
    """Histograms of (W_hat - W) / eps for each layer, one row per attack; -1 and 1 are the edges of the ball."""
    layers = max(len(parts) for parts in moved.values())
    figure, rows = subplots(len(moved), layers, (2.1 * layers, 1.9 * len(moved) + 0.5), sharex=True, sharey=True)
    for row, (name, parts), colour in zip(rows, moved.items(), PALETTE, strict=False):
        for m, (ax, part) in enumerate(zip(row, parts, strict=True), start=1):
            inside = part.flatten().clamp(-1, 1)  # an edge is met up to rounding
            ax.hist(inside.tolist(), bins=bins, range=(-1, 1), weights=[100 / len(inside)] * len(inside), color=colour)
            ax.set_title(f"$W^{m}$, {name}")
        row[0].set_ylabel("entries (%)")
    for ax in rows[-1]:
        ax.set(xlabel=r"$(\hat W - W) / \epsilon_w$", xticks=[-1, 0, 1])
    return figure


def gap(grid_x: Sequence[float], grid_w: Sequence[float], paper: Tensor, found: Tensor) -> Figure:
    """Two accuracies [len(grid_x), len(grid_w)] as maps and, last, how many points the second lies below the first."""
    figure, axes = wrapped(3, 3, (2.9, 2.8), (0.5, 0.3), sharey=True)
    less = 100 * (paper - found)
    for ax, name, share in zip(axes.flat, ("paper's attack (%)", "strong (%)"), (paper, found), strict=False):
        heat(ax, 100 * share, grid_x, grid_w, (0, 100))
        ax.set_title(name)
    heat(axes.flat[2], less, grid_x, grid_w, (min(0.0, float(less.min())), max(1.0, float(less.max()))), ".1f")
    axes.flat[2].set_title("paper - strong (points)")
    outer(axes, 3, "absolute")
    return figure


def sandwich(grid_x: Sequence[float], grid_w: Sequence[float], accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies [len(grid_x), len(grid_w)], lowest first, one panel per weight radius; the band is what is unknown."""
    figure, axes = wrapped(len(grid_w), 2, (2.9, 2.4), (0.5, 0.8), sharey=True)
    lower, upper, *_ = accuracies.values()
    for b, (ax, e) in enumerate(zip(axes.flat, grid_w, strict=False)):
        curves(ax, grid_x, {name: accuracy[:, b] for name, accuracy in accuracies.items()}, 100)
        between = (100 * lower[:, b]).tolist(), (100 * upper[:, b]).tolist()
        ax.fill_between(grid_x, *between, color="0.85", label="not decided")
        ax.set(title=rf"$\epsilon_w$ = {e:.2g}", xlabel=RADIUS_X)
    for ax in axes[:, 0]:
        ax.set(ylabel="accuracy (%)", ylim=(0, 102))
    legend(figure, 2)
    return figure
