"""A network of convolutions is a value as a dense one is: read off a module, its steps give the module's own logits."""

import copy

import pytest
import torch
from torch import nn

from nsr import Network, cnn, cnn_init, mlp
from nsr.steps import AveragePool, Convolution, Images


class Named(nn.Module):
    """What people write by hand: functional ReLUs, a view, inputs normalised by constants."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride=2), nn.Linear(45, 6)
        self.register_buffer("mean", torch.tensor([0.3, 0.4, 0.5]).view(3, 1, 1))

    def forward(self, x):
        z = torch.relu(self.one((x - self.mean) / 0.25))
        z = self.two(z).relu()
        return self.fc(z.view(z.size(0), -1))


def settled(module):
    """With running statistics and batch-norm weights that are not the trivial ones."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    shape = (8, 3, 8, 8) if any(isinstance(part, nn.Conv2d) for part in module.modules()) else (8, 192)
    for part in norms:
        if part.affine:
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    for _ in range(3 * bool(norms)):
        module.train()(2 + torch.randn(shape))
    return module.eval()


def tail(d):
    return nn.Flatten(), nn.Linear(d, 6)


MODULES = {
    "one convolution": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *tail(144)),
    "two, bias-free": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), *tail(20)
    ),
    "two dense layers": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 7), nn.ReLU(), nn.Linear(7, 6)
    ),
    "groups, dilation, strides of two kinds": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=3), nn.ReLU(), *tail(144)
    ),
    "same padding": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), *tail(256)),
    "average pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), *tail(36)),
    "padded average pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(3, 2, 1), *tail(36)),
    "mean over the image": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), *tail(4)),
    "batch-norm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *tail(144)),
    "batch-norm without weights": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU(), *tail(144)
    ),
    "flat rows made into images": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 8, 8)), nn.Conv2d(3, 4, 3, groups=1), nn.ReLU(), *tail(144)
    ),
    "batch-norm of rows": lambda: nn.Sequential(
        nn.Linear(192, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 6)
    ),
    "written by hand": Named,
}


def made(name):
    return settled(MODULES[name]())


def inputs(name):
    return torch.rand((5, 192) if "rows" in name else (5, 3, 8, 8))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("given", [False, True])
def test_a_chain_with_convolutions_is_read_as_steps_that_give_the_modules_logits(name, given):
    module, x = made(name), inputs(name)
    network = Network.from_module(module, x if given else None)
    assert network.steps and network.is_chain and not network.is_dense and network.not_dense
    torch.testing.assert_close(network(x), module(x), rtol=0, atol=2e-6)
    torch.testing.assert_close(network(x.flatten(1)), module(x), rtol=0, atol=2e-6)
    W_hat, twin = [V + 0.1 * torch.randn_like(V) for V in network.W], copy.deepcopy(module)
    with torch.no_grad():
        for parameter, V in zip(twin.parameters(), W_hat, strict=True):
            parameter.copy_(V)
        torch.testing.assert_close(network.at(W_hat)(x), twin(x), rtol=0, atol=2e-6)
        double = network.to(torch.float64)(x.double())
        torch.testing.assert_close(double, copy.deepcopy(module).double()(x.double()), rtol=1e-12, atol=1e-12)


def test_a_module_of_images_is_read_from_flat_inputs_too():
    module = made("written by hand")
    network = Network.from_module(module, torch.rand(6, 192))
    assert network.is_chain and network.names == tuple(name for name, _ in module.named_parameters())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(192, 6)

    def forward(self, x):
        z = self.conv(x).relu()
        return self.fc(self.conv(z).relu().flatten(1))


class Residual(Twice):
    def forward(self, x):
        return self.fc((x + self.conv(x)).relu().flatten(1))


class Transposed(Twice):
    def forward(self, x):
        return self.fc(self.conv(x).relu().view(6, -1).reshape(len(x), -1).flip(1))


LOOKALIKES = {
    "max pool": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), *tail(36)),
    "pool before the ReLU": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.ReLU(), *tail(36)),
    "pool before all": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.ReLU(), *tail(16)),
    "pool that rounds up": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(4, ceil_mode=True), *tail(16)
    ),
    "pool that leaves four": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), *tail(16)),
    "batch-norm behind the ReLU": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), *tail(144)),
    "batch-norm at the end": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *tail(144), nn.BatchNorm1d(6)),
    "two batch-norms": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU(), *tail(144)
    ),
    "no ReLU": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(), *tail(64)),
    "circular padding": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(), *tail(256)
    ),
    "lopsided padding": lambda: nn.Sequential(nn.Conv2d(3, 4, 4, padding="same"), nn.ReLU(), *tail(256)),
    "a convolution used twice": Twice,
    "a residual": Residual,
    "another order": Transposed,
    "dense over images": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(6, 2), nn.ReLU(), *tail(48)),
    "ends in a convolution": lambda: nn.Sequential(nn.Conv2d(3, 6, 8), nn.Flatten()),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_a_chain_is_run_as_it_is_and_says_why(name):
    module = settled(LOOKALIKES[name]())
    network, x = Network.from_module(module, inputs(name)), inputs(name)
    assert not network.is_chain and network.not_dense
    torch.testing.assert_close(network(x), module(x), rtol=0, atol=2e-6)


def test_a_dense_chain_has_no_steps():
    assert Network.from_module(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))).steps == ()


# --- cnn, cnn_init --------------------------------------------------------------------------------------------------


def test_our_cnn_is_two_convolutions_and_a_dense_layer():
    W, x = cnn_init((1, 16, 32), torch.Generator().manual_seed(0)), torch.rand(3, 784)
    module = nn.Sequential(
        *(nn.Conv2d(1, 16, 4, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1568, 10, bias=False)),
    )
    with torch.no_grad():
        for parameter, V in zip(module.parameters(), W, strict=True):
            parameter.copy_(V)
    read = Network.from_module(module)
    assert read.steps == cnn(W).steps
    torch.testing.assert_close(cnn(W)(x), module(x.view(3, 1, 28, 28)), rtol=0, atol=1e-5)
    assert torch.equal(cnn(W)(x), cnn(W)(x.view(3, 1, 28, 28)))
    assert not cnn(W).is_dense and cnn(W).is_chain and not mlp((torch.eye(2),)).steps


def test_biases_follow_their_layers():
    W = cnn_init((3, 4), torch.Generator().manual_seed(0), torch.float64, side=8, classes=5)
    K, V = W
    network = cnn((K, torch.ones(4).double(), V, torch.ones(5).double()))
    expected = torch.conv2d(x := torch.rand(2, 3, 8, 8).double(), K, torch.ones(4).double(), 2, 1).relu()
    torch.testing.assert_close(network(x), expected.flatten(1) @ V.T + 1)
    assert network.names == ("W1", "b1", "W2", "b2") and cnn(W).names == ("W1", "W2")


def test_fresh_kernels_have_hes_spread_and_hang_on_the_generator_alone():
    W, same, other = (cnn_init((3, 64, 64), torch.Generator().manual_seed(s), side=8) for s in (0, 0, 1))
    for V in W:
        assert float(V.std()) == pytest.approx((2 / V[0].numel()) ** 0.5, rel=0.05)
    assert all(map(torch.equal, W, same)) and not torch.equal(W[0], other[0])


K, V = torch.ones(4, 1, 4, 4), torch.ones(10, 4)


@pytest.mark.parametrize("W", [(), (V,), (K,), (V, K), (K, V, V), (K, V, K), (K[0], V), (K, K[0, 0, 0], K[0, 0, 0], V)])
def test_what_is_no_set_of_kernels_and_a_matrix_is_refused(W):
    with pytest.raises(ValueError, match=r"^(tensor \d of W|W must hold)"):
        cnn(W)


@pytest.mark.parametrize("how", [((1,), 28), ((1, 0), 28), ((1, 2, 3), 2)])
def test_impossible_sizes_are_refused(how):
    with pytest.raises(ValueError, match="cnn_init takes"):
        cnn_init(how[0], torch.Generator(), side=how[1])


@pytest.mark.parametrize("x", [torch.rand(2, 10), torch.rand(2, 3), torch.rand(2, 2, 4)])
def test_rows_that_are_no_square_images_are_refused_in_one_line(x):
    with pytest.raises(ValueError, match=r"x must hold images \[B, 1, height, width\]") as refusal:
        Images(1)(x)
    assert "\n" not in str(refusal.value)


def test_steps_are_frozen_values():
    assert Convolution(stride=(2, 2)) == Convolution(stride=(2, 2)) != Convolution()
    with pytest.raises(AttributeError):
        AveragePool().size = (2, 2)
