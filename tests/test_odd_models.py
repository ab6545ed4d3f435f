"""Models as people have them: each is judged as what it computes, or refused in one line that says what to do."""

from __future__ import annotations

import copy
import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from nsr import Budget, Network, certify
from nsr.attack import Attack, run
from nsr.attack.offsets import by_neuron

D, K = 12, 4
EPS_X, EPS_W = 0.03, 0.01


def layers() -> tuple[nn.Module, ...]:
    return nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K)


def chain() -> nn.Sequential:
    return nn.Sequential(*layers())


# models that are chains of dense and ReLU layers ----------------------------------------------------------------------


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(D, 8), nn.Linear(8, K)

    def forward(self, x):
        return self.second(F.relu(self.first(x.view(x.size(0), -1))))


class ByLetters(Own):
    def forward(self, x):
        z = torch.relu(F.linear(x.flatten(1), self.first.weight, self.first.bias))
        return self.second(z)


class WithDropout(Own):
    def forward(self, x):
        z = F.dropout(F.relu(self.first(x.flatten(1))), 0.5, self.training)
        return self.second(F.dropout(z, p=0.2, training=self.training))


class Normalised(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.4))
        self.register_buffer("std", torch.tensor(0.3))
        self.inner = inner

    def forward(self, x):
        return self.inner((x - self.mean) / self.std)


class PerInput(Normalised):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.mean, self.std = torch.linspace(0.1, 0.6, D), torch.linspace(0.2, 0.9, D)


class PerChannel(Normalised):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), inner))
        self.mean, self.std = torch.tensor([0.1, 0.3, 0.5])[:, None, None], torch.tensor([0.5, 1.0, 2.0])[:, None, None]


class Signed(nn.Module):
    """x in [0, 1] is taken to 1 - 2 x."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(1 - 2 * x)


def filled(module: nn.Module) -> nn.Module:
    module(torch.zeros(1, D))
    return module


def kept_method() -> nn.Module:
    module = Own()
    module.once_more = module.forward
    return module


DENSE = {
    "a plain chain": chain,
    "behind a flattening": lambda: nn.Sequential(nn.Flatten(), *layers()),
    "with dropout": lambda: nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, K)),
    "with dropout as a function": WithDropout,
    "of lazy layers": lambda: filled(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(K))),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(D, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, K))),
    "of its own class": Own,
    "written with functions": ByLetters,
    "behind a normalisation": lambda: Normalised(chain()),
    "behind one for each input": lambda: PerInput(chain()),
    "behind one for each channel": lambda: PerChannel(chain()),
    "behind a reflection": lambda: Signed(chain()),
    "behind a wrapper": lambda: Normalised(Normalised(Own())),
    "one layer": lambda: nn.Linear(D, K),
    "with a method kept on the instance": kept_method,
    "without biases": lambda: nn.Sequential(nn.Linear(D, 8, bias=False), nn.ReLU(), nn.Linear(8, K, bias=False)),
}


# models that are something else ---------------------------------------------------------------------------------------


class Negated(nn.Linear):
    def forward(self, x):
        return -super().forward(x)


class Constant(nn.Linear):
    def forward(self, x):
        return torch.ones_like(super().forward(x))


class Branching(Own):
    def forward(self, x):
        z = self.first(x.flatten(1))
        return self.second(F.relu(z) + 0.1 * z)


class Deciding(Own):
    def forward(self, x):
        return self.second(F.relu(self.first(x.flatten(1)))) if x.sum() > 0 else self.second(x[:, :8])


class Turning(nn.Sequential):
    """Some inputs are answered by the negated logits, which no trace of `forward` shows."""

    def __call__(self, x):
        return turned(x, super().__call__(x))


class Unregistered(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts, self.last = [nn.Linear(D, 8).double(), nn.ReLU()], nn.Linear(8, K)

    def forward(self, x):
        return self.last(self.parts[1](self.parts[0](x)))


class InAnotherOrder(nn.Module):
    def __init__(self):
        super().__init__()
        self.second, self.first = nn.Linear(8, K), nn.Linear(D, 8)

    forward = Own.forward


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, K)
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.last(F.relu(self.again(F.relu(self.first(x)))))


class AsTensor(Own):
    """What a trace takes for another branch."""

    def forward(self, x):
        return super().forward(1 - x if isinstance(x, torch.Tensor) else x)


class LogSoftmax(Own):
    def forward(self, x):
        return F.log_softmax(super().forward(x), 1)


def turned(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return torch.where(x.mean(-1, keepdim=True) > 0.55, -z, z)


def hooked_whole() -> nn.Module:
    module = chain()
    module.register_forward_hook(lambda module, given, z: turned(given[0], z))
    return module


def hooked_before() -> nn.Module:
    module = chain()
    module[2].register_forward_pre_hook(lambda module, given: (given[0] - 0.1,))
    return module


def bias_as_buffer() -> nn.Module:
    module = chain()
    bias = module[2].bias.detach() + torch.tensor([2.0, 0.0, 0.0, -2.0])
    del module[2].bias
    module[2].register_buffer("bias", bias)
    return module


def hooked() -> nn.Module:
    module = chain()
    module[0].register_forward_hook(lambda module, given, out: 2 * out)
    return module


def shared() -> nn.Module:
    square = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), square, nn.ReLU(), square, nn.ReLU(), nn.Linear(8, K))


def pruned() -> nn.Module:
    module = chain()
    prune.l1_unstructured(module[0], "weight", 0.5)
    with torch.no_grad():
        module(torch.zeros(1, D))
    return module


OTHER = {
    "its last bias a buffer": bias_as_buffer,
    "a layer that negates": lambda: nn.Sequential(nn.Linear(D, 8), nn.ReLU(), Negated(8, K)),
    "a layer that answers 1": lambda: nn.Sequential(Constant(D, 8), nn.ReLU(), nn.Linear(8, K)),
    "a hook": hooked,
    "a hook of the whole": hooked_whole,
    "a hook before a layer": hooked_before,
    "a __call__ of its own": lambda: Turning(*layers()),
    "layers that are not registered": Unregistered,
    "layers defined in another order": InAnotherOrder,
    "tied weights": Tied,
    "a question for the type of its input": AsTensor,
    "log-softmax at its end": LogSoftmax,
    "layer norm": lambda: nn.Sequential(nn.Linear(D, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, K)),
    "a shared layer": shared,
    "a branch": Branching,
    "a decision on its inputs": Deciding,
    "pruned": pruned,
    "reparametrised": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(D, 8)), nn.ReLU(), nn.Linear(8, K)),
    "Tanh": lambda: nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, K)),
    "GELU": lambda: nn.Sequential(nn.Linear(D, 8), nn.GELU(), nn.Linear(8, K)),
    "LeakyReLU": lambda: nn.Sequential(nn.Linear(D, 8), nn.LeakyReLU(0.2), nn.Linear(8, K)),
    "softmax at its end": lambda: nn.Sequential(*layers(), nn.Softmax(-1)),
    "scaled logits": lambda: Signed(nn.Sequential(*layers(), Negated(K, K))),
}


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have its users script no more
        return torch.jit.trace(chain(), torch.zeros(1, D))


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(chain().float(), {nn.Linear}, dtype=torch.qint8)


def patched(part: bool) -> nn.Module:
    module = chain()
    owner = module[2] if part else module
    original = owner.forward
    owner.forward = types.MethodType(lambda self, x: -original(x), owner)
    return module


def just_pruned() -> nn.Module:
    module = chain()
    prune.l1_unstructured(module[0], "weight", 0.5)
    module(torch.zeros(1, D))
    return module


class Kept(Own):
    """Its layer is also reached by a function, which a copy of the module shares with the original."""

    def __init__(self, wrapped=lambda function: function):
        super().__init__()
        self.body = wrapped(lambda x: F.relu(self.first(x)))

    def forward(self, x):
        body = self.body[0] if isinstance(self.body, list) else self.body
        return self.second(body(x))


def hooked_around() -> nn.Module:
    module = chain()
    module[1].register_forward_hook(lambda _, given, z: z + module[0](torch.ones(1, D, dtype=z.dtype)).relu())
    return module


REFUSED = {
    "a function made around a layer": (Kept, "the module holds a function made around a layer.*: write it as a method"),
    "such a function in a list": (lambda: Kept(lambda function: [function]), "holds a function made around a layer"),
    "such a hook": (hooked_around, "1 holds a function made around a layer.*, or remove the hook"),
    "forward patched on the instance": (lambda: patched(False), "forward of the module is set on the instance"),
    "forward of a part patched": (lambda: patched(True), "forward of 2 is set on the instance"),
    "TorchScript": (scripted, "pass the module that it was scripted from"),
    "DataParallel": (lambda: nn.DataParallel(chain()), "pass its .module"),
    "pruned and not yet copied": (just_pruned, "prune.remove"),
    "quantised": (quantised, "no parameters, so there is no weight to perturb"),
    "no parameters": (nn.ReLU, "no parameters"),
    "no module": (lambda: chain().forward, "expected a torch.nn.Module"),
}


def made(make) -> nn.Module:
    torch.manual_seed(0)
    module = make()
    return module.double().eval() if isinstance(module, nn.Module) else module


def samples(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and the classes that the module gives them."""
    shape = (3, 2, 2) if isinstance(module, PerChannel) else (D,)
    x = torch.rand(20, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return x, module(x).argmax(1)


def plain_pgd(module: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 12) -> torch.Tensor:
    """Which inputs a joint PGD on this one module breaks, each input with weights of its own: no code of ours."""
    broken, fresh = [], module
    for x_b, y_b in zip(x.split(1), y.split(1), strict=True):
        module = copy.deepcopy(fresh)  # torch's functional_call does not put back shared parameters as they were
        names, W = zip(*((n, p.detach()) for n, p in module.named_parameters()), strict=True)
        x_t, W_t = x_b, W
        for _ in range(steps):
            leaves = [t.detach().requires_grad_() for t in (x_t, *W_t)]
            z = torch.func.functional_call(module, dict(zip(names, leaves[1:], strict=True)), (leaves[0],))
            slopes = torch.autograd.grad(F.cross_entropy(z, y_b), leaves, allow_unused=True, materialize_grads=True)
            x_t = (leaves[0] + EPS_X / 8 * slopes[0].sign()).clamp(x_b - EPS_X, x_b + EPS_X).clamp(0, 1)
            moved = [V + EPS_W / 8 * g.sign() for V, g in zip(leaves[1:], slopes[1:], strict=True)]
            W_t = [torch.clamp(V, U - EPS_W, U + EPS_W) for V, U in zip(moved, W, strict=True)]
        z = torch.func.functional_call(module, dict(zip(names, W_t, strict=True)), (x_t.detach(),))
        broken.append(z.argmax(1) != y_b)
    return torch.cat(broken)


@pytest.mark.parametrize("name", [*DENSE, *OTHER])
def test_a_model_is_judged_as_the_function_that_it_is(name):
    module = made((DENSE | OTHER)[name])
    x, y = samples(module)
    network = Network.from_module(module, x)
    with torch.no_grad():
        torch.testing.assert_close(network(x), module(x), rtol=1e-12, atol=1e-12)
    moved = [V + 0.01 * torch.sign(V) for V in network.W]
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, V in zip(twin.parameters(), moved, strict=True):
            parameter.copy_(V)
        torch.testing.assert_close(network.at(moved)(x), twin(x), rtol=1e-9, atol=1e-9)
    xi, how = Budget.uniform(EPS_X, EPS_W, network), Attack.pgd(12, EPS_X / 8, EPS_W / 8)
    ours = torch.cat([run(network, x[b : b + 1], y[b : b + 1], xi, how).broken for b in range(len(x))])
    assert torch.equal(ours, plain_pgd(module, x, y))
    if name not in ("a decision on its inputs", "reparametrised"):  # torch.vmap cannot take these
        assert torch.equal(ours, run(network, x, y, xi, how, images_per_W=1).broken)
    assert network.is_dense == (name in DENSE) == (not network.not_dense)


@pytest.mark.parametrize("name", DENSE)
def test_what_is_certified_is_never_broken_by_an_attack_on_the_model_itself(name):
    module = made(DENSE[name])
    x, y = samples(module)
    network = Network.from_module(module, x)
    flat = x.flatten(1)
    sure = torch.stack(
        [certify.certified(network, flat, y, Budget.uniform(e * EPS_X, e * EPS_W, network)) for e in (1, 0.1)]
    )
    assert sure.any() and not (sure[0] & plain_pgd(module, x, y)).any()
    found = run(by_neuron(network), flat, y, Budget.uniform(EPS_X, EPS_W, network), images_per_W=1)
    assert not (sure[0] & found.broken).any()


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_chain_gets_no_certificate_and_the_reason(name):
    module = made(OTHER[name])
    x, y = samples(module)
    network = Network.from_module(module, x)
    with pytest.raises(ValueError, match="which this network is not: ") as refusal:
        certify.certified(network, x, y, Budget.uniform(0, 0, network))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a hook of the whole", "a __call__ of its own"])
def test_what_runs_around_a_module_is_seen_even_where_the_inputs_at_hand_do_not_show_it(name):
    network = Network.from_module(made(OTHER[name]), torch.zeros(4, D, dtype=torch.float64))
    assert not network.is_dense


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_copied_faithfully_is_refused_with_what_to_do(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as refusal:
        Network.from_module(made(make))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["behind a normalisation", "behind one for each input", "behind a reflection"])
def test_a_bound_behind_a_normalisation_is_that_of_the_dense_layers_on_their_own_inputs(name):
    network = Network.from_module(made(DENSE[name]))
    x = torch.rand(5, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    xi = Budget.uniform(0.02, 0.003, network)
    bound = certify.margin_upper_bound(network, x, xi, method="linear")
    generator = torch.Generator().manual_seed(3)
    for _ in range(200):
        x_hat, W_hat = xi.sample(x, network.W, generator, box=(0.0, 1.0))
        z = network.at(W_hat)(x_hat)
        assert ((z[:, :, None] - z[:, None, :]) <= bound + 1e-12).all()
    ladder = [
        certify.margin_upper_bound(network, x, xi, method=m) for m in ("norms", "repaired", "telescoped", "interval")
    ]
    assert all(bool((loose >= bound - 1e-9).all()) for loose in ladder)
