"""Sound upper bounds on the margins over the joint ball, and the inputs that they certify."""

from nsr.certify.exact import Verdicts, exact
from nsr.certify.margins import METHODS, certified, margin_upper_bound

__all__ = ["METHODS", "Verdicts", "certified", "exact", "margin_upper_bound"]
