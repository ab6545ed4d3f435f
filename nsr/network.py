"""A network is its weight set `W` and a forward map.

A perturbed network is another value, `network.at(W_hat)`: nothing is written into a live model, so nothing has to be
restored, and `(w + d) - d`, which in floats is not `w`, never occurs.

`W` is a flat tuple of tensors. A 2-D tensor is a layer's matrix W^m [out, in]; a 1-D tensor right after it is that
layer's bias. The parameters of `nn.Sequential(Linear, ReLU, Linear)` are therefore a valid `W` as they stand.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nsr.chain import Chain, NoChainError, read
from nsr.steps import Affine, Images, Step, run

Weights = tuple[Tensor, ...]


class Layer(NamedTuple):
    """One dense layer: its matrix W^m [out, in] and, where it has one, its bias [out]."""

    W: Tensor
    b: Tensor | None


@dataclass(frozen=True, eq=False)
class Network:
    """f_W: the weight set `W`, the map `forward(W, x)` to the logits [B, K], and a name for each tensor of `W`.

    `affine`, `steps` and `not_dense` say what certificates may rely on: see `is_dense` and `is_chain`.
    """

    W: Weights
    forward: Callable[[Weights, Tensor], Tensor]
    names: tuple[str, ...] = ()
    affine: Affine | None = None  # what a dense network does to its inputs before the first layer
    not_dense: str = ""  # why this is no chain of dense and ReLU layers, where it is none
    steps: tuple[Step, ...] = ()  # how W is applied, where this is a chain with convolutions or the like

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
        """Whether this is `mlp(W)`: a chain of dense and ReLU layers that sees its inputs as they are."""
        return self.forward is mlp_forward

    @property
    def is_dense(self) -> bool:
        """Whether this is a chain of dense and ReLU layers, perhaps behind an affine map."""
        return self.is_mlp or self.affine is not None

    @property
    def is_chain(self) -> bool:
        """Whether this is a chain of layers with a ReLU behind each, dense or convolutions: what can be certified."""
        return self.is_dense or bool(self.steps)

    @staticmethod
    def from_module(module: nn.Module, x: Tensor | None = None) -> Network:
        """Any `torch.nn.Module` as a Network, in eval mode; `W` holds its parameters in `named_parameters` order.

        The module is copied, so it is never touched. Batch-norm statistics stay what they are: constants of `forward`.
        What torch.fx shows to be a chain of Linear and ReLU, behind a flattening and a normalisation by constants if it
        has them, is taken as that, once it gives the module's own logits on `x`, or on generated inputs. A chain with
        convolutions, batch-norms and averages among its layers is taken as `steps`, and takes images as flat rows too.

        >>> from torch import nn
        >>> network = Network.from_module(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
        >>> network.is_mlp, network.names
        (True, ('0.weight', '0.bias', '2.weight', '2.bias'))
        """
        module = _copied(module)
        names = tuple(name for name, _ in module.named_parameters())
        W = tuple(parameter.detach() for parameter in module.parameters())
        if not W:
            raise ValueError("this module has no parameters, so there is no weight to perturb")
        try:
            with torch.inference_mode(False):  # the statistics of a batch-norm become constants of its steps
                return _chain(module, W, names, x)
        except NoChainError as why:
            not_dense = str(why)
        return Network(W, _by_module(module, names), names, not_dense=not_dense)


def mlp(W: Sequence[Tensor]) -> Network:
    """The ReLU network f_W(x) = W^L rho(W^{L-1} .. rho(W^1 x)) from its matrices, bias-free as in the paper.

    A 1-D tensor after a matrix adds that layer's bias.

    >>> import torch
    >>> mlp((torch.eye(2), torch.ones(3, 2)))(torch.tensor([[1.0, 2.0]]))
    tensor([[3., 3., 3.]])
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
        bias = tensor.ndim == 1 and bool(names) and names[-1] == f"W{m}"
        m += not bias
        names.append(f"b{m}" if bias else f"W{m}")
    return tuple(names)


# modules ------------------------------------------------------------------------------------------------------------

SAMPLES = 4  # generated inputs on which a chain has to give the module's own logits
SIDES = 28, 32, 224  # of square images, tried first where the inputs are not known
REMEDIES = {
    "ScriptModule": "a TorchScript module hides its layers: pass the module that it was scripted from",
    "DataParallel": "a DataParallel wrapper cannot be copied: pass its .module",
    "DistributedDataParallel": "a DistributedDataParallel wrapper cannot be copied: pass its .module",
    "OptimizedModule": "a module from torch.compile cannot be copied: pass the one that was compiled",
}
REMOVE = {
    "prune": "make the pruning final with torch.nn.utils.prune.remove",
    "weight_norm": "take it off with torch.nn.utils.remove_weight_norm",
    "spectral_norm": "take it off with torch.nn.utils.remove_spectral_norm",
}


def _copied(module: nn.Module) -> nn.Module:
    """A copy in eval mode that autograd can work with; what cannot be copied faithfully is refused with the remedy."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"expected a torch.nn.Module, got {type(module).__name__}")
    for name, part in module.named_modules():
        name = name or "the module"
        for kind in type(part).__mro__:
            if kind.__name__ in REMEDIES:
                raise ValueError(REMEDIES[kind.__name__])
        if "forward" in vars(part):
            raise ValueError(
                f"forward of {name} is set on the instance, a copy would call the original: put it in a class"
            )
    with torch.inference_mode(False):  # a copy made inside would be of no use to an attack outside
        try:
            return copy.deepcopy(module).eval().requires_grad_(False)
        except RuntimeError:
            hooks = (hook for part in module.modules() for hook in part._forward_pre_hooks.values())
            kinds = {type(hook).__module__.removeprefix("torch.nn.utils.") for hook in hooks}
            for kind in kinds & set(REMOVE):
                raise ValueError(f"a weight of this module is computed by a hook: {REMOVE[kind]} first") from None
            raise


def _by_module(module: nn.Module, names: tuple[str, ...]) -> Callable[[Weights, Tensor], Tensor]:
    """The module's own forward at other parameters.

    `functional_call` puts them into the module while it runs, so every thread has a copy of its own.
    """
    own = threading.local()

    def forward(W: Weights, x: Tensor) -> Tensor:
        if not hasattr(own, "module"):
            with torch.inference_mode(False):
                own.module = copy.deepcopy(module)
        buffers = dict(own.module.named_buffers())
        constants = {name: b.to(x if b.is_floating_point() else x.device) for name, b in buffers.items()}
        return torch.func.functional_call(own.module, (dict(zip(names, W, strict=True)), constants), (x,))

    return forward


def by_steps(W: Sequence[Tensor], steps: tuple[Step, ...], names: tuple[str, ...] = (), not_dense: str = "") -> Network:
    """The network that applies the tensors of W by these steps.

    >>> from nsr.steps import Dense, Flatten
    >>> by_steps((torch.eye(2),), (Flatten(), Dense()))(torch.ones(1, 2))
    tensor([[1., 1.]])
    """
    return Network(tuple(W), partial(run, steps), names, not_dense=not_dense, steps=steps)


def _chain(module: nn.Module, W: Weights, names: tuple[str, ...], x: Tensor | None) -> Network:
    """The module as a chain, once both give the same logits; `NoChainError` where it is none."""
    chain = read(module)
    if chain.parameters != list(names):
        raise NoChainError("its parameters are not used once each and in their order")
    network = by_steps(W, chain.steps, names, chain.not_dense) if chain.steps else _dense(chain, W, names)
    for some in _inputs(network, x):
        try:
            with torch.no_grad():
                expected = module(some)
        except Exception:  # an input of another shape than the module takes
            continue
        try:
            found = network(some)
        except (ValueError, RuntimeError):
            raise NoChainError("its layers, applied one after the other, do not fit each other") from None
        if not isinstance(expected, Tensor) or found.shape != expected.shape:
            raise NoChainError("its output is not that of its layers")
        scale = max(1.0, float(found.abs().max()))
        if not torch.allclose(found, expected, rtol=0, atol=1e3 * torch.finfo(found.dtype).eps * scale):
            raise NoChainError("its layers, applied one after the other, give other logits than the module")
        return network
    raise NoChainError("no inputs were found on which it could be compared with its layers")


def _dense(chain: Chain, W: Weights, names: tuple[str, ...]) -> Network:
    plain = bool((chain.scale == 1).all() and (chain.shift == 0).all())
    affine = None if plain else Affine(chain.scale, chain.shift)
    forward = mlp_forward if plain else lambda W, x: mlp_forward(W, affine(x.flatten(1)))
    return Network(W, forward, names, affine)


def _inputs(network: Network, x: Tensor | None) -> Iterator[Tensor]:
    """Some of x; else inputs in [0, 1] for the first layer: flat, and as square images."""
    view, W_1 = (network.steps or (None,))[0], network.W[0]
    if x is not None:
        yield x[:SAMPLES]
        if isinstance(view, Images) and x.ndim == 2:
            yield view(x[:SAMPLES])
        return
    if isinstance(view, Images):
        shapes = [(view.channels, s, s) for s in (*SIDES, *range(1, 65))]
    else:
        d = W_1.shape[-1]
        shapes = [(d,), *((c, s, s) for c in (1, 3) if c * (s := int((d / c) ** 0.5)) * s == d)]
    for shape in shapes:
        generator = torch.Generator().manual_seed(0)
        some = torch.rand(SAMPLES, *shape, generator=generator, dtype=W_1.dtype).to(W_1.device)
        yield from (some, some.flatten(1)) if isinstance(view, Images) else (some,)
