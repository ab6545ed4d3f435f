"""Claims about the joint attack: what it leaves alone, what it does not depend on, and what it is never weaker than."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nsr import Budget, Network, attack, data, mlp, mlp_init, training
from nsr.attack import PAPER, STRONG, Ascent, Attack, joint, joint_pgd, reference, robust_accuracy, run, survivors
from nsr.network import mlp_forward

L = 3


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", dtype=torch.float64)


@pytest.fixture(scope="module")
def net(digits):
    g = torch.Generator().manual_seed(0)
    return training.fit(mlp(mlp_init((64, 32, 16, 10), g, torch.float64)), *_xy(digits.train), epochs=15, generator=g)


@pytest.fixture(scope="module")
def test(digits):
    return _xy(digits.test)


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    ).double()
    module.train()(torch.rand(50, 64, dtype=torch.float64))
    return module


def _xy(split):
    return split.x, split.y


def autograd_twin(net):
    """The same function, not recognised as a dense ReLU network: it takes the generic path."""
    return Network(net.W, lambda W, x: mlp_forward(W, x))


def accuracy(net, x, y, xi, how=PAPER, **scope):
    return float(survivors(net, x, y, [xi], how, **scope).double().mean())


def short(how: Attack, steps: int) -> Attack:
    return how.with_steps(steps / how.members[0].steps)


# what the paper says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps_x, eps_w", [(0.05, 0.004), (0.05, 0.0), (0.0, 0.004)])
def test_the_default_is_the_papers_attack_to_the_letter(net, test, eps_x, eps_w):
    xi = Budget(eps_x, (eps_w,) * L)
    x_hat, W_hat, _ = joint_pgd(net, *test, xi)
    x_ref, W_ref = reference.joint_pgd(net, *test, xi)
    torch.testing.assert_close(net.at(W_hat)(x_hat), net.at(W_ref)(x_ref), rtol=1e-9, atol=1e-9)


def test_the_attack_stays_inside_both_balls_and_the_box_and_leaves_the_network_alone(net, test):
    x, y = test
    before, xi = [W_m.clone() for W_m in net.W], Budget(0.1, (0.001, 0.01, 0.1))
    x_hat, W_hat, _ = joint_pgd(net, x, y, xi)
    assert torch.equal(xi.clip_x(x_hat, x, (0.0, 1.0)), x_hat)
    assert all(torch.equal(V, clipped) for V, clipped in zip(W_hat, xi.clip_W(W_hat, net.W), strict=True))
    assert all(torch.equal(V, U) for V, U in zip(net.W, before, strict=True))
    assert not any(t.requires_grad for t in (x_hat, *W_hat))


def test_without_a_box_inputs_leave_the_unit_interval(net, test):
    x_hat, *_ = joint_pgd(net, *test, Budget(0.1, (0.0,) * L), steps=10, box=None)
    assert x_hat.min() < 0 and x_hat.max() > 1


@pytest.mark.parametrize("how", ["joint_pgd", "run"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_zero_radius_leaves_its_tensor_bit_identical(how, kind, net, cnn, test):
    network = net if kind == "mlp" else Network.from_module(cnn)
    x = test[0][:20]
    y = network(x).argmax(1)
    zeros, some = (0.0,) * len(network.W), (0.01,) * len(network.W)
    attacked = getattr(attack, how)
    assert torch.equal(run(network, x, y, Budget(0.0, some))[0], x)
    x_hat, W_hat, _ = attacked(network, x, y, Budget(0.1, zeros))
    assert not torch.equal(x_hat, x) and all(torch.equal(V, U) for V, U in zip(W_hat, network.W, strict=True))
    first_only = Budget(0.1, (0.01, *zeros[1:]))
    changed = [not torch.equal(V, U) for V, U in zip(attacked(network, x, y, first_only).W_hat, network.W, strict=True)]
    assert changed == [True] + [False] * (len(network.W) - 1)
    x_hat, W_hat, _ = attacked(network, x, y, Budget(0.0, zeros))
    assert torch.equal(x_hat, x) and all(torch.equal(V, U) for V, U in zip(W_hat, network.W, strict=True))


def test_both_perturbations_raise_the_loss_more_than_either_alone(net, test):
    found = []
    for eps_x, eps_w in ((0.0, 0.0), (0.0, 0.01), (0.05, 0.0), (0.05, 0.01)):
        x_hat, W_hat, _ = joint_pgd(net, *test, Budget.uniform(eps_x, eps_w, net), steps=30)
        found.append(float(nn.functional.cross_entropy(net.at(W_hat)(x_hat), test[1])))
    clean, weights, inputs, both = found
    assert clean < min(weights, inputs) and max(weights, inputs) < both


def test_zero_steps_are_the_identity(net, test):
    x_hat, W_hat, _ = joint_pgd(net, *test, Budget(0.1, (0.01,) * L), steps=0)
    assert torch.equal(x_hat, test[0]) and all(torch.equal(V, U) for V, U in zip(W_hat, net.W, strict=True))


# one path by hand, one by autograd ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [{}, {"images_per_W": 7}, {"images_per_W": 1}])
@pytest.mark.parametrize("how", [PAPER, short(STRONG, 10)], ids=["paper", "strong"])
def test_gradients_by_hand_and_by_autograd_give_the_same_attack(net, test, scope, how):
    x, y = test[0][:60], test[1][:60]
    for xi in (Budget(0.05, (0.01,) * L), Budget(0.05, (0.0,) * L), Budget(0.0, (0.02, 0.0, 0.01))):
        found = survivors(net, x, y, [xi], how, **scope), survivors(autograd_twin(net), x, y, [xi], how, **scope)
        assert torch.equal(*found)


def test_float32_chunks_agree_with_autograd_on_logits_and_accuracy(net, digits):
    net32, split = net.to(torch.float32), digits.train.to(torch.float32)
    x, y = split.x.repeat(16, 1), split.y.repeat(16)  # more rows than one chunk holds
    xi = Budget(0.05, (0.004,) * L)
    ours, theirs = (joint_pgd(n, x, y, xi, steps=10) for n in (net32, autograd_twin(net32)))
    z, z_ref = net32.at(ours[1])(ours[0]), net32.at(theirs[1])(theirs[0])
    assert (z - z_ref).abs().median() < 1e-4
    assert abs(float((z.argmax(1) == y).float().mean() - (z_ref.argmax(1) == y).float().mean())) < 1e-3


def test_a_module_with_biases_is_attacked_by_hand_and_by_autograd_alike(test):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)).double()
    net, (x, _) = Network.from_module(module), test
    assert net.is_mlp
    y, xi = net(x).argmax(1), Budget(0.02, (0.001, 0.01, 0.002, 0.02))
    ours, theirs = joint_pgd(net, x, y, xi), joint_pgd(autograd_twin(net), x, y, xi)
    for a, b in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
        torch.testing.assert_close(a, b)


def test_a_cnn_with_batch_norm_is_attacked_and_left_alone(cnn, test):
    net, (x, _) = Network.from_module(cnn), test
    before = {name: t.clone() for name, t in cnn.state_dict().items()}
    y = net(x).argmax(1)
    for scope in ({}, {"images_per_W": 50}, {"images_per_W": 1}):
        how = Attack((Ascent(steps=10),))
        assert accuracy(net, x[:100], y[:100], Budget(0.03, (0.003,) * len(net.W)), how, **scope) < 0.9
    assert all(torch.equal(t, before[name]) for name, t in cnn.state_dict().items())


@pytest.mark.parametrize("how", [PAPER, short(STRONG, 10)], ids=["paper", "strong"])
def test_all_cells_at_once_as_on_cuda_leave_what_one_after_another_leaves(net, test, how):
    x, y = test[0][:50], test[1][:50]
    cells = [Budget(eps_x, (eps_w,) * L) for eps_x in (0.0, 0.03, 0.06) for eps_w in (0.0, 0.005, 0.01)]
    assert torch.equal(
        joint._cells_at_once(net, x, y, cells, how, (0.0, 1.0), [[]] * len(how.ascents)),
        survivors(net, x, y, cells, how),
    )


# who the weight attacker is -----------------------------------------------------------------------------------------


def test_the_more_inputs_share_one_w_hat_the_weaker_its_attacker(net, test):
    scopes = {"images_per_W": None}, {"images_per_W": 10}, {"images_per_W": 1}
    cells = [Budget(eps_x, (eps_w,) * L) for eps_x, eps_w in ((0.0, 0.02), (0.02, 0.01), (0.05, 0.02))]
    shared, batch, own = (survivors(net, *test, cells, **scope).double().mean() for scope in scopes)
    assert shared > batch > own


def test_a_batch_is_attacked_as_if_it_were_alone(net, test):
    x, y = test[0][:25], test[1][:25]
    xi = Budget(0.05, (0.01,) * L)
    x_hat, W_hat, _ = joint_pgd(net, x, y, xi, images_per_W=10)
    assert [len(V) for V in W_hat] == [3] * L
    for g, rows in enumerate((slice(0, 10), slice(10, 20), slice(20, 25))):
        x_alone, W_alone, _ = joint_pgd(net, x[rows], y[rows], xi)
        torch.testing.assert_close(x_hat[rows], x_alone)
        for V, U in zip(W_hat, W_alone, strict=True):
            torch.testing.assert_close(V[g], U)


def test_per_sample_is_a_batch_of_one_and_shared_a_batch_of_all(net, test):
    x, y = test[0][:30], test[1][:30]
    xi = [Budget(0.05, (0.01,) * L)]
    assert torch.equal(survivors(net, x, y, xi, images_per_W=1), survivors(net, x, y, xi, images_per_W=1))
    assert torch.equal(survivors(net, x, y, xi), survivors(net, x, y, xi, images_per_W=30))


# the strong attack --------------------------------------------------------------------------------------------------

CELLS = [(0.0, 0.01), (0.05, 0.0), (0.05, 0.01), (0.1, 0.02)]


@pytest.mark.parametrize("c", [0.1, 0.5, 4.0, 100.0])
def test_the_strong_attack_does_not_see_the_networks_scale(net, test, c):
    x, y = test[0][:100], test[1][:100]
    how, scaled = short(STRONG, 20), net.at(c * W_m for W_m in net.W)
    cells = [[Budget(eps_x, (s * eps_w,) * L) for eps_x, eps_w in CELLS] for s in (1, c)]
    torch.testing.assert_close(
        survivors(scaled, x, y, cells[1], how).double().mean(1),
        survivors(net, x, y, cells[0], how).double().mean(1),
        rtol=0,
        atol=0.011,  # one input in a hundred: products by c round
    )


def test_the_papers_attack_sees_the_networks_scale(net, test):
    xi, scaled = Budget(0.05, (0.01,) * L), net.at(10 * W_m for W_m in net.W)
    assert accuracy(scaled, *test, Budget(0.05, (0.1,) * L)) > accuracy(net, *test, xi) + 0.2


def test_the_strong_attack_is_never_much_weaker_than_the_papers(net, test):
    cells = [Budget(eps_x, (eps_w,) * L) for eps_x, eps_w in CELLS]
    paper, found = (survivors(net, *test, cells, how).double().mean(1) for how in (PAPER, STRONG))
    assert (found <= paper + 0.005).all()
    assert found.mean() < paper.mean() - 0.01


def test_every_ingredient_of_the_strong_attack_changes_something(net, test):
    x, y = test[0][:100], test[1][:100]
    xi = Budget(0.06, (0.01,) * L)
    base = Ascent(steps=10, step_x=0.3, step_w=0.3, in_radii=True, T=0.2)
    changes = {
        "loss_x": "margin",
        "loss_w": "probability",
        "T": None,
        "cosine": True,
        "in_radii": False,
        "steps": 2,
        "step_x": 0.05,
        "step_w": 0.05,
    }

    def logits(ascent):
        x_hat, W_hat, _ = run(net, x, y, xi, Attack((ascent,)))
        return net.at(W_hat)(x_hat)

    plain = logits(base)
    for name, value in changes.items():
        assert not torch.equal(logits(replace(base, **{name: value})), plain), name


def test_polish_and_more_members_only_lower_accuracy(net, test):
    xi = Budget(0.05, (0.01,) * L)
    steps = short(STRONG, 40)
    one = replace(steps, members=steps.members[:1], polish=())
    ensemble = replace(steps, polish=())
    left = [survivors(net, *test, [xi], how)[0] for how in (one, ensemble, steps)]
    assert left[2].sum() < left[1].sum() <= left[0].sum()
    assert not (left[2] & ~left[1]).any()  # the polish keeps W_hat, so it can only break more of the inputs


def test_the_best_iterate_is_at_least_as_strong_as_the_last(net, test):
    last = Ascent(steps=20, step_x=2.0, step_w=2.0, in_radii=True, loss_x="margin", loss_w="margin")
    cells = [Budget(0.05, (0.01,) * L), Budget(0.06, (0.0,) * L), Budget(0.0, (0.01,) * L)]
    hows = [Attack((replace(last, keep_best=keep),)) for keep in (True, False)]
    best, plain = (survivors(net, *test, cells, how).double().mean(1) for how in hows)
    assert (best <= plain).all() and (best < plain).any()


# oracle -------------------------------------------------------------------------------------------------------------


def test_input_only_results_agree_with_foolbox(net, test):
    import foolbox

    x, y = test
    widths = [(W_m.shape[1], W_m.shape[0]) for W_m in net.W]
    dense = [nn.Linear(*width, bias=False).double() for width in widths]
    for layer, W_m in zip(dense, net.W, strict=True):
        layer.weight.data = W_m.clone()
    module = nn.Sequential(dense[0], nn.ReLU(), dense[1], nn.ReLU(), dense[2]).eval()
    oracle = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    for eps_x in (0.03, 0.1):
        pgd = foolbox.attacks.LinfPGD(abs_stepsize=0.01, steps=40, random_start=False)
        _, _, broken = pgd(oracle, x, y, epsilons=eps_x)
        ours = accuracy(net, x, y, Budget(eps_x, (0.0,) * L), Attack((Ascent(steps=40),)))
        assert abs(ours - float((~broken).double().mean())) <= 0.005


# what comes back, and where it starts -------------------------------------------------------------------------------


@pytest.mark.parametrize("images_per_W", [None, 7, 1])
@pytest.mark.parametrize("eps_w", [0.0, 0.02])
def test_what_is_broken_is_broken_at_the_point_that_comes_back(net, test, images_per_W, eps_w):
    x, y = test[0][:30], test[1][:30]
    found = run(net, x, y, Budget(0.04, (eps_w,) * L), PAPER, images_per_W=images_per_W)
    groups = range(len(x)) if images_per_W is None else [b // images_per_W for b in range(len(x))]
    weights = [found.W_hat if images_per_W is None else [V[g] for V in found.W_hat] for g in groups]
    z = torch.cat([net.at(W_hat)(found.x_hat[b : b + 1]) for b, W_hat in enumerate(weights)])
    assert torch.equal(z.argmax(1) != y, found.broken) and found.broken.any()
    assert found.accuracy == robust_accuracy(net, x, y, Budget(0.04, (eps_w,) * L), PAPER, images_per_W=images_per_W)


@pytest.mark.parametrize(("eps_w", "images_per_W"), [(0.0, None), (0.01, 1), (0.01, 5)])
def test_random_starts_do_not_hang_on_how_the_inputs_are_cut(net, test, eps_w, images_per_W, monkeypatch):
    x, y, xi = test[0][:20], test[1][:20], Budget(0.05, (eps_w,) * L)
    how = Attack.pgd(steps=0, random_start=True)

    def found():
        return run(net, x, y, xi, how, images_per_W=images_per_W, generator=torch.Generator().manual_seed(3))

    whole = found()
    monkeypatch.setattr(joint, "FEW", sum(V.numel() for V in net.W))
    monkeypatch.setattr(joint, "CHUNK", 64 * 5)
    parts = found()
    assert torch.equal(whole.x_hat, parts.x_hat)
    assert all(torch.equal(V, U) for V, U in zip(whole.W_hat, parts.W_hat, strict=True))
    assert len({tuple(row) for row in (whole.x_hat - x).tolist()}) == len(x)  # no two inputs start alike


def test_one_generator_gives_each_restart_a_start_of_its_own_and_the_same_ones_again(net, test):
    x, y, xi = test[0][:10], test[1][:10], Budget(0.05, (0.01,) * L)
    first, again, other = (
        joint_pgd(net, x, y, xi, steps=0, generator=torch.Generator().manual_seed(seed)).x_hat for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, x)
    assert len(Attack.pgd(restarts=3).ascents) == 4


def test_restarts_never_leave_more(net, test):
    xi, few = Budget(0.04, (0.0,) * L), Attack.pgd(steps=5)
    left = [survivors(net, *test, [xi], replace(few, restarts=n))[0] for n in (0, 1, 3)]
    assert all(bool((more <= less).all()) for less, more in zip(left, left[1:], strict=False))
    assert left[-1].sum() < left[0].sum()


def test_only_the_named_tensors_move(net, test):
    x, y = test[0][:10], test[1][:10]
    found = run(net, x, y, Budget.uniform(0.02, 0.01, net, only="W2"), PAPER)
    assert [torch.equal(V, U) for V, U in zip(found.W_hat, net.W, strict=True)] == [True, False, True]


# what does not fit is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images_per_W": 0}, "a whole number from 1"),
        ({"images_per_W": True}, "a whole number from 1"),
        ({"y": torch.full((300,), 10)}, "10 classes"),
        ({"y": torch.zeros(3, dtype=torch.long)}, "one whole-numbered label"),
        ({"xi": Budget(0.1, (0.1,))}, "weight radii"),
        ({"box": (0.0, 0.5)}, "leaves the box"),
        ({"steps": -1}, "steps must be"),
        ({"step_x": float("nan")}, "step_x must be"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(net, test, change, message):
    given = {"x": test[0], "y": test[1], "xi": Budget(0.1, (0.01,) * L)} | change
    with pytest.raises(ValueError, match=message) as refusal:
        joint_pgd(net, given.pop("x"), given.pop("y"), given.pop("xi"), **given)
    assert "\n" not in str(refusal.value)


def test_mixed_precision_is_refused_by_name(net, test):
    with pytest.raises(ValueError, match="float32"):
        joint_pgd(net, test[0].float(), test[1], Budget(0.1, (0.01,) * L))


def test_an_unknown_loss_or_start_is_refused():
    with pytest.raises(ValueError, match="choose one of cross_entropy"):
        Ascent(loss_x="hinge")
    with pytest.raises(ValueError, match="choose from found"):
        Attack(starts=("random",))


@pytest.mark.parametrize("images_per_W", [3, 1])
def test_of_no_inputs_there_are_no_weights_but_tensors_of_the_right_shape(net, test, images_per_W):
    x, y = (t[:0] for t in test)
    x_hat, W_hat, _ = joint_pgd(net, x, y, Budget(0.1, (0.01,) * L), images_per_W=images_per_W)
    assert x_hat.shape == x.shape and [V.shape for V in W_hat] == [(0, *V.shape) for V in net.W]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_whole_number_type_are_labels(net, test, dtype):
    x, y, xi = test[0][:8], test[1][:8], Budget(0.1, (0.01,) * L)
    assert torch.equal(joint_pgd(net, x, y.to(dtype), xi, steps=3)[0], joint_pgd(net, x, y, xi, steps=3)[0])
    assert torch.equal(survivors(net, x, y.to(dtype), [xi]), survivors(net, x, y, [xi]))


def test_inputs_and_weights_that_carry_a_graph_are_attacked_without_a_warning(net, test):
    x, y, xi = test[0][:8], test[1][:8], Budget(0.1, (0.01,) * L)
    tracked = net.at(V.clone().requires_grad_() for V in net.W)
    x_hat, W_hat, _ = joint_pgd(tracked, x.clone().requires_grad_(), y, xi, steps=3)
    assert torch.equal(x_hat, joint_pgd(net, x, y, xi, steps=3)[0]) and not any(V.requires_grad for V in W_hat)


def test_inference_mode_and_its_tensors_change_nothing(cnn, test):
    x, y = test[0][:8], test[1][:8]
    clean = Network.from_module(cnn)
    xi = Budget.uniform(0.1, 0.01, clean)
    expected = joint_pgd(clean, x, y, xi, steps=3)[0]
    with torch.inference_mode():
        made_inside, x_inside = Network.from_module(cnn), x.clone()
        inside = joint_pgd(made_inside, x_inside, y.clone(), xi, steps=3)[0]
    assert torch.equal(inside, expected)
    assert torch.equal(joint_pgd(made_inside, x_inside, y, xi, steps=3)[0], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net, x, y: (net, x * float("nan"), y, {}), "NaN or infinite"),
        (lambda net, x, y: (net.at(V / 0 for V in net.W), x, y, {}), "NaN or infinite"),
        (lambda net, x, y: (net, x, y > 0, {}), "whole-numbered label"),
        (lambda net, x, y: (net, x, y, {"images_per_W": 2.5}), "a whole number from 1"),
        (lambda net, x, y: (net, x, y, {"box": (1, 0)}), "low < high"),
    ],
)
def test_what_would_give_a_number_without_meaning_is_refused(net, test, change, message):
    net, x, y, options = change(net, test[0][:4], test[1][:4])
    with pytest.raises(ValueError, match=message):
        joint_pgd(net, x, y, Budget(0.0, (0.01,) * L), steps=1, **options)
