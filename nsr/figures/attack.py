"""The figures of chapter 6: what the joint attack reaches and moves, and how far a stronger one gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
MARKERS, STYLES = "os^Dv", ("-", "--", "-.", ":", "-")
ACCURACY = "accuracy under attack (%)"
RADIUS_X, RADIUS_W = r"input radius $\epsilon_x$ (unit of $x$)", r"weight radius $\epsilon_w$ (unit of $W$)"

Curves = Mapping[str, Sequence[float] | Tensor]  # name -> accuracies in [0, 1], one for each place on the axis


def masking(scales: Sequence[float], panels: Mapping[str, Curves]) -> Figure:
    """Accuracies that attacks report for one net whose matrices are all multiplied by each of `scales`."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.7 * len(panels), 3.8), sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        _curves(ax, scales, curves)
        ax.set(title=title, xscale="log", xlabel=r"scale $c$ of the weights")
        ax.set_xticks(scales, [f"{c:g}" for c in scales])
        ax.minorticks_off()
    axes[0][0].set(ylabel=ACCURACY, ylim=(0, 100))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plt.close(figure)
    return figure


def trajectory(times: Sequence[int], loss: Curves, accuracy: Curves, edges: Mapping[str, float]) -> Figure:
    """Mean cross-entropy and accuracy at the iterates `times`; `edges` names the steps at which a ball is crossed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.8))
    _curves(left, times, loss, factor=1)
    _curves(right, times, accuracy)
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
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    plt.close(figure)
    return figure


def images(clean: Tensor, attacked: Mapping[str, Tensor], answers: Mapping[str, Tensor], y: Tensor) -> Figure:
    """Inputs [n, h * h] above their perturbations, one row per attack; the answers [n] stand over every image."""
    side, widest = isqrt(clean.shape[1]), max(float((x_hat - clean).abs().max()) for x_hat in attacked.values())
    figure, rows = plt.subplots(1 + len(attacked), len(clean), figsize=(7.2, 1.75 * (1 + len(attacked))), squeeze=False)
    for ax, x, label in zip(rows[0], clean, y.tolist(), strict=True):
        ax.imshow(x.reshape(side, side), vmin=0, vmax=1, cmap="gray_r")
        ax.set_title(f"label {label}")
    for row, (name, x_hat) in zip(rows[1:], attacked.items(), strict=True):
        for ax, d, answer, label in zip(row, x_hat - clean, answers[name].tolist(), y.tolist(), strict=True):
            shown = ax.imshow(d.reshape(side, side), vmin=-widest, vmax=widest, cmap="PuOr")
            ax.set_title(f"answer {answer}" + (" (right)" if answer == label else ""))
        row[0].set_ylabel(name)
    rows[0][0].set_ylabel("clean")
    for ax in rows.flatten():
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    figure.colorbar(shown, ax=rows[1:].flatten().tolist(), shrink=0.8, label=r"$\hat x - x$ (unit of $x$)")
    plt.close(figure)
    return figure


def movement(moved: Mapping[str, Sequence[Tensor]], bins: int = 21) -> Figure:
    """Histograms of (W_hat - W) / eps for each layer, one row per attack; -1 and 1 are the edges of the ball."""
    layers = max(len(parts) for parts in moved.values())
    size = (2.5 * layers, 1.9 * len(moved) + 0.5)
    figure, rows = plt.subplots(len(moved), layers, figsize=size, sharex=True, sharey=True, squeeze=False)
    for row, (name, parts), colour in zip(rows, moved.items(), (BLUE, ORANGE, GREEN), strict=False):
        for m, (ax, part) in enumerate(zip(row, parts, strict=True), start=1):
            inside = part.flatten().clamp(-1, 1)  # an edge is met up to rounding
            ax.hist(inside.tolist(), bins=bins, range=(-1, 1), weights=[100 / len(inside)] * len(inside), color=colour)
            ax.set_title(f"$W^{m}$, {name}")
        row[0].set_ylabel("entries (%)")
    for ax in rows[-1]:
        ax.set(xlabel=r"$(\hat W - W) / \epsilon_w$", xticks=[-1, 0, 1])
    plt.close(figure)
    return figure


def split(shares: Sequence[float], curves: Curves) -> Figure:
    """Accuracies as one budget goes from the inputs alone (share 0) to the weights alone (share 1)."""
    figure, ax = plt.subplots(figsize=(6.2, 3.7))
    _curves(ax, shares, curves)
    ax.set(xlabel="share of the budget given to the weights (0: inputs alone, 1: weights alone)")
    ax.set(ylabel=ACCURACY, ylim=(0, 100))
    ax.legend()
    plt.close(figure)
    return figure


def crowd(sizes: Sequence[int], panels: Mapping[str, Curves]) -> Figure:
    """Accuracies against the number of inputs that share one W_hat."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.5 * len(panels), 3.6), sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        _curves(ax, sizes, curves)
        ax.set(title=title, xscale="log", xlabel=r"inputs that share one $\hat W$")
        ax.set_xticks(sizes, [f"{n}" for n in sizes])
        ax.minorticks_off()
    axes[0][0].set(ylabel=ACCURACY, ylim=(0, 100))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    plt.close(figure)
    return figure


def gap(grid_x: Sequence[float], grid_w: Sequence[float], paper: Tensor, found: Tensor) -> Figure:
    """Two accuracies [len(grid_x), len(grid_w)] as maps and, right, how many points the second lies below the first."""
    figure, axes = plt.subplots(1, 3, figsize=(8.6, 3.5), sharey=True)
    maps = {"paper's attack (%)": paper, "strong (%)": found, "paper - strong (points)": paper - found}
    for ax, (name, share) in zip(axes, maps.items(), strict=True):
        lowest, top = (0, 1) if ax is not axes[2] else (min(0.0, float(share.min())), max(0.01, float(share.max())))
        ax.imshow(share.T, origin="lower", vmin=lowest, vmax=top, aspect="auto")
        for a, b in torch.cartesian_prod(torch.arange(len(grid_x)), torch.arange(len(grid_w))).tolist():
            value = float(share[a, b])
            dark = value - lowest <= 0.5 * (top - lowest)
            text = f"{100 * value + 0.0:.0f}" if ax is not axes[2] else f"{100 * value + 0.0:.1f}"
            ax.text(a, b, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
        ax.set(title=name, xlabel=r"$\epsilon_x$ (unit of $x$)")
        ax.set_xticks(range(len(grid_x)), [f"{e:.3g}" for e in grid_x])
        ax.set_yticks(range(len(grid_w)), [f"{e:.3g}" for e in grid_w])
        ax.grid(visible=False)
    axes[0].set_ylabel(RADIUS_W)
    plt.close(figure)
    return figure


def sandwich(grid_x: Sequence[float], grid_w: Sequence[float], accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies [len(grid_x), len(grid_w)], lowest first, one panel per weight radius; the band is what is unknown."""
    size = (1.2 + 1.75 * len(grid_w), 3.6)
    figure, axes = plt.subplots(1, len(grid_w), figsize=size, sharey=True, squeeze=False)
    lower, upper, *_ = accuracies.values()
    for b, (ax, e) in enumerate(zip(axes[0], grid_w, strict=True)):
        _curves(ax, grid_x, {name: accuracy[:, b] for name, accuracy in accuracies.items()})
        between = (100 * lower[:, b]).tolist(), (100 * upper[:, b]).tolist()
        ax.fill_between(grid_x, *between, color="0.85", label="not decided")
        ax.set(title=rf"$\epsilon_w$ = {e:.2g}", xlabel=r"$\epsilon_x$ (unit of $x$)")
    axes[0][0].set(ylabel="accuracy (%)", ylim=(0, 102))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plt.close(figure)
    return figure


def _curves(ax: Axes, places: Sequence[float], curves: Curves, factor: float = 100) -> None:
    for (name, values), marker, style in zip(curves.items(), MARKERS, STYLES, strict=False):
        heights = (factor * torch.as_tensor(values, dtype=torch.float64)).tolist()
        ax.plot(places, heights, marker=marker, linestyle=style, label=name)
