"""The joint input-weight attack: run a recipe on a network, and say what it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nsr.attack.engine import CHUNK, Ball, Problem, ascend
from nsr.attack.recipes import PAPER, STRONG, Ascent, Attack
from nsr.budget import UNIT, Box, Budget
from nsr.network import Network, Weights

CELLS = 2**30  # entries of x over all cells that a CUDA device attacks at once
FEW = 2**19  # weights attacked at once on a CPU where every input or batch faces its own
TARGETS = 9  # classes that an input is driven towards, those of the highest clean logits
LEAK = 0.01  # the slope of a ReLU that is off, as such an ascent sees it


class AttackResult(NamedTuple):
    """The admissible point (x_hat, W_hat) that an attack found, and which inputs it breaks there [B].

    Where each image, or every `images_per_W` of them, face weights of their own, the tensors of W_hat have a leading
    axis with one entry for each. Tensors of radius 0 are returned unchanged, not copied.
    """

    x_hat: Tensor
    W_hat: Weights
    broken: Tensor

    @property
    def accuracy(self) -> float:
        """The share of inputs that are still classified as y."""
        return int((~self.broken).sum()) / len(self.broken)


def joint_pgd(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    *,
    steps: int = 100,
    step_x: float = 0.01,
    step_w: float = 0.0005,
    box: Box | None = UNIT,
    images_per_W: int | None = None,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """The paper's joint PGD: simultaneous signed ascent of the cross-entropy on x and W, clipped to both balls.

    `images_per_W` says whom one W_hat serves: all images (None), each its own (1), or so many. With a `generator` the
    ascent begins at a random point of both balls instead of the clean one.

    >>> import torch, nsr
    >>> network = nsr.mlp(nsr.mlp_init((4, 8, 3), torch.Generator().manual_seed(0)))
    >>> x = torch.full((5, 4), 0.5)
    >>> found = nsr.attack.joint_pgd(network, x, network(x).argmax(1), nsr.Budget.uniform(0.3, 0.2, network))
    >>> found.accuracy, bool((found.x_hat - x).abs().max() <= 0.3)
    (0.0, True)
    """
    # PAPER: unstated, we chose to keep x in [0, 1] (`box`) and one W_hat for all images (`images_per_W`).
    attack = Attack.pgd(steps, step_x, step_w, random_start=generator is not None)
    return run(network, x, y, xi, attack, box=box, images_per_W=images_per_W, generator=generator)


@torch.inference_mode(False)
def run(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    attack: Attack = STRONG,
    *,
    box: Box | None = UNIT,
    images_per_W: int | None = None,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """The worst point of both balls that `attack` finds, by default the strong one.

    Random starts are drawn from `generator`, by default one seeded with 0.

    >>> import torch, nsr
    >>> network = nsr.mlp(nsr.mlp_init((4, 8, 3), torch.Generator().manual_seed(0)))
    >>> x, xi = torch.full((5, 4), 0.5), nsr.Budget.uniform(0.05, 0.01, network)
    >>> found = nsr.attack.run(network, x, network(x).argmax(1), xi, images_per_W=1)
    >>> found.broken.shape, found.W_hat[0].shape
    (torch.Size([5]), torch.Size([5, 8, 4]))
    """
    _check(network, x, y, xi, box, images_per_W)
    network, x, y = _ready(network, x, y)
    attack = _within(attack, images_per_W)
    streams = _streams(attack, network, generator)
    problems = list(_problems(network, x, y, xi, attack, box, images_per_W))
    found = [(problem, *_worst(problem, attack, streams)) for problem in problems]
    broken = [~problem.correct(W_hat, x_hat).flatten() for problem, x_hat, W_hat in found]
    x_hat = torch.cat([part.flatten(0, 1) for _, part, _ in found]) if found else x
    W_hat, moved = network.W, any(xi.eps_w) and found
    if images_per_W is None:
        W_hat = tuple(V[0] for V in found[-1][2]) if moved else W_hat
    elif moved:
        W_hat = tuple(torch.cat(parts) for parts in zip(*(W for _, _, W in found), strict=True))
    else:
        W_hat = tuple(V.expand(-(-len(x) // images_per_W), *V.shape) for V in W_hat)
    return AttackResult(x_hat, W_hat, torch.cat(broken) if broken else y.bool())


@torch.inference_mode(False)
def survivors(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    attack: Attack = PAPER,
    *,
    box: Box | None = UNIT,
    images_per_W: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Which inputs are still classified as y after the attack, for each budget [len(budgets), B].

    On CUDA the budgets are attacked at once, in one batched product a layer and step.
    """
    for xi in budgets:
        _check(network, x, y, xi, box, images_per_W)
    network, x, y = _ready(network, x, y)
    attack = _within(attack, images_per_W)
    if x.device.type == "cuda" and images_per_W is None and network.is_mlp and len(x):
        return _cells_at_once(network, x, y, budgets, attack, box, _streams(attack, network, generator))
    rows = []
    for xi in budgets:
        streams = _streams(attack, network, generator)
        problems = _problems(network, x, y, xi, attack, box, images_per_W)
        parts = [problem.correct(*reversed(_worst(problem, attack, streams))).flatten() for problem in problems]
        rows.append(torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool, device=x.device))
    return torch.stack(rows)


def robust_accuracy(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    attack: Attack = STRONG,
    *,
    box: Box | None = UNIT,
    images_per_W: int | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """The share of inputs that `attack`, by default the strong one, does not break inside the budget.

    >>> import torch, nsr
    >>> network = nsr.mlp(nsr.mlp_init((4, 8, 3), torch.Generator().manual_seed(0)))
    >>> x = torch.full((5, 4), 0.5)
    >>> nsr.robust_accuracy(network, x, network(x).argmax(1), nsr.Budget.uniform(0, 0, network))
    1.0
    """
    if len(x) == 0:
        raise ValueError("accuracy over no inputs is not a number: x is empty")
    how = {"box": box, "images_per_W": images_per_W, "generator": generator}
    return int(survivors(network, x, y, [xi], attack, **how).sum()) / len(x)


Streams = list[list[torch.Generator]]  # for each ascent of an attack: one generator for x and one for each W^m


def _streams(attack: Attack, network: Network, generator: torch.Generator | None) -> Streams:
    """Where random starts come from.

    Each tensor has a stream of its own, read in the order of the inputs: the starts do not depend on how the inputs
    are cut into problems.
    """
    ascents = (*attack.ascents, *attack.targeted)
    if not any(ascent.random_start for ascent in ascents):
        return [[] for _ in ascents]
    generator = generator or torch.Generator().manual_seed(0)
    shape = (len(ascents), 1 + len(network.W))
    seeds = torch.randint(2**62, shape, generator=generator).tolist()
    return [[torch.Generator().manual_seed(seed) for seed in row] for row in seeds]


def _worst(problem: Problem, attack: Attack, streams: Streams) -> tuple[Tensor, Weights]:
    """(x_hat, W_hat): the worst ascent for each group, the polish of each input, then each input class by class."""
    first, *others = zip(attack.ascents, streams[: len(attack.ascents)], strict=True)
    x_hat, W_hat = ascend(problem, first[0], generators=first[1])
    if others or attack.polish or attack.targeted:
        correct = problem.correct(W_hat, x_hat)
    for ascent, generators in others:
        x_new, W_new = ascend(problem, ascent, generators=generators)
        correct_new = problem.correct(W_new, x_new)
        better = correct_new.sum(1) < correct.sum(1) if problem.weights_free else correct & ~correct_new
        x_hat = torch.where(_fit(better, x_hat), x_new, x_hat)
        correct = torch.where(_fit(better, correct), correct_new, correct)
        if problem.weights_free:
            W_hat = tuple(torch.where(_fit(better, V), U, V) for U, V in zip(W_new, W_hat, strict=True))
    if problem.x.free:
        for ascent in attack.polish:
            for start in attack.starts:
                x_hat, correct = _polished(problem, ascent, start, x_hat, W_hat, correct)
    for ascent, generators in zip(attack.targeted, streams[len(attack.ascents) :], strict=True):
        x_hat, W_hat, correct = _targeted(problem, ascent, generators, x_hat, W_hat, correct)
    return x_hat, W_hat


def _polished(
    problem: Problem, ascent: Ascent, start: str, x_hat: Tensor, W_hat: Weights, correct: Tensor
) -> tuple[Tensor, Tensor]:
    """Attack every input that is still classified as y once more, on its own, at fixed W_hat."""
    alive = correct[0] if problem.groups == 1 else torch.ones_like(correct[0])  # groups have to stay of one size
    if not (correct & alive).any():
        return x_hat, correct
    x, x_found = problem.x.centre[:, alive], x_hat[:, alive]
    fixed = replace(
        problem,
        W=[Ball(V, 0.0) for V in W_hat],
        x=Ball(x, problem.x.eps, problem.x.box),
        y=problem.y[:, alive],
    )
    low, high = fixed.x.ends
    at = {"found": x_found, "clean": x, "opposite": torch.where(x_found > x, low, high)}[start]
    x_new, _ = ascend(fixed, ascent, x=at)
    broken = correct[:, alive] & ~fixed.correct(W_hat, x_new)
    x_hat, correct = x_hat.clone(), correct.clone()
    x_hat[:, alive] = torch.where(_fit(broken, x_new), x_new, x_found)
    correct[:, alive] &= ~broken
    return x_hat, correct


def _targeted(
    problem: Problem,
    ascent: Ascent,
    generators: Sequence[torch.Generator],
    x_hat: Tensor,
    W_hat: Weights,
    correct: Tensor,
) -> tuple[Tensor, Weights, Tensor]:
    """Attack every input that is still classified as y once more towards each other class, where inputs stand alone."""
    free, on_cpu, x = problem.weights_free, problem.x.on_cpu, problem.x.centre.flatten(0, 1)
    most = (CHUNK if on_cpu else CELLS) // max(1, x[:1].numel())
    if free:
        most = min(most, (FEW if on_cpu else CELLS) // sum(ball.centre[0].numel() for ball in problem.W))
        W_hat = tuple(V.clone() for V in W_hat)
    x_hat, correct = x_hat.clone(), correct.clone()
    found, right = x_hat.flatten(0, 1), correct.flatten()  # views
    for alive in right.nonzero()[:, 0].split(max(1, most // TARGETS)):
        y = problem.y.flatten()[alive]
        targets = _targets(problem.network, x[alive], y)
        if not targets.numel():  # nothing is left, or there is no other class
            break
        aimed = _aimed(problem, x[alive], y, targets)
        x_new, W_new = ascend(aimed, ascent, generators=[*generators, *generators[:1]])  # nothing fixed reads the last
        broken = ~aimed.correct(W_new, x_new).view_as(targets)
        hit = broken.any(1)
        rows = (broken.int().argmax(1) + torch.arange(len(alive), device=x.device) * broken.shape[1])[hit]
        found[alive[hit]], right[alive[hit]] = x_new.flatten(0, 1)[rows], False
        for V, U in zip(W_hat if free else (), W_new, strict=False):
            V[alive[hit]] = U[rows]
    return x_hat, W_hat, correct


def _targets(network: Network, x: Tensor, y: Tensor) -> Tensor:
    """The classes that each input is driven towards [B, up to TARGETS]."""
    with torch.no_grad():
        z = network(x)
    return z.scatter(1, y[:, None], -torch.inf).topk(min(TARGETS, z.shape[1] - 1)).indices


def _aimed(problem: Problem, x: Tensor, y: Tensor, targets: Tensor) -> Problem:
    """Each of these inputs with each of its targets k, as one problem.

    Its network has one more, fixed tensor, which leaves z_y and z_k of the logits, and ReLUs that leak.
    """

    def two(W: Weights, x: Tensor) -> Tensor:
        with _Leaking():
            return problem.network.forward(W[:-1], x).gather(-1, W[-1].long())

    pairs = torch.stack([y[:, None].expand_as(targets), targets], -1).flatten(0, 1)
    axis = 1 if problem.weights_free else 0  # of the groups: one for each row, or one for all
    rows = pairs.to(x).unsqueeze(axis)
    ball = Ball(x.repeat_interleave(targets.shape[1], 0).unsqueeze(axis), problem.x.eps, problem.x.box)
    labels = torch.zeros(rows.shape[:2], dtype=torch.long, device=x.device)
    network = replace(problem.network, forward=two)
    aimed = Problem(network, [*problem.W, Ball(rows, 0.0)], ball, labels, problem.scale, len(rows))
    aimed.size = labels.shape[1]  # the fixed tensor is not to be cut
    return aimed


class _Leaking(TorchFunctionMode):
    """Values stay as they are, but the gradient of a ReLU that is off is LEAK: with 0, no step moves what is behind."""

    def __torch_function__(
        self, function: Callable, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if function not in (torch.relu, Tensor.relu, F.relu) or not args:
            return out
        leaky = F.leaky_relu(args[0], LEAK)
        return leaky + (out - leaky).detach()


def _within(attack: Attack, images_per_W: int | None) -> Attack:
    """The attack without what is meant for inputs with weights of their own, where they have none."""
    return attack if images_per_W == 1 else replace(attack, targeted=())


def _fit(mask: Tensor, t: Tensor) -> Tensor:
    """A mask over groups or rows, ready to choose between tensors like t."""
    return mask.view(*mask.shape, *[1] * (t.ndim - mask.ndim))


def _problems(
    network: Network, x: Tensor, y: Tensor, xi: Budget, attack: Attack, box: Box | None, images_per_W: int | None
) -> Iterator[Problem]:
    """The independent parts of an attack in the order of the inputs, each small enough to stay in the cache."""
    scale = _scale(network, x, y, attack)
    balls = [Ball(V.detach()[None], e) for V, e in zip(network.W, xi.eps_w, strict=True)]
    for part, labels, groups in _parts(network, x, y, xi, images_per_W):
        part, labels = part.unflatten(0, (groups, -1)), labels.unflatten(0, (groups, -1))
        yield Problem(network, balls, Ball(part, xi.eps_x, box), labels, scale, groups)


def _parts(
    network: Network, x: Tensor, y: Tensor, xi: Budget, images_per_W: int | None
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Inputs and labels in parts of whole groups, with the number of groups."""
    entries, on_cpu = max(1, x[:1].numel()), x.device.type == "cpu"
    at_once = max(1, (CHUNK if on_cpu else CELLS) // entries)  # inputs
    if not any(xi.eps_w):  # then no input depends on another
        yield from ((a, b, 1) for a, b in zip(x.split(at_once), y.split(at_once), strict=True) if len(a))
        return
    size = images_per_W or max(1, len(x))
    several = (FEW if on_cpu else CELLS) // sum(V.numel() for V in network.W)
    rows = size * max(1, min(several, at_once // size))
    whole = len(x) // size * size
    for a, b in zip(x[:whole].split(rows), y[:whole].split(rows), strict=True):
        if len(a):
            yield a, b, len(a) // size
    if whole < len(x):
        yield x[whole:], y[whole:], 1


def _cells_at_once(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    attack: Attack,
    box: Box | None,
    streams: Streams,
) -> Tensor:
    """`survivors` with the budgets as groups; those with the same zeros go together: nothing idle is computed."""
    scale = _scale(network, x, y, attack)
    rows = torch.empty(len(budgets), len(x), dtype=torch.bool, device=x.device)
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for cell, xi in enumerate(budgets):
        kinds.setdefault(tuple(e > 0 for e in (xi.eps_x, *xi.eps_w)), []).append(cell)
    at_once = max(1, CELLS // x.numel())
    for cells in (kind[i : i + at_once] for kind in kinds.values() for i in range(0, len(kind), at_once)):
        radii = torch.tensor([(budgets[c].eps_x, *budgets[c].eps_w) for c in cells], dtype=x.dtype, device=x.device)
        balls = [Ball(V.detach()[None], e) for V, e in zip(network.W, radii[:, 1:].unbind(1), strict=True)]
        problem = Problem(network, balls, Ball(x[None], radii[:, 0], box), y[None], scale, len(cells))
        x_hat, W_hat = _worst(problem, attack, streams)
        rows[cells] = problem.correct(W_hat, x_hat)
    return rows


def _scale(network: Network, x: Tensor, y: Tensor, attack: Attack) -> float:
    """The median |clean margin|, the unit in which temperatures are tied to the network's own logits."""
    if len(x) == 0 or all(ascent.T is None for ascent in attack.members + attack.polish):
        return 1.0
    with torch.no_grad():
        z = torch.cat([network(part) for part in x.split(max(1, CHUNK // x[0].numel()))])
    z_y = z.gather(1, y[:, None])
    return float((z_y - z.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)).abs().median())


def _ready(network: Network, x: Tensor, y: Tensor) -> tuple[Network, Tensor, Tensor]:
    """The same values without a graph, in tensors that autograd can work with; labels as torch indexes by them."""

    def ready(t: Tensor) -> Tensor:
        return t.clone() if t.is_inference() else t.detach()

    return network.at(map(ready, network.W)), ready(x), ready(y).long()


def _check(network: Network, x: Tensor, y: Tensor, xi: Budget, box: Box | None, images_per_W: int | None) -> None:
    """Refuse what does not fit together, in one line that says why."""
    for name, value, kind in (("network", network, Network), ("x", x, Tensor), ("y", y, Tensor), ("xi", xi, Budget)):
        if not isinstance(value, kind):
            raise ValueError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    x, W = x.detach(), [V.detach() for V in network.W]
    xi.check(W)
    if images_per_W is not None and (isinstance(images_per_W, bool) or not isinstance(images_per_W, int)):
        raise ValueError(f"images_per_W must be None or a whole number from 1, got {images_per_W!r}")
    if images_per_W is not None and images_per_W < 1:
        raise ValueError(f"images_per_W must be None or a whole number from 1, got {images_per_W}")
    if x.dtype != network.W[0].dtype or x.device != network.W[0].device:
        here, there = (x.dtype, x.device), (network.W[0].dtype, network.W[0].device)
        raise ValueError(f"x is {here[0]} on {here[1]} but the network is {there[0]} on {there[1]}")
    if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(
            f"y must hold one whole-numbered label for each of the {len(x)} inputs, got {y.dtype} {list(y.shape)}"
        )
    if not all(bool(t.isfinite().all()) for t in (x, *W)):
        raise ValueError("x or W holds NaN or infinite values")
    if box is not None and not box[0] < box[1]:
        raise ValueError(f"box must be an interval (low, high) with low < high, got {box}")
    if len(x) == 0:
        return
    with torch.no_grad():
        K = network(x[:1]).shape[-1]
    if int(y.min()) < 0 or int(y.max()) >= K:
        raise ValueError(f"labels span [{int(y.min())}, {int(y.max())}] but the network has {K} classes")
    if box is not None and xi.eps_x > 0 and not (box[0] <= float(x.min()) and float(x.max()) <= box[1]):
        raise ValueError(f"x leaves the box {box}: its values span [{float(x.min())}, {float(x.max())}]; see box=None")
