"""Recipes of attacks as values: one ascent, an attack made of several, and the three that this book uses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from nsr.attack.losses import LOSSES
from nsr.attack.mlp_gradients import Directions

STARTS = ("found", "clean", "opposite")


@dataclass(frozen=True)
class Ascent:
    """A recipe. The defaults are the paper's: cross-entropy, 100 constant steps, the last iterate.

    `T` ties the losses to the network's own logits: their temperature as a share of the median |clean margin|. None is
    the paper's temperature 1. `in_radii` reads the two steps as shares of the radii, `cosine` lets them decay to zero,
    `keep_best` returns the best iterate instead of the last, `random_start` begins at a random point of both balls.
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
    random_start: bool = False

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
        """The step number t from 0: `size`, in units of the radius eps if so wished, decayed."""
        decay = 0.5 * (1 + math.cos(math.pi * t / self.steps)) if self.cosine else 1.0
        return size * decay * (eps if self.in_radii else 1.0)

    def directions(self, scale: float, y: Tensor) -> Directions:
        """logits -> the gradients of both losses there, the same tensor twice if the losses are one."""
        T = 1.0 if self.T is None else max(self.T * scale, 1e-30)

        def at(z: Tensor) -> tuple[Tensor, Tensor]:
            u = LOSSES[self.loss_x](z, y, T)
            return u, (u if self.loss_w == self.loss_x else LOSSES[self.loss_w](z, y, T))

        return at


@dataclass(frozen=True)
class Attack:
    """Ascents of which the worst counts, each run `restarts` times more from random points of both balls.

    `polish` then attacks each input once more on its own, W_hat fixed, from each of `starts`. Inputs that have weights
    of their own (`images_per_W=1`), and no others, are last attacked by each ascent of `targeted`, on x and W at once
    towards each other class k by itself: of the logits it sees z_y and z_k alone, and its ReLUs leak.
    """

    members: tuple[Ascent, ...] = (Ascent(),)
    polish: tuple[Ascent, ...] = ()
    starts: tuple[str, ...] = STARTS
    restarts: int = 0
    targeted: tuple[Ascent, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an attack needs at least one ascent")
        if unknown := set(self.starts) - set(STARTS):
            raise ValueError(f"unknown starts {sorted(unknown)}: choose from {', '.join(STARTS)}")
        if isinstance(self.restarts, bool) or not isinstance(self.restarts, int) or self.restarts < 0:
            raise ValueError(f"restarts must be a whole number, not negative, got {self.restarts!r}")

    @staticmethod
    def pgd(
        steps: int = 100,
        step_x: float = 0.01,
        step_w: float = 0.0005,
        *,
        random_start: bool = False,
        restarts: int = 0,
    ) -> Attack:
        """The paper's joint PGD with other numbers: simultaneous signed ascent of the cross-entropy.

        >>> from nsr import Attack, PAPER
        >>> Attack.pgd() == PAPER
        True
        """
        return Attack((Ascent(steps, step_x, step_w, random_start=random_start),), restarts=restarts)

    @property
    def ascents(self) -> tuple[Ascent, ...]:
        """The members, each followed by its restarts."""
        again = (replace(member, random_start=True) for member in self.members)
        return tuple(
            a for member, more in zip(self.members, again, strict=True) for a in (member, *[more] * self.restarts)
        )

    def with_steps(self, times: float) -> Attack:
        """The same attack with `times` as many steps in each ascent, at least one."""

        def change(part: tuple[Ascent, ...]) -> tuple[Ascent, ...]:
            return tuple(replace(ascent, steps=max(1, int(times * ascent.steps))) for ascent in part)

        parts = {name: change(getattr(self, name)) for name in ("members", "polish", "targeted")}
        return replace(self, **parts)

    def from_random_points(self) -> Attack:
        """The same attack, each member started at a random point of both balls."""
        return replace(self, members=tuple(replace(ascent, random_start=True) for ascent in self.members))


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
# The strong attack where each input has weights of its own, for whom the truth can be known. What it missed lay behind
# a ReLU that was off, whose zero gradient no sign step follows, or towards a class that was not the nearest. So each
# class by itself, ReLUs that leak, and starts all over the ball; 12 steps broke what 100 did. Chosen on networks of
# seeds 1 and 2 and test images 500 to 540.
_AIMED = replace(_TIED, steps=12, loss_x="margin", loss_w="margin")
OWN = replace(STRONG, targeted=(_AIMED, *[replace(_AIMED, random_start=True)] * 15))
