"""A climb over ladders of numbers: what is to be tried next, and where it ends. It knows nothing of training.

A point is one rung of each ladder. The climb stands on the best point that was tried, has the rungs directly above and
below it tried in every number, and moves where one of them is better. It ends only where all of them were tried and
none is better, so the best point is never at an edge of what was tried: a ladder goes on without end. A limit of
`reach` rungs from the start guards against a landscape that rises for ever; whoever ends there is told so by `edges`.

One number moves at a time. A ridge that runs askew to every ladder can therefore end the climb below its top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Point = tuple[int, ...]  # the rung of each free number, in their order
Worth = Any  # what orders: larger is better

REACH = 8  # rungs from the start, either way: a factor of more than 400 where a decade has three


@dataclass(frozen=True)
class Ladder:
    """Numbers that go on without end both ways: these `leading` digits, then the same times 10, and so on."""

    leading: tuple[float, ...]

    def value(self, rung: int) -> float:
        """The number on this rung, as it is written: rung 0 is the first leading digit."""
        power, k = divmod(rung, len(self.leading))
        return float(f"{self.leading[k]}e{power}")

    def rung(self, value: float) -> int:
        """The rung that holds this number; one between two rungs is refused."""
        digits, power = f"{value:e}".split("e")
        if float(digits) not in self.leading:
            raise ValueError(f"{value} is on no rung: the digits of a ladder are {self.leading}")
        return int(power) * len(self.leading) + self.leading.index(float(digits))


@dataclass(frozen=True)
class Free:
    """A number that is searched: its ladder, where the climb starts, and what is tried at the best point anyway."""

    ladder: Ladder
    start: float
    always: tuple[float, ...] = ()


@dataclass(frozen=True)
class Climb:
    """The free numbers by their names. `worths`, in what follows, is how good each point was that has been tried."""

    free: Mapping[str, Free]
    reach: int = REACH

    @property
    def start(self) -> Point:
        return tuple(free.ladder.rung(free.start) for free in self.free.values())

    def numbers(self, point: Point) -> dict[str, float]:
        """The numbers at a point, by their names."""
        return {name: free.ladder.value(r) for (name, free), r in zip(self.free.items(), point, strict=True)}

    def around(self, point: Point) -> list[Point]:
        """The neighbours: one rung down and one rung up in each number, within reach."""
        steps = ((k, rung + step) for k, rung in enumerate(point) for step in (-1, 1))
        return [_moved(point, k, rung) for k, rung in steps if abs(rung - self.start[k]) <= self.reach]

    def lines(self, point: Point) -> list[Point]:
        """What is tried at the best point anyway: all values that a number must have seen, the others as they are."""
        frees = enumerate(self.free.values())
        return [_moved(point, k, free.ladder.rung(value)) for k, free in frees for value in free.always]

    def summit(self, worths: Mapping[Point, Worth]) -> Point:
        """The best point; of equals the one nearest the start, so that a plateau does not lead astray."""
        return max(worths, key=lambda point: (worths[point], -self._distance(point), point))

    def ahead(self, worths: Mapping[Point, Worth]) -> list[Point]:
        """What is to be tried next, all of it before the climb goes on; nothing where it has ended."""
        here = self.summit(worths) if worths else self.start
        return _new([here, *self.around(here)], worths) or _new(self.lines(here), worths)

    def edges(self, point: Point) -> list[str]:
        """The numbers that stand at the limit of the climb's reach, beyond which nothing was tried."""
        far = zip(self.free, point, self.start, strict=True)
        return [name for name, rung, start in far if abs(rung - start) >= self.reach]

    def _distance(self, point: Point) -> int:
        return sum(abs(rung - start) for rung, start in zip(point, self.start, strict=True))


@dataclass(frozen=True)
class Trail:
    """How far a climb has come: how good what it tried was, and what it lacks to go on."""

    worths: dict[Point, Worth] = field(default_factory=dict)
    missing: list[Point] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return not self.missing


def follow(climb: Climb, look: Callable[[Point], Worth | None]) -> Trail:
    """Climb from the start as far as what is known leads; `look` says how good a point is, None where nobody knows.

    A round counts as a whole or not at all, so the way does not depend on the order in which its points become known.
    """
    worths: dict[Point, Worth] = {}
    while wanted := climb.ahead(worths):
        found = {point: look(point) for point in wanted}
        if missing := [point for point, worth in found.items() if worth is None]:
            return Trail(worths, missing)
        worths |= found
    return Trail(worths)


def _moved(point: Point, k: int, rung: int) -> Point:
    return (*point[:k], rung, *point[k + 1 :])


def _new(points: Iterable[Point], known: Mapping[Point, Worth]) -> list[Point]:
    return [point for point in dict.fromkeys(points) if point not in known]
