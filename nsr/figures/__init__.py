"""Figures from values; nothing here trains, attacks or certifies.

Importing this sets the house style: white ground (legible on dark pages too) and Okabe and Ito's colours, which
colour-blind readers can tell apart.
"""

from pathlib import Path

from cycler import cycler
from matplotlib import pyplot as plt

from nsr.figures.style import PALETTE

plt.style.use(Path(__file__).with_name("house.mplstyle"))
plt.rcParams["axes.prop_cycle"] = cycler(color=PALETTE)
