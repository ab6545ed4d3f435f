"""What robust training does inside a network: the quantities of Wen, Li and Jia (ICML 2020).

Margins and confidence of the logits, singular values of each layer, and how far each layer moves when the input does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import nsr.attack
from nsr.budget import UNIT, Box, Budget
from nsr.data import Split
from nsr.network import Layer, Network, layers
from nsr.theory import norms

Changes = tuple["Moments", ...]  # over samples, one for each hidden layer and one for the logits

STEPS, REACH = 20, 2.5  # of the PGD directions: its steps add up to so many radii


class Moments(NamedTuple):
    """Mean and standard deviation over all values there are: the divisor is their number."""

    mean: float
    sd: float


class Spectrum(NamedTuple):
    """Of one layer's singular values s_1 .. s_n: sd, sd / mean and exp(-sum p_i log p_i), where p_i = s_i / sum s."""

    sd: float
    ratio: float
    effective_rank: float


@dataclass(frozen=True)
class Outputs:
    """On one set of samples. `near` is the share with |normalised margin| <= threshold, `loss` the cross-entropy."""

    margin: Moments
    normalised: Moments
    confidence: float
    near: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Inside:
    """All quantities of one network, with the size of directions and the threshold that they were measured with."""

    train: Outputs
    test: Outputs
    spectra: tuple[Spectrum, ...]
    random: Changes  # on the test samples
    attacked: Changes
    eps: float
    threshold: float

    @property
    def accuracy_gap(self) -> float:
        """Accuracy on the training samples less that on the test samples."""
        return self.train.accuracy - self.test.accuracy

    @property
    def loss_gap(self) -> float:
        """Cross-entropy on the test samples less that on the training samples."""
        return self.test.loss - self.train.loss


def inside(
    network: Network, train: Split, test: Split, eps: float, generator: torch.Generator, threshold: float
) -> Inside:
    """Every quantity of a dense network. `threshold` is the same on a ladder, e.g. the `median_margin` at radius 0.

    >>> data = Split(torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([0, 1]))
    >>> network, seeded = nsr.mlp((2 * torch.eye(2),)), torch.Generator().manual_seed(0)
    >>> found = inside(network, data, data, 0.1, seeded, threshold=0.5)
    >>> found.test.normalised.mean, found.test.near, found.accuracy_gap
    (0.75, 0.5, 0.0)
    """
    found = [outputs(network, split.x, split.y, threshold) for split in (train, test)]
    return Inside(*found, spectra(network), *smoothness(network, test.x, test.y, eps, generator), eps, threshold)


@torch.no_grad()
def margins_of(network: Network, x: Tensor, y: Tensor) -> Tensor:
    """f_y - max_{i != y} f_i for each sample [B]; below 0 where the prediction is wrong.

    >>> margins_of(nsr.mlp((torch.eye(3),)), torch.tensor([[5.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([3.])
    """
    z = network(x)
    return z.gather(1, y[:, None])[:, 0] - z.scatter(1, y[:, None], -torch.inf).amax(1)


def spectral_product(network: Network) -> float:
    """prod_m ||W^m||_2. A margin over sqrt(2) times it bounds the l_2 distance to the boundary from below.

    >>> spectral_product(nsr.mlp((3 * torch.eye(2), 2 * torch.eye(2))))
    6.0
    """
    return math.prod(float(norms.spectral(W)) for W, _ in _dense(network))


def median_margin(network: Network, x: Tensor, y: Tensor) -> float:
    """The median |normalised margin|: the threshold that half of these samples fall under.

    >>> median_margin(nsr.mlp((2 * torch.eye(2),)), torch.diag(torch.tensor([1.0, 0.5])), torch.tensor([0, 1]))
    0.5
    """
    return float((margins_of(network, x, y) / spectral_product(network)).abs().median())


@torch.no_grad()
def outputs(network: Network, x: Tensor, y: Tensor, threshold: float) -> Outputs:
    """Margins, normalised margins, mean probability of the prediction, share near the boundary, accuracy, loss.

    >>> outputs(nsr.mlp((torch.eye(2),)), torch.eye(2), torch.tensor([0, 0]), threshold=0.5).accuracy
    0.5
    """
    z, raw = network(x), margins_of(network, x, y)
    normalised = raw / spectral_product(network)
    shares = z.softmax(1).amax(1), normalised.abs() <= threshold, z.argmax(1) == y
    means = (float(share.double().mean()) for share in shares)
    return Outputs(_moments(raw), _moments(normalised), *means, float(F.cross_entropy(z, y)))


def activations(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """z^k = rho(W^k z^{k-1} + b^k) of every hidden layer, then the logits z^L = W^L z^{L-1} + b^L.

    >>> activations(nsr.mlp((torch.eye(2), torch.ones(1, 2))), torch.tensor([[2.0, -1.0]]))
    (tensor([[2., 0.]]), tensor([[2.]]))
    """
    (*hidden, last), z, found = _dense(network), x.flatten(1), []
    z = z if network.affine is None else network.affine(z)
    for W, b in hidden:
        z = F.linear(z, W, b).relu()
        found.append(z)
    return (*found, F.linear(z, *last))


def spectra(network: Network) -> tuple[Spectrum, ...]:
    """The `Spectrum` of every layer's matrix; its effective rank is n for an orthogonal one, 1 for one of rank one.

    >>> spectra(nsr.mlp((torch.eye(2),)))
    (Spectrum(sd=0.0, ratio=0.0, effective_rank=2.0),)
    """
    found = []
    for W, _ in _dense(network):
        s = torch.linalg.svdvals(W.detach().double())
        mean, sd = _moments(s)
        found.append(Spectrum(sd, sd / mean, float(torch.special.entr(s / s.sum()).sum().exp())))
    return tuple(found)


def smoothness(
    network: Network, x: Tensor, y: Tensor, eps: float, generator: torch.Generator, box: Box | None = UNIT
) -> tuple[Changes, Changes]:
    """||z^k(x + d) - z^k(x)||_2 / ||d||_2, first for random signs d = eps * (+-1 .. +-1), then for d from PGD on x.

    x + d stays in `box`. A sample that a direction cannot move at all is left out of it.

    >>> network, seeded = nsr.mlp((torch.eye(2),)), torch.Generator().manual_seed(0)
    >>> smoothness(network, torch.full((1, 2), 0.5), torch.tensor([0]), 0.5, seeded)[0]
    (Moments(mean=1.0, sd=0.0),)
    """
    _dense(network)
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


def _dense(network: Network) -> tuple[Layer, ...]:
    if not network.is_dense:
        why = network.not_dense or "it computes its logits in another way"
        raise ValueError(f"a chain of dense and ReLU layers is needed to compare layer by layer: {why}")
    return layers(network.W)


def _moments(values: Tensor) -> Moments:
    return Moments(float(values.mean()), float(values.std(correction=0)))
