"""Training and the basic joint attack, as chapter 1 uses them."""

import pytest
import torch
from torch.nn import functional as F

from nsr import attack, training
from nsr.budget import Budget
from nsr.network import Network, mlp, mlp_init

SIZES = (12, 32, 16, 3)
BOX = (0.0, 1.0)


def problem(seed: int = 0, n: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """Three clusters in [0, 1]^12, easy enough for a tiny net."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.rand(3, SIZES[0], generator=generator, dtype=torch.float64)
    x = centres[y] + 0.1 * torch.randn(n, SIZES[0], generator=generator, dtype=torch.float64)
    return x.clamp(*BOX), y


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


def test_training_and_attack_agree_on_one_and_two_threads_to_8_digits(threads):
    """The chapter's digits do not hang on how many threads add up a sum: same sizes as there, fewer samples."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1_000, 784, generator=generator, dtype=torch.float64)
    y = (4 * x[:, :392].mean(1) - 4 * x[:, 392:].mean(1) > 0).long() + 2 * (x[:, 0] > 0.5).long()
    start = mlp(mlp_init((784, 32, 16, 10), generator, torch.float64))
    xi = Budget(0.04, (0.004,) * 3)
    results = []
    for count in (1, 2):
        threads(count)
        network = training.fit(start, x, y, epochs=3, generator=torch.Generator().manual_seed(1))
        x_hat, W_hat, _ = attack.joint_pgd(network, x[:100], y[:100], xi, steps=20)
        results.append((*network.W, network.at(W_hat)(x_hat)))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-8)


def budgets() -> list[Budget]:
    return [Budget(eps_x, (eps_w,) * 3) for eps_x in (0.0, 0.1) for eps_w in (0.0, 0.02)]


@pytest.mark.parametrize("xi", budgets(), ids=str)
def test_the_attack_stays_in_the_joint_ball_and_in_the_box(xi):
    (x, y), network = problem(), fitted()
    x_hat, W_hat, _ = attack.joint_pgd(network, x, y, xi, steps=30, step_x=0.01, step_w=0.0015, box=BOX)
    assert (x_hat - x).abs().max() <= xi.eps_x + 1e-15
    assert x_hat.min() >= 0 and x_hat.max() <= 1
    for V, U, eps in zip(W_hat, network.W, xi.eps_w, strict=True):
        assert (V - U).abs().max() <= eps + 1e-15


def test_without_a_box_the_attack_leaves_it():
    (x, y), network = problem(), fitted()
    x_hat, _, _ = attack.joint_pgd(network, x, y, Budget(0.3, (0,) * 3), steps=30, box=None)
    assert x_hat.min() < 0 or x_hat.max() > 1


def test_a_zero_radius_freezes_its_side_exactly():
    (x, y), network = problem(), fitted()
    x_hat, _, _ = attack.joint_pgd(network, x, y, Budget(0, (0.02,) * 3), steps=5)
    _, W_hat, _ = attack.joint_pgd(network, x, y, Budget(0.1, (0,) * 3), steps=5)
    assert torch.equal(x_hat, x) and same(network.at(W_hat), network)


def test_the_attack_leaves_network_and_samples_untouched():
    (x, y), network = problem(), fitted()
    before = x.clone()
    attack.joint_pgd(network, x, y, Budget(0.1, (0.02,) * 3), steps=5)
    assert torch.equal(x, before) and same(network, fitted())


def test_the_attack_raises_the_loss_and_both_raise_it_more_than_either():
    (x, y), network = problem(), fitted()
    found = []
    for xi in budgets():
        x_hat, W_hat, _ = attack.joint_pgd(network, x, y, xi, steps=30, step_w=0.0015)
        found.append(loss(network.at(W_hat), x_hat, y))
    clean, weights, inputs, both = found
    assert clean == loss(network, x, y)
    assert clean < min(weights, inputs) and max(weights, inputs) < both


def test_one_step_is_the_paper_s_signed_step_on_both_at_once():
    (x, y), network = problem(), fitted()
    x_t, *W_t = (t.clone().requires_grad_() for t in (x, *network.W))
    F.cross_entropy(network.forward(tuple(W_t), x_t), y).backward()
    x_hat, W_hat, _ = attack.joint_pgd(
        network, x, y, Budget(1, (1,) * 3), steps=1, step_x=0.01, step_w=0.0005, box=None
    )
    torch.testing.assert_close(x_hat, x + 0.01 * x_t.grad.sign(), rtol=0, atol=1e-12)
    for V, U, t in zip(W_hat, network.W, W_t, strict=True):
        torch.testing.assert_close(V, U + 0.0005 * t.grad.sign(), rtol=0, atol=1e-12)


def test_inputs_move_on_their_own_when_the_weights_stand_still():
    (x, y), network = problem(), fitted()
    xi = Budget(0.1, (0,) * 3)
    together, _, _ = attack.joint_pgd(network, x, y, xi, steps=10)
    alone = torch.cat([attack.joint_pgd(network, x[b : b + 1], y[b : b + 1], xi, steps=10)[0] for b in range(20)])
    torch.testing.assert_close(together[:20], alone, rtol=0, atol=1e-12)


def test_all_inputs_share_one_perturbed_weight_set():
    (x, y), network = problem(), fitted()
    _, W_hat, _ = attack.joint_pgd(network, x, y, Budget(0.1, (0.02,) * 3), steps=5)
    assert [V.shape for V in W_hat] == [U.shape for U in network.W]
