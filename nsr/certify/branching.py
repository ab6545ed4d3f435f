"""Branch and bound around one input: linear bounds over cases, each case fixing the sign of some pre-activations.

This is alpha-beta-CROWN (Zhang et al. 2018, Xu et al. 2021, Wang et al. 2021) with the weight ball in closed form. The
bound of a case has two things free, both improved by a few steps of Adam: the slope alpha in [0, 1] below each unstable
ReLU, and a multiplier beta >= 0 for each known sign. They are sought in float32; what a bound is worth is then computed
in the precision of the chain, rounded outward, so nothing hangs on how well the search went.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nsr.budget import LayerBall
from nsr.certify.linear import Linear, Rows, linear_bound, neuron_rows, tight_boxes

AT_ONCE = 256  # cases that are split at once
TRIED = 3  # neurons tried for each before one is chosen (De Palma et al. 2021)
FIRST_STEPS, STEPS = 20, 3  # of Adam, at the root and after each split
RATE_ALPHA, RATE_BETA, DECAY = 0.25, 0.1, 0.9


@dataclass(frozen=True)
class Chain:
    """The hidden layers around one input: weight balls, boxes [1, n_m] of pre-activations, ends [1, d] of the input."""

    hidden: tuple[LayerBall, ...]
    boxes: tuple[tuple[Tensor, Tensor], ...]
    a: Tensor
    b: Tensor

    @staticmethod
    def of(hidden: Sequence[LayerBall], a: Tensor, b: Tensor) -> Chain:
        return Chain(tuple(hidden), tuple(tight_boxes(hidden, a, b)), a, b)

    @property
    def sizes(self) -> list[int]:
        return [len(ball.W) for ball in self.hidden]

    @property
    def straddling(self) -> Tensor:
        """The inputs whose sign is not known: there |x| bends, as a ReLU does."""
        return ((self.a < 0) & (self.b > 0))[0].nonzero()[:, 0]

    def before(self, m: int) -> Chain:
        """The chain that the hidden layer number m, from 0, sees."""
        return replace(self, hidden=self.hidden[:m], boxes=self.boxes[:m])

    def to(self, dtype: torch.dtype) -> Chain:
        balls = [
            ball._replace(W=ball.W.to(dtype), b=None if ball.b is None else ball.b.to(dtype)) for ball in self.hidden
        ]
        boxes = tuple((p.to(dtype), q.to(dtype)) for p, q in self.boxes)
        return Chain(tuple(balls), boxes, self.a.to(dtype), self.b.to(dtype))


@dataclass(frozen=True)
class Cases:
    """Cases [N]: the row that each bounds, what is known in it, and its bound with what that is made of.

    `sign` [N, H] is 1 where a neuron is known to be on, -1 where off, 0 where it is free; behind the H neurons stand
    the inputs whose interval straddles 0. `promising` [N, TRIED] are those whose splitting may gain most, -1 where none
    is left.
    """

    row: Tensor
    sign: Tensor
    alpha: Tensor
    beta: Tensor
    bound: Tensor
    promising: Tensor

    def __getitem__(self, which: Tensor) -> Cases:
        return self._each(lambda t: t[which])

    def __len__(self) -> int:
        return len(self.row)

    def repeated(self, times: int) -> Cases:
        """Every case so many times in a row."""
        return self._each(lambda t: t.repeat_interleave(times, 0))

    def with_sign(self, neuron: Tensor, sign: Tensor) -> Cases:
        """The same cases with one more sign known in each, and nothing of their tensors shared."""
        known = self.sign.clone()
        known[torch.arange(len(self)), neuron] = sign
        return replace(self, sign=known)

    def and_(self, others: Cases) -> Cases:
        return Cases(*(torch.cat([getattr(self, f.name), getattr(others, f.name)]) for f in fields(self)))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Cases:
        return Cases(*(change(getattr(self, f.name)) for f in fields(self)))


class Tree:
    """The open cases of some rows [1, R, n] of a chain: those whose bound is not negative.

    `looked_at` are the rows and the linear bounds of the cases that were bounded last.
    """

    looked_at: tuple[Tensor, Linear]

    def __init__(self, chain: Chain, rows: Rows) -> None:
        self.exact, self.quick = (chain, rows), (chain.to(torch.float32), rows.to(torch.float32))
        R, free = rows.slope.shape[1], len(chain.straddling)
        low = [(q > -p).float().expand(R, -1) for p, q in chain.boxes]
        alpha = torch.cat([*low, low[0].new_zeros(R, free)], 1)
        unknown, zero = torch.full((R,), torch.inf, dtype=chain.a.dtype), torch.zeros_like(alpha)
        self.closed = torch.full((R,), -torch.inf, dtype=chain.a.dtype)  # the highest bound of a closed case
        self.cases = self._bounded(Cases(torch.arange(R), zero, alpha, zero, unknown, torch.arange(0)), FIRST_STEPS)
        self._close()

    @property
    def bound(self) -> Tensor:
        """What is proved of each row [R]."""
        return self.closed.scatter_reduce(0, self.cases.row, self.cases.bound, "amax")

    @property
    def exhausted(self) -> Tensor:
        """The open cases in which nothing is left to split: their ReLUs and inputs have a sign each."""
        return self.cases.promising[:, 0] < 0

    def grow(self, which: Tensor) -> None:
        """Split these open cases, each at the neuron that promises most, and bound both halves."""
        parents = self.cases[which]
        rest = torch.ones(len(self.cases), dtype=torch.bool)
        rest[which] = False
        ends = torch.tensor([1.0, -1.0]).repeat(len(parents))
        halves = parents.repeated(2).with_sign(self._chosen(parents).repeat_interleave(2), ends)
        halves = self._bounded(halves, STEPS)
        # what is proved of a case holds in its halves
        halves = replace(halves, bound=torch.minimum(halves.bound, parents.bound.repeat_interleave(2)))
        self.cases = self.cases[rest].and_(halves)
        self._close()

    def worst(self) -> Tensor:
        """The cases with the highest bounds that can be split."""
        able = (~self.exhausted).nonzero()[:, 0]
        return able[self.cases.bound[able].argsort(descending=True)[:AT_ONCE]]

    def worst_of_each_row(self) -> Tensor:
        """For each row the case with its highest bound, where that can be split."""
        return ((self.cases.bound == self.bound[self.cases.row]) & ~self.exhausted).nonzero()[:, 0]

    def _close(self) -> None:
        shut = self.cases.bound < 0
        self.closed = self.closed.scatter_reduce(0, self.cases.row[shut], self.cases.bound[shut], "amax")
        self.cases = self.cases[~shut]

    def _chosen(self, parents: Cases) -> Tensor:
        """The neuron to split: of the promising ones, where both halves' bounds fall most."""
        chain, rows = self.quick
        N, T = parents.promising.shape
        ends = torch.tensor([1.0, -1.0]).repeat(N * T)
        tried = parents.repeated(2 * T).with_sign(parents.promising.flatten().repeat_interleave(2), ends)
        with torch.no_grad():
            bound = _bound(chain, rows, tried, outward=False).bound[0].view(N, T, 2)
        top = parents.bound.float()[:, None, None]
        fall = torch.minimum((top - bound).clamp(min=0), top) + 1e-3 * top + 1e-30
        best = (fall.prod(2) * (parents.promising >= 0)).argmax(1, keepdim=True)
        return parents.promising.gather(1, best)[:, 0]

    def _bounded(self, cases: Cases, steps: int) -> Cases:
        """The same cases with slopes and multipliers improved, and what their bounds are then worth."""
        chain, rows = self.quick
        alpha, beta = (t.clone().requires_grad_() for t in (cases.alpha, cases.beta))
        adam = torch.optim.Adam([{"params": [alpha], "lr": RATE_ALPHA}, {"params": [beta], "lr": RATE_BETA}])
        slower = torch.optim.lr_scheduler.ExponentialLR(adam, DECAY)
        best = torch.full((len(cases),), torch.inf)
        for step in range(steps + 1):
            with torch.set_grad_enabled(step < steps):
                found = _bound(chain, rows, replace(cases, alpha=alpha, beta=beta), outward=False).bound[0]
                total = found.sum()
            better = found.detach() < best
            best = torch.where(better, found.detach(), best)
            low = torch.where(better[:, None], alpha.detach(), cases.alpha)
            cases = replace(cases, alpha=low, beta=torch.where(better[:, None], beta.detach(), cases.beta))
            if step < steps:
                adam.zero_grad()
                total.backward()
                adam.step()
                slower.step()
                with torch.no_grad():
                    alpha.clamp_(0, 1)
                    beta.clamp_(min=0)
        return self.proved(cases)

    def proved(self, cases: Cases) -> Cases:
        """The same cases with what their slopes and multipliers prove."""
        chain, rows = self.exact
        with torch.no_grad():
            linear = _bound(chain, rows, cases, outward=True)
        self.looked_at = cases.row, linear
        return replace(cases, bound=linear.bound[0], promising=_promising(chain, cases, linear))


def _bound(chain: Chain, rows: Rows, cases: Cases, *, outward: bool) -> Linear:
    """The linear bound in each case, [1, N]."""
    dtype, sizes, free = chain.a.dtype, chain.sizes, chain.straddling
    *signs, halves = cases.sign.to(dtype).split([*sizes, len(free)], 1)
    *alpha, _ = cases.alpha.to(dtype)[None].split([*sizes, len(free)], 2)
    *beta, _ = (cases.beta * cases.sign).to(dtype)[None].split([*sizes, len(free)], 2)
    boxes = [
        (torch.where(sign > 0, p.clamp(min=0), p)[None], torch.where(sign < 0, q.clamp(max=0), q)[None])
        for sign, (p, q) in zip(signs, chain.boxes, strict=True)
    ]
    a, b = chain.a, chain.b
    if len(free):
        a, b = a.repeat(1, len(cases), 1), b.repeat(1, len(cases), 1)
        a[0, :, free] = torch.where(halves > 0, 0.0, a[0, :, free])
        b[0, :, free] = torch.where(halves < 0, 0.0, b[0, :, free])
    return linear_bound(chain.hidden, rows.only(cases.row), boxes, a, b, alpha=alpha, beta=beta, outward=outward)


def _promising(chain: Chain, cases: Cases, linear: Linear) -> Tensor:
    """The neurons and straddling inputs, of those whose sign is not known, that cost the bound most [N, TRIED]."""
    free = chain.straddling
    *signs, halves = cases.sign.split([*chain.sizes, len(free)], 1)
    tiny = torch.finfo(torch.float32).tiny
    known = [
        torch.where((p >= 0) | (q <= 0) | (sign != 0), 0.0, share[0].float() + tiny)
        for sign, (p, q), share in zip(signs, chain.boxes, linear.shares, strict=True)
    ]
    first, lam = chain.hidden[0], linear.lam[0][0].float()
    bend = first.eps * lam.abs().sum(1, keepdim=True) * torch.minimum(-chain.a, chain.b)[:, free].float()
    cost = torch.cat([*known, torch.where(halves != 0, 0.0, bend + tiny)], 1)
    cost, neurons = cost.topk(min(TRIED, cost.shape[1]), 1)
    return torch.where(cost > 0, neurons, -1)


def optimised_boxes(chain: Chain, seconds: float = 0.0) -> Chain:
    """The chain with tighter boxes behind its first layer: every unstable neuron bounded with slopes of its own.

    With `seconds` for each layer the neurons' worst cases are split as well, which is where the time of a hard decision
    is best spent: a tight box serves all cases and classes.
    """
    for m in range(1, len(chain.hidden)):
        p, q = chain.boxes[m]
        unstable = ((p < 0) & (q > 0))[0].nonzero()[:, 0]
        if not len(unstable):
            continue
        until = time.thread_time() + seconds
        tree = Tree(chain.before(m), neuron_rows(chain.hidden[m], unstable))
        while len(which := tree.worst_of_each_row()) and time.thread_time() < until:
            tree.grow(which)
        high, low = tree.bound.split(len(unstable))
        p, q = p.clone(), q.clone()
        p[0, unstable], q[0, unstable] = torch.maximum(p[0, unstable], -low), torch.minimum(q[0, unstable], high)
        chain = replace(chain, boxes=(*chain.boxes[:m], (p, q), *chain.boxes[m + 1 :]))
    return chain


def rounds(chain: Chain, rows: Rows, until: float) -> Iterator[Tree]:
    """The tree of these rows after every round of splits, until all is closed, exhausted or `until` has come.

    From time to time the boxes are tightened and the tree begins again: first soon, then after ever longer times.
    """
    seconds = 0.2
    while True:
        now = time.thread_time()
        end = until if until - now < 6 * seconds else now + seconds
        tree = Tree(chain, rows)
        yield tree
        while len(which := tree.worst()) and time.thread_time() < end:
            tree.grow(which)
            yield tree
        if not len(which) or time.thread_time() >= until:
            return
        chain = optimised_boxes(chain, 2 * seconds / max(1, len(chain.hidden) - 1))
        seconds *= 5
