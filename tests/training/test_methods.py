"""The table of methods and the one loop that obeys it."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nsr import training
from nsr.attack.offsets import weights_for
from nsr.network import Network, mlp, mlp_init
from nsr.training import METHODS, Method, loop

SHORT = {"epochs": 4, "batch": 32}


def problem(n: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """Three clusters in [0, 1]^12."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    centres = torch.rand(3, 12, generator=generator, dtype=torch.float64)
    x = centres[y] + 0.1 * torch.randn(n, 12, generator=generator, dtype=torch.float64)
    return x.clamp(0, 1), y


def fresh() -> Network:
    return mlp(mlp_init((12, 16, 8, 3), torch.Generator().manual_seed(0), torch.float64))


def fitted(method: Method, **more: object) -> Network:
    return training.fit(fresh(), *problem(), method, generator=torch.Generator().manual_seed(1), **SHORT, **more)


def same(first: Network, second: Network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.W, second.W, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_the_table_lowers_the_loss_of_the_clean_samples(name):
    x, y = problem()
    before, after = (float(F.cross_entropy(network(x), y)) for network in (fresh(), fitted(METHODS[name])))
    assert after < before


@pytest.mark.parametrize("name", [name for name in METHODS if name != "standard"])
def test_every_row_trains_another_net_than_the_standard_one(name):
    assert not same(fitted(METHODS[name]), fitted(METHODS["standard"]))


ALL_ON = Method(
    "all",
    alpha=1e-3,
    beta=1e-2,
    xi_x=0.1,
    xi_w=0.01,
    attack_x=0.1,
    attack_w=0.01,
    awp=0.01,
    certified=0.2,
    clip=1.0,
    norm_decay=0.1,
    weight_decay=0.01,
    most_singular=1.0,
)
OTHER = {"bound": "interval", "optimiser": "adam", "attack_steps": 3, "trades": 1.0, "ramp": 0.2, "clip": 0.5}
OTHER |= {"norm": "l1", "images_per_W": 1}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Method) if f.name not in ("title", *SHORT)])
def test_every_switch_and_number_changes_what_is_trained(field):
    value = OTHER.get(field, getattr(ALL_ON, field) / 2 if field not in OTHER else None)
    base = replace(ALL_ON, awp=0.0) if field == "images_per_W" else ALL_ON  # which do not go together
    assert not same(fitted(base), fitted(replace(base, **{field: value})))


@pytest.mark.parametrize("method", [ALL_ON, METHODS["joint_at"]], ids=lambda method: method.title)
@pytest.mark.parametrize("stop", [1, 3])
def test_a_training_taken_up_again_after_any_epoch_ends_in_the_same_weights(method, stop):
    states: list[training.State] = []
    whole = fitted(method, on_epoch=states.append)
    again: list[training.State] = []
    assert same(whole, fitted(method, state=states[stop - 1], on_epoch=again.append))
    assert [state.epoch for state in states] == [1, 2, 3, 4]
    assert again[-1].history == states[-1].history


def test_the_state_of_an_epoch_is_not_changed_by_the_next():
    states: list[training.State] = []
    fitted(METHODS["joint_at"], on_epoch=lambda state: states.append(state))
    first = [W_m.clone() for W_m in states[0].W]
    assert not same(mlp(states[0].W), mlp(states[-1].W)) and all(map(torch.equal, first, states[0].W))


def test_a_row_cannot_name_an_optimiser_that_is_not_there():
    with pytest.raises(ValueError, match="choose sgd or adam"):
        fitted(Method("no", optimiser="lion"))


def test_a_network_that_has_collapsed_is_refused_and_not_returned():
    with pytest.raises(training.CollapseError, match="collapsed|diverged"):
        fitted(Method("too much", beta=1e4, xi_w=1.0, ramp=0.0, lr=0.5))


def test_weights_of_each_images_own_give_the_gradient_that_their_matrices_give(monkeypatch):
    """The loss by offsets against the mean over images of the loss at W + delta_k, delta_k written out and held."""
    x, y = problem(6)
    net, row = fresh(), Method("own", attack_x=0.1, attack_w=0.05, images_per_W=1, ramp=0.0)
    faced = []

    def ascend(*args, **how):
        faced.append(attacked(*args, **how))
        return faced[-1]

    attacked = loop.ascend
    monkeypatch.setattr(loop, "ascend", ascend)
    ours = [V.clone().requires_grad_() for V in net.W]
    generator = torch.Generator().manual_seed(0)
    terms = training.loss_terms(net, tuple(ours), x, y, row, 0.5, generator)
    terms["cross-entropy"].backward()
    ((x_hat, t),) = faced
    plain = [V.clone().requires_grad_() for V in net.W]
    for k in range(len(x)):
        W_hat = weights_for(net, [part[k] for part in t], x_hat[k])
        assert all(((V_hat - V).abs() <= 0.05 + 1e-12).all() for V_hat, V in zip(W_hat, net.W, strict=True))
        V = [P + (V_hat - V) for P, V_hat, V in zip(plain, W_hat, net.W, strict=True)]
        (F.cross_entropy(net.forward(tuple(V), x_hat[k]), y[k : k + 1]) / len(x)).backward()
    assert len({tuple(part.tolist()) for part in t[0]}) > 1  # images do face different weights
    for U, P in zip(ours, plain, strict=True):
        torch.testing.assert_close(U.grad, P.grad)


def test_awp_moves_one_weight_set_for_the_batch_and_refuses_one_for_each_image():
    with pytest.raises(ValueError, match="awp moves one"):
        Method("both", awp=0.01, images_per_W=1)
