"""The joint input-weight attack: the paper's, and stronger ones inside the same budget."""

from nsr.attack.joint import AttackResult, joint_pgd, robust_accuracy, run, survivors
from nsr.attack.recipes import OWN, PAPER, STRONG, Ascent, Attack

__all__ = [
    "OWN",
    "PAPER",
    "STRONG",
    "Ascent",
    "Attack",
    "AttackResult",
    "joint_pgd",
    "robust_accuracy",
    "run",
    "survivors",
]
