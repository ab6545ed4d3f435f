"""The joint input-weight attack: the paper's, and a stronger one inside the same budget.

An `Attack` is a few ascents, the worst taken, then each input attacked once more on its own. `PAPER` is the paper's
single ascent. `STRONG` does not depend on the scale of the network: attacking c*W with radii c*eps_w finds what
attacking W with eps_w finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nsr.attack.engine import CHUNK, Ball, Siege, ascend
from nsr.attack.recipes import PAPER, STRONG, Ascent, Attack
from nsr.budget import Box, Budget
from nsr.network import Network, Weights

UNIT: Box = (0.0, 1.0)
SCOPES = ("shared", "batch", "per_sample")
CELLS = 2**30  # entries of x over all cells that a CUDA device attacks at once
FEW = 2**19  # weights attacked at once on a CPU where every input or batch faces its own


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
    weights: str = "shared",
    n: int | None = None,
) -> tuple[Tensor, Weights]:
    """The paper's joint PGD: simultaneous signed ascent of the cross-entropy on x and W, clipped to both balls.

    `weights` says who the weight attacker is: one W_hat for all inputs ("shared"), one for every `n` of them ("batch")
    or one for each ("per_sample"); W_hat then has a leading axis, one entry a batch or an input.
    """
    # PAPER: unstated, we chose to keep x in [0, 1] (`box`) and one W_hat for all inputs (`weights`).
    return run(network, x, y, xi, Attack((Ascent(steps, step_x, step_w),)), box=box, weights=weights, n=n)


def strong(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    *,
    attack: Attack = STRONG,
    box: Box | None = UNIT,
    weights: str = "shared",
    n: int | None = None,
) -> tuple[Tensor, Weights]:
    """The worst of several attacks that do not see the network's scale; switch parts off with `replace(STRONG, ..)`."""
    return run(network, x, y, xi, attack, box=box, weights=weights, n=n)


@torch.inference_mode(False)
def run(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    attack: Attack,
    *,
    box: Box | None = UNIT,
    weights: str = "shared",
    n: int | None = None,
) -> tuple[Tensor, Weights]:
    """The admissible (x_hat, W_hat) that `attack` finds; of what has no room to move, the very tensors passed in."""
    _check(network, x, y, xi, box, weights, n)
    network, x, y = _ready(network, x, y)
    pairs = [_fall(siege, attack) for siege in _sieges(network, x, y, xi, attack, box, weights, n)]
    x_hat = torch.cat([found.flatten(0, 1) for found, _ in pairs]) if pairs else x
    if weights == "shared":
        return x_hat, (tuple(V[0] for V in pairs[-1][1]) if any(xi.eps_w) and pairs else network.W)
    if not (any(xi.eps_w) and pairs):
        return x_hat, tuple(V.expand(-(-len(x) // (n or 1)), *V.shape) for V in network.W)
    return x_hat, tuple(torch.cat(Vs) for Vs in zip(*(W_hat for _, W_hat in pairs), strict=True))


@torch.inference_mode(False)
def survivors(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    attack: Attack = PAPER,
    *,
    box: Box | None = UNIT,
    weights: str = "shared",
    n: int | None = None,
) -> Tensor:
    """Which inputs are still classified as y after the attack, for each budget [len(budgets), B].

    On CUDA the budgets are attacked at once, in one batched product a layer and step.
    """
    for xi in budgets:
        _check(network, x, y, xi, box, weights, n)
    network, x, y = _ready(network, x, y)
    if x.device.type == "cuda" and weights == "shared" and network.is_mlp and len(x):
        return _cells_at_once(network, x, y, budgets, attack, box)
    rows = []
    for xi in budgets:
        sieges = _sieges(network, x, y, xi, attack, box, weights, n)
        rights = [siege.right(*reversed(_fall(siege, attack))).flatten() for siege in sieges]
        rows.append(torch.cat(rights) if rights else torch.zeros(0, dtype=torch.bool, device=x.device))
    return torch.stack(rows)


def _fall(siege: Siege, attack: Attack) -> tuple[Tensor, Weights]:
    """(x_hat, W_hat): the worst member for each group, then the polish of each input."""
    x_hat, W_hat = ascend(siege, attack.members[0])
    if len(attack.members) > 1 or attack.polish:
        right = siege.right(W_hat, x_hat)
    for member in attack.members[1:]:
        x_new, W_new = ascend(siege, member)
        right_new = siege.right(W_new, x_new)
        better = right_new.sum(1) < right.sum(1) if siege.weights_free else right & ~right_new
        x_hat, right = (
            torch.where(_fit(better, x_hat), x_new, x_hat),
            torch.where(_fit(better, right), right_new, right),
        )
        if siege.weights_free:
            W_hat = tuple(torch.where(_fit(better, V), U, V) for U, V in zip(W_new, W_hat, strict=True))
    if siege.x.free:
        for ascent in attack.polish:
            for start in attack.starts:
                x_hat, right = _polished(siege, ascent, start, x_hat, W_hat, right)
    return x_hat, W_hat


def _polished(
    siege: Siege, ascent: Ascent, start: str, x_hat: Tensor, W_hat: Weights, right: Tensor
) -> tuple[Tensor, Tensor]:
    """Attack every input that is still right once more, on its own, at fixed W_hat."""
    alive = right[0] if siege.groups == 1 else torch.ones_like(right[0])  # groups have to stay of one size
    if not (right & alive).any():
        return x_hat, right
    x, x_found = siege.x.centre[:, alive], x_hat[:, alive]
    fixed = replace(
        siege,
        W=[Ball(V, 0.0) for V in W_hat],
        x=Ball(x, siege.x.eps, siege.x.box),
        y=siege.y[:, alive],
    )
    low, high = fixed.x.ends
    at = {"found": x_found, "clean": x, "opposite": torch.where(x_found > x, low, high)}[start]
    x_new, _ = ascend(fixed, ascent, x=at)
    broken = right[:, alive] & ~fixed.right(W_hat, x_new)
    x_hat, right = x_hat.clone(), right.clone()
    x_hat[:, alive] = torch.where(_fit(broken, x_new), x_new, x_found)
    right[:, alive] &= ~broken
    return x_hat, right


def _fit(mask: Tensor, t: Tensor) -> Tensor:
    """A mask over groups or rows, ready to choose between tensors like t."""
    return mask.view(*mask.shape, *[1] * (t.ndim - mask.ndim))


def _sieges(
    network: Network,
    x: Tensor,
    y: Tensor,
    xi: Budget,
    attack: Attack,
    box: Box | None,
    weights: str,
    n: int | None,
) -> Iterator[Siege]:
    """The independent parts of an attack in the order of the inputs, each small enough to stay in the cache."""
    scale = _scale(network, x, y, attack)
    balls = [Ball(V.detach()[None], e) for V, e in zip(network.W, xi.eps_w, strict=True)]
    for lot, labels, groups in _lots(network, x, y, xi, weights, n):
        lot, labels = lot.unflatten(0, (groups, -1)), labels.unflatten(0, (groups, -1))
        yield Siege(network, balls, Ball(lot, xi.eps_x, box), labels, scale, groups)


def _lots(
    network: Network, x: Tensor, y: Tensor, xi: Budget, weights: str, n: int | None
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Inputs and labels in lots of whole groups, with the number of groups."""
    entries, on_cpu = max(1, x[:1].numel()), x.device.type == "cpu"
    at_once = max(1, (CHUNK if on_cpu else CELLS) // entries)  # inputs
    if not any(xi.eps_w):  # then no input depends on another
        yield from ((a, b, 1) for a, b in zip(x.split(at_once), y.split(at_once), strict=True) if len(a))
        return
    size = {"shared": max(1, len(x)), "batch": n, "per_sample": 1}[weights]
    several = (FEW if on_cpu else CELLS) // sum(V.numel() for V in network.W)
    lot = size * max(1, min(several, at_once // size))
    whole = len(x) // size * size
    for a, b in zip(x[:whole].split(lot), y[:whole].split(lot), strict=True):
        if len(a):
            yield a, b, len(a) // size
    if whole < len(x):
        yield x[whole:], y[whole:], 1


def _cells_at_once(
    network: Network, x: Tensor, y: Tensor, budgets: Sequence[Budget], attack: Attack, box: Box | None
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
        siege = Siege(network, balls, Ball(x[None], radii[:, 0], box), y[None], scale, len(cells))
        x_hat, W_hat = _fall(siege, attack)
        rows[cells] = siege.right(W_hat, x_hat)
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


def _check(network: Network, x: Tensor, y: Tensor, xi: Budget, box: Box | None, weights: str, n: int | None) -> None:
    """Refuse what does not fit together, in one line that says why."""
    x, W = x.detach(), [V.detach() for V in network.W]
    xi.check(W)
    if weights not in SCOPES:
        raise ValueError(f"unknown weight attacker {weights!r}: choose one of {', '.join(SCOPES)}")
    if (weights == "batch") != (n is not None) or (n is not None and (not isinstance(n, int) or n < 1)):
        raise ValueError(
            f'weights="batch" takes its size as n, a whole number from 1, and the others take none; got n={n}'
        )
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
