"""The steps of a network that is no plain dense chain: frozen values that say how the tensors of W are applied.

A step is called with what comes in and with its own tensors of W; `tensors` says how many those are. A layer's tensors
are its kernel or matrix and, where it has one, its bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]


class Affine(NamedTuple):
    """A fixed map x' = scale * x + shift in front of the first layer, entry by entry: a normalisation of the inputs.

    `scale` and `shift` are numbers or vectors [d], before a convolution also [C, 1, 1]; no scale is 0.
    """

    scale: Tensor
    shift: Tensor

    tensors = 0

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.scale.to(x) + self.shift.to(x)


@dataclass(frozen=True)
class Images:
    """Flat rows [B, C * s * s] as square images [B, C, s, s]; images stay what they are."""

    channels: int
    tensors = 0

    def shape(self, x: Tensor) -> tuple[int, int, int]:
        """The shape (C, height, width) of the images in x, a batch of images or of flat rows."""
        if x.ndim == 4 and x.shape[1] == self.channels:
            return x.shape[1], x.shape[2], x.shape[3]
        side = int((x.shape[1] / self.channels) ** 0.5 + 0.5) if x.ndim == 2 else 0
        if side == 0 or self.channels * side * side != x.shape[1]:
            raise ValueError(
                f"x must hold images [B, {self.channels}, height, width], or square ones as flat rows, got "
                f"{tuple(x.shape)}"
            )
        return self.channels, side, side

    def __call__(self, x: Tensor) -> Tensor:
        return x if x.ndim == 4 else x.unflatten(1, self.shape(x))


@dataclass(frozen=True)
class Flatten:
    """Rows of numbers."""

    tensors = 0

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@dataclass(frozen=True)
class Relu:
    """rho(s) = max(s, 0)."""

    tensors = 0

    def __call__(self, s: Tensor) -> Tensor:
        return s.relu()


@dataclass(frozen=True)
class Dense:
    """W z + b of rows."""

    bias: bool = False

    @property
    def tensors(self) -> int:
        return 1 + self.bias

    def __call__(self, z: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
        return F.linear(z, W, b)


@dataclass(frozen=True)
class Convolution:
    """W * z + b of images, with zeros around them."""

    bias: bool = False
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def tensors(self) -> int:
        return 1 + self.bias

    def __call__(self, z: Tensor, W: Tensor, b: Tensor | None = None) -> Tensor:
        return F.conv2d(z, W, b, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """gamma (s - mean) / sqrt(var + eps) + beta, channel by channel; mean and var are constants, as in eval mode."""

    mean: Tensor
    var: Tensor
    eps: float
    affine: bool = True

    @property
    def tensors(self) -> int:
        return 2 * self.affine

    def __call__(self, s: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        return F.batch_norm(s, self.mean.to(s), self.var.to(s), gamma, beta, eps=self.eps)


@dataclass(frozen=True)
class AveragePool:
    """Means over windows of an image, zeros around it counted; without a size, over all of it."""

    size: Pair | None = None
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    tensors = 0

    def __call__(self, z: Tensor) -> Tensor:
        return F.avg_pool2d(z, self.size, self.stride, self.padding) if self.size else F.adaptive_avg_pool2d(z, 1)


Step = Affine | Images | Flatten | Relu | Dense | Convolution | BatchNorm | AveragePool


def run(steps: Sequence[Step], W: Sequence[Tensor], x: Tensor) -> Tensor:
    """What the steps make of x, each taking its tensors from W in turn.

    >>> import torch
    >>> run((Flatten(), Dense(), Relu()), (torch.tensor([[1.0, -2.0]]),), torch.ones(1, 2))
    tensor([[0.]])
    """
    tensors = iter(W)
    for step in steps:
        x = step(x, *(next(tensors) for _ in range(step.tensors)))
    return x
