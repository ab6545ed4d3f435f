"""The figures of chapter 1: one input under attack, and a test set under input, weight and joint attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

BLUE, ORANGE = "#0072B2", "#D55E00"
MARKERS, STYLES = "os^Dv", ("-", "--", "-.", ":", "-")


def perturbation(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Figure:
    """Each vector of h * h entries as an image: before, after, and the difference between the two.

    One row per entry of `before`; `after` has the same keys, which become the names written above the images.
    """
    figure, rows = plt.subplots(len(before), 3, figsize=(6.6, 2.35 * len(before)), squeeze=False)
    for axes, (name, old), new in zip(rows, before.items(), after.values(), strict=True):
        low, high = torch.stack([old, new]).aminmax()
        _image(axes[0], old, f"{name} clean", (low, high))
        _image(axes[1], new, f"{name} perturbed", (low, high))
        widest = (new - old).abs().max().clamp(min=torch.finfo(old.dtype).tiny)
        _image(axes[2], new - old, "difference", (-widest, widest))
    plt.close(figure)
    return figure


def responses(logits: Mapping[str, Tensor], y: int) -> Figure:
    """The logits [K] of one input in each situation: the true class y hatched, the class that wins named on top."""
    figure, axes = plt.subplots(1, len(logits), figsize=(7.6, 2.9), sharey=True)
    for ax, (situation, z) in zip(axes, logits.items(), strict=True):
        bars = ax.bar(range(len(z)), z.tolist(), color=BLUE, edgecolor="white")
        bars[y].set(facecolor=ORANGE, edgecolor="black", hatch="//////")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(title=f"{situation}\nanswers {int(z.argmax())}", xlabel="class", xticks=range(0, len(z), 2))
        ax.grid(visible=False, axis="x")
    axes[0].set_ylabel(f"logit (hatched: true class {y})")
    plt.close(figure)
    return figure


def joint_grid(eps_x: Sequence[float], eps_w: Sequence[float], shares: Mapping[str, Tensor]) -> Figure:
    """Shares [len(eps_x), len(eps_w)] as maps, a percentage in each cell; two edges are the singular tests."""
    figure, axes = plt.subplots(1, len(shares), figsize=(4.4 * len(shares), 3.9), sharey=True)
    for ax, (name, share) in zip(axes, shares.items(), strict=True):
        ax.imshow(share.T, origin="lower", vmin=0, vmax=1, aspect="auto")
        for (a, b), value in _entries(share):
            ax.text(a, b, f"{100 * value:.0f}", ha="center", va="center", color="black" if value > 0.5 else "white")
        for width, height in ((len(eps_x), 1), (1, len(eps_w))):
            ax.add_patch(plt.Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=ORANGE, linewidth=2.5))
        ax.set(title=name, xlabel=r"input radius $\epsilon_x$ (unit of $x$)")
        ax.set_xticks(range(len(eps_x)), [f"{e:.3g}" for e in eps_x])
        ax.set_yticks(range(len(eps_w)), [f"{e:.3g}" for e in eps_w])
        ax.grid(visible=False)
    axes[0].set_ylabel(r"weight radius $\epsilon_w$ (unit of $W$)")
    plt.close(figure)
    return figure


def equal_shares(share: Sequence[float], accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies as both radii grow together; `share` is the fraction of the largest budget on either axis."""
    figure, ax = plt.subplots(figsize=(6.6, 4.0))
    for (name, accuracy), marker, style in zip(accuracies.items(), MARKERS, STYLES, strict=False):
        ax.plot(share, (100 * accuracy).tolist(), marker=marker, linestyle=style, label=name)
    ax.set(xlabel="share of the largest radius (1 = the grid's last)", ylabel="test accuracy (%)", ylim=(0, 100))
    ax.legend(loc="lower left")
    plt.close(figure)
    return figure


def _image(ax: Axes, values: Tensor, title: str, limits: tuple[Tensor, Tensor]) -> None:
    side = isqrt(values.numel())
    shown = ax.imshow(values.reshape(side, side), vmin=float(limits[0]), vmax=float(limits[1]))
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.figure.colorbar(shown, ax=ax, shrink=0.8).ax.tick_params(labelsize=8)


def _entries(matrix: Tensor) -> list[tuple[tuple[int, int], float]]:
    return [((a, b), float(matrix[a, b])) for a in range(matrix.shape[0]) for b in range(matrix.shape[1])]
