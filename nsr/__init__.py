"""nsr: what happens to a ReLU network when inputs and weights are perturbed together inside l_inf balls."""

from nsr import attack, bounds, certify, contour, data, loss, methods, norms, train
from nsr.budget import Budget
from nsr.network import Network, margins, mlp, mlp_init

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Network",
    "attack",
    "bounds",
    "certify",
    "contour",
    "data",
    "loss",
    "margins",
    "methods",
    "mlp",
    "mlp_init",
    "norms",
    "train",
]
