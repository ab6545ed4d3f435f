"""Every interval and every paired difference of this book, once.

Seeds are few. The interval of a mean is Student's, of a difference it is taken over differences seed by seed; the
percentile bootstrap stands beside it in the ledger. One seed against one decides nothing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap
from scipy.stats import t as student

CONFIDENCE = 0.95
EQUIVALENCE = 0.9  # two one-sided tests at 5 % each: the interval that has to lie inside a band
INTERVALS = ("bootstrap", "student")


@dataclass(frozen=True)
class Estimate:
    """The mean of a few values, one a seed, and the interval that holds the mean of all seeds with this confidence."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    level: float = CONFIDENCE

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{self.mean:.3f} (one seed)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0; 0 where it does not, or where one seed cannot tell."""
        return 0 if len(self.values) < 2 else (self.low > 0) - (self.high < 0)


@dataclass(frozen=True)
class Difference:
    """The mean of some values less that of others; outside (low, high) the seeds alone could not have brought it."""

    size: float
    low: float
    high: float

    @property
    def seen(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def place(self) -> str:
        if math.isnan(self.low):
            return "not decided: one seed each"
        return "outside" if self.seen else "inside"

    @property
    def verdict(self) -> str:
        return self.place if math.isnan(self.low) else f"{self.place} the seed spread"

    @property
    def brief(self) -> str:
        """For a column whose head speaks of the seed spread."""
        return f"{self.sized} {self.place}"

    @property
    def sized(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.size:+.3f}{interval}"

    def __str__(self) -> str:
        return f"{self.sized} {self.verdict}"


def estimate(values: Iterable[float], interval: str = "student", level: float = CONFIDENCE) -> Estimate:
    """The mean over seeds with its interval: Student's, or the percentile bootstrap's, which few seeds make narrow."""
    values = tuple(map(float, values))
    if not values:
        raise ValueError("no values: there is nothing to estimate")
    if interval not in INTERVALS:
        raise ValueError(f"unknown interval {interval!r}: choose one of {', '.join(INTERVALS)}")
    mean, low, high = float(np.mean(values)), 0.0, 0.0
    if len(values) == 1 or (interval == "bootstrap" and len(set(values)) == 1):
        return Estimate(values, mean, mean, mean, level)
    if interval == "bootstrap":
        how = {"confidence_level": level, "method": "percentile", "rng": np.random.default_rng(0)}
        found = bootstrap((values,), np.mean, **how).confidence_interval
        low, high = float(found.low), float(found.high)
    else:
        half = _student(len(values) - 1, level) * float(np.std(values, ddof=1)) / len(values) ** 0.5
        low, high = mean - half, mean + half
    return Estimate(values, mean, low, high, level)


def paired(
    first: Mapping[int, float],
    second: Mapping[int, float],
    interval: str = "student",
    by: Callable[[float, float], float] = operator.sub,
    level: float = CONFIDENCE,
) -> Estimate | None:
    """first - second over the seeds that both have, None where there are none."""
    both = sorted(first.keys() & second.keys())
    return estimate((by(first[seed], second[seed]) for seed in both), interval, level) if both else None


def ratio(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate | None:
    """first / second, seed by seed, if they have a seed in common."""
    return paired(first, second, by=operator.truediv)


def difference(values: Iterable[float], others: Iterable[float]) -> Difference:
    """Student's interval for a difference of means, both groups taken to scatter alike.

    With a single value on one side this is the interval in which one more seed of the other side would fall.
    """
    first, second = (np.array(list(group), dtype=float) for group in (values, others))
    if not (len(first) and len(second)):
        raise ValueError("no values: there is nothing to compare")
    size, freedom = float(first.mean() - second.mean()), len(first) + len(second) - 2
    half = math.nan
    if freedom > 0:
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in (first, second))
        half = _student(freedom) * math.sqrt(squares / freedom * (1 / len(first) + 1 / len(second)))
    return Difference(size, size - half, size + half)


def next_seed(values: Sequence[float]) -> tuple[float, float]:
    """Where one more seed would fall with 95 % confidence: what an ablation of one seed has to leave to count."""
    mean = float(np.mean(values))
    spread = difference([mean], values)
    return mean + spread.low, mean + spread.high


def _student(freedom: int, level: float = CONFIDENCE) -> float:
    return float(student.ppf((1 + level) / 2, freedom))
