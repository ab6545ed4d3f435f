"""What a run lacks, computed from values alone, wherever that is: an epoch of training, a row of a contour."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nsr import data, paths, training
from nsr.data import Split
from nsr.network import mlp, mlp_init
from nsr.runs.circumstances import circumstances
from nsr.runs.code_digest import code_at_first_use
from nsr.runs.protocols import Measurement, deciding
from nsr.runs.specification import Spec
from nsr.runs.tensors import packed_state, unpacked_state, unpacked_weights
from nsr.training import CollapseError, Method, State


@dataclass(frozen=True)
class Job:
    """A piece of work on one run: an epoch of training, or one row of cells of a contour."""

    spec: Spec
    what: str  # "training", or the name of a contour
    call: Callable[..., Any]
    arguments: tuple[Any, ...]

    def result(self) -> Any:
        """Computed on one thread, with denormal numbers read as 0: on them a training step takes ten times as long."""
        code = code_at_first_use(deciding(self.what), paths.PACKAGE)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        started = time.perf_counter()
        try:
            value = self.call(*self.arguments)
            here = circumstances(self.spec.dataset)
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
        seconds = round(time.perf_counter() - started, 3)
        return value, {**here, "seconds": seconds, "code": dict(code)}


def train_epoch(spec: Spec, checkpoint: bytes | None) -> bytes:
    """The state after one more epoch; its record says how well the validation images are classified.

    A network that has diverged or collapsed is refused, so that none is kept as a run, whichever step it was.
    """
    parts = _data(spec.dataset)
    samples = parts.train if spec.images is None else parts.train.first(spec.images)
    generator = torch.Generator().manual_seed(spec.seed)
    network = mlp(mlp_init(spec.sizes, generator))
    state = None if checkpoint is None else unpacked_state(checkpoint)
    reached = next(training.states(network, samples.x, samples.y, spec.method, generator=generator, state=state))
    *before, record = reached.history
    logits = network.at(reached.W)(parts.validation.x)
    _refuse_collapse(logits, spec.method)
    record = {**record, "validation": _accuracy(logits, parts.validation)}
    return packed_state(State(reached.epoch, reached.W, reached.optimiser, reached.generator, (*before, record)))


def measure_row(spec: Spec, weights: bytes, what: Measurement, rows: Sequence[Sequence[float]]) -> list[float]:
    """The accuracies of the next row of cells, behind the `rows` that are known."""
    part: Split = getattr(_data(spec.dataset), what.part)
    samples = part.first(min(what.protocol.images, len(part)))
    network = mlp(unpacked_weights(weights))
    eps_x, found = what.protocol.grid_x[len(rows)], []
    for j, radius in enumerate(what.grid_w):
        if what.inherits and (0 in found or any(row[j] == 0 for row in rows)):
            found.append(0.0)
            continue
        found.append(what.cell(network, samples, eps_x, radius))
    return found


@functools.lru_cache(maxsize=1)
def _data(name: str) -> data.Dataset:
    return data.load(name)


def _refuse_collapse(logits: Tensor, method: Method) -> None:
    """`train` asks the weights and one batch; here the answers to all validation images are asked.

    Weights may be finite and so large that the logits overflow: `train` would find that in its next step, and behind
    the last there is none.
    """
    if not bool(torch.isfinite(logits).all()):
        raise CollapseError(f"training diverged to NaN or infinite logits: try a rate below lr={method.lr}")
    if bool((logits == logits[0]).all()):
        raise CollapseError(
            "the network has collapsed: it gives every input the same logits; weaken or ramp the added terms"
        )


def _accuracy(logits: Tensor, split: Split) -> float:
    return round(float((logits.argmax(-1) == split.y).double().mean()), 6)
