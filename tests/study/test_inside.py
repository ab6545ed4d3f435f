"""Inside networks small enough to compute by hand, and each claim on ladders that decide it either way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nsr import Network, mlp
from nsr.data import Split
from nsr.network import Affine, mlp_forward, mlp_init
from nsr.study import inside_claims
from nsr.study.inside import (
    Inside,
    Moments,
    Outputs,
    activations,
    inside,
    margins_of,
    median_margin,
    outputs,
    smoothness,
    spectra,
    spectral_product,
)

HIDDEN, LAST = torch.tensor([[3.0, 0.0], [0.0, -1.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
TINY = mlp((HIDDEN, LAST))  # spectral norms 3 and 2
X, Y = torch.tensor([[1.0, 1.0], [0.0, -0.5], [0.5, -2.0]]), torch.tensor([0, 0, 1])
# logits (3, 0, 0), (0, 1, 0), (1.5, 4, 0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*sizes: int) -> Network:
    return mlp(mlp_init(sizes, seeded(), torch.float64))


# outputs ------------------------------------------------------------------------------------------------------------


def test_margins_are_those_computed_by_hand():
    assert margins_of(TINY, X, Y).tolist() == [3.0, -1.0, 2.5]
    assert spectral_product(TINY) == pytest.approx(6)
    assert median_margin(TINY, X, Y) == pytest.approx(2.5 / 6)


def test_outputs_are_those_computed_by_hand():
    found = outputs(TINY, X, Y, threshold=0.3)  # the normalised margins are 0.5, -0.167 and 0.417
    log_sums = [math.log(math.e**3 + 2), math.log(math.e + 2), math.log(math.e**1.5 + math.e**4 + 1)]
    assert found.margin == pytest.approx((1.5, math.sqrt((1.5**2 + 2.5**2 + 1) / 3)))
    assert found.normalised == pytest.approx((0.25, found.margin.sd / 6))
    assert found.near == pytest.approx(1 / 3) and found.accuracy == pytest.approx(2 / 3)
    assert found.loss == pytest.approx((log_sums[0] - 3 + log_sums[1] - 0 + log_sums[2] - 4) / 3)
    top = zip((3, 1, 4), log_sums, strict=True)  # confidence is that of the prediction, right or wrong
    assert found.confidence == pytest.approx(sum(math.exp(z - log_sum) for z, log_sum in top) / 3)


def test_a_margin_on_the_threshold_is_near():
    network = drawn(3, 5, 4)
    x, y = torch.rand(9, 3, generator=seeded(1), dtype=torch.float64), torch.arange(9) % 4
    assert outputs(network, x, y, median_margin(network, x, y)).near == pytest.approx(5 / 9)


@pytest.mark.parametrize("c", [0.25, 8.0])
def test_scaling_the_last_layer_scales_margins_and_confidence_but_no_normalised_margin(c):
    x, y = torch.rand(20, 3, generator=seeded(1), dtype=torch.float64), torch.arange(20) % 4
    network = drawn(3, 5, 4)
    scaled = network.at((network.W[0], c * network.W[1]))
    before, after = (outputs(net, x, y, 0.1) for net in (network, scaled))
    assert after.margin == pytest.approx([c * value for value in before.margin])
    assert after.normalised == pytest.approx(before.normalised)
    assert (after.near, after.accuracy) == (before.near, before.accuracy)
    assert (after.confidence > before.confidence) is (c > 1)


def test_normalised_margins_bound_the_distance_to_the_boundary():
    """Along the steepest descent of a linear network's margin, the bound is attained where its rows are opposite."""
    network, x, y = mlp((torch.tensor([[2.0, 0.0], [-2.0, 0.0]]),)), torch.tensor([[0.7, 0.1]]), torch.tensor([0])
    least = outputs(network, x, y, 0.0).normalised.mean / math.sqrt(2)
    assert least == pytest.approx(0.7)  # the boundary is x_1 = 0


# layers -------------------------------------------------------------------------------------------------------------


def test_activations_are_those_computed_by_hand_and_end_in_the_logits():
    hidden, logits = activations(TINY, X)
    assert hidden.tolist() == [[3, 0], [0, 0.5], [1.5, 2]]
    assert logits.equal(TINY(X))


def test_activations_see_biases_and_the_affine_map_in_front():
    W = (HIDDEN, torch.tensor([1.0, -1.0]), LAST, torch.tensor([0.5, 0.0, 0.0]))
    affine = Affine(torch.tensor(2.0), torch.tensor([0.0, 1.0]))
    network = Network(W, lambda W, x: mlp_forward(W, affine(x.flatten(1))), affine=affine)
    hidden, logits = activations(network, torch.tensor([[1.0, -2.0]]))  # (2, -3) behind the map
    assert hidden.tolist() == [[7.0, 2.0]]
    assert logits.tolist() == [[7.5, 4.0, 0.0]] == network(torch.tensor([[1.0, -2.0]])).tolist()


def test_the_effective_rank_of_an_orthogonal_matrix_is_n_and_of_one_of_rank_one_is_1():
    orthogonal = torch.linalg.qr(torch.randn(6, 6, generator=seeded(), dtype=torch.float64))[0]
    one = torch.outer(torch.arange(1.0, 5.0, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    first, second = spectra(mlp((5 * orthogonal, one)))
    assert first == pytest.approx((0.0, 0.0, 6.0), abs=1e-9)
    assert second.effective_rank == pytest.approx(1.0, abs=1e-6)
    size = math.sqrt(30 * 6)  # the one singular value of four
    assert second.ratio == pytest.approx(math.sqrt(3)) and second.sd == pytest.approx(math.sqrt(3) * size / 4)


def test_the_effective_rank_lies_between_for_unequal_singular_values():
    (found,) = spectra(mlp((torch.diag(torch.tensor([3.0, 1.0])),)))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found == pytest.approx((1.0, 0.5, math.exp(entropy)))


def test_a_multiple_of_an_isometry_is_exactly_as_smooth_in_every_direction():
    network = mlp((-3 * torch.eye(4, dtype=torch.float64),))
    x = torch.rand(7, 4, generator=seeded(), dtype=torch.float64)
    for changes in smoothness(network, x, torch.arange(7) % 4, 0.1, seeded()):
        assert changes == (pytest.approx((3.0, 0.0), abs=1e-9),)


def test_a_linear_network_is_exactly_as_smooth_as_along_its_direction():
    network = mlp((torch.tensor([[2.0, 1.0], [0.0, 0.0]]),))
    x, y = torch.full((200, 2), 0.5), torch.zeros(200, dtype=torch.long)
    random, attacked = smoothness(network, x, y, 0.1, seeded())
    along, across = 3 / math.sqrt(2), 1 / math.sqrt(2)  # of (1, 1) and of (1, -1): half of the signs each
    assert attacked == (pytest.approx((along, 0.0), abs=1e-5),)
    assert random[0].mean == pytest.approx((along + across) / 2, abs=0.1)
    assert random[0].sd == pytest.approx((along - across) / 2, abs=0.05)


def test_directions_stay_in_the_box_and_what_cannot_move_is_left_out():
    x, y = torch.tensor([[0.0, 1.0], [0.5, 0.5]]), torch.tensor([0, 0])
    corner = mlp((torch.tensor([[1.0, 0.0], [0.0, 1.0]]),))  # the attack pushes both samples to (0, 1)
    _, attacked = smoothness(corner, x, y, 0.1, seeded())
    assert attacked == (pytest.approx((1.0, 0.0), abs=1e-5),)
    with pytest.raises(ValueError, match="no sample was moved"):
        smoothness(corner, x[:1], y[:1], 0.1, seeded())


@pytest.mark.parametrize(
    ("box", "mean", "sd"), [((0.0, 1.0), (5 + 13**0.5) / 2, (5 - 13**0.5) / 2), (None, 13**0.5, 0)]
)
def test_random_directions_stay_in_the_box_if_there_is_one(box, mean, sd):
    """From (0, 1/2) half of the signs may move the second coordinate alone."""
    network, x = mlp((torch.diag(torch.tensor([1.0, 5.0])),)), torch.tensor([[0.0, 0.5]]).repeat(400, 1)
    random, _ = smoothness(network, x, torch.zeros(400, dtype=torch.long), 0.1, seeded(), box)
    assert random == (pytest.approx((mean, sd), abs=0.1),)


def test_hidden_layers_are_measured_too():
    random, _ = smoothness(TINY, torch.full((500, 2), 0.5), torch.zeros(500, dtype=torch.long), 0.1, seeded())
    assert [moments.mean for moments in random] == pytest.approx([3 / math.sqrt(2)] * 2, rel=1e-4)  # one ReLU is on


def test_the_seed_decides_the_directions():
    network, y = drawn(3, 5, 4), torch.arange(6) % 4
    x = torch.rand(6, 3, generator=seeded(1), dtype=torch.float64)
    first, again, other = (smoothness(network, x, y, 0.1, seeded(seed))[0] for seed in (0, 0, 1))
    assert first == again and first != other


@pytest.mark.parametrize("measure", [spectra, spectral_product, lambda network: activations(network, torch.ones(1, 3))])
def test_what_is_no_dense_chain_is_refused_in_one_line(measure):
    network = Network.from_module(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="a chain of dense and ReLU layers is needed") as refused:
        measure(network)
    assert "\n" not in str(refused.value)
    assert margins_of(network, torch.ones(2, 3), torch.tensor([0, 1])).sum() == pytest.approx(0.0, abs=1e-6)


def test_the_gaps_are_train_less_test_of_accuracy_and_test_less_train_of_loss():
    train, test = Split(torch.eye(2), torch.tensor([0, 1])), Split(torch.eye(2), torch.tensor([0, 0]))
    found = inside(mlp((torch.eye(2),)), train, test, 0.1, seeded(), threshold=0.5)
    assert found.accuracy_gap == 0.5
    assert found.loss_gap == pytest.approx(0.5)  # one of two margins falls from 1 to -1: log(1+e) - log(1+1/e) = 1
    assert (found.eps, found.threshold) == (0.1, 0.5)


# claims -------------------------------------------------------------------------------------------------------------

FLAT = {
    "confidence": 0.9,
    "normalised": 0.5,
    "near": 0.2,
    "accuracy": 0.9,
    "random": (1.0,) * 3,
    "attacked": (2.0,) * 3,
}


def rung(noise: float = 0.001, seeds: int = 3, **changed: object) -> dict[int, Inside]:
    """A rung of three layers; each seed shifts every number a little, in a way of its own."""
    return {seed: _one({**FLAT, **changed}, noise * (seed - 1)) for seed in range(seeds)}


def _one(numbers: dict, shift: float) -> Inside:
    margin = Moments(numbers["normalised"] + shift, 1.0)
    scalars = (numbers[name] + shift for name in ("confidence", "near", "accuracy"))
    out = Outputs(margin, margin, *scalars, 1.0)
    random, attacked = (tuple(Moments(c + shift, 0.0) for c in numbers[name]) for name in ("random", "attacked"))
    return Inside(out, out, (), random, attacked, 0.1, 0.3)


def verdict(claim: str, *, most: dict, gentle: dict | None = None) -> str:
    ladder = {0.0: rung(), 0.2: rung(noise=-0.002, **most)}
    if gentle is not None:
        ladder[0.1] = rung(noise=0.003, **gentle)
    return inside_claims.ledger(ladder)[claim].verdict


@pytest.mark.parametrize(
    ("claim", "most", "expected"),
    [
        ("B1", {"confidence": 0.8, "normalised": 0.3}, "reproduced"),
        ("B1", {"confidence": 0.8, "normalised": 0.6}, "not reproduced"),
        ("B1", {"confidence": 0.95, "normalised": 0.3}, "not reproduced"),
        ("B1", {}, "not reproduced"),
        ("B2", {"random": (0.5, 0.5, 3.0), "attacked": (1.0, 9.0, 1.0)}, "reproduced"),  # two layers of three
        ("B2", {"random": (0.5, 0.5, 0.5), "attacked": (1.0, 3.0, 3.0)}, "not reproduced"),  # one of three
        ("B2", {"random": (2.0, 2.0, 0.5), "attacked": (1.0, 1.0, 1.0)}, "not reproduced"),
        ("B3", {"near": 0.4}, "reproduced"),
        ("B3", {"near": 0.1}, "not reproduced"),
        ("B4", {"accuracy": 0.8}, "reproduced"),
        ("B4", {"accuracy": 0.95}, "not reproduced"),
        ("B4", {}, "not reproduced"),
    ],
)
def test_each_claim_comes_out_either_way(claim, most, expected):
    assert verdict(claim, most=most) == expected


@pytest.mark.parametrize(
    ("gentle", "expected"), [(0.88, "reproduced"), (0.7, "not reproduced"), (0.8, "not reproduced")]
)
def test_a_gentler_radius_loses_less_or_does_not(gentle, expected):
    assert verdict("B5", most={"accuracy": 0.8}, gentle={"accuracy": gentle}) == expected


def test_without_a_radius_between_the_last_claim_is_open():
    assert verdict("B5", most={"accuracy": 0.8}) == "open"


def test_half_of_the_layers_are_not_most():
    none = rung(random=(1.0,) * 4, attacked=(1.0,) * 4)
    half, three = (rung(noise=-0.002, random=c, attacked=c) for c in ((0.5, 0.5, 2.0, 2.0), (0.5, 0.5, 0.5, 2.0)))
    assert inside_claims.ledger({0.0: none, 0.1: half})["B2"].verdict == "not reproduced"
    assert inside_claims.ledger({0.0: none, 0.1: three})["B2"].verdict == "reproduced"


def test_two_seeds_leave_every_claim_open():
    found = inside_claims.ledger({0.0: rung(seeds=2), 0.1: rung(seeds=2), 0.2: rung(seeds=2)})
    assert {row.verdict for row in found.values()} == {"open"}


def test_intervals_are_students_over_differences_seed_by_seed():
    ladder = {0.0: {}, 0.1: {}}
    for seed, (before, after) in enumerate([(0.90, 0.86), (0.80, 0.75), (0.70, 0.64)]):
        ladder[0.0][seed], ladder[0.1][seed] = (_one({**FLAT, "accuracy": a}, 0.0) for a in (before, after))
    (part,) = inside_claims.ledger(ladder)["B4"].cases[0].parts
    half = 4.302653 * 0.01 / math.sqrt(3)  # t of two degrees of freedom; the differences are 0.04, 0.05, 0.06
    assert (part.found.mean, part.found.low, part.found.high) == pytest.approx((0.05, 0.05 - half, 0.05 + half))


def test_each_layer_and_the_training_samples_stand_beside_and_decide_nothing():
    rows = inside_claims.ledger({0.0: rung(), 0.2: rung(random=(0.5, 0.5, 4.0))})
    _, layers = rows["B2"].cases
    assert len(layers.parts) == 6 and not layers.decides
    assert layers.parts[0].found.mean == pytest.approx(math.log(2), abs=0.01)
    assert layers.parts[2].found.mean == pytest.approx(-math.log(4), abs=0.01)
    assert [case.decides for case in rows["B1"].cases] == [True, False]


@pytest.mark.parametrize(
    ("ladder", "why"),
    [
        ({0.1: rung(), 0.2: rung()}, "starts at radius 0"),
        ({0.0: rung()}, "at least one above"),
        ({0.0: rung(), 0.1: {0: Inside(*[None] * 5, 0.1, 0.4)}}, "several pairs of eps and threshold"),
        ({0.0: rung(), 0.1: rung(noise=0.0, random=(0.0, 1.0, 1.0))}, "does not change at all"),
    ],
)
def test_a_ladder_that_cannot_be_compared_is_refused(ladder, why):
    with pytest.raises(ValueError, match=why):
        inside_claims.ledger(ladder)
