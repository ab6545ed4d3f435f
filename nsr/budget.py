"""The threat xi = {eps_x} u {eps_m}: l_inf balls around the input and around every weight tensor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.network import Network, Weights, layers

Box = tuple[float, float]  # the interval every input coordinate must stay in
UNIT: Box = (0.0, 1.0)  # that of pixels
Only = str | Callable[[str], bool] | None  # which weight tensors may move, by name

MOST_CORNERS = 2**20


@dataclass(frozen=True)
class Budget:
    """xi: how far each input coordinate (`eps_x`) and each entry of the m-th weight tensor (`eps_w[m]`) may move."""

    eps_x: float
    eps_w: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.eps_w, Iterable) or getattr(self.eps_w, "ndim", 1) == 0:
            raise ValueError(
                "eps_w takes one radius per weight tensor; for one radius everywhere use "
                "Budget.uniform(eps_x, eps_w, network)"
            )
        object.__setattr__(self, "eps_x", _radius("eps_x", self.eps_x))
        object.__setattr__(self, "eps_w", tuple(_radius(f"eps_w[{m}]", e) for m, e in enumerate(self.eps_w)))

    @staticmethod
    def uniform(eps_x: float, eps_w: float, network: Network, only: Only = None) -> Budget:
        """The paper's geometry: one absolute radius for every entry of each weight tensor, or of `only` some.

        `only` chooses tensors by name: one name, a part of names ("weight"), a glob ("conv?.weight"), or a function.
        The others get the radius 0.

        >>> import torch, nsr
        >>> network = nsr.mlp(nsr.mlp_init((4, 3, 2), torch.Generator().manual_seed(0)))
        >>> nsr.Budget.uniform(0.1, 0.01, network, only="W2")
        Budget(eps_x=0.1, eps_w=(0.0, 0.01))
        """
        return Budget(eps_x, tuple(eps_w if free else 0.0 for free in _chosen(network, only)))

    @staticmethod
    def relative(eps_x: float, r: float, network: Network, only: Only = None) -> Budget:
        """eps_m = r * mean|W^m|: radii that follow where whole layers of a network are rescaled."""
        sizes = (float(W_m.abs().mean()) for W_m in network.W)
        return Budget(
            eps_x, tuple(r * size if free else 0.0 for size, free in zip(sizes, _chosen(network, only), strict=True))
        )

    def check(self, W: Sequence[Tensor]) -> None:
        """Refuse weights that this budget has no radius for."""
        if len(self.eps_w) != len(W):
            raise ValueError(
                f"the budget has {len(self.eps_w)} weight radii but the network has {len(W)} weight "
                "tensors: one radius each is needed"
            )

    def interval(self, x: Tensor, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """The ends [a, b] of what each input coordinate can reach, inside `box` where one is given."""
        return ends(x, self.eps_x, box)

    def clip_x(self, x_hat: Tensor, x: Tensor, box: Box | None = None) -> Tensor:
        """Clip_{X, eps_x}: the nearest admissible input."""
        return torch.clamp(x_hat, *self.interval(x, box))

    def clip_W(self, W_hat: Sequence[Tensor], W: Sequence[Tensor]) -> Weights:
        """Clip_{W, eps_w}: the nearest admissible weights."""
        self.check(W)
        return tuple(torch.clamp(V, *ends(U, e)) for V, U, e in zip(W_hat, W, self.eps_w, strict=True))

    def sample(
        self, x: Tensor, W: Sequence[Tensor], generator: torch.Generator, box: Box | None = None
    ) -> tuple[Tensor, Weights]:
        """A uniformly random admissible point (x_hat, W_hat)."""
        self.check(W)
        a, b = self.interval(x, box)
        x_hat = torch.lerp(a, b, _uniform(x, generator))
        return x_hat, tuple(U + e * (2 * _uniform(U, generator) - 1) for U, e in zip(W, self.eps_w, strict=True))

    def corners(self, x: Tensor, W: Sequence[Tensor]) -> Iterator[tuple[Tensor, Weights]]:
        """Every corner (x_hat, W_hat) of the joint ball; for tiny networks, as an oracle."""
        self.check(W)
        balls = list(zip((x, *W), (self.eps_x, *self.eps_w), strict=True))
        free = sum(t.numel() for t, e in balls if e > 0)
        if 2**free > MOST_CORNERS:
            raise ValueError(f"2**{free} corners are too many to enumerate; this is for networks of up to 20 entries")
        signs = [_sign_patterns(t) if e > 0 else [torch.zeros_like(t)] for t, e in balls]
        for pattern in itertools.product(*signs):
            x_hat, *W_hat = (t + e * s for (t, e), s in zip(balls, pattern, strict=True))
            yield x_hat, tuple(W_hat)


def ends(centre: Tensor, eps: float | Tensor, box: Box | None = None) -> tuple[Tensor, Tensor]:
    """The lowest and the highest admissible value of every entry: what every Clip clips to."""
    low, high = centre - eps, centre + eps
    return (low, high) if box is None else (low.clamp(*box), high.clamp(*box))


class LayerBall(NamedTuple):
    """One dense layer with the box around it: matrix, bias (or None) and their radii eps_m and beta_m."""

    W: Tensor
    b: Tensor | None
    eps: float
    beta: float

    @property
    def n_in(self) -> int:
        return self.W.shape[1]

    @property
    def n_out(self) -> int:
        return len(self.W)

    @property
    def terms(self) -> int:
        """How many products the sums forward and backward have, together."""
        return sum(self.W.shape)

    @property
    def widest(self) -> float:
        return self.eps

    def forward(self, t: Tensor) -> Tensor:
        """W t + b [.., n_out] of inputs t [.., n_in]."""
        return F.linear(t, self.W, self.b)

    def apply(self, t: Tensor, V: Tensor) -> Tensor:
        """V t, for a matrix V in W's place."""
        return F.linear(t, V)

    def back(self, lam: Tensor) -> Tensor:
        """The coefficients [.., n_in] of t in lam . (W t)."""
        return lam @ self.W

    def spread(self, size: Tensor, room: Tensor | float = 0.0) -> Tensor:
        """What the matrix's ball, widened by `room`, can add to each output where inputs have these sizes [.., 1]."""
        return (self.eps + room) * size.sum(-1, keepdim=True)

    def spread_back(self, size: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        """What the balls of bias and matrix add to a bound: constants, and coefficients of |t| [.., 1].

        `size` is |lam| and `mass` its sum.
        """
        return self.beta * mass, (self.eps * mass)[..., None]


def layer_balls(W: Sequence[Tensor], xi: Budget) -> tuple[LayerBall, ...]:
    """The dense layers of `W`, each with its own radii; a layer without bias has beta_m = 0."""
    found = layers(W)
    xi.check(W)
    radii = iter(xi.eps_w)
    return tuple(LayerBall(W_m, b_m, next(radii), 0.0 if b_m is None else next(radii)) for W_m, b_m in found)


def _chosen(network: Network, only: Only) -> list[bool]:
    """Which weight tensors may move; a choice that names none is a mistake."""
    if only is None:
        return [True] * len(network.W)
    if only in network.names:
        return [name == only for name in network.names]
    chooses = only if callable(only) else lambda name: only in name or fnmatchcase(name, only)
    found = [bool(chooses(name)) for name in network.names]
    if not any(found):
        raise ValueError(f"only={only!r} names none of the weight tensors {', '.join(network.names)}")
    return found


def _radius(name: str, value: float) -> float:
    if isinstance(value, bool | str) or not hasattr(value, "__float__") or getattr(value, "shape", ()) != ():
        raise ValueError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {float(value)}")
    return float(value)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def _sign_patterns(like: Tensor) -> list[Tensor]:
    patterns = itertools.product((-1.0, 1.0), repeat=like.numel())
    return [torch.tensor(p, dtype=like.dtype).reshape(like.shape) for p in patterns]
