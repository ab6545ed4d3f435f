"""What robust training does inside a network: the quantities of Wen, Li and Jia (ICML 2020).

Margins and confidence of the logits; singular values and norms of each layer; how far each layer moves when the input
does. A layer is what lies between two ReLUs. Of a dense layer the matrix is W^m; of convolutions, averages and
batch-norms it is built column by column, by applying the layer to the unit vectors, so these readings are for small
networks. `theory.norms` has norms of large convolutions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import nsr.attack
from nsr import steps
from nsr.budget import UNIT, Box, Budget
from nsr.data import Split
from nsr.network import Network, layers
from nsr.steps import Relu

Changes = tuple["Moments", ...]  # over samples, one for each hidden layer and one for the logits

STEPS, REACH = 20, 2.5  # of the PGD directions: its steps add up to so many radii
LEVELS = np.linspace(0, 1, 101)  # of the quantiles that stand for a distribution


class Moments(NamedTuple):
    """Mean and standard deviation over all values there are: the divisor is their number."""

    mean: float
    sd: float


class Spectrum(NamedTuple):
    """Of one layer's singular values s_1 .. s_n: sd, sd / mean and exp(-sum p_i log p_i), where p_i = s_i / sum s."""

    sd: float
    ratio: float
    effective_rank: float


class Norms(NamedTuple):
    """Of one layer's matrix A: its largest row sum ||A||_inf, its largest column sum ||A||_1, and ||A||_2."""

    linf: float
    l1: float
    spectral: float


@dataclass(frozen=True)
class Outputs:
    """On one set of samples. `normalised` margins are divided by prod_m ||W^m||_2; `loss` is the cross-entropy.

    `quantiles` of the normalised margins, at the LEVELS, stand for their distribution.
    """

    margin: Moments
    normalised: Moments
    confidence: float
    accuracy: float
    loss: float
    quantiles: tuple[float, ...]

    def near(self, threshold: float) -> float:
        """The share of samples with |normalised margin| <= threshold, between quantiles by interpolation."""
        mirrored = [-q for q in reversed(self.quantiles)]  # where many margins are equal, both ends count them
        at_most, at_least = (np.interp(threshold, side, LEVELS) for side in (self.quantiles, mirrored))
        return max(0.0, float(at_most + at_least - 1))

    @property
    def median_size(self) -> float:
        """The threshold that half of the samples are near the boundary by."""
        low, high = 0.0, max(abs(self.quantiles[0]), abs(self.quantiles[-1]))
        for _ in range(60):  # `near` rises with the threshold
            middle = (low + high) / 2
            low, high = (middle, high) if self.near(middle) < 0.5 else (low, middle)
        return high


@dataclass(frozen=True)
class Inside:
    """All quantities of one network, with the size of the directions that it was moved in.

    `weights` are the mean sizes of the entries of each tensor of W.
    """

    train: Outputs
    test: Outputs
    spectra: tuple[Spectrum, ...]
    norms: tuple[Norms, ...]
    weights: tuple[float, ...]
    random: Changes  # on the test samples
    attacked: Changes
    eps: float

    @property
    def accuracy_gap(self) -> float:
        """Accuracy on the training samples less that on the test samples."""
        return self.train.accuracy - self.test.accuracy

    @property
    def loss_gap(self) -> float:
        """Cross-entropy on the test samples less that on the training samples."""
        return self.test.loss - self.train.loss


def inside(network: Network, train: Split, test: Split, eps: float, generator: torch.Generator) -> Inside:
    """Every quantity of a chain of layers.

    >>> data = Split(torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([0, 1]))
    >>> network, seeded = nsr.mlp((2 * torch.eye(2),)), torch.Generator().manual_seed(0)
    >>> found = inside(network, data, data, 0.1, seeded)
    >>> found.test.normalised.mean, found.test.near(0.75), found.accuracy_gap
    (0.75, 0.5, 0.0)
    """
    found = matrices(network.to(torch.float64), test.x[:1].double())
    values = [torch.linalg.svdvals(matrix) for matrix in found]
    scale = math.prod(float(s[0]) for s in values)
    return Inside(
        *(outputs(network, split.x, split.y, scale) for split in (train, test)),
        tuple(map(spectrum, values)),
        tuple(Norms(row_sum(A), row_sum(A.T), float(s[0])) for A, s in zip(found, values, strict=True)),
        tuple(float(tensor.detach().abs().mean()) for tensor in network.W),
        *smoothness(network, test.x, test.y, eps, generator),
        eps,
    )


@torch.no_grad()
def margins_of(network: Network, x: Tensor, y: Tensor) -> Tensor:
    """f_y - max_{i != y} f_i for each sample [B]; below 0 where the prediction is wrong.

    >>> margins_of(nsr.mlp((torch.eye(3),)), torch.tensor([[5.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([3.])
    """
    z = network(x)
    return z.gather(1, y[:, None])[:, 0] - z.scatter(1, y[:, None], -torch.inf).amax(1)


@torch.no_grad()
def outputs(network: Network, x: Tensor, y: Tensor, scale: float) -> Outputs:
    """Margins, margins / `scale`, mean probability of the prediction, accuracy and loss on (x, y).

    With `scale` = prod_m ||W^m||_2 a margin over sqrt(2) times it bounds the l_2 distance to the boundary from below.

    >>> outputs(nsr.mlp((torch.eye(2),)), torch.eye(2), torch.tensor([0, 0]), scale=1.0).accuracy
    0.5
    """
    z, raw = network(x), margins_of(network, x, y)
    confidence, accuracy = (float(share.double().mean()) for share in (z.softmax(1).amax(1), z.argmax(1) == y))
    quantiles = np.quantile((raw / scale).double().cpu().numpy(), LEVELS)
    loss = float(F.cross_entropy(z, y))
    return Outputs(_moments(raw), _moments(raw / scale), confidence, accuracy, loss, tuple(map(float, quantiles)))


def activations(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """z^k = rho(A^k z^{k-1} + b^k) of every hidden layer as rows, then the logits z^L = A^L z^{L-1} + b^L.

    >>> activations(nsr.mlp((torch.eye(2), torch.ones(1, 2))), torch.tensor([[2.0, -1.0]]))
    (tensor([[2., 0.]]), tensor([[2.]]))
    """
    return tuple(z.flatten(1) for z in itertools.islice(_states(network, x), 1, None))


def matrices(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """A^k of every layer, for inputs shaped as x.

    >>> matrices(nsr.mlp((torch.eye(2), torch.ones(1, 2))), torch.ones(1, 2))[1]
    tensor([[1., 1.]])
    """
    if network.is_dense:
        return tuple(W.detach() for W, _ in layers(network.W))
    with torch.no_grad():
        found = zip(_layers(network), _states(network, x[:1]), strict=False)  # behind the last layer are the logits
        return tuple(_matrix(layer, z) for layer, z in found)


def spectrum(s: Tensor) -> Spectrum:
    """The `Spectrum` of these singular values; its effective rank is n if they are equal, 1 if one alone is not 0.

    >>> spectrum(torch.ones(2))
    Spectrum(sd=0.0, ratio=0.0, effective_rank=2.0)
    """
    mean, sd = _moments(s)
    return Spectrum(sd, sd / mean, float(torch.special.entr(s / s.sum()).sum().exp()))


def row_sum(A: Tensor) -> float:
    """||A||_inf, the largest row sum of |A|."""
    return float(A.abs().sum(1).amax())


def smoothness(
    network: Network, x: Tensor, y: Tensor, eps: float, generator: torch.Generator, box: Box | None = UNIT
) -> tuple[Changes, Changes]:
    """||z^k(x + d) - z^k(x)||_2 / ||d||_2, first for random signs d = eps * (+-1 .. +-1), then for d from PGD on x.

    x + d stays in `box`. A sample that a direction cannot move at all is left out of it.

    >>> network, seeded = nsr.mlp((torch.eye(2),)), torch.Generator().manual_seed(0)
    >>> smoothness(network, torch.full((1, 2), 0.5), torch.tensor([0]), 0.5, seeded)[0]
    (Moments(mean=1.0, sd=0.0),)
    """
    _layers(network)
    xi = Budget.uniform(eps, 0.0, network)
    signs = torch.randint(2, x.shape, generator=generator).to(x) * 2 - 1
    x_hat = nsr.attack.joint_pgd(network, x, y, xi, steps=STEPS, step_x=REACH * eps / STEPS, box=box).x_hat
    return _changes(network, x, xi.clip_x(x + eps * signs, x, box)), _changes(network, x, x_hat)


@torch.no_grad()
def _changes(network: Network, x: Tensor, x_hat: Tensor) -> Changes:
    size = (x_hat - x).flatten(1).norm(dim=1)
    moved = size > 0
    if not moved.any():
        raise ValueError("no sample was moved: these directions say nothing about smoothness")
    pairs = zip(activations(network, x_hat[moved]), activations(network, x[moved]), strict=True)
    return tuple(_moments((there - here).norm(dim=1) / size[moved]) for there, here in pairs)


def _layers(network: Network) -> tuple[Callable[[Tensor], Tensor], ...]:
    """z^{k-1} -> A^k z^{k-1} + b^k of every layer; what a dense network does to its inputs first is not in A^1."""
    if network.is_dense:
        return tuple(partial(F.linear, weight=W, bias=b) for W, b in layers(network.W))
    if not network.is_chain:
        why = network.not_dense or "it computes its logits in another way"
        raise ValueError(f"a chain of layers is needed to compare layer by layer: {why}")
    blocks: list[list[steps.Step]] = [[]]
    for step in network.steps:
        blocks.append([]) if isinstance(step, Relu) else blocks[-1].append(step)
    tensors = iter(network.W)
    own = [tuple(next(tensors) for step in block for _ in range(step.tensors)) for block in blocks]
    return tuple(partial(steps.run, tuple(block), W) for block, W in zip(blocks, own, strict=True))


def _states(network: Network, x: Tensor) -> Sequence[Tensor]:
    """What enters each layer, z^0 .. z^{L-1}, then the logits."""
    first = x.flatten(1) if network.is_dense else x
    found, (*hidden, last) = [first if network.affine is None else network.affine(first)], _layers(network)
    for layer in hidden:
        found.append(layer(found[-1]).relu())
    return [*found, last(found[-1])]


def _matrix(layer: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """A of z -> A z + b, with z of this shape [1, ..]."""
    units = torch.eye(z[0].numel(), dtype=z.dtype, device=z.device).unflatten(1, z.shape[1:])
    return (layer(units) - layer(torch.zeros_like(z))).flatten(1).T


def _moments(values: Tensor) -> Moments:
    return Moments(float(values.mean()), float(values.std(correction=0)))
