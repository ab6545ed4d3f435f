"""The norms are the induced ones: suprema of ||Wv|| / ||v||, attained. Convolutions: test_conv_norms.py."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nsr.theory import dense_norms, norms

ORDERS = {"linf": np.inf, "l1": 1, "spectral": 2}
NORMS = {name: getattr(norms, name) for name in ORDERS}


def matrix(rows, cols, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=(rows, cols)))


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (3, 4), (4, 3)])
def test_norm_is_what_numpy_says(name, shape):
    A = matrix(*shape)
    assert float(NORMS[name](A)) == pytest.approx(np.linalg.norm(A.numpy(), ORDERS[name]), rel=1e-12)


def test_linf_is_attained_at_a_corner_of_the_cube_and_never_exceeded():
    A = matrix(3, 4)
    gains = [float((A @ torch.tensor(v, dtype=A.dtype)).abs().max()) for v in itertools.product((-1.0, 1.0), repeat=4)]
    assert max(gains) == pytest.approx(float(norms.linf(A)), rel=1e-12)


def test_l1_is_attained_at_a_unit_vector():
    A = matrix(3, 4)
    assert float(norms.l1(A)) == pytest.approx(max(float(A[:, k].abs().sum()) for k in range(4)), rel=1e-12)


def test_l1_is_the_linf_of_the_transpose():
    A = matrix(3, 7)
    assert norms.l1(A) == norms.linf(A.T)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 5), cols=st.integers(1, 5))
@settings(max_examples=40)
def test_no_vector_is_stretched_beyond_the_norm(seed, rows, cols):
    A = matrix(rows, cols, seed)
    v = torch.tensor(np.random.default_rng(seed + 1).normal(size=(cols, 50)))
    for name, order in ORDERS.items():
        stretch = torch.linalg.vector_norm(A @ v, order, dim=0) / torch.linalg.vector_norm(v, order, dim=0)
        assert float(stretch.max()) <= float(NORMS[name](A)) * (1 + 1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_norm_of_a_product_is_at_most_the_product_of_norms(name):
    A, B = matrix(3, 4), matrix(4, 5, seed=1)
    assert NORMS[name](A @ B) <= NORMS[name](A) * NORMS[name](B) * (1 + 1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_norm_scales_with_its_matrix(name):
    assert float(NORMS[name](-3 * matrix(3, 4))) == pytest.approx(3 * float(NORMS[name](matrix(3, 4))), rel=1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_a_linear_layer_has_the_norm_of_its_weight_whatever_its_bias(name):
    layer = nn.Linear(4, 3)
    nn.init.constant_(layer.bias, 1e6)
    assert NORMS[name](layer) == NORMS[name](layer.weight)


@pytest.mark.parametrize("name", NORMS)
def test_gradient_of_a_norm_agrees_with_finite_differences(name):
    assert torch.autograd.gradcheck(NORMS[name], matrix(3, 4).requires_grad_())


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(2, 2, 3, 3), nn.ReLU(), 3.0, nn.Linear, nn.Conv1d(1, 1, 1)])
def test_what_is_no_layer_has_no_norm(name, bad):
    with pytest.raises(ValueError, match=r"expected a Linear, a Conv2d or a matrix \[out, in\], got"):
        NORMS[name](bad)
    with pytest.raises(ValueError, match="dense layers"):
        getattr(dense_norms, name)(bad)


@pytest.mark.parametrize("name", NORMS)
def test_a_dense_layer_is_measured_by_the_code_that_stored_runs_remember(name):
    assert torch.equal(NORMS[name](matrix(3, 4)), getattr(dense_norms, name)(matrix(3, 4)))
    with pytest.raises(ValueError, match="dense layer"):
        NORMS[name](matrix(3, 4), (2, 2))
