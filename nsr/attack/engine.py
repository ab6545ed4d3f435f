"""Signed gradient ascent on x and W at once, inside two l_inf balls: the loop under every attack.

Everything has a leading axis of groups: G weight sets, each facing n inputs of its own. One W_hat for all inputs is
G = 1; one for each input is n = 1; the cells of a grid are groups too. Rows are taken a chunk at a time, so temporaries
stay in the cache, and the gradient on W is the sum over all chunks.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nsr.attack import mlp_gradients
from nsr.attack.recipes import Ascent
from nsr.budget import Box, ends
from nsr.network import Network, Weights

CHUNK = 2**20  # entries of x handled at once on a CPU: what a core's cache holds
LARGE = 2**24  # entries from which on a kernel made for the purpose is worth its making

Radius = float | Tensor  # one number, or one for each group [G]


class Ball:
    """What is within `eps` of `centre` in every entry and, if given, inside `box`."""

    def __init__(self, centre: Tensor, eps: Radius, box: Box | None = None) -> None:
        self.centre, self.box = centre, box
        self.free = bool((eps > 0).all()) if isinstance(eps, Tensor) else eps > 0
        self.eps = eps.view(-1, *[1] * (centre.ndim - 1)) if isinstance(eps, Tensor) else eps
        self.on_cpu = centre.device.type == "cpu"

    @functools.cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest admissible value of every entry."""
        return ends(self.centre, self.eps, self.box)

    def rows(self, size: int) -> list[Ball]:
        """The ball around each chunk of `size` rows."""
        return [Ball(part, self._radius(), self.box) for part in self.centre.split(size, dim=1)]

    def start(self, groups: int, at: Tensor | None = None) -> Tensor:
        """The point to start from, the centre unless told otherwise; a copy of its own wherever it may be moved."""
        point = self.centre if at is None else at
        point = point.expand(groups, *point.shape[1:])
        return point.clone(memory_format=torch.contiguous_format) if self.free else point

    def random(self, groups: int, generator: torch.Generator) -> Tensor:
        """A uniformly random point of the ball for each group."""
        low, high = self.ends
        shape = (groups, *self.centre.shape[1:])
        share = torch.rand(shape, generator=generator, dtype=self.centre.dtype).to(self.centre.device)
        return torch.lerp(low.expand(shape), high.expand(shape), share)

    def move(self, point: Tensor, g: Tensor, step: Radius, out: Tensor) -> None:
        """out = Clip(point + step * sign(g)); overwrites g."""
        if self.on_cpu and not isinstance(step, Tensor):
            torch.add(point, g.sign_(), alpha=step, out=out)
            torch.clamp(out, *self.ends, out=out)
        else:
            step = torch.as_tensor(step, dtype=point.dtype, device=point.device)
            eps = torch.as_tensor(self.eps, dtype=point.dtype, device=point.device)
            move = _fused() if point.is_cuda and point.numel() >= LARGE else _move
            move(point, g, self.centre, eps, step, self.box, out)

    def _radius(self) -> Radius:
        return self.eps.flatten() if isinstance(self.eps, Tensor) else self.eps


def _move(point: Tensor, g: Tensor, centre: Tensor, eps: Tensor, step: Tensor, box: Box | None, out: Tensor) -> None:
    out.copy_(torch.clamp(point + step * g.sign(), *ends(centre, eps, box)))


@functools.cache
def _fused() -> Callable[..., None]:
    """`_move` as one kernel, where one can be made: memory is then read and written once."""
    return torch.compile(_move, dynamic=True) if importlib.util.find_spec("triton") else _move


@dataclass
class Problem:
    """A network under attack: G groups of weights, each facing n inputs."""

    network: Network
    W: Sequence[Ball]  # around [1 or G, ...]
    x: Ball  # around [1 or G, n, ...]
    y: Tensor  # [1 or G, n]
    scale: float  # median |clean margin|, the unit of temperatures
    groups: int
    size: int = field(init=False)  # rows handled at once

    def __post_init__(self) -> None:
        entries = self.groups * max(1, self.x.centre[0, 0].numel())
        self.size = max(1, CHUNK // entries) if self.x.on_cpu else len(self.y[0])

    @property
    def weights_free(self) -> bool:
        return any(ball.free for ball in self.W)

    def logits(self, W: Weights, x: Tensor) -> Tensor:
        """f_W(x) [G, n, K]."""
        with torch.no_grad():
            parts = x.split(self.size, dim=1)
            if self.network.is_mlp:
                return torch.cat([mlp_gradients.logits(W, part) for part in parts], dim=1)
            return torch.cat([_grouped(self.network)(W, part) for part in parts], dim=1)

    def correct(self, W: Weights, x: Tensor) -> Tensor:
        """Which inputs the network still classifies as y [G, n]."""
        return self.logits(W, x).argmax(-1) == self.y


@torch.no_grad()
def ascend(
    problem: Problem,
    ascent: Ascent,
    x: Tensor | None = None,
    generators: Iterable[torch.Generator] = (),
) -> tuple[Tensor, Weights]:
    """Run the recipe from x, the clean input if not given; the admissible (x_hat, W_hat) it reaches.

    A random start takes its point of each ball, x and then every W^m, from a generator of its own.
    """
    gradients = mlp_gradients.gradients if problem.network.is_mlp else _autograd(_grouped(problem.network))
    free_W = [ball.free for ball in problem.W]
    x_t = problem.x.start(problem.groups, x)
    W_t = tuple(ball.start(problem.groups) for ball in problem.W)
    if not (problem.x.free or any(free_W)):
        return x_t, W_t
    if ascent.random_start:
        x_t, *W_t = (
            ball.random(problem.groups, generator) if ball.free else point
            for ball, point, generator in zip((problem.x, *problem.W), (x_t, *W_t), generators, strict=False)
        )
    chunks = problem.x.rows(problem.size)
    labels = problem.y.expand(problem.groups, -1).split(problem.size, dim=1)
    best = _Best(problem) if ascent.keep_best else None
    # the best iterate is copied away, so two buffers serve all steps: fresh memory for each would cost almost a step
    spare = torch.empty_like(x_t) if best and problem.x.free else x_t
    for t in range(ascent.steps):
        x_next = spare
        g_W, right = [None] * len(W_t), []
        parts = zip(chunks, labels, x_t.split(problem.size, dim=1), x_next.split(problem.size, dim=1), strict=True)
        for ball, y, point, out in parts:
            z, g_x, g = gradients(W_t, point, ascent.directions(problem.scale, y), ball.free, free_W)
            g_W = [new if old is None else old.add_(new) for old, new in zip(g_W, g, strict=True)]
            if best:
                right.append(z.argmax(-1) == y)
            if g_x is not None:
                ball.move(point, g_x, ascent.step(ascent.step_x, ball.eps, t), out)
        if best:
            best.see(torch.cat(right, dim=1), x_t, W_t)
        W_next = [torch.empty_like(V) if best and ball.free else V for V, ball in zip(W_t, problem.W, strict=True)]
        for ball, V, g, out in zip(problem.W, W_t, g_W, W_next, strict=True):
            if ball.free:
                ball.move(V, g, ascent.step(ascent.step_w, ball.eps, t), out)
        spare, x_t, W_t = x_t, x_next, tuple(W_next)
    if best:
        best.see(problem.correct(W_t, x_t), x_t, W_t)
        return best.x, best.W
    return x_t, W_t


class _Best:
    """The best iterate seen: per group, or per input where the weights are fixed and inputs are independent."""

    def __init__(self, problem: Problem) -> None:
        self.per_input = not problem.weights_free
        self.right: Tensor | None = None

    def see(self, right: Tensor, x: Tensor, W: Weights) -> None:
        score = right if self.per_input else right.sum(1)
        if self.right is None:
            self.right, self.x, self.W = score, x.clone(), W
            return
        better = score < self.right
        if better.any():
            self.right = torch.where(better, score, self.right)
            self.x[better] = x[better]
            if self.per_input:
                return
            self.W = tuple(torch.where(_like(better, V), V, U) for V, U in zip(W, self.W, strict=True))


def _like(better: Tensor, V: Tensor) -> Tensor:
    return better.view(-1, *[1] * (V.ndim - 1))


def _grouped(network: Network) -> Callable[[Weights, Tensor], Tensor]:
    """The forward map with the axis of groups: W [G, ...], x [G, n, ...] -> [G, n, K]."""

    def forward(W: Weights, x: Tensor) -> Tensor:
        if len(x) == 1:
            return network.forward(tuple(V[0] for V in W), x[0])[None]
        return torch.func.vmap(network.forward)(W, x)

    return forward


def _autograd(forward: Callable[[Weights, Tensor], Tensor]) -> Callable[..., tuple]:
    """`dense.gradients` for any forward map, by autograd."""

    def gradients(
        W: Weights, x: Tensor, directions: mlp_gradients.Directions, wrt_x: bool, wrt_W: Sequence[bool]
    ) -> tuple[Tensor, Tensor | None, list[Tensor | None]]:
        x = x.detach().requires_grad_(wrt_x)
        W = tuple(V.detach().requires_grad_(want) for V, want in zip(W, wrt_W, strict=True))
        with torch.enable_grad():
            z = forward(W, x)
        d_x, d_W = directions(z.detach())
        leaves = [V for V in W if V.requires_grad]
        if d_x is d_W:
            found = iter(torch.autograd.grad(z, [x] * wrt_x + leaves, d_x, materialize_grads=True))
            g_x = next(found) if wrt_x else None
        else:
            g_x = torch.autograd.grad(z, x, d_x, retain_graph=True)[0] if wrt_x else None
            found = iter(torch.autograd.grad(z, leaves, d_W, materialize_grads=True) if leaves else ())
        return z.detach(), g_x, [next(found) if want else None for want in wrt_W]

    return gradients
