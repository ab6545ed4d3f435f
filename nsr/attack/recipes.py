"""Recipes of attacks as values: one ascent, and an attack made of several."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from nsr.attack import mlp_gradients
from nsr.attack.losses import LOSSES


@dataclass(frozen=True)
class Ascent:
    """A recipe. The defaults are the paper's: cross-entropy, 100 constant steps, the last iterate.

    `T` ties the losses to the network's own logits: their temperature as a share of the median |clean margin|. None is
    the paper's temperature 1. `in_radii` reads the two steps as shares of the radii, `cosine` lets them decay to zero,
    `keep_best` returns the best iterate instead of the last. `seed` draws a random start inside both balls.
    """

    steps: int = 100
    step_x: float = 0.01
    step_w: float = 0.0005
    loss_x: str = "cross_entropy"
    loss_w: str = "cross_entropy"
    T: float | None = None
    in_radii: bool = False
    cosine: bool = False
    keep_best: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or self.steps != int(self.steps) or self.steps < 0:
            raise ValueError(f"steps must be a whole number, not negative, got {self.steps!r}")
        for name, value in (("step_x", self.step_x), ("step_w", self.step_w)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        for loss in (self.loss_x, self.loss_w):
            if loss not in LOSSES:
                raise ValueError(f"unknown loss {loss!r}: choose one of {', '.join(LOSSES)}")
        if self.T is not None and not (math.isfinite(self.T) and self.T > 0):
            raise ValueError(f"T must be positive, got {self.T}")

    def step(self, size: float, eps: float | Tensor, t: int) -> float | Tensor:
        """The step number t from 0: `size`, in units of the radius if so wished, decayed."""
        decay = 0.5 * (1 + math.cos(math.pi * t / self.steps)) if self.cosine else 1.0
        return size * decay * (eps if self.in_radii else 1.0)

    def directions(self, scale: float, y: Tensor) -> mlp_gradients.Directions:
        """logits -> the gradients of both losses there, the same tensor twice if the losses are one."""
        T = 1.0 if self.T is None else max(self.T * scale, 1e-30)

        def at(z: Tensor) -> tuple[Tensor, Tensor]:
            u = LOSSES[self.loss_x](z, y, T)
            return u, (u if self.loss_w == self.loss_x else LOSSES[self.loss_w](z, y, T))

        return at


STARTS = ("found", "clean", "opposite")


@dataclass(frozen=True)
class Attack:
    """Ascents of which the worst counts, then `polish`: per input, W_hat fixed, from each of `starts`."""

    members: tuple[Ascent, ...] = (Ascent(),)
    polish: tuple[Ascent, ...] = ()
    starts: tuple[str, ...] = STARTS

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an attack needs at least one ascent")
        if unknown := set(self.starts) - set(STARTS):
            raise ValueError(f"unknown starts {sorted(unknown)}: choose from {', '.join(STARTS)}")


PAPER = Attack()

_TIED = Ascent(step_x=1.0, step_w=1.0, T=0.12, in_radii=True, cosine=True, keep_best=True)

# Chosen on validation images of five networks. The step on x does not tell the probability loss from cross-entropy:
# an input's own factor p_y changes no sign. The paper's own attack is left out, it would bring the scale back in.
STRONG = Attack(
    members=(
        replace(_TIED, loss_x="probability", loss_w="probability", T=0.08),
        replace(_TIED, loss_x="probability", loss_w="probability", T=0.16),
        replace(_TIED, loss_w="cross_entropy_on_correct"),
        replace(_TIED, loss_w="masked_margin", T=0.25),
    ),
    polish=(replace(_TIED, steps=50), replace(_TIED, steps=50, loss_x="margin", loss_w="margin")),
)


def doubled(attack: Attack) -> Attack:
    """The same attack with twice as many steps."""
    return _each(attack, lambda ascent: replace(ascent, steps=2 * ascent.steps))


def seeded(attack: Attack, seed: int) -> Attack:
    """The same attack from random points of both balls."""
    return replace(attack, members=tuple(replace(ascent, seed=seed) for ascent in attack.members))


def _each(attack: Attack, change: Callable[[Ascent], Ascent]) -> Attack:
    return replace(attack, members=tuple(map(change, attack.members)), polish=tuple(map(change, attack.polish)))
