"""Inside networks small enough to compute by hand, and inside chains whose matrices torch's own autograd unrolls."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from nsr import Network, cnn, cnn_init, mlp
from nsr.data import Split
from nsr.inside import (
    LEVELS,
    Inside,
    Outputs,
    activations,
    inside,
    margins_of,
    matrices,
    outputs,
    row_sum,
    smoothness,
    spectrum,
)
from nsr.network import Affine, mlp_forward, mlp_init
from nsr.steps import Convolution
from nsr.theory import norms

HIDDEN, LAST = torch.tensor([[3.0, 0.0], [0.0, -1.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
TINY = mlp((HIDDEN, LAST))  # spectral norms 3 and 2
X, Y = torch.tensor([[1.0, 1.0], [0.0, -0.5], [0.5, -2.0]]), torch.tensor([0, 0, 1])
# logits (3, 0, 0), (0, 1, 0), (1.5, 4, 0)
PIXELS = torch.tensor([[0.5, 0.25], [0.75, 0.5]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*sizes: int) -> Network:
    return mlp(mlp_init(sizes, seeded(), torch.float64))


# outputs ------------------------------------------------------------------------------------------------------------


def test_margins_are_those_computed_by_hand():
    assert margins_of(TINY, X, Y).tolist() == [3.0, -1.0, 2.5]
    assert outputs(TINY, X, Y, scale=6.0).median_size == pytest.approx(2.5 / 6)
    pixels = Split(torch.full((1, 2), 0.5), torch.tensor([0]))  # logits (1.5, 0, 0)
    found = inside(TINY, Split(X, Y), pixels, 0.1, seeded())
    assert found.train == outputs(TINY, X, Y, scale=6.0)  # the product of the spectral norms
    assert found.test.normalised == pytest.approx((1.5 / 6, 0))


def test_outputs_are_those_computed_by_hand():
    found = outputs(TINY, X, Y, scale=6.0)  # the normalised margins are 0.5, -0.167 and 0.417
    log_sums = [math.log(math.e**3 + 2), math.log(math.e + 2), math.log(math.e**1.5 + math.e**4 + 1)]
    assert found.margin == pytest.approx((1.5, math.sqrt((1.5**2 + 2.5**2 + 1) / 3)))
    assert found.normalised == pytest.approx((0.25, found.margin.sd / 6))
    assert found.accuracy == pytest.approx(2 / 3)
    assert [found.quantiles[k] for k in (0, 25, 50, 100)] == pytest.approx([-1 / 6, 0.75 / 6, 2.5 / 6, 0.5])
    assert found.loss == pytest.approx((log_sums[0] - 3 + log_sums[1] - 0 + log_sums[2] - 4) / 3)
    top = zip((3, 1, 4), log_sums, strict=True)  # confidence is that of the prediction, right or wrong
    assert found.confidence == pytest.approx(sum(math.exp(z - log_sum) for z, log_sum in top) / 3)


MARGINS = st.lists(st.floats(-10, 10) | st.integers(-2, 2).map(float), min_size=1, max_size=300)


def of_margins(margins: list[float], scale: float = 1.0) -> Outputs:
    """What is found of samples with just these margins."""
    network, x = mlp((torch.tensor([[1.0], [0.0]], dtype=torch.float64),)), torch.tensor(margins, dtype=torch.float64)
    return outputs(network, x[:, None], torch.zeros(len(x), dtype=torch.long), scale)


@given(MARGINS, st.data())
def test_the_share_near_the_boundary_is_that_of_a_direct_count(margins, data):
    """Up to a hundredth at either end, and the share of a sample, by which definitions of a quantile differ."""
    t, found = data.draw(st.floats(0, 12) | st.sampled_from(margins).map(abs)), of_margins(margins)
    assert found.near(t) == pytest.approx(np.mean(np.abs(margins) <= t), abs=2 * (0.02 + 1 / len(margins)))
    assert 0 <= found.near(t) <= found.near(1.1 * t) <= 1
    assert found.near(max(map(abs, margins))) == 1


@given(MARGINS)
def test_half_of_the_samples_are_near_the_boundary_by_their_median_size(margins):
    found, sizes, room = of_margins(margins), np.abs(margins), 2 * (0.02 + 1 / len(margins))
    assert found.near(found.median_size) >= 0.5
    assert np.mean(sizes <= found.median_size * (1 + 1e-9)) >= 0.5 - room
    assert np.mean(sizes < found.median_size * (1 - 1e-9)) <= 0.5 + room


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.5])
def test_a_margin_on_the_threshold_is_near_on_either_side(margin):
    found = of_margins([margin] * 7)
    assert found.near(0.5) == 1 and found.near(0.499) == (margin == 0)
    assert found.median_size == pytest.approx(abs(margin))


@given(MARGINS, st.floats(0.1, 10))
def test_quantiles_rise_from_the_least_margin_to_the_largest_and_scale_with_it(margins, scale):
    q = of_margins(margins, scale).quantiles
    assert len(q) == len(LEVELS) == 101 and (np.diff(q) >= -1e-12).all()
    assert (q[0], q[-1]) == (min(margins) / scale, max(margins) / scale)
    assert q == pytest.approx([value / scale for value in of_margins(margins).quantiles], abs=1e-12)


@pytest.mark.parametrize("c", [0.25, 8.0])
def test_scaling_the_last_layer_scales_margins_and_confidence_but_no_normalised_margin(c):
    x, y = torch.rand(20, 3, generator=seeded(1), dtype=torch.float64), torch.arange(20) % 4
    network = drawn(3, 5, 4)
    scaled = network.at((network.W[0], c * network.W[1]))
    first, second = (inside(net, Split(x, y), Split(x, y), 0.1, seeded()) for net in (network, scaled))
    before, after = first.test, second.test
    assert after.margin == pytest.approx([c * value for value in before.margin])
    assert after.normalised == pytest.approx(before.normalised) and after.quantiles == pytest.approx(before.quantiles)
    assert (after.near(0.1), after.accuracy) == (pytest.approx(before.near(0.1)), before.accuracy)
    assert (after.confidence > before.confidence) is (c > 1)
    assert second.norms[1] == pytest.approx([c * value for value in first.norms[1]])
    assert second.weights == pytest.approx([first.weights[0], c * first.weights[1]])
    assert second.spectra[1].sd == pytest.approx(c * first.spectra[1].sd)
    assert second.spectra[1][1:] == pytest.approx(first.spectra[1][1:])  # the ratio and the rank have no size
    assert (second.norms[0], second.spectra[0]) == (first.norms[0], first.spectra[0])
    assert second.random[1] == pytest.approx([c * value for value in first.random[1]])


def test_size_that_moves_from_one_layer_to_the_next_leaves_what_the_network_computes():
    x, y = torch.rand(20, 3, generator=seeded(1), dtype=torch.float64), torch.arange(20) % 4
    network = drawn(3, 5, 4)
    moved = network.at((8 * network.W[0], network.W[1] / 8))
    first, second = (inside(net, Split(x, y), Split(x, y), 0.1, seeded()) for net in (network, moved))
    assert (second.test, second.random[1]) == (first.test, pytest.approx(first.random[1]))
    assert second.norms[0] == pytest.approx([8 * value for value in first.norms[0]])
    assert second.random[0] == pytest.approx([8 * value for value in first.random[0]])


def test_normalised_margins_bound_the_distance_to_the_boundary():
    """Along the steepest descent of a linear network's margin, the bound is attained where its rows are opposite."""
    network, x, y = mlp((torch.tensor([[2.0, 0.0], [-2.0, 0.0]]),)), torch.tensor([[0.7, 0.1]]), torch.tensor([0])
    found = inside(network, Split(x, y), Split(x, y), 0.1, seeded())
    least = found.test.normalised.mean / math.sqrt(2)
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
    first, second = (spectrum(torch.linalg.svdvals(A)) for A in (5 * orthogonal, one))
    assert first == pytest.approx((0.0, 0.0, 6.0), abs=1e-9)
    assert second.effective_rank == pytest.approx(1.0, abs=1e-6)
    size = math.sqrt(30 * 6)  # the one singular value of four
    assert second.ratio == pytest.approx(math.sqrt(3)) and second.sd == pytest.approx(math.sqrt(3) * size / 4)


def test_the_effective_rank_lies_between_for_unequal_singular_values():
    found = spectrum(torch.tensor([3.0, 1.0]))
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


def whole(network: Network, x: Tensor) -> Inside:
    y = torch.arange(len(x)) % 2
    return inside(network, Split(x, y), Split(x, y), 0.1, seeded())


@pytest.mark.parametrize("measure", [whole, activations, matrices])
def test_what_is_no_chain_is_refused_in_one_line(measure):
    network = Network.from_module(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="a chain of layers is needed to compare layer by layer: ") as refused:
        measure(network, torch.ones(1, 3))
    assert "\n" not in str(refused.value)
    assert margins_of(network, torch.ones(2, 3), torch.tensor([0, 1])).sum() == pytest.approx(0.0, abs=1e-6)


def test_the_gaps_are_train_less_test_of_accuracy_and_test_less_train_of_loss():
    train, test = Split(torch.eye(2), torch.tensor([0, 1])), Split(torch.eye(2), torch.tensor([0, 0]))
    found = inside(mlp((torch.eye(2),)), train, test, 0.1, seeded())
    assert found.accuracy_gap == 0.5
    assert found.loss_gap == pytest.approx(0.5)  # one of two margins falls from 1 to -1: log(1+e) - log(1+1/e) = 1
    assert found.eps == 0.1


def test_norms_and_sizes_of_dense_layers_are_those_computed_by_hand():
    found = whole(mlp((torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([5.0, -1.0]), torch.eye(2))), PIXELS)
    first, second = found.norms
    assert first == pytest.approx((3.0, 4.0, math.sqrt(7 + math.sqrt(13)))) and second == (1.0, 1.0, 1.0)
    assert found.weights == (1.5, 3.0, 0.5)  # of every tensor, biases too
    assert row_sum(torch.tensor([[1.0, -2.0], [3.0, 0.5]])) == 3.5


def test_weights_that_are_being_trained_are_read_as_they_stand():
    trained = TINY.at(W_m.clone().requires_grad_() for W_m in TINY.W)
    assert whole(trained, PIXELS) == whole(TINY, PIXELS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_readings_come_back_from_json_as_they_were(dtype):
    found = whole(mlp(mlp_init((3, 5, 4), seeded(), dtype)), torch.rand(7, 3, generator=seeded(), dtype=dtype))
    again = TypeAdapter(Inside).validate_python(json.loads(json.dumps(asdict(found))))
    assert again == found and again.test.near(0.1) == found.test.near(0.1)
    assert again.norms[0].linf == found.norms[0].linf and again.random[1].sd == found.random[1].sd


# chains with convolutions -------------------------------------------------------------------------------------------

SIDE = 8


def normed(channels: int) -> nn.BatchNorm2d:
    """In eval mode an affine map by channel, and no simple one."""
    layer = nn.BatchNorm2d(channels)
    for tensor in (layer.running_var, layer.weight.data, layer.bias.data, layer.running_mean):
        tensor.uniform_(0.5, 2.0)
    return layer


class Normalised(nn.Sequential):
    """Shifts and scales its images by channel."""

    def __init__(self, *parts: nn.Module):
        super().__init__(*parts)
        self.register_buffer("mean", torch.tensor([0.2, 0.6]).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - self.mean) / -0.3)


def modules() -> dict[str, nn.Module]:
    """Convolutions as there are: strided, dilated, in groups, with what may stand between two ReLUs."""
    torch.manual_seed(0)
    conv, relu, flat = nn.Conv2d, nn.ReLU, nn.Flatten
    return {
        "biases": nn.Sequential(
            conv(2, 3, 3, padding=1), relu(), conv(3, 4, 3, stride=2), relu(), flat(), nn.Linear(36, 5)
        ),
        "batch-norm": nn.Sequential(
            conv(2, 4, 3, bias=False), normed(4), relu(), conv(4, 2, (2, 3), groups=2), normed(2), relu(), flat(),
            nn.Linear(40, 6), relu(), nn.Linear(6, 3),
        ),
        "averages": nn.Sequential(
            conv(2, 3, 3, dilation=2), relu(), nn.AvgPool2d(2), conv(3, 3, 2, padding=1, bias=False), relu(),
            nn.AdaptiveAvgPool2d(1), flat(), nn.Linear(3, 3),
        ),
        "normalised": Normalised(conv(2, 3, 4, stride=2, padding=1), relu(), flat(), nn.Linear(48, 3)),
    }  # fmt: skip


def blocks(module: nn.Sequential) -> Iterator[nn.Sequential]:
    """What lies between two ReLUs, the module's own normalisation in the first."""
    found: list[list[nn.Module]] = [[]]
    for part in module:
        found.append([]) if isinstance(part, nn.ReLU) else found[-1].append(part)
    kind = type(module)
    return (kind(*parts) if k == 0 else nn.Sequential(*parts) for k, parts in enumerate(found))


@pytest.fixture(params=modules())
def module(request) -> nn.Sequential:
    return modules()[request.param].double().eval()


def images(count: int = 6, channels: int = 2) -> Tensor:
    return torch.rand(count, channels, SIDE, SIDE, generator=seeded(1), dtype=torch.float64)


def test_the_layers_of_a_chain_are_what_torch_makes_of_the_module(module):
    module.requires_grad_(False)
    network, z = Network.from_module(module), images()
    *hidden, logits = activations(network, z)
    unrolled = matrices(network, z)
    for block, A in zip(blocks(module), unrolled, strict=True):
        jacobian = torch.autograd.functional.jacobian(block.double().eval(), z[:1])
        torch.testing.assert_close(A, jacobian.reshape(A.shape), rtol=0, atol=1e-10)
        z = block(z).relu()
        if hidden:
            torch.testing.assert_close(hidden.pop(0), z.flatten(1))
    torch.testing.assert_close(logits, module(images()))
    assert hidden == [] and len(unrolled) == 1 + sum(isinstance(part, nn.ReLU) for part in module)


def test_norms_and_spectra_of_a_chain_are_those_of_its_matrices(module):
    network, x = Network.from_module(module), images()
    found = whole(network, x)
    layers = zip(matrices(network, x), found.norms, found.spectra, strict=True)
    for A, norm, of in layers:
        s, A = torch.linalg.svdvals(A), A.detach().numpy()
        assert norm == pytest.approx([np.linalg.norm(A, order) for order in (np.inf, 1, 2)])
        share = s / s.sum()
        rank = math.exp(-float(sum(p * p.log() for p in share if p > 0)))
        assert of == pytest.approx((float(s.std(correction=0)), float(s.std(correction=0) / s.mean()), rank))
    product = math.prod(norm.spectral for norm in found.norms)
    assert found.test.normalised.mean == pytest.approx(found.test.margin.mean / product)
    assert found.weights == pytest.approx([float(p.detach().abs().mean()) for p in module.parameters()])


@pytest.mark.parametrize("biases", [False, True])
def test_norms_of_our_cnn_are_those_that_the_theory_has_without_its_matrix(biases):
    W = cnn_init((1, 3, 4), seeded(), torch.float64, side=SIDE, classes=5)
    if biases:
        W = tuple(t for W_m in W for t in (W_m, torch.ones(len(W_m), dtype=torch.float64)))
    network, x = cnn(W), images(channels=1)
    kernels = [V for V in network.W if V.ndim > 1]
    steps = [step for step in network.steps if isinstance(step, Convolution)]
    found = whole(network, x)
    for K, step, size, norm in zip(kernels, steps, (8, 4), found.norms, strict=False):
        layer, size = norms.conv2d(K, step), (size, size)
        exact = norms.linf(layer, size), norms.l1(layer, size), norms.spectral(layer, size, tol=1e-9, steps=5000)
        assert norm == pytest.approx([float(value) for value in exact])
    assert found.norms[2] == pytest.approx([float(of(kernels[-1])) for of in (norms.linf, norms.l1, norms.spectral)])
    by_hand = F.conv2d(x, network.W[0], network.W[1] if biases else None, 2, 1).relu()
    torch.testing.assert_close(activations(network, x)[0], by_hand.flatten(1))


def test_flat_rows_are_read_as_the_images_that_they_are(module):
    network, x = Network.from_module(module), images()
    assert all(map(torch.equal, matrices(network, x), matrices(network, x.flatten(1))))
    first, second = whole(network, x), whole(network, x.flatten(1))
    assert replace(first, attacked=()) == replace(second, attacked=())
    assert np.array(first.attacked) == pytest.approx(np.array(second.attacked))


def test_a_dense_network_written_as_convolutions_has_the_dense_readings():
    dense = mlp(mlp_init((SIDE * SIDE, 6, 4, 3), seeded(), torch.float64))
    convolutions = nn.Sequential(
        nn.Conv2d(1, 6, SIDE, bias=False), nn.ReLU(), nn.Conv2d(6, 4, 1, bias=False), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 3, bias=False),
    ).double()  # fmt: skip
    for parameter, W_m in zip(convolutions.parameters(), dense.W, strict=True):
        parameter.data = W_m.reshape(parameter.shape)
    x = images(channels=1)
    network = Network.from_module(convolutions, x)
    assert network.steps and not network.is_dense
    first, second = (tiny.leaves(asdict(whole(net, z))) for net, z in ((dense, x.flatten(1)), (network, x)))
    assert len(first) > 200 and first == pytest.approx(second)


def test_a_float32_network_is_unrolled_in_float64():
    W = cnn_init((1, 2, 3), seeded(), side=SIDE, classes=3)
    network, x = cnn(W), images(channels=1).float()
    found, exact = whole(network, x), whole(network.to(torch.float64), x.double())
    assert [*found.norms, *found.spectra] == [*exact.norms, *exact.spectra]
    assert found.test.normalised == pytest.approx(exact.test.normalised, rel=1e-4)
