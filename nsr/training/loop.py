"""One training loop for every row of the table of methods."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import torch
from torch import Tensor
from torch.nn import functional as F

from nsr.attack.engine import Ball, Problem, ascend
from nsr.attack.offsets import by_neuron
from nsr.attack.recipes import Ascent
from nsr.budget import UNIT, Budget
from nsr.network import Network, Weights
from nsr.steps import Convolution
from nsr.training import loss, regularisers
from nsr.training.methods import Method

PLAIN = Method("Plain")


class CollapseError(FloatingPointError):
    """The training ended in NaN, or in a network that answers the same class whatever it sees."""


@dataclass(frozen=True)
class State:
    """All that a training needs to go on after `epoch` epochs, to the bit.

    `optimiser` holds the optimiser's own tensors for each weight tensor, `history` one record an epoch: the mean of
    every term of the loss.
    """

    epoch: int
    W: Weights
    optimiser: dict[int, dict[str, Tensor]]
    generator: Tensor
    history: tuple[dict[str, float], ...]


def fit(
    network: Network,
    x: Tensor,
    y: Tensor,
    method: Method = PLAIN,
    *,
    generator: torch.Generator,
    state: State | None = None,
    on_epoch: Callable[[State], None] = lambda state: None,
    **numbers: float,
) -> Network:
    """The network trained on (x, y) by this row of the table; the one passed in stays as it is.

    `numbers` replace the row's own, as in `fit(.., epochs=3)`. `on_epoch` sees the State after every epoch; a `state`
    from an earlier run goes on where that one stopped and ends in the same weights. In float64 the result does not
    depend on the machine to any printed digit.
    """
    W = network.W if state is None else state.W
    for reached in states(network, x, y, replace(method, **numbers), generator=generator, state=state):
        on_epoch(reached)
        W = reached.W
    return network.at(W_m.clone() for W_m in W)


def states(
    network: Network, x: Tensor, y: Tensor, method: Method, *, generator: torch.Generator, state: State | None = None
) -> Iterator[State]:
    """The State after each epoch still to come: what `fit` runs through, one epoch at a time."""
    # PAPER: unstated, we chose SGD with momentum (or Adam) under a cosine schedule.
    W = [W_m.clone().requires_grad_() for W_m in (network.W if state is None else state.W)]
    optimiser = _optimiser(W, method)
    first, history = 0, ()
    if state is not None:
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state.optimiser})
        generator.set_state(state.generator)
        first, history = state.epoch, state.history
    batches = -(-len(x) // method.batch)
    convolutions = [step for step in network.steps if isinstance(step, Convolution)]
    regularisers.refuse(W, convolutions, method)
    for epoch in range(first, method.epochs):
        totals: dict[str, float] = {}
        for i, rows in enumerate(torch.randperm(len(x), generator=generator).split(method.batch)):
            progress = (epoch * batches + i) / (method.epochs * batches)
            for group in optimiser.param_groups:
                group["lr"] = method.lr * 0.5 * (1 + math.cos(math.pi * progress))
            terms = loss_terms(network, tuple(W), x[rows], y[rows], method, progress, generator)
            optimiser.zero_grad()
            sum(terms.values()).backward()
            norm = torch.nn.utils.clip_grad_norm_(W, method.clip or math.inf)
            if not math.isfinite(norm):
                raise CollapseError(
                    f"training diverged: a gradient is NaN or infinite; try a rate below lr={method.lr}"
                )
            if method.norm_decay > 0:
                decay = method.norm, method.norm_decay
                regularisers.step_with_norm_decay(optimiser, W, *decay, convolutions)
            else:
                optimiser.step()
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + float(term.detach()) * len(rows)
        if method.most_singular > 0:
            regularisers.clip_singular_values(W, method.most_singular)
        means = {name: total / len(x) for name, total in totals.items()}
        history = (*history, {"epoch": epoch + 1, "loss": sum(means.values()), **means})
        _refuse_collapse(network.at([W_m.detach() for W_m in W]), x[: method.batch], method)
        yield _state(epoch + 1, W, optimiser, generator, history)


def loss_terms(
    network: Network, W: Weights, x: Tensor, y: Tensor, method: Method, progress: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """The terms whose sum is the loss of one training step, `progress` in [0, 1) of the way through the training."""
    ramp = min(1.0, progress / method.ramp) if method.ramp > 0 else 1.0
    x_hat, logits_hat = _attacked(network, W, x, y, method, ramp, generator)
    if method.trades > 0:
        terms = {"cross-entropy": loss.trades(network.forward(W, x), logits_hat, y, method.trades)}
    else:
        terms = {"cross-entropy": F.cross_entropy(logits_hat, y)}
    xi = Budget.uniform(ramp * method.xi_x, ramp * method.xi_w, network)
    if method.certified > 0:
        share = ramp * method.certified
        terms["cross-entropy"] = (1 - share) * terms["cross-entropy"]
        terms["certified"] = share * loss.certified_ce(network.at(W), x, y, xi)
    if method.alpha > 0:
        terms["tau"] = ramp * method.alpha * loss.worst_tau(network.at(W), x_hat, y, xi, method.bound)
    if method.beta > 0:
        terms["zeta"] = ramp * method.beta * loss.worst_zeta(network.at(W), x_hat, y, xi, method.bound)
    return terms


def _attacked(
    network: Network, W: Weights, x: Tensor, y: Tensor, method: Method, ramp: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The attacked inputs of one step and their logits at the attacked weights; their gradient reaches W unchanged."""
    frozen = network.at([W_m.detach() for W_m in W])
    xi = Budget.uniform(ramp * method.attack_x, ramp * method.attack_w, network)
    own = method.images_per_W == 1 and any(xi.eps_w)
    faced = by_neuron(frozen) if own else frozen  # weights of each image's own are offsets: one number a neuron
    x_hat, W_hat = x, faced.W
    if xi.eps_x > 0 or any(xi.eps_w):
        # PAPER: unstated, we chose Madry's inner attack: a random start and steps of 2.5 radii shared over all steps,
        # and inputs that stay inside the pixels' box.
        share = 2.5 / method.attack_steps
        inner = Ascent(method.attack_steps, share, share, in_radii=True, random_start=True)
        balls = [Ball(W_m[None], e) for W_m, e in zip(faced.W, xi.eps_w, strict=True)]
        groups = len(x) if own else 1
        centre, labels = (x[:, None], y[:, None]) if own else (x[None], y[None])
        problem = Problem(faced, balls, Ball(centre, xi.eps_x, UNIT), labels, scale=1.0, groups=groups)
        seed = int(torch.randint(2**62, (), generator=generator))
        x_hat, W_hat = ascend(problem, inner, generators=repeat(torch.Generator().manual_seed(seed)))
        if own:
            return x_hat[:, 0], by_neuron(network.at(W)).forward(W_hat, x_hat[:, 0])
        x_hat, W_hat = x_hat[0], tuple(W_m[0] for W_m in W_hat) if any(xi.eps_w) else frozen.W
    if method.awp > 0:
        W_hat = _awp(network.at(W_hat), x_hat, y, ramp * method.awp)
    if W_hat is frozen.W:
        return x_hat, network.forward(W, x_hat)
    V = tuple(W_m + (V - W_m).detach() for W_m, V in zip(W, W_hat, strict=True))
    return x_hat, network.forward(V, x_hat)


def _awp(network: Network, x_hat: Tensor, y: Tensor, radius: float) -> Weights:
    """AWP's step (Wu et al., 2020): each layer moves along its gradient by `radius` times its own l_2 norm."""
    W = tuple(W_m.detach().requires_grad_() for W_m in network.W)
    gradients = torch.autograd.grad(F.cross_entropy(network.forward(W, x_hat), y), W)
    tiny = torch.finfo(x_hat.dtype).tiny
    return tuple(
        (W_m + radius * W_m.norm() * g / g.norm().clamp(min=tiny)).detach() for W_m, g in zip(W, gradients, strict=True)
    )


def _optimiser(W: list[Tensor], method: Method) -> torch.optim.Optimizer:
    if method.optimiser == "sgd":
        return torch.optim.SGD(W, lr=method.lr, momentum=method.momentum, weight_decay=method.weight_decay)
    if method.optimiser == "adam":
        return torch.optim.Adam(W, lr=method.lr, weight_decay=method.weight_decay)
    raise ValueError(f"unknown optimiser {method.optimiser!r}: choose sgd or adam")


def _state(
    epoch: int, W: list[Tensor], optimiser: torch.optim.Optimizer, generator: torch.Generator, history: tuple
) -> State:
    weights = tuple(W_m.detach().clone() for W_m in W)
    return State(epoch, weights, copy.deepcopy(optimiser.state_dict()["state"]), generator.get_state(), history)


def _refuse_collapse(network: Network, x: Tensor, method: Method) -> None:
    """Stop where nothing is left to train."""
    if not all(bool(torch.isfinite(W_m).all()) for W_m in network.W):
        raise CollapseError(f"training diverged to NaN or infinite weights: try a rate below lr={method.lr}")
    if bool((network(x).std(0) == 0).all()):
        raise CollapseError(
            "the network has collapsed: it gives every input the same logits; weaken or ramp the added terms"
        )
