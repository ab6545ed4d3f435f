"""Figures from values; nothing here trains, attacks or certifies.

Importing this sets the house style: white ground (legible on dark pages too) and Okabe and Ito's colours, which
colour-blind readers can tell apart.
"""

from pathlib import Path

from matplotlib import pyplot as plt

plt.style.use(Path(__file__).with_name("house.mplstyle"))
