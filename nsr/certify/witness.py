"""Look for a point of the joint ball that flips one image: signed ascent on the input and on one offset a neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nsr.attack.offsets import by_neuron, weights_for
from nsr.budget import Box, Budget, layer_balls
from nsr.certify.leaf import Leaf
from nsr.certify.linear import Linear
from nsr.network import Network, Weights


class Points(NamedTuple):
    """Points of the ball, each with the class that it is to be taken for: x [N, d], offsets [N, n_m], i [N]."""

    x: Tensor
    t: list[Tensor]
    i: Tensor


class Witness:
    """The best point (x, t) seen so far for an image x of class y; `broken` once the network misclassifies there."""

    def __init__(self, network: Network, x: Tensor, y: int, xi: Budget, box: Box | None) -> None:
        self.network, self.y, self.xi, self.clean = network, y, xi, x
        self.ends = tuple(end[0] for end in xi.interval(x[None], box))
        self.centre, self.quick = by_neuron(network).W, by_neuron(network.to(torch.float32))
        self.x, self.t, self.margin, self.broken = x, self.centre, -torch.inf, False
        self.generator = torch.Generator().manual_seed(0)

    def climb(self, start: Points, steps: int, size: float) -> None:
        """Signed ascent of f_i - f_y from these points, steps falling from `size` radii to none.

        It is done in float32; the best point is then looked at in float64.
        """
        low, high = (end.float() for end in self.ends)
        reach = [(V.float(), e) for V, e in zip(self.centre, self.xi.eps_w, strict=True)]
        x, t, best = start.x.float(), [part.float() for part in start.t], torch.full((len(start.i),), -torch.inf)
        kept = [x, *t]
        for step in range(steps + 1):
            now = [part.detach().requires_grad_() for part in (x, *t)]
            logits = self.quick.forward(tuple(now[1:]), now[0])
            margin = logits.gather(1, start.i[:, None])[:, 0] - logits[:, self.y]
            better = margin.detach() > best
            best = torch.where(better, margin.detach(), best)
            kept = [torch.where(better[:, None], new.detach(), old) for new, old in zip(now, kept, strict=True)]
            if step == steps or bool((best > 0).any()):
                break
            g_x, *g_t = torch.autograd.grad(margin.sum(), now)
            share = size * (1 - step / steps)
            x = torch.clamp(x + share * (high - low) / 2 * g_x.sign(), low, high)
            moved = zip(t, g_t, reach, strict=True)
            t = [torch.clamp(part + share * e * g.sign(), V - e, V + e) for part, g, (V, e) in moved]
        k = int(best.argmax())
        self.see(kept[0][k].double(), [part[k].double() for part in kept[1:]])

    def see(self, x: Tensor, t: Sequence[Tensor]) -> None:
        """Look at one point, brought into the ball: does the network, so perturbed, misclassify there?"""
        x = x.clamp(*self.ends)
        logits = self.network.at(admissible(self.network, self.xi, x, t))(x[None])[0]
        others = logits.scatter(0, torch.tensor(self.y), -torch.inf)
        margin, wrong = float(others.max() - logits[self.y]), int(logits.argmax()) != self.y
        if wrong or (margin > self.margin and not self.broken):
            self.x, self.t, self.margin, self.broken = x, tuple(t), margin, wrong

    def starts(self, classes: Tensor, random: int) -> Points:
        """For each of these classes the clean point, and random ones: offsets at the ends or in the middle."""
        N = len(classes)
        share = torch.rand(N * random, len(self.clean), generator=self.generator, dtype=torch.float64)
        x = torch.cat([self.clean.expand(N, -1), torch.lerp(*self.ends, share)])
        t = []
        for V, e in zip(self.centre, self.xi.eps_w, strict=True):
            side = torch.randint(-1, 2, (N * random, len(V)), generator=self.generator)
            t.append(torch.cat([V.expand(N, -1), V + e * side]))
        return Points(x, t, classes.repeat(1 + random))

    def corners(self, classes: Tensor, linear: Linear, a: Tensor, b: Tensor) -> Points:
        """Where linear bounds [1, N] of these classes are reached; [a, b] are inputs as the first layer sees them."""
        *hidden, last = layer_balls(self.network.W, self.xi)
        g, e = linear.g[0], 2 * last.eps
        if hidden:
            e = hidden[0].eps * linear.lam[0][0].abs().sum(1, keepdim=True)
        high = g * b + e * b.abs() >= g * a + e * a.abs()
        if self.network.affine is not None:
            high = high ^ (self.network.affine.scale < 0)
        sides = [lam[0].sign() for lam in linear.lam]
        return Points(torch.where(high, self.ends[1], self.ends[0]), self._offsets(sides, classes), classes)

    def point(self, leaf: Leaf, i: int) -> Points:
        """The solution of a linear program: each neuron's distance from W z + b, shared by matrix and bias."""
        affine, z, sides = self.network.affine, leaf.x, []
        x = z if affine is None else (z - affine.shift.to(z)) / affine.scale.to(z)
        for ball, s in zip(layer_balls(self.network.W, self.xi), leaf.s, strict=False):
            off = s - ball.W @ z - (0.0 if ball.b is None else ball.b)
            sides.append((off / (ball.eps * z.abs().sum() + ball.beta).clamp(min=1e-300)).clamp(-1, 1)[None])
            z = s.relu()
        classes = torch.tensor([i])
        return Points(x[None], self._offsets(sides, classes), classes)

    def _offsets(self, sides: Sequence[Tensor], classes: Tensor) -> list[Tensor]:
        """Offsets at these shares of their radii, in the last layer class i up and y down."""
        balls, t = layer_balls(self.network.W, self.xi), []
        last = torch.zeros(len(classes), len(balls[-1].W), dtype=torch.float64)
        last[:, self.y] = -1
        last[torch.arange(len(classes)), classes] = 1
        for ball, side in zip(balls, [*sides, last], strict=True):
            t += [ball.eps * side] if ball.b is None else [ball.eps * side, ball.b + ball.beta * side]
        return t


def admissible(network: Network, xi: Budget, x: Tensor, t: Sequence[Tensor]) -> Weights:
    """The W_hat behind the offsets t at the input x [d], brought into the ball."""
    return xi.clip_W(weights_for(network, t, x[None]), network.W)
