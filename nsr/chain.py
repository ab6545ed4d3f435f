"""Read a module as a chain of layers with a ReLU behind each, by tracing what it runs; or say why it is none.

Layers are dense or convolutional, with a batch-norm behind them or not; averages may be taken behind a ReLU.
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from nsr.steps import Affine, AveragePool, BatchNorm, Convolution, Dense, Flatten, Images, Relu, Step


class NoChainError(Exception):
    """What keeps a module from being read as a chain of layers with a ReLU behind each."""


class Chain(NamedTuple):
    """The parameters of the layers in the order of use, and what is done with them.

    A chain of dense and ReLU layers alone has no `steps`, but a normalisation x * scale + shift before it, which
    may be none; `not_dense` says what makes any other chain one of `steps`.
    """

    parameters: list[str]
    scale: Tensor
    shift: Tensor
    steps: tuple[Step, ...] = ()
    not_dense: str = ""


IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)  # nothing in eval mode
SHAPES = {"flatten", "view", "reshape", "contiguous", torch.flatten}
RELUS = {"relu", "relu_", F.relu, torch.relu}
SIZES = {"size", "dim", getattr, operator.getitem}
ARITHMETIC = {
    **dict.fromkeys(("add", operator.add, torch.add), torch.add),
    **dict.fromkeys(("sub", operator.sub, torch.sub), torch.sub),
    **dict.fromkeys(("mul", operator.mul, torch.mul), torch.mul),
    **dict.fromkeys(("div", operator.truediv, torch.div), torch.div),
}


def read(module: nn.Module) -> Chain:
    """The chain that this module runs; `NoChainError` says in words what is none."""
    _refuse_what_no_trace_shows(module)
    try:
        graph = fx.Tracer().trace(module)
    except NameError:  # what fx raises at a layer that is no submodule, a list of layers among them
        raise NoChainError("it runs layers that are not registered (see nn.ModuleList), so these never move") from None
    except Exception as error:  # whatever a stranger's forward does to a proxy
        raise NoChainError(f"its forward cannot be traced ({type(error).__name__})") from None
    reader, before = _Reader(module), None
    for node in _steps(graph):
        operands = [a for a in node.args if isinstance(a, fx.Node) and not _is_size(a) and a.op != "get_attr"]
        if node.op not in ("placeholder", "output") and operands != [before]:
            raise NoChainError("its forward branches")
        if node.op == "call_module":
            reader.take_module(str(node.target))
        elif node.op not in ("placeholder", "output"):
            reader.take_call(node)
        before = node
    return reader.chain()


class _Reader:
    """What has been read of a module so far: `steps` from the first layer on, and the arithmetic before it."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.parts = module, dict(module.named_modules())
        self.parameters: list[str] = []
        self.affine: list[tuple[object, Tensor | float, bool]] = []
        self.steps: list[Step] = []
        self.not_dense = ""
        self.open = False  # whether the last layer still waits for its ReLU
        self.images = False  # whether what comes out last has channels, height and width

    def take_module(self, name: str) -> None:
        layer = self.parts[name]
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if self.open:
                raise NoChainError(f"{name} follows a layer with no ReLU between them")
            self._layer(name, layer)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and self.open:
            self._batch_norm(name, layer)
        elif type(layer) is nn.ReLU and self.open:
            self._relu()
        elif type(layer) in (nn.AvgPool2d, nn.AdaptiveAvgPool2d) and self.images and not self.open:
            self.not_dense = self.not_dense or _is_a(name, layer)
            self.steps.append(_pool(name, layer))
        elif (type(layer) is nn.Flatten and self._flattens()) or (type(layer) is nn.Unflatten and not self.parameters):
            pass
        elif type(layer) not in IDLE:
            raise NoChainError(_is_a(name, layer))

    def take_call(self, node: fx.Node) -> None:
        if node.target is F.linear and not self.open and not self.images:
            weights = [a for a in (*node.args[1:], *node.kwargs.values()) if isinstance(a, fx.Node)]
            self.parameters += [str(a.target) for a in weights]
            self.steps.append(Dense(len(weights) > 1))
            self.open = True
        elif node.target in RELUS and self.open:
            self._relu()
        elif node.target is F.dropout and _without_effect(*node.args[1:], **node.kwargs):
            pass
        elif node.target in ARITHMETIC and not self.parameters and len(node.args) == 2 and not node.kwargs:
            self.affine.append((node.target, *_constant(node, self.module)))
        elif not (node.target in SHAPES and self._flattens()):
            raise NoChainError(f"it applies {getattr(node.target, '__name__', node.target)}")

    def chain(self) -> Chain:
        if not (self.open and type(self.steps[-1]) is Dense):
            raise NoChainError("it does not end in a dense layer")
        first = dict(self.module.named_parameters()).get(self.parameters[0], torch.zeros(1))
        scale, shift = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
        for target, constant, before in self.affine:
            scale, shift = _composed(ARITHMETIC[target], _spread(constant, first), before, scale, shift)
        if not self.not_dense:
            return Chain(self.parameters, scale, shift)
        conv = self.steps[0] if isinstance(self.steps[0], Convolution) else None
        view = Images(first.shape[1] * conv.groups) if conv else Flatten()
        plain = bool((scale == 1).all() and (shift == 0).all())
        steps = (view, *([] if plain else [Affine(scale, shift)]), *self.steps)
        return Chain(self.parameters, scale, shift, steps, self.not_dense)

    def _layer(self, name: str, layer: nn.Linear | nn.Conv2d) -> None:
        if isinstance(layer, nn.Conv2d):
            self.not_dense = self.not_dense or _is_a(name, layer)
            if self.steps and not self.images:
                raise NoChainError(f"{name} is a convolution behind a dense layer")
        elif self.images:
            raise NoChainError(f"{name} is a dense layer over images that are not flattened")
        self.parameters += _parameters(name, layer)
        bias = layer.bias is not None
        self.images = isinstance(layer, nn.Conv2d)
        self.steps.append(_convolution(name, layer) if isinstance(layer, nn.Conv2d) else Dense(bias))
        self.open = True

    def _batch_norm(self, name: str, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        """One right behind a layer, with statistics of its own."""
        fits = type(layer) is (nn.BatchNorm2d if self.images else nn.BatchNorm1d)
        if not fits or not isinstance(self.steps[-1], Dense | Convolution) or layer.running_var is None:
            raise NoChainError(_is_a(name, layer))
        self.not_dense = self.not_dense or _is_a(name, layer)
        self.parameters += _parameters(name, layer)
        statistics = layer.running_mean.detach().clone(), layer.running_var.detach().clone()
        self.steps.append(BatchNorm(*statistics, layer.eps, layer.affine))

    def _relu(self) -> None:
        self.steps.append(Relu())
        self.open = False

    def _flattens(self) -> bool:
        """Whether a change of shape does nothing, or flattens images; whatever else it does shows in the logits."""
        if self.images:
            self.steps.append(Flatten())
            self.images = False
        elif self.parameters:
            return False
        return True


def _is_a(name: str, layer: nn.Module) -> str:
    return f"{name} is a {type(layer).__name__} layer"


def _convolution(name: str, layer: nn.Conv2d) -> Convolution:
    """How the kernel of this layer is applied."""
    padding = layer.padding
    if layer.padding_mode != "zeros":
        raise NoChainError(f"{name} pads with something else than zeros")
    if isinstance(padding, str):
        around = [
            d * (k - 1) if padding == "same" else 0 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        if any(total % 2 for total in around):
            raise NoChainError(f"{name} pads one side more than the other")
        padding = tuple(total // 2 for total in around)
    return Convolution(layer.bias is not None, layer.stride, padding, layer.dilation, layer.groups)


def _pool(name: str, layer: nn.AvgPool2d | nn.AdaptiveAvgPool2d) -> AveragePool:
    """What this layer averages over."""
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        if layer.output_size not in (1, (1, 1)):
            raise NoChainError(f"{name} is an AdaptiveAvgPool2d layer that leaves more than one pixel")
        return AveragePool()
    size, stride, padding = (_pair(value) for value in (layer.kernel_size, layer.stride, layer.padding))
    if layer.ceil_mode or layer.divisor_override or (padding != (0, 0) and not layer.count_include_pad):
        raise NoChainError(f"{name} is an AvgPool2d layer whose windows are not all divided by their size")
    return AveragePool(size, stride, padding)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _steps(graph: fx.Graph) -> Iterator[fx.Node]:
    """What happens to the input, in order; sizes and constants are read where they are used."""
    yield from (node for node in graph.nodes if node.op != "get_attr" and not _is_size(node))


def _is_size(node: fx.Node) -> bool:
    return node.target in SIZES and node.op in ("call_method", "call_function")


def _parameters(name: str, layer: nn.Module) -> list[str]:
    """The names of a layer's parameters; one that keeps a tensor elsewhere is no plain layer."""
    if type(layer) not in (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d):
        raise NoChainError(_is_a(name, layer))
    for part in ("weight", "bias"):
        if getattr(layer, part) is not layer._parameters.get(part):
            raise NoChainError(f"the {part} of {name} is no parameter")
    return [f"{name}.{part}" for part in ("weight", "bias") if getattr(layer, part) is not None]


def _refuse_what_no_trace_shows(module: nn.Module) -> None:
    """What runs around a module's forward, and functions that keep layers: a copied module goes on with the original's.

    The second is refused altogether (`ValueError`), for perturbed weights would not reach those layers.
    """
    for name, part in module.named_modules():
        name = name or "the module"
        if any(_keeps_layers(function) for function in _functions([vars(part)])):
            raise ValueError(
                f"{name} holds a function made around a layer, which would go on using the original weights: write it "
                "as a method, or remove the hook"
            )
    if type(module).__call__ is not nn.Module.__call__:
        raise NoChainError("it has a __call__ of its own")
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            raise NoChainError(f"{name or 'the module'} has a hook")


def _functions(things: Iterable[object]) -> Iterator[FunctionType]:
    """The plain functions among these things, and in containers among them: `copy.deepcopy` leaves them as they are."""
    for thing in things:
        if isinstance(thing, FunctionType):
            yield thing
        elif isinstance(thing, Mapping):
            yield from _functions(thing.values())
        elif isinstance(thing, list | tuple):
            yield from _functions(thing)


def _keeps_layers(function: FunctionType) -> bool:
    kept = [*gc.get_referents(*function.__closure__ or ()), *(function.__defaults__ or ())]  # a cell may be empty
    return any(isinstance(thing, nn.Module | nn.Parameter) for thing in kept)


def _without_effect(p: float = 0.5, training: bool = True, inplace: bool = False) -> bool:
    """Whether a call of F.dropout with these arguments leaves everything as it is, as it does in eval mode."""
    return training is False


def _constant(node: fx.Node, module: nn.Module) -> tuple[Tensor | float, bool]:
    """The constant operand of an arithmetic step, and whether it stands first."""
    for k, operand in enumerate(node.args):
        if isinstance(operand, int | float):
            return float(operand), k == 0
        if isinstance(operand, fx.Node) and operand.op == "get_attr":
            owner, _, name = str(operand.target).rpartition(".")
            value = getattr(module.get_submodule(owner), name)
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                return value.detach(), k == 0
    raise NoChainError("it adds or multiplies by what is no constant")


def _spread(constant: Tensor | float, first: Tensor) -> Tensor:
    """A constant as the first layer's inputs see it: one number, one for each of d inputs, or [C, 1, 1] for images.

    Before a dense layer [.., C, 1, 1] belongs to whole channels.
    """
    value, d = torch.as_tensor(constant, dtype=torch.float64), first.shape[-1]  # rounded once, when it meets the inputs
    if value.numel() == 1:
        return value.reshape(())
    if first.ndim == 4 and value.ndim >= 3 and value.shape[-2:] == (1, 1) and value.numel() == value.shape[-3]:
        return value.reshape(-1, 1, 1)
    if first.ndim == 2 and value.numel() == d:
        return value.flatten()
    if first.ndim == 2 and value.shape[-1] == 1 and d % value.numel() == 0:
        return value.flatten().repeat_interleave(d // value.numel())
    raise NoChainError(f"a constant of shape {list(value.shape)} does not fit its {d} inputs")


def _composed(apply: object, c: Tensor, first: bool, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """(scale, shift) followed by one arithmetic step with the constant c."""
    if apply is torch.add:
        return scale, shift + c
    if apply is torch.sub:
        return (-scale, c - shift) if first else (scale, shift - c)
    if apply is torch.mul:
        return scale * c, shift * c
    if first:
        raise NoChainError("it divides a constant by its inputs")
    return scale / c, shift / c
