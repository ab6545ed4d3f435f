"""Induced matrix norms of dense layers, the factors of tau and zeta. All differentiable.

Bounds call these, and a stored run remembers their code; `nsr.theory.norms` has them for convolutions, too.
"""

from __future__ import annotations

from torch import Tensor, linalg, nn


def linf(layer: Tensor | nn.Module) -> Tensor:
    """||W||_inf = max ||Wx||_inf / ||x||_inf: the largest row sum of |W|."""
    return linalg.matrix_norm(_matrix(layer), ord=float("inf"))


def l1(layer: Tensor | nn.Module) -> Tensor:
    """||W||_1 = max ||Wx||_1 / ||x||_1: the largest column sum of |W|."""
    return linalg.matrix_norm(_matrix(layer), ord=1)


def spectral(layer: Tensor | nn.Module) -> Tensor:
    """||W||_2 = max ||Wx||_2 / ||x||_2: the largest singular value."""
    return linalg.matrix_norm(_matrix(layer), ord=2)


def _matrix(layer: Tensor | nn.Module) -> Tensor:
    """The matrix that a dense layer applies."""
    weight = layer.weight if isinstance(layer, nn.Linear) else layer
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        what = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"these norms are for dense layers: expected a Linear or a matrix [out, in], got {what}")
    return weight
