"""The exact verdicts are the truth: against every activation pattern, a general solver, the bounds and the attack."""

from __future__ import annotations

import functools
from typing import NamedTuple

import exact_oracles
import numpy as np
import oracles
import pytest
import torch
from exact_oracles import Tiny
from torch import nn

from nsr import Budget, Network, attack, certify, mlp, mlp_init
from nsr.certify import METHODS, leaf, verdicts
from nsr.certify.leaf import Leaf

SOUND = tuple(method for method in METHODS if method != "printed")
TIE = 1e-9  # a worst margin closer to 0 than this may stay open


def asked(tiny: Tiny, *, dtype: torch.dtype = torch.float64, factor: float = 1.0, **how):
    """What `exact` says of a drawn problem, all its radii multiplied by a factor."""
    W, x = ((torch.tensor(t, dtype=dtype) for t in arrays) for arrays in (tiny.tensors, tiny.x))
    xi = Budget(factor * tiny.eps_x, [factor * e for e in tiny.radii])
    return certify.exact(mlp(W), torch.stack(tuple(x)), torch.tensor(tiny.y), xi, box=tiny.box, **how)


def truths(tiny: Tiny, *, factor: float = 1.0) -> np.ndarray:
    """The worst margin of every input [B]."""
    net = exact_oracles.scaled(tiny.net, factor)
    pairs = zip(tiny.x, tiny.y.tolist(), strict=True)
    return np.array([exact_oracles.margin_by_patterns(net, x, y, tiny.box).margin for x, y in pairs])


class Case(NamedTuple):
    """A drawn problem, its worst margins and what `exact` says."""

    tiny: Tiny
    worst: np.ndarray
    said: object


@functools.cache
def cases() -> list[Case]:
    """More than 500 inputs of tiny networks, drawn and decided once."""
    generator = np.random.default_rng(0)
    drawn = [exact_oracles.draw_tiny(generator) for _ in range(170)]
    return [Case(tiny, truths(tiny), asked(tiny)) for tiny in drawn]


def agree(worst: np.ndarray, said, tie: float = TIE) -> bool:
    """Robust where the worst margin is below 0, broken where above, and open at most where it is 0."""
    robust, broken, still_open = said.robust.numpy(), said.broken.numpy(), said.open.numpy()
    certain = np.abs(worst) >= tie
    exclusive = (robust.astype(int) + broken + still_open == 1).all()
    return bool(exclusive and (robust == (worst < 0))[certain].all() and (broken == (worst > 0))[certain].all())


# --- the truth ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_verdicts_of_tiny_networks_are_what_every_activation_pattern_says() -> None:
    for k, case in enumerate(cases()):
        assert agree(case.worst, case.said), (k, case)
    worst = np.concatenate([case.worst for case in cases()])
    assert len(worst) >= 500 and 0.4 < (worst < 0).mean() < 0.6 and (np.abs(worst) >= TIE).mean() > 0.9
    assert {case.tiny.net.L for case in cases()} == {1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_of_larger_networks_are_what_a_general_solver_says(seed: int) -> None:
    tiny = exact_oracles.draw_medium(np.random.default_rng(seed), batch=3)
    net, pairs = tiny.net, zip(tiny.x, tiny.y.tolist(), strict=True)
    worst = np.array([exact_oracles.margin_by_milp(net, x, y, tiny.box, seconds=60).margin for x, y in pairs])
    assert agree(worst, asked(tiny), tie=1e-5)  # the solver's tolerances decide none but those


@pytest.mark.slow
def test_the_bound_lies_above_the_truth_and_below_zero_where_an_input_is_robust() -> None:
    for case in cases():
        bound = case.said.bound.numpy()
        assert (bound >= case.worst - 1e-9).all()
        assert (bound < 0)[case.said.robust.numpy()].all()


# --- witnesses ------------------------------------------------------------------------------------------------------


def outside(hat: np.ndarray, centre: np.ndarray, radius: float) -> bool:
    """Whether an entry is farther from its centre than the radius and an ulp."""
    ulp = np.spacing(np.maximum(np.abs(centre), np.abs(hat)) + radius)
    return bool((np.abs(hat - centre) > radius + ulp).any())


@pytest.mark.slow
def test_witnesses_are_admissible_and_misclassified_in_plain_float64() -> None:
    shown = 0
    for tiny, _, said in cases():
        x_hat, W_hat = said.x_hat.numpy(), [V.numpy() for V in said.W_hat]
        assert x_hat.dtype == np.float64 and all(V.dtype == np.float64 for V in W_hat)
        assert x_hat.shape == tiny.x.shape
        assert [V.shape for V in W_hat] == [(len(tiny.x), *t.shape) for t in tiny.tensors]
        logits = oracles.batched_logits(W_hat, x_hat)
        for k in np.flatnonzero(said.broken.numpy()):
            shown += 1
            assert not outside(x_hat[k], tiny.x[k], tiny.eps_x)
            for V, W, radius in zip(W_hat, tiny.tensors, tiny.radii, strict=True):
                assert not outside(V[k], W, radius)
            if tiny.box is not None:
                assert (x_hat[k] >= tiny.box[0]).all() and (x_hat[k] <= tiny.box[1]).all()
            y = tiny.y[k]
            assert np.delete(logits[k], y).max() >= logits[k, y]
    assert shown > 200


def test_a_misclassified_input_is_broken_as_it_is() -> None:
    met = 0
    for tiny, _, said in cases():
        logits = oracles.batched_logits([np.stack([t] * len(tiny.x)) for t in tiny.tensors], tiny.x)
        for k, y in enumerate(tiny.y):
            if np.delete(logits[k], y).max() > logits[k, y] + TIE:
                met += 1
                assert said.broken[k]
                assert (said.x_hat[k].numpy() == tiny.x[k]).all()
                assert all((V[k].numpy() == W).all() for V, W in zip(said.W_hat, tiny.tensors, strict=True))
    assert met > 5


def test_a_tie_is_not_robust() -> None:
    network = mlp((torch.ones(3, 2).double(), torch.ones(2, 3).double()))
    assert not certify.exact(network, torch.full((1, 2), 0.5).double(), torch.tensor([0]), Budget(0, (0, 0))).robust


# --- a hair ---------------------------------------------------------------------------------------------------------


@functools.cache
def crossings() -> list[tuple[Tiny, float]]:
    """Inputs of float32-valued tiny networks, and the factor of their radii at which each ceases to be robust."""
    generator, found = np.random.default_rng(3), []
    while len(found) < 20:
        tiny = exact_oracles.draw_tiny(generator, batch=1)
        tensors, x = [t.astype(np.float32).astype(np.float64) for t in tiny.tensors], tiny.x.astype(np.float32)
        tiny = tiny._replace(tensors=tensors, x=x.astype(np.float64))
        factor = exact_oracles.critical_factor(tiny.net, tiny.x[0], int(tiny.y[0]), tiny.box)
        if factor is not None:
            below, above = (truths(tiny, factor=factor * (1 + e))[0] for e in (-1e-6, 1e-6))
            if below < -TIE and above > TIE:  # not so where no logit moves until a neuron wakes
                found.append((tiny, factor))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_millionth_of_the_radii_decides_in_either_precision(dtype: torch.dtype) -> None:
    for tiny, factor in crossings():
        below, above = (asked(tiny, factor=factor * (1 + e), dtype=dtype) for e in (-1e-6, 1e-6))
        assert below.robust and not below.broken, (tiny, factor)
        assert above.broken and not above.robust, (tiny, factor)


def test_a_float32_network_is_decided_as_the_float64_network_of_its_values() -> None:
    for tiny, factor in crossings()[:5]:
        single, double = (asked(tiny, factor=factor, dtype=dtype) for dtype in (torch.float32, torch.float64))
        assert single.x_hat.dtype == torch.float64 and all(V.dtype == torch.float64 for V in single.W_hat)
        for field in ("robust", "broken", "bound", "x_hat", "W_hat"):
            torch.testing.assert_close(getattr(single, field), getattr(double, field))


@pytest.mark.xfail(strict=True, reason="an infeasible leaf has no solution to take multipliers from, and stays open")
def test_a_case_that_no_point_belongs_to_is_closed() -> None:
    tensors = [
        np.array([[0.48]]),
        *(np.array([[-1.56], [1.55]]), np.array([0.37, -0.12])),
        *(np.array([[0.4, -1.01], [0.17, -0.15], [-0.35, -0.11]]), np.array([-0.92, 0.8, -0.42])),
        *(np.array([[0.2, 0.83, 0.07], [-0.13, 0.08, 0.92]]), np.array([0.73, -0.2])),
    ]
    tiny = Tiny(tensors, [0.38, 1.21, 1.06, 0.0, 0.6, 0.06, 0.44], 0.0, None, np.ones((1, 1)), np.array([0]))
    worst = truths(tiny)
    assert worst == pytest.approx(-0.0014) and agree(worst, asked(tiny))


def test_one_layer_is_broken_where_float32_cannot_tell_its_corner_from_a_point_inside() -> None:
    # f_0 - f_1 = x - 255 - 3.5e-6 up to x = 255 + 7e-6, which float32 rounds to 255
    tensors = [np.array([[1.0], [0.0]]), np.array([-255 - 3.5e-6, 0.0])]
    tiny = Tiny(tensors, [0.0, 0.0], 7e-6, (0.0, 256.0), np.full((1, 1), 255.0), np.array([1]))
    worst = truths(tiny)
    assert worst == pytest.approx(3.5e-6, rel=1e-3) and agree(worst, asked(tiny))


@pytest.mark.slow
def test_a_solver_that_lies_about_leaves_makes_no_verdict_false(monkeypatch) -> None:
    """Its points are looked at and its multipliers bounded anew: what it says can only leave an input open."""
    generator = torch.Generator().manual_seed(0)

    def lie(chain, rows, row, sign):
        lies = [torch.randn(n, generator=generator, dtype=torch.float64) for n in (chain.a.shape[1], *chain.sizes)]
        return Leaf(lies[0], lies[1:], 9 * torch.rand(sum(chain.sizes), generator=generator, dtype=torch.float64))

    for answer in (lie, lambda *_: None):
        monkeypatch.setattr(leaf, "solve", answer)
        for case in cases()[:40]:
            said = asked(case.tiny)
            assert not (said.robust.numpy() & (case.worst > TIE)).any()
            assert not (said.broken.numpy() & (case.worst < -TIE)).any()


# --- what follows from being the truth ------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_robust_stays_so_at_smaller_radii_and_what_is_broken_at_larger_ones() -> None:
    generator = np.random.default_rng(4)
    for tiny, worst, said in cases()[:80]:
        shrink, grow = generator.uniform(0, 1, 1 + len(tiny.radii)), generator.uniform(1, 2, 1 + len(tiny.radii))
        smaller, larger = (
            asked(tiny._replace(eps_x=tiny.eps_x * f[0], radii=[e * g for e, g in zip(tiny.radii, f[1:], strict=True)]))
            for f in (shrink, grow)
        )
        assert (smaller.robust | ~said.robust).all()
        assert not (larger.robust & said.broken).any() and larger.broken.numpy()[worst >= TIE].all()


def test_an_input_alone_and_among_others_has_one_verdict() -> None:
    for tiny, worst, said in cases()[:40]:
        if (np.abs(worst) >= TIE).all():
            alone = [asked(tiny._replace(x=tiny.x[k : k + 1], y=tiny.y[k : k + 1])) for k in range(len(tiny.x))]
            assert torch.equal(torch.cat([one.robust for one in alone]), said.robust)
            assert torch.equal(torch.cat([one.broken for one in alone]), said.broken)


@pytest.mark.parametrize(("eps_x", "eps_w"), [(0.0, 0.01), (0.02, 0.0), (0.02, 0.005), (0.05, 0.01)])
def test_certificates_verdicts_and_attack_never_contradict_each_other(eps_x: float, eps_w: float) -> None:
    generator = torch.Generator().manual_seed(1)
    network = mlp(mlp_init((20, 16, 12, 8, 4), generator, torch.float64))
    x = torch.rand(60, 20, generator=generator, dtype=torch.float64)
    logits = network(x)
    top = logits.topk(2).values
    sure = (top[:, 0] - top[:, 1]).topk(20).indices  # as after training, most margins are wide
    x, y = x[sure], logits[sure].argmax(1)
    xi = Budget.uniform(eps_x, eps_w, network)
    said = certify.exact(network, x, y, xi)
    for method in SOUND:
        assert (said.robust | ~certify.certified(network, x, y, xi, method=method)).all(), method
    found = attack.run(network, x, y, xi, images_per_W=1)
    assert not (found.broken & said.robust).any()
    assert (said.robust | said.broken | said.open).all() and not (said.robust & said.broken).any()
    assert not said.open.any()


def test_without_time_nothing_false_is_said() -> None:
    for tiny, worst, _ in cases()[:60]:
        said = asked(tiny, seconds=0)
        assert not (said.robust.numpy() & (worst > TIE)).any() and not (said.broken.numpy() & (worst < -TIE)).any()


# --- arguments ------------------------------------------------------------------------------------------------------


def arguments(**changed) -> dict:
    """Of a call that is in order, but for what is changed."""
    W = mlp_init((4, 5, 3), torch.Generator().manual_seed(0), torch.float64)
    x, y = torch.full((2, 4), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    return {"network": mlp(W), "x": x, "y": y, "xi": Budget(0.1, (0.1, 0.1))} | changed


def test_an_interrupt_returns_what_is_decided_and_says_so(monkeypatch) -> None:
    undecided = (case for case in cases() if asked(case.tiny, seconds=0).open.any())
    tiny = next(case for case in undecided if not case.said.open.any()).tiny
    twice = tiny._replace(x=np.tile(tiny.x, (2, 1)), y=np.tile(tiny.y, 2))
    whole, decided = asked(twice), verdicts._decided

    def once(*args):
        monkeypatch.setattr(verdicts, "_decided", interrupted)
        return decided(*args)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(verdicts, "_decided", once)
    half = asked(twice)
    assert half.interrupted and half.open.any()
    assert not whole.interrupted and not whole.open.any()
    assert not (half.robust & ~whole.robust).any() and not (half.broken & ~whole.broken).any()


def test_an_empty_batch_has_no_verdicts() -> None:
    said = certify.exact(**arguments(x=torch.zeros(0, 4).double(), y=torch.zeros(0).long()))
    assert said.robust.shape == said.broken.shape == said.open.shape == said.bound.shape == (0,)
    assert said.x_hat.shape == (0, 4) and [V.shape for V in said.W_hat] == [(0, 5, 4), (0, 3, 5)]


def test_inputs_and_weights_are_not_changed() -> None:
    given, untouched = arguments(), arguments()
    certify.exact(**given)
    assert torch.equal(given["x"], untouched["x"])
    assert all(torch.equal(V, W) for V, W in zip(given["network"].W, untouched["network"].W, strict=True))


CONVOLUTION = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3))
WRONG = {
    "a convolution": ({"network": Network.from_module(CONVOLUTION.double())}, "dense and ReLU layers"),
    "a smooth activation": (
        {"network": Network.from_module(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double())},
        "dense and ReLU layers",
    ),
    "a module": ({"network": nn.Linear(4, 3)}, "must be a Network"),
    "a label too large": ({"y": torch.tensor([0, 3])}, r"labels span \[0, 3\] but the network has 3 classes"),
    "a negative label": ({"y": torch.tensor([-1, 0])}, r"labels span \[-1, 0\]"),
    "labels missing": ({"y": torch.tensor([0])}, "one whole-numbered label per input, 2 in all"),
    "labels that are floats": ({"y": torch.zeros(2)}, "whole-numbered label"),
    "inputs outside the box": ({"x": torch.full((2, 4), 1.5).double()}, "x leaves the box"),
    "inputs of another width": ({"x": torch.full((2, 3), 0.5).double()}, r"x must be a batch \[B, 4\]"),
    "a box upside down": ({"box": (1.0, 0.0)}, "low < high"),
    "a radius missing": ({"xi": Budget(0.1, (0.1,))}, "one radius each"),
    "inputs that are not numbers": ({"x": torch.full((2, 4), torch.nan).double()}, "NaN"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_decided_is_refused_with_a_sentence(what: str) -> None:
    changed, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        certify.exact(**arguments(**changed))
