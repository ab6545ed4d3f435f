"""A network is its weight set `W` and a forward map.

A perturbed network is another value, `network.at(W_hat)`: nothing is written into a live model, so nothing has to be
restored, and `(w + d) - d`, which in floats is not `w`, never occurs.

`W` is a flat tuple of tensors. A 2-D tensor is a layer's matrix W^m [out, in]; a 1-D tensor right after it is that
layer's bias. The parameters of `nn.Sequential(Linear, ReLU, Linear)` are therefore a valid `W` as they stand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

Weights = tuple[Tensor, ...]


class Layer(NamedTuple):
    """One dense layer: its matrix W^m [out, in] and, where it has one, its bias [out]."""

    W: Tensor
    b: Tensor | None


@dataclass(frozen=True, eq=False)
class Network:
    """f_W: the weight set `W`, the map `forward(W, x)` to the logits [B, K], and a name for each tensor of `W`."""

    W: Weights
    forward: Callable[[Weights, Tensor], Tensor]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            object.__setattr__(self, "names", _usual_names(self.W))

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(self.W, x)

    def at(self, W_hat: Sequence[Tensor]) -> Network:
        """f_{W_hat}: the same architecture at other weights of the same shapes."""
        W_hat = tuple(W_hat)
        here, there = [tuple(t.shape) for t in self.W], [tuple(t.shape) for t in W_hat]
        if here != there:
            raise ValueError(f"these weights do not fit this network: expected shapes {here}, got {there}")
        return replace(self, W=W_hat)

    def to(self, target: torch.dtype | torch.device | str) -> Network:
        """The same network in another dtype or on another device."""
        return replace(self, W=tuple(t.to(target) for t in self.W))

    @property
    def is_mlp(self) -> bool:
        """True for dense ReLU networks, the only ones whose weights alone determine f (and so can be certified)."""
        return self.forward is mlp_forward

    @staticmethod
    def from_module(module: nn.Module) -> Network:
        """Any `torch.nn.Module` as a Network, in eval mode; `W` holds its parameters in `named_parameters` order.

        The module is copied, so it is never touched. Batch-norm statistics stay what they are: constants of `forward`.
        A plain chain Flatten / Linear / ReLU becomes an `mlp`, which certificates and the fast attack understand.
        """
        if not isinstance(module, nn.Module):
            raise ValueError(f"expected a torch.nn.Module, got {type(module).__name__}")
        with torch.inference_mode(False):  # a copy made inside would be of no use to an attack outside
            module = copy.deepcopy(module).eval().requires_grad_(False)
        names = [name for name, _ in module.named_parameters()]
        W = tuple(parameter.detach() for parameter in module.parameters())
        if not W:
            raise ValueError("this module has no parameters, so there is no weight to perturb")
        if _is_dense_relu_chain(module):
            return mlp(W)
        buffers = dict(module.named_buffers())

        def forward(W: Weights, x: Tensor) -> Tensor:
            constants = {name: b.to(x if b.is_floating_point() else x.device) for name, b in buffers.items()}
            return torch.func.functional_call(module, (dict(zip(names, W, strict=True)), constants), (x,))

        return Network(W, forward, tuple(names))


def mlp(W: Sequence[Tensor]) -> Network:
    """The ReLU network f_W(x) = W^L rho(W^{L-1} .. rho(W^1 x)) from its matrices, bias-free as in the paper.

    A 1-D tensor after a matrix adds that layer's bias.
    """
    W = tuple(W)
    layers(W)
    return Network(W, mlp_forward)


def mlp_forward(W: Weights, x: Tensor) -> Tensor:
    """Logits [B, K] of the dense ReLU network; images are flattened first."""
    *hidden, last = layers(W)
    z = x.flatten(1)
    for W_m, b_m in hidden:
        z = nn.functional.linear(z, W_m, b_m).relu()
    return nn.functional.linear(z, *last)


def mlp_init(sizes: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Weights:
    """Fresh matrices W^m [n_m, n_{m-1}] for widths `sizes` = (n_0 .. n_L), drawn by He's rule N(0, 2 / n_{m-1})."""
    # PAPER: unstated, we chose He's normal initialisation, the usual one for ReLU.
    if len(sizes) < 2 or any(int(n) != n or n < 1 for n in sizes):
        raise ValueError(f"sizes must be at least two positive whole numbers, from input to classes; got {sizes}")
    return tuple(
        torch.randn(n_out, n_in, generator=generator, dtype=dtype) * (2 / n_in) ** 0.5
        for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)
    )


def layers(W: Sequence[Tensor]) -> tuple[Layer, ...]:
    """The flat weight tuple read as dense layers; a ValueError says which tensor does not fit and why."""
    found: list[Layer] = []
    for position, tensor in enumerate(W):
        where = f"tensor {position} of W, of shape {tuple(tensor.shape)},"
        if tensor.ndim == 2:
            if found and tensor.shape[1] != found[-1].W.shape[0]:
                raise ValueError(
                    f"{where} takes {tensor.shape[1]} inputs but the layer before gives {found[-1].W.shape[0]}"
                )
            found.append(Layer(tensor, None))
        elif tensor.ndim == 1 and found and found[-1].b is None:
            if tensor.shape[0] != found[-1].W.shape[0]:
                raise ValueError(f"{where} is no bias for the layer before, which has {found[-1].W.shape[0]} outputs")
            found[-1] = Layer(found[-1].W, tensor)
        else:
            raise ValueError(f"{where} is neither a dense layer's matrix nor its bias: this needs a dense ReLU network")
    if not found:
        raise ValueError("W is empty: a network needs at least one weight matrix")
    return tuple(found)


def margins(logits: Tensor) -> Tensor:
    """f^{ij} = f_i - f_j for all pairs of classes: [B, K] -> [B, K, K]."""
    return logits.unsqueeze(-1) - logits.unsqueeze(-2)


def _usual_names(W: Sequence[Tensor]) -> tuple[str, ...]:
    """W1, b1, W2, ..: a vector right after a tensor of more dimensions is its bias."""
    names: list[str] = []
    m = 0
    for tensor in W:
        m += tensor.ndim > 1 or not names or names[-1].startswith("b")
        names.append(f"b{m}" if tensor.ndim == 1 and names and names[-1] == f"W{m}" else f"W{m}")
    return tuple(names)


def _is_dense_relu_chain(module: nn.Module) -> bool:
    """Linear, ReLU, Linear, .. in plain Sequentials, every weight used once and no hook; a leading Flatten is fine."""
    leaves = [leaf for leaf in _leaves(module) if type(leaf) not in (nn.Identity, nn.Dropout)]
    if leaves and type(leaves[0]) is nn.Flatten and (leaves[0].start_dim, leaves[0].end_dim) == (1, -1):
        leaves = leaves[1:]
    alternating = all(type(leaf) is (nn.ReLU if i % 2 else nn.Linear) for i, leaf in enumerate(leaves))
    uses = [id(parameter) for leaf in leaves for parameter in leaf.parameters()]
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    return len(leaves) % 2 == 1 and alternating and len(uses) == len(set(uses)) and not hooked


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """What a module applies, in order and as often as it does: only plain Sequentials surely chain their parts."""
    if type(module) is not nn.Sequential:
        yield module
        return
    for part in module:
        yield from _leaves(part)
