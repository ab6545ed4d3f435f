"""A stranger's model and data: loaded, brought together, or refused in one line before anything is computed."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_safetensors
from torch import Tensor, nn

from nsr import data
from nsr.budget import UNIT, Box
from nsr.data import Split
from nsr.network import Network, Weights

AT_ONCE = 256  # inputs in one clean forward pass
FEW = 4  # inputs on which a model is looked at more closely
OF_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar")
LONGEST = 300  # letters of somebody else's words in a refusal


class AssessError(ValueError):
    """This cannot be assessed as given; the message says in one line why."""


def load_model(where: str, weights: Path | None = None) -> nn.Module:
    """The module that "file.py:function" returns, with the tensors of a weights file where one is given."""
    module = _returned(where, "a model")
    if not isinstance(module, nn.Module):
        raise AssessError(f"{where} must return a torch.nn.Module, and returned {_a(module)}")
    if weights is not None:
        with refusing(f"{weights}: these weights do not fit {where}", BaseException):
            _load_weights(module, weights)
    return module


def _load_weights(module: nn.Module, weights: Path) -> None:
    """From a safetensors file, or from a file of torch.save with tensors alone: nothing in it is executed."""
    with refusing(f"{weights}: cannot be read", OSError, UnicodeError):
        if weights.suffix not in OF_TORCH:
            with refusing(f"{weights}: not a safetensors file, nor one of {', '.join(OF_TORCH)}", SafetensorError):
                load_safetensors(module, weights)
            return
        try:
            tensors = torch.load(weights, map_location="cpu", weights_only=True)
        except UnpicklingError:  # torch's own words advise to trust the file
            raise AssessError(
                f"{weights}: is damaged or holds more than tensors; save model.state_dict() alone"
            ) from None
        if not isinstance(tensors, dict):
            raise AssessError(f"{weights}: holds {_a(tensors)}; save model.state_dict() alone")
        if others := [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]:
            raise AssessError(f"{weights}: holds {', '.join(others[:5])} too; save model.state_dict() alone")
        if tensors and all(name.startswith("module.") for name in tensors):
            raise AssessError(f"{weights}: comes from a DataParallel wrapper; save model.module.state_dict()")
        module.load_state_dict(tensors)


def load_samples(name: str, images: int, box: Box = UNIT) -> Split:
    """The first test samples of a data set as images, of an .npz file, or of the pair that "file.py:function" gives."""
    if images < 1:
        raise AssessError(f"at least one image is needed, got {images}")
    if name in data.NAMES:
        test = data.load(name, flat=False).test
        _refuse_outside(name, test.x.numpy(), box)
        return test.first(min(images, len(test)))
    if Path(name).suffix == ".npz":
        x, y = _arrays(Path(name))
    elif ".py:" in name:
        x, y = _pair(name)
    else:
        known = ", ".join(data.NAMES)
        raise AssessError(f"unknown data {name!r}: name a file ending in .npz, a file.py:function, or one of {known}")
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise AssessError(f"{name}: x must hold one row of numbers per sample, got {x.dtype} {list(x.shape)}")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise AssessError(
            f"{name}: y must hold one whole-numbered label for each of {len(x)} samples, got {y.dtype} {list(y.shape)}"
        )
    if x.size == 0:
        raise AssessError(f"{name}: holds no samples")
    x, y = x[:images], y[:images]
    if not np.isfinite(x).all():
        raise AssessError(f"{name}: x holds NaN or infinite values")
    _refuse_outside(name, x, box)
    return Split(torch.from_numpy(x.astype(np.float64)), torch.from_numpy(y.astype(np.int64)))


def _refuse_outside(name: str, x: np.ndarray, box: Box) -> None:
    if x.min() < box[0] or x.max() > box[1]:
        span = f"its values span [{x.min():g}, {x.max():g}]"
        raise AssessError(f"{name}: x must lie in [{box[0]:g}, {box[1]:g}], and {span}; --box names another interval")


def together(module: nn.Module, split: Split, where: str) -> tuple[Network, Split]:
    """Network and samples in one dtype and in the shape that the network takes, once both are known to fit."""
    if any("quantized" in type(part).__module__.split(".") for part in module.modules()):
        raise AssessError(f"{where}: its weights are whole numbers, which no radius moves; pass the float model")
    dtypes = {p.dtype for p in module.parameters()} or {torch.float32}
    if dtypes not in ({torch.float32}, {torch.float64}):
        names = ", ".join(sorted(map(str, dtypes)))
        raise AssessError(f"{where}: its parameters are {names}; bring all to one of 32 bits, as in model.float()")
    x = _fitting(module, split.x.to(dtypes.pop()))
    with refusing(where, BaseException):  # whatever keeps a stranger's module from being copied
        network = Network.from_module(module, x[:AT_ONCE].clone())
    if network.is_dense:
        x_in = x.flatten(1)
    else:
        x_in, network = x, replace(network, forward=_on_a_copy(network.forward))
    with torch.no_grad(), refusing("the model and the data do not fit", BaseException):
        z, again = logits(network, x_in), network(x_in[:AT_ONCE])
        theirs = torch.cat([module(part.clone()) for part in x.split(AT_ONCE)])
    if len(z) != len(x):
        raise AssessError(f"the model gives {len(z)} rows of logits for {len(x)} samples")
    if not z.isfinite().all():
        raise AssessError("the model's logits are NaN or infinite on these samples")
    if not torch.allclose(z[:AT_ONCE], again):
        raise AssessError("the model gives other logits each time it is asked, so nothing it does can be judged")
    with (
        torch.no_grad(),
        refusing(f"{where}: cannot judge one image alone (see the batch-norm's eval mode)", Exception),
    ):
        alone = torch.cat([network(one) for one in x_in[:FEW].split(1)])
    if not _alike(z[:FEW], alone):
        raise AssessError(f"{where}: its logits for an image depend on the others of the batch; use fixed statistics")
    if not (_alike(z, theirs) and _alike(*_moved(network, module, x_in[:FEW], x[:FEW]))):
        raise AssessError(f"{where}: a copy of the model gives other logits than the model, so it cannot be judged")
    low, high, K = int(split.y.min()), int(split.y.max()), z.shape[1]
    if low < 0 or high >= K:
        raise AssessError(f"the labels span [{low}, {high}], and the model has logits for the classes 0 to {K - 1}")
    return network, Split(x_in, split.y)


def _alike(z: Tensor, other: Tensor) -> bool:
    return torch.allclose(z, other, rtol=1e-3, atol=1e-3 * max(1.0, float(other.abs().max())))


def _moved(network: Network, module: nn.Module, x_in: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the network and of the module itself where all weights have moved: a copy may have kept some back."""
    W_hat = tuple(V + 0.01 * V.abs().mean() for V in network.W)
    with torch.no_grad():
        theirs = torch.func.functional_call(module, dict(zip(network.names, W_hat, strict=True)), (x.clone(),))
        return network.at(W_hat)(x_in), theirs


def _on_a_copy(forward: Callable[[Weights, Tensor], Tensor]) -> Callable[[Weights, Tensor], Tensor]:
    """A forward that may change its input in place, applied to a copy of the input."""
    return lambda W, x: forward(W, x.clone())


def logits(network: Network, x: Tensor) -> Tensor:
    """All logits [B, K], some inputs at a time."""
    with torch.no_grad():
        return torch.cat([network(part) for part in x.split(AT_ONCE)])


def _fitting(module: nn.Module, x: Tensor) -> Tensor:
    """x as it is or flattened, whichever the module turns into logits [B, K]."""
    troubles, module = [], module.eval()
    for view in [x, x.flatten(1)][: x.ndim - 1]:
        few = view[:2].clone()
        try:
            with torch.no_grad():
                z = module(few)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's forward raises
            troubles.append(f"x {list(view.shape)} raises {reason(error)}")
            continue
        if isinstance(z, Tensor) and z.is_floating_point() and z.ndim == 2 and len(z) == len(few) and z.shape[1] > 1:
            return view
        got = f"{list(z.shape)} for {len(few)} samples" if isinstance(z, Tensor) else _a(z)
        remedy = f"; {_wrap(z)}" if not isinstance(z, Tensor) else ""
        troubles.append(f"x {list(view.shape)} gives {got} instead of logits [B, K]{remedy}")
    raise AssessError(f"the model and the data do not fit: {'; '.join(troubles)}")


def _wrap(z: object) -> str:
    """How to get at the logits of a model that returns something around them."""
    if hasattr(z, "logits"):
        part = ".logits"
    elif isinstance(z, dict) and z:
        part = f"[{'logits' if 'logits' in z else next(iter(z))!r}]"
    else:
        part = "[0]" if isinstance(z, tuple | list) else ""
    return f"return the logits alone, in a module whose forward is self.model(x){part}"


def _returned(where: str, what: str) -> object:
    """What the function of "file.py:function" returns."""
    path, _, name = where.rpartition(":")
    if not path or not name:
        raise AssessError(f"{where!r}: name {what} as file.py:function, where the function returns it")
    file = Path(path)
    if not file.is_file():
        raise AssessError(f"{file}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"assessed_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise AssessError(f"{file}: is no Python file; name {what} as file.py:function")
    code = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = code  # where dataclasses and deepcopy look for it
    before = [*sys.path]
    sys.path.insert(0, str(file.resolve().parent))  # as Python does for a file that it runs
    try:
        with torch.random.fork_rng(devices=[]), contextlib.chdir("."):  # the file may go elsewhere; we come back
            torch.manual_seed(0)  # a model that draws its weights is then the same one when a run is taken up again
            with refusing(f"{file}: cannot be imported", BaseException):
                spec.loader.exec_module(code)
            if not callable(function := getattr(code, name, None)):
                raise AssessError(f"{file}: has no function {name}")
            with refusing(f"{file}: {name}() failed", BaseException):
                return function()
    finally:
        sys.path[:] = before


def _pair(where: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y as a function of the user returns them: tensors, arrays, or lists of numbers."""
    found = _returned(where, "the data")
    if not (isinstance(found, tuple | list) and len(found) == 2):
        raise AssessError(f"{where} must return the pair (x, y), and returned {_a(found)}")
    with refusing(f"{where}: x and y are no arrays", BaseException):
        x, y = (t.detach().cpu().numpy() if isinstance(t, Tensor) else np.asarray(t) for t in found)
        return x, y


def _arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    if not file.is_file():
        raise AssessError(f"{file}: there is no such file")
    damage = (OSError, ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)
    with refusing(f"{file}: not an .npz file of plain arrays", *damage), file.open("rb") as stream:
        found = np.load(stream, allow_pickle=False)
        arrays = {key: found[key] for key in found} if isinstance(found, np.lib.npyio.NpzFile) else {}
    if missing := {"x", "y"} - set(arrays):
        has = f"it has {', '.join(arrays)}" if arrays else "it has none"
        raise AssessError(f"{file}: the arrays x and y are needed, {' and '.join(sorted(missing))} missing; {has}")
    return arrays["x"], arrays["y"]


@contextlib.contextmanager
def refusing(what: str, *errors: type[BaseException]) -> Iterator[None]:
    """Turn these errors, where they are not refusals yet nor the user's Ctrl-C, into a refusal of one line."""
    try:
        yield
    except (AssessError, KeyboardInterrupt):
        raise
    except errors as error:
        raise AssessError(f"{what}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Kind and words of an error in one line; of long words the beginning and the end, where the cause may stand."""
    words = " ".join("".join(c if c.isprintable() else " " for c in f"{type(error).__name__}: {error}").split())
    if len(words) <= LONGEST:
        return words
    head = textwrap.shorten(words, LONGEST // 2, placeholder=" ...")
    return f"{head} {words[-LONGEST // 2 :].partition(' ')[2]}"


def _a(thing: object) -> str:
    return "None" if thing is None else f"an object of type {type(thing).__name__}"
