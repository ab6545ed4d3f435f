"""The training loop: what it leaves alone, what decides its result, and how it ends."""

import pytest
import torch
from torch.nn import functional as F

from nsr import attack, training
from nsr.budget import Budget
from nsr.network import Network, mlp, mlp_init

SIZES = (12, 32, 16, 3)


def problem(seed: int = 0, n: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """Three clusters in [0, 1]^12, easy enough for a tiny net."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.rand(3, SIZES[0], generator=generator, dtype=torch.float64)
    x = centres[y] + 0.1 * torch.randn(n, SIZES[0], generator=generator, dtype=torch.float64)
    return x.clamp(0, 1), y


def fresh(seed: int = 0) -> Network:
    return mlp(mlp_init(SIZES, torch.Generator().manual_seed(seed), torch.float64))


def fitted(start: int = 0, order: int = 1, **settings: float) -> Network:
    """A net trained on the clusters: `start` seeds its first weights, `order` the order of the samples."""
    return training.fit(
        fresh(start), *problem(), generator=torch.Generator().manual_seed(order), **{"epochs": 5, **settings}
    )


def same(first: Network, second: Network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.W, second.W, strict=True))


def loss(network: Network, x: torch.Tensor, y: torch.Tensor) -> float:
    return float(F.cross_entropy(network(x), y))


@pytest.fixture
def threads():
    """`torch.set_num_threads`, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_training_leaves_the_network_passed_in_untouched():
    network, reference = fresh(), fresh()
    trained = training.fit(network, *problem(), epochs=2, generator=torch.Generator().manual_seed(1))
    assert same(network, reference) and not same(trained, reference)
    assert not any(W_m.requires_grad for W_m in (*network.W, *trained.W))
    assert not any(a.data_ptr() == b.data_ptr() for a, b in zip(network.W, trained.W, strict=True))


def test_the_same_seed_gives_the_same_weights():
    assert same(fitted(), fitted())


def test_another_order_of_the_samples_gives_other_weights():
    assert not same(fitted(order=1), fitted(order=2))


def test_training_uses_no_global_randomness():
    state = torch.get_rng_state()
    torch.manual_seed(123)
    first = fitted()
    torch.manual_seed(456)
    assert same(first, fitted())
    torch.set_rng_state(state)


def test_training_lowers_the_loss_and_learns_the_clusters():
    x, y = problem()
    trained = fitted(epochs=20, batch=16)
    assert loss(trained, x, y) < 0.2 * loss(fresh(), x, y)
    assert (trained(x).argmax(1) == y).double().mean() > 0.95


def test_more_epochs_lower_the_loss_further():
    x, y = problem()
    assert loss(fitted(epochs=20), x, y) < loss(fitted(epochs=3), x, y) < loss(fresh(), x, y)


def test_no_epochs_return_the_network_as_it_was():
    assert same(fitted(epochs=0), fresh())


@pytest.mark.parametrize("setting", [{"epochs": 4}, {"lr": 0.05}, {"momentum": 0.5}, {"batch": 32}])
def test_every_setting_changes_the_result(setting):
    assert not same(fitted(), fitted(**setting))


def test_divergence_is_refused_and_the_message_names_the_rate():
    with pytest.raises(FloatingPointError, match=r"diverged.*lr=1e\+200"):
        fitted(lr=1e200)


def test_the_weights_keep_their_dtype():
    x, y = problem()
    start = mlp(mlp_init(SIZES, torch.Generator().manual_seed(0)))
    trained = training.fit(start, x.float(), y, epochs=1, generator=torch.Generator().manual_seed(1))
    assert {W_m.dtype for W_m in trained.W} == {torch.float32}


def test_a_layer_with_bias_is_trained_too():
    W = mlp_init((12, 3), torch.Generator().manual_seed(0), torch.float64)
    start = mlp((*W, torch.zeros(3, dtype=torch.float64)))
    trained = training.fit(start, *problem(), epochs=1, generator=torch.Generator().manual_seed(1))
    assert trained.W[1].abs().min() > 0


@pytest.mark.slow
def test_training_and_attack_agree_on_one_and_two_threads_to_8_digits(threads):
    """The chapter's digits do not hang on how many threads add up a sum: same sizes as there, fewer samples."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 784, generator=generator, dtype=torch.float64)
    y = (4 * x[:, :392].mean(1) - 4 * x[:, 392:].mean(1) > 0).long() + 2 * (x[:, 0] > 0.5).long()
    start = mlp(mlp_init((784, 32, 16, 10), generator, torch.float64))
    xi = Budget(0.04, (0.004,) * 3)
    results = []
    for count in (1, 2):
        threads(count)
        network = training.fit(start, x, y, epochs=2, generator=torch.Generator().manual_seed(1))
        x_hat, W_hat, _ = attack.joint_pgd(network, x[:100], y[:100], xi, steps=10)
        results.append((*network.W, network.at(W_hat)(x_hat)))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-8)
