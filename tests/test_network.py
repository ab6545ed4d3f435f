"""A network is a value: evaluating it elsewhere, casting it, reading it off a module leave everything as it was."""

import copy

import numpy as np
import oracles
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from nsr import Network, margins, mlp, mlp_init
from nsr.network import layers


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def drawn(*sizes, biases=False, seed=0):
    """Random float64 weights, as numpy sees them and as torch does."""
    arrays = oracles.draw(sizes, np.random.default_rng(seed), biases=biases)
    return arrays, tuple(map(torch.tensor, arrays))


def same_function(network, module, x):
    torch.testing.assert_close(network(x), module(x), rtol=1e-6, atol=1e-6)


# --- mlp ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 4, 5, 2), (1, 1, 1, 1, 1, 2)])
def test_mlp_computes_its_layers_one_by_one(sizes, biases):
    arrays, W = drawn(*sizes, biases=biases)
    x = np.random.default_rng(1).normal(size=(7, sizes[0]))
    expected = oracles.batched_logits([np.stack([a] * 7) for a in arrays], x)
    np.testing.assert_allclose(mlp(W)(torch.tensor(x)).numpy(), expected, rtol=1e-12, atol=1e-14)


def test_a_bias_free_mlp_is_homogeneous_in_each_layer():
    _, W = drawn(3, 4, 4, 2)
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(mlp((2 * W[0], W[1] / 2, 3 * W[2]))(x), 3 * mlp(W)(x))


def test_images_are_flattened_before_the_first_layer():
    _, W = drawn(6, 4, 2)
    x = torch.randn(5, 1, 2, 3, dtype=torch.float64)
    assert torch.equal(mlp(W)(x), mlp(W)(x.flatten(1)))


def test_parameters_of_a_sequential_are_a_weight_set_as_they_stand():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    same_function(mlp(tuple(module.parameters())), module, torch.randn(5, 3))


def test_gradients_flow_to_weights_and_inputs():
    _, W = drawn(3, 4, 2, biases=True)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    W = tuple(U.requires_grad_() for U in W)
    assert torch.autograd.gradcheck(lambda x, *W: mlp(W)(x), (x, *W))


def test_margins_are_all_pairwise_differences():
    f = margins(torch.tensor([[1.0, 4.0, 9.0]]))
    assert f.tolist() == [[[0, -3, -8], [3, 0, -5], [8, 5, 0]]]


@pytest.mark.parametrize(
    ("W", "message"),
    [
        ((), "at least one weight matrix"),
        ((torch.ones(3),), "neither a dense layer's matrix nor its bias"),
        ((torch.ones(4, 3, 2, 2), torch.ones(2, 4)), "tensor 0 of W.*needs a dense ReLU network"),
        ((torch.tensor(1.0),), "neither"),
        ((torch.ones(4, 3), torch.ones(2, 5)), "takes 5 inputs but the layer before gives 4"),
        ((torch.ones(4, 3), torch.ones(3)), "which has 4 outputs"),
        ((torch.ones(4, 3), torch.ones(4), torch.ones(4)), "tensor 2 of W"),
    ],
)
def test_what_is_no_chain_of_dense_layers_is_refused(W, message):
    with pytest.raises(ValueError, match=message):
        mlp(W)


def test_layers_pairs_each_matrix_with_its_own_bias():
    W = (torch.ones(4, 3), torch.ones(4, 4), torch.ones(4), torch.ones(2, 4))
    for layer, U, b in zip(layers(W), (W[0], W[1], W[3]), (None, W[2], None), strict=True):
        assert layer.W is U and layer.b is b


# --- mlp_init -------------------------------------------------------------------------------------------------------


def test_fresh_weights_have_the_asked_shapes_dtype_and_spread(generator):
    W = mlp_init((400, 300, 10), generator, torch.float64)
    assert [tuple(U.shape) for U in W] == [(300, 400), (10, 300)] and W[0].dtype == torch.float64
    assert float(W[0].std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert abs(float(W[0].mean())) < 0.001


def test_the_generator_alone_decides_fresh_weights():
    one, same, other = (mlp_init((3, 4, 2), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(map(torch.equal, one, same)) and not torch.equal(one[0], other[0])


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0, 2), (3, -1), (3, 2.5)])
def test_impossible_widths_are_refused(sizes, generator):
    with pytest.raises(ValueError, match="positive whole numbers"):
        mlp_init(sizes, generator)


# --- at, to ---------------------------------------------------------------------------------------------------------


def test_a_perturbed_network_is_another_value_and_the_original_never_changes():
    _, W = drawn(3, 4, 2)
    before, x = [U.clone() for U in W], torch.randn(5, 3, dtype=torch.float64)
    network = mlp(W)
    clean = network(x)
    perturbed = network.at([U + 1 for U in W])
    assert not torch.equal(perturbed(x), clean)
    assert torch.equal(network(x), clean) and all(map(torch.equal, network.W, before))
    assert all(U is V for U, V in zip(network.W, W, strict=True))
    assert perturbed.is_mlp and isinstance(perturbed.W, tuple)


def test_at_its_own_weights_a_network_is_itself():
    _, W = drawn(3, 4, 2)
    x = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(mlp(W).at(W)(x), mlp(W)(x))


def test_a_network_cannot_be_written_into():
    with pytest.raises(AttributeError):
        mlp(drawn(3, 2)[1]).W = ()


@pytest.mark.parametrize(
    "W_hat", [(), (torch.ones(4, 3),), (torch.ones(4, 3), torch.ones(3, 4)), (torch.ones(3, 4),) * 2]
)
def test_weights_of_other_shapes_are_refused(W_hat):
    with pytest.raises(ValueError, match="do not fit this network: expected shapes"):
        mlp((torch.ones(4, 3), torch.ones(2, 4))).at(W_hat)


def test_a_cast_network_computes_in_the_new_dtype_and_leaves_the_old_one():
    network = mlp(tuple(U.float() for U in drawn(3, 4, 2)[1]))
    assert network.to(torch.float64)(torch.zeros(1, 3, dtype=torch.float64)).dtype == torch.float64
    assert network.W[0].dtype == torch.float32


# --- from_module ----------------------------------------------------------------------------------------------------

CHAINS = {
    "plain": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    "empty parts": lambda: nn.Sequential(nn.Sequential(), nn.Linear(6, 5), nn.Sequential(nn.ReLU(), nn.Linear(5, 3))),
    "bias-free": lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)),
    "some biases": lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)),
    "one layer": lambda: nn.Sequential(nn.Linear(6, 3)),
    "flatten": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(6, 5)), nn.Sequential(nn.ReLU(), nn.Linear(5, 3))
    ),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.9), nn.ReLU(), nn.Identity(), nn.Linear(5, 3)),
    "in place": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)),
    "a bare Linear": lambda: nn.Linear(6, 3),
    "one ReLU used twice": lambda: _with_shared_relu(),
}


def _with_shared_relu():
    rho = nn.ReLU()
    return nn.Sequential(nn.Linear(6, 5), rho, nn.Linear(5, 5), rho, nn.Linear(5, 3))


@pytest.mark.parametrize("name", CHAINS)
def test_a_dense_chain_is_read_as_an_mlp(name):
    module = CHAINS[name]()
    network = Network.from_module(module)
    assert network.is_mlp
    same_function(network, module.eval(), torch.randn(7, 6))


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def _shared_layer():
    shared, rho = nn.Linear(6, 6), nn.ReLU()
    return nn.Sequential(shared, rho, shared, rho, nn.Linear(6, 3))


def _tied_weights():
    module = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    module[2].weight = module[0].weight
    return module


def _tied_everything():
    module = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 6, bias=False))
    module[2].weight = module[0].weight
    return module


def _hooked():
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    module[0].register_forward_hook(_double_output)
    return module


def _hooked_whole():
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    module.register_forward_hook(_double_output)
    return module


def _double_output(module, inputs, output):
    return 2 * output


def _pruned():
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    prune.l1_unstructured(module[0], "weight", 0.5)
    with torch.no_grad():
        module(torch.zeros(1, 6))  # the pruned weight is then a constant, and the module can be copied
    return module


def _spectrally_normalised():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3)).eval()


LOOKALIKES = {
    "a layer used twice": _shared_layer,
    "tied weights": _tied_weights,
    "tied weights, square": _tied_everything,
    "a Sequential with its own forward": lambda: Doubled(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    "a nested Sequential with its own forward": lambda: nn.Sequential(
        Doubled(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3)
    ),
    "a Linear with its own forward": lambda: nn.Sequential(DoubledLinear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    "a layer with a hook": _hooked,
    "a module with a hook": _hooked_whole,
    "a pruned layer": _pruned,
    "a reparametrised layer": _spectrally_normalised,
    "two Linears in a row": lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)),
    "a final ReLU": lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU()),
    "another activation": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3)),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_a_dense_chain_is_not_mistaken_for_one(name):
    module = LOOKALIKES[name]().eval()
    network = Network.from_module(module)
    assert not network.is_mlp
    same_function(network, module, torch.randn(7, 6))
    W_hat = [U + 0.1 for U in network.W]
    with torch.no_grad():
        for parameter, U in zip(module.parameters(), W_hat, strict=True):
            parameter.copy_(U)
    same_function(network.at(W_hat), module, torch.randn(7, 6))


def conv_net():
    """Convolution and batch norm with running statistics that are not the trivial ones, left in train mode."""
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 3)
    )
    for _ in range(5):
        module(2 + 3 * torch.randn(8, 1, 4, 4))
    return module.train()


def test_a_module_in_train_mode_gives_eval_outputs_and_is_left_untouched():
    module, x = conv_net(), torch.randn(6, 1, 4, 4)
    before = copy.deepcopy(module.state_dict())
    network = Network.from_module(module)
    first, second = network(x), network(x)
    network.at([U + 1 for U in network.W])(x)
    assert all(m.training for m in module.modules()) and all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(first, second)
    same_function(network, module.eval(), x)


def test_training_the_module_later_does_not_reach_the_network():
    module, x = conv_net(), torch.randn(6, 1, 4, 4)
    network = Network.from_module(module)
    before = network(x)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(1)
    module(x)  # moves the running statistics
    assert torch.equal(network(x), before)


def test_perturbing_any_tensor_of_a_module_reaches_its_output():
    network, x = Network.from_module(conv_net()), torch.randn(6, 1, 4, 4)
    for k in range(len(network.W)):
        W_hat = [U + 0.1 if i == k else U for i, U in enumerate(network.W)]
        assert not torch.equal(network.at(W_hat)(x), network(x))


def test_gradients_flow_through_a_module_to_weights_and_inputs():
    network = Network.from_module(conv_net()).to(torch.float64)
    W = tuple(U.clone().requires_grad_() for U in network.W)
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *W: network.at(W)(x), (x, *W))


def test_a_module_network_can_be_cast_to_double():
    module, x = conv_net().eval(), torch.randn(6, 1, 4, 4, dtype=torch.float64)
    expected = copy.deepcopy(module).double()(x)
    torch.testing.assert_close(Network.from_module(module).to(torch.float64)(x), expected, rtol=1e-12, atol=1e-12)


def test_a_network_from_a_module_has_no_graph_of_its_own():
    network = Network.from_module(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    assert not any(U.requires_grad for U in network.W)


@pytest.mark.parametrize("bad", [None, "resnet18", nn.Linear, torch.ones(2, 2)])
def test_what_is_no_module_is_refused(bad):
    with pytest.raises(ValueError, match="expected a torch.nn.Module"):
        Network.from_module(bad)


def test_a_module_without_parameters_is_refused():
    with pytest.raises(ValueError, match="no parameters"):
        Network.from_module(nn.Flatten())
