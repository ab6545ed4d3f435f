"""The weight ball as a single input sees it: one number for each neuron.

An attacker who may choose W_hat anew for each input needs no matrices. At an input z of layer m, row i of the matrix
takes the neuron to v_i z, and over all |v_ij - w_ij| <= eps_m that is w_i z + t_i ||z||_1 with |t_i| <= eps_m, every
such t_i being reached. So the ball around the matrices and the box of these offsets give one input the same logits,
and a gradient on thousands of weights becomes one on a few hundred offsets.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nsr.network import Network, Weights


def by_neuron(network: Network) -> Network:
    """The dense ReLU network as a function of its offsets: at one input, |t_m| <= eps_m is all of W's ball.

    Its `W` holds zeros [n_m] in the place of each matrix, and the biases as they are: a budget for the one is a budget
    for the other. To be attacked with `images_per_W=1`, for offsets belong to their input.
    """
    if not network.is_dense:
        raise ValueError("offsets stand for the matrices of a dense ReLU network, which this network is not")
    t = tuple(V.new_zeros(len(V)) if V.ndim == 2 else V for V in network.W)
    return Network(t, lambda t, x: _inputs_and_logits(network, t, x)[-1], network.names)


def weights_for(network: Network, t: Sequence[Tensor], x: Tensor) -> Weights:
    """The W_hat behind the offsets t at one input x [1, d]: V^m = W^m + t^m sign(z^{m-1})^T, with the same logits."""
    z = iter(_inputs_and_logits(network, t, x))
    return tuple(V + t_m[:, None] * next(z).sign() if V.ndim == 2 else t_m for V, t_m in zip(network.W, t, strict=True))


def _inputs_and_logits(network: Network, t: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """What enters each layer, z^0 = x to z^{L-1}, and the logits."""
    z: list[Tensor] = []
    s = x.flatten(1) if network.affine is None else network.affine(x.flatten(1))
    for V, t_m in zip(network.W, t, strict=True):
        if V.ndim == 2:
            z.append(s.relu() if z else s)
            s = z[-1] @ V.mT + z[-1].abs().sum(-1, keepdim=True) * t_m
        else:
            s = s + t_m
    return [*z, s]
