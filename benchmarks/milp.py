"""Joint robustness of one input as a mixed-integer linear problem for a general solver: what `certify.exact` is beside.

Behind a ReLU z >= 0, so over all |V - W| <= eps, |c - b| <= beta the vectors V z + c are exactly the box

    (W - eps) z + b - beta <= s <= (W + eps) z + b + beta,

and with one binary a ReLU that may switch all else is linear. `textbook` is the formulation as it is usually written
down: boxes of the pre-activations by intervals, the margin of every class maximised. `feasibility` asks one class
whether its margin can reach -delta, within boxes that the caller has found, and stops at the first solution.

Numpy and scipy alone: the tests hold `certify.exact` against it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

Array = NDArray[np.float64]
Ends = tuple[Array, Array]  # the lower and the upper end of every coordinate

INFEASIBLE, STOPPED = 2, 1  # what scipy calls these endings


class Layer(NamedTuple):
    """One dense layer and the ball around it: W [out, in], b [out], eps for every weight and beta for every bias."""

    W: Array
    b: Array
    eps: float
    beta: float


class Answer(NamedTuple):
    """The largest margin found and where, and what no margin exceeds; -inf and None where nothing was found.

    `i` is the class whose margin it is, `z` the activations z^1 .. z^{L-1}. `finished` says that no time limit was hit.
    """

    margin: float
    bound: float
    i: int
    x_hat: Array | None
    z: list[Array]
    finished: bool


def textbook(layers: Sequence[Layer], a: Array, b: Array, y: int, seconds: float = np.inf) -> Answer:
    """max over i != y of the largest f_i - f_y for inputs in [a, b]: one optimisation a class."""
    problem = Problem(layers, a, b, interval_boxes(layers, a, b))
    end, found = time.perf_counter() + seconds, []
    for i in range(len(layers[-1].W)):
        if i != y:
            found.append(problem.maximum(i, y, max(end - time.perf_counter(), 0.0)))
    best = max(found, key=lambda answer: answer.margin)
    bound, finished = max(answer.bound for answer in found), all(answer.finished for answer in found)
    return best._replace(bound=bound, finished=finished)


def feasibility(
    layers: Sequence[Layer],
    a: Array,
    b: Array,
    boxes: Sequence[Ends],
    i: int,
    y: int,
    delta: float,
    seconds: float = np.inf,
) -> Answer:
    """Whether f_i - f_y >= -delta somewhere: the first such point found, or bound = -delta where there is none.

    `boxes` holds the ends [p, q] of the pre-activations of every hidden layer. The solver's tolerances, about 1e-6, are
    what `delta` has to exceed before "there is none" proves that no margin reaches 0.
    """
    return Problem(layers, a, b, boxes).reaches(i, y, -delta, seconds)


def interval_boxes(layers: Sequence[Layer], a: Array, b: Array) -> list[Ends]:
    """[p, q] of the pre-activations of every hidden layer, one layer after the other."""
    found: list[Ends] = []
    low, high = a, b
    for W, bias, eps, beta in layers[:-1]:
        # over |v - w| <= eps the ends of v t are w t +- eps |t|, convex and concave in t: extreme where t is
        at_low, at_high, e_low, e_high = W * low, W * high, eps * np.abs(low), eps * np.abs(high)
        p = np.minimum(at_low - e_low, at_high - e_high).sum(1) + bias - beta
        q = np.maximum(at_low + e_low, at_high + e_high).sum(1) + bias + beta
        found.append((p, q))
        low, high = np.maximum(p, 0), np.maximum(q, 0)
    return found


class Problem:
    """The columns and rows that all classes share.

    Columns: x+ and x- with x = x+ - x- and |x| = x+ + x-, a binary for each input, then z^m and a binary for each
    neuron, layer after layer. A binary whose value the boxes decide is fixed, and presolve drops it. The pre-activation
    s is eliminated: with z = rho(s) and p <= s <= q, an admissible s exists exactly if

        (W - eps) z' + b - beta <= z <= (W + eps) z' + b + beta - p (1 - on),    0 <= z <= q on.
    """

    def __init__(self, layers: Sequence[Layer], a: Array, b: Array, boxes: Sequence[Ends]) -> None:
        self.last, self.d = layers[-1], len(a)
        size = 3 * len(a) + 2 * sum(len(layer.W) for layer in layers[:-1])
        self.low, self.high, self.binary = np.zeros(size), np.ones(size), np.zeros(size)
        self.rows: list[sparse.csr_array] = []
        self.least: list[Array] = []  # rows @ columns >= least
        self.parts: list[slice] = []  # the columns of (x+, x-), z^1, .., z^{L-1}
        self._input(a, b)
        start = 3 * len(a)
        for layer, (p, q) in zip(layers[:-1], boxes, strict=True):
            self._neurons(layer, np.minimum(p, 0), np.maximum(q, 0), p >= 0, start)
            start += 2 * len(p)

    def maximum(self, i: int, y: int, seconds: float = np.inf) -> Answer:
        """The largest f_i - f_y."""
        gain, constant = self._margin(i, y)
        result = self._solve(-gain, seconds)
        # a problem without a binary is no search, and scipy then reports no bound of one
        below = result.fun if result.mip_dual_bound is None else result.mip_dual_bound
        return self._answer(result, np.inf if below is None else constant - below, i, y)

    def reaches(self, i: int, y: int, least: float, seconds: float = np.inf) -> Answer:
        """Whether f_i - f_y >= least somewhere.

        The margin stays the objective and any gap will do: that ends at the first solution too, and on networks
        40-24-16-12-5 took two thirds of the time that no objective did.
        """
        gain, constant = self._margin(i, y)
        result = self._solve(-gain, seconds, sparse.csr_array(gain[None]), least - constant, gap=1e9)
        return self._answer(result, least if result.status == INFEASIBLE else np.inf, i, y)

    def _input(self, a: Array, b: Array) -> None:
        d = self.d
        self.parts.append(slice(0, 2 * d))
        self.low[: 2 * d] = np.maximum(np.concatenate([a, -b]), 0)
        self.high[: 2 * d] = np.maximum(np.concatenate([b, -a]), 0)
        straddles = np.flatnonzero((a < 0) & (b > 0))
        self.binary[2 * d + straddles] = 1
        one = np.eye(d)[straddles]
        plus, minus, on = slice(0, d), slice(d, 2 * d), slice(2 * d, 3 * d)
        self._add(np.zeros(len(straddles)), (plus, -one), (on, one * b))  # x+ <= b on
        self._add(a[straddles], (minus, -one), (on, one * a))  # x- <= -a (1 - on)

    def _neurons(self, layer: Layer, p: Array, q: Array, always_on: Array, start: int) -> None:
        n, z_in = len(p), self.parts[-1]
        z, on = slice(start, start + n), slice(start + n, start + 2 * n)
        self.low[z], self.high[z] = 0, q
        self.low[on], self.high[on], self.binary[on] = always_on, (q > 0) | always_on, 1
        W, b, eps, beta = layer
        one, lowest, highest = np.eye(n), self._over_ball(W, -eps), self._over_ball(W, eps)
        self._add(b - beta, (z, one), (z_in, -lowest))
        self._add(p - b - beta, (z, -one), (z_in, highest), (on, np.diag(p)))
        self._add(np.zeros(n), (z, -one), (on, np.diag(q)))
        self.parts.append(z)

    def _over_ball(self, W: Array, eps: float) -> Array:
        """W z + eps ||z||_1 as rows on the columns that the next layer reads: x+ and x-, or z."""
        return np.hstack([W + eps, eps - W]) if len(self.parts) == 1 else W + eps

    def _add(self, least: Array, *blocks: tuple[slice, Array]) -> None:
        rows = np.zeros((len(least), len(self.low)))
        for columns, block in blocks:
            rows[:, columns] = block
        self.rows.append(sparse.csr_array(rows))
        self.least.append(least)

    def _margin(self, i: int, y: int) -> tuple[Array, float]:
        """f_i - f_y at the worst of the last layer's ball: W^L_i - W^L_y + 2 eps_L and b_i - b_y + 2 beta_L."""
        W, b, eps, beta = self.last
        gain = np.zeros(len(self.low))
        gain[self.parts[-1]] = self._over_ball(W[i] - W[y], 2 * eps)
        return gain, float(b[i] - b[y] + 2 * beta)

    def _solve(
        self, cost: Array, seconds: float, row: sparse.csr_array | None = None, least: float = 0.0, gap: float = 0.0
    ) -> OptimizeResult:
        rows, lows = (self.rows, self.least) if row is None else ([*self.rows, row], [*self.least, np.array([least])])
        result = milp(
            cost,
            integrality=self.binary,
            bounds=Bounds(self.low, self.high),
            constraints=LinearConstraint(sparse.vstack(rows), np.concatenate(lows), np.inf),
            options={"mip_rel_gap": gap} | ({"time_limit": seconds} if np.isfinite(seconds) else {}),
        )
        if result.status not in (0, STOPPED, INFEASIBLE):
            raise RuntimeError(f"the solver gave up: {result.message}")
        return result

    def _answer(self, result: OptimizeResult, bound: float, i: int, y: int) -> Answer:
        finished = result.status != STOPPED
        if result.x is None:
            return Answer(-np.inf, bound, i, None, [], finished)
        gain, constant = self._margin(i, y)
        x_hat = result.x[: self.d] - result.x[self.d : 2 * self.d]
        return Answer(
            float(gain @ result.x) + constant, bound, i, x_hat, [result.x[part] for part in self.parts[1:]], finished
        )
