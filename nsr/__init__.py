"""nsr: what happens to a ReLU network when inputs and weights are perturbed together inside l_inf balls.

The names below are loaded when they are first asked for: torch takes seconds, and `nsr --help` needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsr import attack, certify, contour, data, theory, training
    from nsr.budget import Budget
    from nsr.network import Network, margins, mlp, mlp_init

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Network",
    "attack",
    "certify",
    "contour",
    "data",
    "margins",
    "mlp",
    "mlp_init",
    "theory",
    "training",
]

_HOMES = {"Budget": "budget", "Network": "network", "margins": "network", "mlp": "network", "mlp_init": "network"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"nsr.{_HOMES[name]}"), name)
    if name in __all__:
        return import_module(f"nsr.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
