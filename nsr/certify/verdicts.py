"""Decide joint robustness image by image: proved, refuted by a point of the ball, or open when time is up.

For z >= 0 the vectors V z over all |V - W| <= eps are exactly the box (W - eps) z <= s <= (W + eps) z, so whether any
(x_hat, W_hat) flips an image is a mixed-integer linear problem with one binary for each unstable ReLU, and no more than
for the input alone. The ladder goes from cheap to dear: the prediction, bounds over tight boxes, an attack on every
class that these leave, then branching (see `branching`), with an attack from the corners of open cases.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nsr.attack.offsets import by_neuron
from nsr.budget import UNIT, Box, Budget, layer_balls
from nsr.certify import leaf
from nsr.certify.branching import Chain, Tree, optimised_boxes, rounds
from nsr.certify.linear import linear_bound, margin_rows
from nsr.certify.margins import checked, labels, margin_upper_bound, seen
from nsr.certify.witness import Witness, admissible
from nsr.network import Network, Weights

STARTS, STEPS = 3, 40  # random starts of the first attack on each class, and its steps
MORE_STARTS, MORE_STEPS = 16, 100  # of the second, once an image has turned out to be hard
CORNERS, CORNER_STEPS, EVERY = 32, 12, 4  # an attack from so many corners of open cases, every so many rounds

Watch = Callable[[int, int, int], None]  # (images decided, images left open, images in all)


@dataclass(frozen=True)
class Verdicts:
    """For each image: proved robust, broken by its own (x_hat, W_hat), or open (neither).

    `bound` is what is proved of max f_i - f_y over i != y and the ball; negative means robust. Where an image is not
    broken, (x_hat, W_hat) is the best point that was looked at. `offsets` are W_hat as one number a neuron.
    """

    robust: Tensor
    broken: Tensor
    bound: Tensor
    x_hat: Tensor
    offsets: Weights
    network: Network
    xi: Budget
    interrupted: bool = False  # by the keyboard, so that some are open which had time left

    @property
    def open(self) -> Tensor:
        return ~(self.robust | self.broken)

    @property
    def W_hat(self) -> Weights:  # noqa: N802
        """The weights that each image faces, tensors with a leading axis of images: as large as B networks."""
        each = [self.witness(k)[1] for k in range(len(self.x_hat))]
        return tuple(map(torch.stack, zip(*each, strict=True))) if each else tuple(V[None][:0] for V in self.network.W)

    def witness(self, k: int) -> tuple[Tensor, Weights]:
        """(x_hat, W_hat) of image k, in float64."""
        return self.x_hat[k], admissible(self.network, self.xi, self.x_hat[k], [t[k] for t in self.offsets])


@torch.inference_mode(False)
def exact(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    *,
    box: Box | None = UNIT,
    seconds: float = 20.0,
    watch: Watch = lambda decided, left, total: None,
) -> Verdicts:
    """Whether any (x_hat, W_hat) of the joint ball flips each image, weights being the image's own; in float64.

    `seconds` is how long this thread may work on one image; whoever needs more is open. It is the processor's time, not
    the clock's: what else the machine does changes no verdict. A keyboard interrupt ends the search and returns what is
    decided. `watch(decided, open, total)` follows the images.

    >>> import torch, nsr
    >>> network = nsr.mlp((torch.eye(2), torch.eye(2)))
    >>> x, y = torch.tensor([[0.9, 0.1], [0.6, 0.5]]), torch.tensor([0, 0])
    >>> verdict = exact(network, x, y, nsr.Budget.uniform(0.1, 0.01, network))
    >>> verdict.robust, verdict.broken
    (tensor([ True, False]), tensor([False,  True]))
    """
    checked(network, x, xi, box, dense="the exact verdict")
    if not seconds >= 0:
        raise ValueError(f"seconds must be a number, not negative, got {seconds!r}")
    y = labels(y, x, len(layer_balls(network.W, xi)[-1].W))
    network, x = network.at([V.detach() for V in network.W]).to(torch.float64), x.detach().double()
    bound = margin_upper_bound(network, x, xi, method="tight", box=box, y=y)
    bound = bound.scatter(1, y[:, None], -torch.inf).amax(1) if bound.shape[1] > 1 else bound[:, 0] - torch.inf
    broken = network(x).argmax(1) != y
    robust = (bound < 0) & ~broken
    x_hat, offsets = x.clone(), tuple(V.expand(len(x), -1).clone() for V in by_neuron(network).W)
    undecided = (~(robust | broken)).nonzero()[:, 0].tolist()
    watch(len(x) - len(undecided), 0, len(x))
    # the first optimiser of a process takes seconds to import what it needs: no image pays for that
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    interrupted = False
    try:
        for done, k in enumerate(undecided, start=1):
            robust[k], bound[k], seen_best = _decided(network, x[k], int(y[k]), xi, box, time.thread_time() + seconds)
            broken[k], x_hat[k] = seen_best.broken, seen_best.x
            for tensor, t in zip(offsets, seen_best.t, strict=True):
                tensor[k] = t
            left = int((~(robust | broken))[undecided[:done]].sum())
            watch(len(x) - len(undecided) + done - left, left, len(x))
    except KeyboardInterrupt:
        interrupted = True
    return Verdicts(robust, broken, bound, x_hat, offsets, network, xi, interrupted)


def _decided(
    network: Network, x: Tensor, y: int, xi: Budget, box: Box | None, until: float
) -> tuple[bool, float, Witness]:
    """Whether the image x [d] is proved robust until then, what is proved of its worst margin, the best point seen."""
    witness = Witness(network, x, y, xi, box)
    _, (a, b), wide = seen(network, x[None], xi, box)
    *hidden, last = layer_balls(network.W, wide)
    chain, rows = Chain.of(hidden, a, b), margin_rows(last, torch.tensor([[y]]))
    linear = linear_bound(hidden, rows, chain.boxes, a, b)
    classes = (~(linear.bound[0] < 0) & (torch.arange(len(last.W)) != y)).nonzero()[:, 0]
    if not bool(linear.bound.isfinite().all()):
        return False, torch.inf, witness
    if not len(classes):
        return True, float(linear.bound[0].max()), witness
    rows, linear = rows.only(classes), linear.only(classes)
    bound = float(linear.bound.max())
    corners = witness.corners(classes, linear, a, b)
    for k in linear.bound[0].argsort(descending=True)[:CORNERS].tolist():
        witness.see(corners.x[k], [t[k] for t in corners.t])
    witness.climb(witness.starts(classes, STARTS), STEPS, 1.0)
    if witness.broken or not hidden:
        return False, bound, witness
    tree = None
    for number, now in enumerate(rounds(optimised_boxes(chain), rows, until)):
        if tree not in (None, now):  # it has begun again, so this is a hard one
            witness.climb(witness.starts(classes, MORE_STARTS), MORE_STEPS, 1.0)
        tree, bound = now, min(bound, float(now.bound.max()))
        if len(tree.cases) and number % EVERY == 0:
            row, linear = tree.looked_at
            top = linear.bound[0].argsort(descending=True)[:CORNERS]
            corners = witness.corners(classes[row[top]], linear.only(top), a, b)
            witness.climb(corners, CORNER_STEPS, 0.25)
        if witness.broken or not len(tree.cases):
            return not len(tree.cases), bound, witness
    bound = _solve_leaves(tree, classes, witness, until)
    return bound < 0 and not witness.broken, bound, witness


def _solve_leaves(tree: Tree, classes: Tensor, witness: Witness, until: float) -> float:
    """What is proved once the cases in which nothing is left to split are solved: each is a linear program.

    Of a solution two things are taken: a point, which is looked at, and multipliers, which give a bound of our own.
    """
    for k in tree.exhausted.nonzero()[:, 0].tolist():
        if witness.broken or time.thread_time() >= until:
            break
        case, (chain, rows) = tree.cases[torch.tensor([k])], tree.exact
        found = leaf.solve(chain, rows, int(case.row), case.sign[0].double())
        if found is None:
            continue
        point = witness.point(found, int(classes[case.row]))
        witness.see(point.x[0], [t[0] for t in point.t])
        beta = torch.zeros_like(case.beta)
        beta[0, : len(found.beta)] = found.beta.float() * (case.sign[0, : len(found.beta)] != 0)
        tree.cases.bound[k] = torch.minimum(case.bound, tree.proved(replace(case, beta=beta)).bound)[0]
    return float(tree.bound.max())
