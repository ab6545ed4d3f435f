"""nsr: what happens to a ReLU network when inputs and weights are perturbed together inside l_inf balls.

The names below are loaded when they are first asked for: torch takes seconds, and `nsr --help` needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsr import attack, certify, contour, data, figures, runs, study, theory, training
    from nsr.attack import PAPER, STRONG, Attack, robust_accuracy
    from nsr.budget import Budget
    from nsr.contour import Contour, measure
    from nsr.convnet import cnn, cnn_init
    from nsr.network import Network, margins, mlp, mlp_init

__version__ = "0.1.0"

__all__ = [
    "PAPER",
    "STRONG",
    "Attack",
    "Budget",
    "Contour",
    "Network",
    "attack",
    "certify",
    "cnn",
    "cnn_init",
    "contour",
    "data",
    "figures",
    "margins",
    "measure",
    "mlp",
    "mlp_init",
    "robust_accuracy",
    "runs",
    "study",
    "theory",
    "training",
]

_HOMES = {
    **dict.fromkeys(("PAPER", "STRONG", "Attack", "robust_accuracy"), "attack"),
    **dict.fromkeys(("Contour", "measure"), "contour"),
    **dict.fromkeys(("Network", "margins", "mlp", "mlp_init"), "network"),
    **dict.fromkeys(("cnn", "cnn_init"), "convnet"),
    "Budget": "budget",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"nsr.{_HOMES[name]}"), name)
    if name in __all__:
        return import_module(f"nsr.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
