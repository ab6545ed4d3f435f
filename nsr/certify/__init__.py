"""Sound upper bounds on the margins over the joint ball, and the inputs that they certify."""

from nsr.certify.margins import METHODS, certified, margin_upper_bound
from nsr.certify.verdicts import Verdicts, exact

__all__ = ["METHODS", "Verdicts", "certified", "exact", "margin_upper_bound"]
