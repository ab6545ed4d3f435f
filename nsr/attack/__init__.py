"""The joint input-weight attack: the paper's, and a stronger one inside the same budget."""

from nsr.attack.engine import Ball, Siege, ascend
from nsr.attack.joint import UNIT, joint_pgd, run, strong, survivors
from nsr.attack.recipes import PAPER, STRONG, Ascent, Attack, doubled, seeded

__all__ = [
    "PAPER",
    "STRONG",
    "UNIT",
    "Ascent",
    "Attack",
    "Ball",
    "Siege",
    "ascend",
    "doubled",
    "joint_pgd",
    "run",
    "seeded",
    "strong",
    "survivors",
]
