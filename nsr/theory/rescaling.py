"""Rescalings that change no decision of a bias-free ReLU network, and its weights in units of their own size.

ReLU is positively homogeneous, rho(a z) = a rho(z) for a > 0. So a factor may be moved from any layer to any other, and
from the weights into a neuron to the weights out of it, and the logits are at most multiplied by a positive number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from nsr.network import Network, Weights, layers, mlp_forward


def scaled(network: Network, factors: float | Sequence[float]) -> Network:
    """(c_1 W^1 .. c_L W^L), one number for all layers or one each: the logits times c_1 .. c_L, every decision kept."""
    factors = [factors] * len(network.W) if isinstance(factors, int | float) else list(factors)
    _check(network)
    if len(factors) != len(network.W) or min(factors) <= 0:
        raise ValueError(f"{len(network.W)} layers take one positive factor each, got {factors}")
    return network.at(c * W_m for c, W_m in zip(factors, network.W, strict=True))


def rewired(network: Network, factors: Sequence[Tensor]) -> Network:
    """Every hidden neuron's incoming weights times its own factor, its outgoing ones divided by it: the same logits.

    `factors` holds one vector [d] of positive numbers for each hidden layer.
    """
    _check(network)
    *hidden, _ = network.W
    if [len(a) for a in factors] != [len(W_m) for W_m in hidden] or any(float(a.min()) <= 0 for a in factors):
        raise ValueError(f"one positive factor is needed for each neuron of the hidden layers {[*map(len, hidden)]}")
    W = list(network.W)
    for m, a in enumerate(factors):
        W[m], W[m + 1] = W[m] * a[:, None], W[m + 1] / a
    return network.at(W)


def sizes(W: Sequence[Tensor]) -> tuple[float, ...]:
    """mean|W^m| of every layer, the unit of relative radii."""
    return tuple(float(W_m.abs().mean()) for W_m in W)


def matched(network: Network, like: Network) -> Network:
    """The same decisions from weights as large, layer by layer, as those of another network."""
    return scaled(network, [there / here for here, there in zip(sizes(network.W), sizes(like.W), strict=True)])


def in_shares(network: Network) -> Network:
    """The network as a function of D with W^m_ik (1 + D^m_ik) for W^m_ik, at D = 0.

    One radius r on D is the ball |W^_ik - W_ik| <= r |W_ik|, in which every weight has a radius of its own.
    """
    _check(network)
    W = tuple(W_m.detach() for W_m in network.W)

    def forward(D: Weights, x: Tensor) -> Tensor:
        return mlp_forward(tuple(W_m + W_m * D_m for W_m, D_m in zip(W, D, strict=True)), x)

    return Network(tuple(W_m.new_zeros(W_m.shape) for W_m in W), forward)


def by_rate(candidates: Iterable[Mapping[str, Any]], found: str = "auc") -> dict[str, dict[str, dict[float, float]]]:
    """method -> all numbers but the learning rate, in words -> learning rate -> what was found for that candidate.

    Only where more than one learning rate was tried with the same other numbers.
    """
    table: dict[str, dict[str, dict[float, float]]] = {}
    for candidate in candidates:
        numbers = dict(candidate["numbers"])
        rate, optimiser = numbers.pop("lr"), str(numbers.pop("optimiser")).upper().replace("ADAM", "Adam")
        words = ", ".join([optimiser, *(f"{name} {value}" for name, value in numbers.items())])
        if candidate[found] is not None:
            table.setdefault(candidate["method"], {}).setdefault(words, {})[rate] = candidate[found]
    several = {m: {words: by for words, by in groups.items() if len(by) > 1} for m, groups in table.items()}
    return {method: groups for method, groups in several.items() if groups}


def _check(network: Network) -> None:
    """Only without biases is a layer homogeneous in its weights."""
    if not network.is_mlp or any(layer.b is not None for layer in layers(network.W)):
        raise ValueError("rescaling needs a dense ReLU network without biases")
