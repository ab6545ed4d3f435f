"""A network's layers with the boxes around them, batch-norms folded into the layer before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nsr.budget import Budget, LayerBall
from nsr.network import Network
from nsr.steps import Affine, AveragePool, BatchNorm, Convolution, Dense, Flatten, Images, Relu
from nsr.theory.boxes import Ball, check_dtype, check_finite, rounding
from nsr.theory.convolutions import ConvolutionBall, Shape, output_shape


class Layer(NamedTuple):
    """A kernel, or a matrix, and its bias, with a radius for each entry or one for all."""

    W: Tensor
    b: Tensor | None
    eps: Tensor | float
    beta: Tensor | float
    step: Convolution | None  # None: dense


def image_shape(network: Network, x: Tensor) -> tuple[int, ...]:
    """The shape of one input, (d,) or (C, height, width)."""
    if not isinstance(x, Tensor) or x.ndim < 2:
        what = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a batch of images or of flat rows, got {what}")
    view = network.steps[0] if network.steps else None
    return view.shape(x) if isinstance(view, Images) else (x.shape[1:].numel(),)


def input_map(network: Network, x: Tensor) -> Affine | None:
    """The normalisation of the inputs, entry by entry of a flat row."""
    affine = next((step for step in network.steps if isinstance(step, Affine)), network.affine)
    if affine is None or not network.steps:
        return affine
    return Affine(*(t.expand(image_shape(network, x)).flatten() for t in affine))


def chain_balls(network: Network, x: Tensor, xi: Budget) -> tuple[Ball, ...]:
    """The layers of a network of `steps` with their radii, for inputs like x; the last one is dense.

    A batch-norm is folded into its layer. A mean over windows behind a ReLU is a layer whose weights do not move, with
    a ReLU behind it that changes nothing, as means of z >= 0 are not negative.

    >>> import nsr
    >>> network = nsr.cnn(nsr.cnn_init((1, 4), torch.Generator().manual_seed(0), side=8))
    >>> [(ball.n_in, ball.n_out) for ball in chain_balls(network, torch.rand(2, 64), Budget(0.1, (0.01, 0.01)))]
    [(64, 64), (64, 10)]
    """
    xi.check(network.W)
    check_dtype(network.W)
    check_finite(network.W)
    moving, shape = iter(zip(network.W, xi.eps_w, strict=True)), image_shape(network, x)
    layer, found = None, []
    for step in network.steps:
        own = [next(moving) for _ in range(step.tensors)]
        if isinstance(step, Dense | Convolution):
            (W, eps), (b, beta) = own[0], own[1] if step.bias else (None, 0.0)
            layer = Layer(W, b, eps, beta, step if isinstance(step, Convolution) else None)
        elif isinstance(step, BatchNorm):
            layer = _folded(layer, step, iter(own))
        elif isinstance(step, AveragePool):
            found.append(_mean(step, shape, network.W[0]))
            shape = found[-1].given
        elif isinstance(step, Relu):
            found.append(_ball(layer, shape))
            shape = found[-1].given if layer.step else (found[-1].n_out,)
        elif isinstance(step, Flatten):
            shape = (torch.Size(shape).numel(),)
    return (*found, _ball(layer, shape))


def widened(ball: Ball) -> Ball:
    """The ball with room for floating-point error, which is itself a perturbation of weights (see `boxes.rounding`).

    >>> widened(LayerBall(torch.eye(2), None, 0.1, 0.0)).eps > 0.1
    True
    """
    room, room_b = map(float, rounding(ball))
    return ball._replace(eps=ball.eps + room, beta=ball.beta + room_b)


def _folded(layer: Layer, norm: BatchNorm, own: Iterator[tuple[Tensor, float]]) -> Layer:
    """The layer and its batch-norm as one: W' = s W and b' = s (b - mean) + beta, where s = gamma / sqrt(var + eps).

    Over |V - W| <= eps and |c - s| <= e, with e the radius of gamma over the same root, the product moves by
    |c V - s W| <= |s| eps + e (|W| + eps); the bias likewise. The folding is rounded, for which there is room.
    """
    W, b = layer.W, layer.W.new_zeros(len(layer.W)) if layer.b is None else layer.b
    mean, root = norm.mean.to(W), (norm.var.to(W) + norm.eps).sqrt()
    (gamma, e), (beta, e_beta) = next(own, (1.0, 0.0)), next(own, (0.0, 0.0))
    s, e = gamma / root, e / root
    s_W, e_W = (t.view(-1, *[1] * (W.ndim - 1)) for t in (s, e))
    u = 8 * torch.finfo(W.dtype).eps
    eps = (s_W.abs() * layer.eps + e_W * (W.abs() + layer.eps)) * (1 + u) + u * (s_W * W).abs()
    shift = (s.abs() * layer.beta + e * ((b - mean).abs() + layer.beta) + e_beta) * (1 + u)
    shift = shift + u * ((s.abs() + e) * (b.abs() + mean.abs()) + torch.as_tensor(beta).abs())
    return Layer(s_W * W, s * (b - mean) + beta, eps, shift, layer.step)


def _ball(layer: Layer, seen: tuple[int, ...]) -> Ball:
    """The layer at inputs of this shape. A dense layer with radii of each entry is a convolution of one pixel."""
    W, b, eps, beta, step = layer
    if step is None and isinstance(eps, float):
        return LayerBall(W, b, eps, float(beta))
    if step is None:
        step, W, eps, seen = Convolution(), W[..., None, None], eps[..., None, None], (W.shape[1], 1, 1)
    given = output_shape(step, W.shape[2:], seen, len(W))
    places = given[1] * given[2]
    beta = W.new_zeros(len(W)) + beta
    b, beta = (None if t is None else t.repeat_interleave(places) for t in (b, beta))
    return ConvolutionBall(W, b, eps + torch.zeros_like(W), beta, step, seen, given)


def _mean(pool: AveragePool, seen: Shape, like: Tensor) -> ConvolutionBall:
    """Means over windows, as a convolution of each channel by itself."""
    size = pool.size or seen[1:]
    W = like.new_full((seen[0], 1, *size), 1 / (size[0] * size[1]))
    step = Convolution(stride=pool.stride, padding=pool.padding, groups=seen[0])
    return _ball(Layer(W, None, 0.0, 0.0, step), seen)
