"""Torchvision, imported natively or, beside a CPU build of torch, with two operators declared first.

torchvision and torch each come as CPU and as CUDA builds. When a CUDA build of torchvision meets a CPU build of torch,
its compiled operators cannot be loaded and the import ends in `operator torchvision::nms does not exist`, although the
datasets and transforms need none of them. Declaring the signatures of two operators is enough for the import to pass.
What then still fails, when called and not before, are the compiled operators themselves (`torchvision.ops.nms`) and
torchvision's own image decoding; nothing here uses either.

On a matching pair the native import is used and nothing is declared.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

MISMATCH = "operator torchvision::nms does not exist"

_declared: list[torch.library.Library] = []  # a Library takes its declarations back when it is collected


def torchvision() -> ModuleType:
    """The torchvision package; any import error but the documented one is passed on."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if str(error) != MISMATCH:
            raise
    _declare_operators()
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported: the second attempt has to start from nothing
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    """Declare the two operators whose absence stops the import; they have a signature, but no kernel."""
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
