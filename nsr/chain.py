"""Read a module as a chain of dense and ReLU layers, by tracing what it runs; or say what keeps it from being one."""

from __future__ import annotations

import gc
import operator
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


class NoChainError(Exception):
    """What keeps a module from being read as a chain of dense and ReLU layers."""


class Chain(NamedTuple):
    """The parameters of the layers in the order of use, and the normalisation x * scale + shift before them, if any."""

    parameters: list[str]
    scale: Tensor
    shift: Tensor


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
    parts, parameters = dict(module.named_modules()), []
    scale, shift = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    affine: list[tuple[object, Tensor | float, bool]] = []
    expected, before = "dense", None
    for node in _steps(graph):
        operands = [a for a in node.args if isinstance(a, fx.Node) and not _is_size(a) and a.op != "get_attr"]
        if node.op not in ("placeholder", "output") and operands != [before]:
            raise NoChainError("its forward branches")
        if node.op == "call_module":
            layer = parts[str(node.target)]
            if isinstance(layer, nn.Linear):
                if expected != "dense":
                    raise NoChainError(f"{node.target} follows a dense layer with no ReLU between them")
                parameters += _parameters(str(node.target), layer)
                expected = "relu"
            elif type(layer) is nn.ReLU and expected == "relu":
                expected = "dense"
            elif not (type(layer) in IDLE or (type(layer) is nn.Flatten and not parameters)):
                raise NoChainError(f"{node.target} is a {type(layer).__name__} layer")
        elif node.target is F.linear and expected == "dense":
            weights = [a for a in (*node.args[1:], *node.kwargs.values()) if isinstance(a, fx.Node)]
            parameters += [str(a.target) for a in weights]
            expected = "relu"
        elif node.target in RELUS and expected == "relu":
            expected = "dense"
        elif node.target is F.dropout and _without_effect(*node.args[1:], **node.kwargs):
            pass
        elif node.target in ARITHMETIC and not parameters and len(node.args) == 2 and not node.kwargs:
            affine.append((node.target, *_constant(node, module)))
        elif not (node.op in ("placeholder", "output") or (node.target in SHAPES and not parameters)):
            raise NoChainError(f"it applies {getattr(node.target, '__name__', node.target)}")
        before = node
    if expected != "relu":
        raise NoChainError("it does not end in a dense layer")
    d = dict(module.named_parameters()).get(parameters[0], torch.zeros(1)).shape[-1]
    for target, constant, first in affine:
        scale, shift = _composed(ARITHMETIC[target], _spread(constant, d), first, scale, shift)
    return Chain(parameters, scale, shift)


def _steps(graph: fx.Graph) -> Iterator[fx.Node]:
    """What happens to the input, in order; sizes and constants are read where they are used."""
    yield from (node for node in graph.nodes if node.op != "get_attr" and not _is_size(node))


def _is_size(node: fx.Node) -> bool:
    return node.target in SIZES and node.op in ("call_method", "call_function")


def _parameters(name: str, layer: nn.Linear) -> list[str]:
    """The names of a dense layer's parameters; one that keeps a tensor elsewhere is no plain layer."""
    if type(layer) is not nn.Linear:
        raise NoChainError(f"{name} is a {type(layer).__name__} layer")
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


def _spread(constant: Tensor | float, d: int) -> Tensor:
    """A constant as one number or one for each of the d inputs: [.., C, 1, 1] belongs to whole channels."""
    value = torch.as_tensor(constant, dtype=torch.float64)  # rounded once, when it meets the inputs
    if value.numel() == 1:
        return value.reshape(())
    if value.numel() == d:
        return value.flatten()
    if value.shape[-1] == 1 and d % value.numel() == 0:
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
