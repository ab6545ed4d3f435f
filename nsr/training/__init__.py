"""One training loop for every row of the table of methods."""

from nsr.training.loop import PLAIN, CollapseError, State, fit, loss_terms, states
from nsr.training.methods import BEYOND, METHODS, PANELS, Method

__all__ = ["BEYOND", "METHODS", "PANELS", "PLAIN", "CollapseError", "Method", "State", "fit", "loss_terms", "states"]
