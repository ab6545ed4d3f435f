"""Our own small convolutional network: convolutions with a ReLU behind each, then one dense layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nsr.network import Network, Weights, by_steps
from nsr.steps import Convolution, Dense, Flatten, Images, Relu, Step

STRIDE, PADDING = (2, 2), (1, 1)  # with kernels of 4 x 4 each convolution halves the sides of an image
KERNEL = 4


def cnn(W: Sequence[Tensor]) -> Network:
    """The network of kernels [out, in, 4, 4], stride 2, padding 1, and a last matrix, bias-free as `mlp` is.

    A 1-D tensor after a kernel or the matrix adds that layer's bias. Images may be flat rows.

    >>> import torch
    >>> network = cnn(cnn_init((1, 16, 32), torch.Generator().manual_seed(0)))
    >>> network(torch.zeros(5, 784)).shape, network.names
    (torch.Size([5, 10]), ('W1', 'W2', 'W3'))
    """
    W = tuple(W)
    steps: list[Step] = [Images(W[0].shape[1] if W and W[0].ndim == 4 else 0)]
    for k, tensor in enumerate(W):
        bias = k + 1 < len(W) and W[k + 1].ndim == 1
        if tensor.ndim == 4 and Dense not in map(type, steps):
            steps += [Convolution(bias, STRIDE, PADDING), Relu()]
        elif tensor.ndim == 2 and k == len(W) - 1 - bias and len(steps) > 1:
            steps += [Flatten(), Dense(bias)]
        elif not (tensor.ndim == 1 and k and W[k - 1].ndim > 1):
            raise ValueError(
                f"tensor {k} of W, of shape {tuple(tensor.shape)}, is neither a kernel, nor the last matrix, nor a bias"
            )
    if type(steps[-1]) is not Dense:
        raise ValueError("W must hold kernels [out, in, height, width], then one matrix")
    return by_steps(W, tuple(steps), not_dense="it has convolutions")


def cnn_init(
    channels: Sequence[int],
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    *,
    side: int = 28,
    classes: int = 10,
) -> Weights:
    """Fresh kernels for `channels` = (of the image, then of each convolution), and the matrix, by He's rule.

    The images are `side` x `side`, and each entry is drawn from N(0, 2 / fan-in).

    >>> [tuple(V.shape) for V in cnn_init((1, 16, 32), torch.Generator().manual_seed(0))]
    [(16, 1, 4, 4), (32, 16, 4, 4), (10, 1568)]
    """
    left = side // 2 ** (len(channels) - 1)
    if len(channels) < 2 or min(*channels, left, classes) < 1:
        raise ValueError(
            f"cnn_init takes at least two positive numbers of channels and images that can be halved as often as there "
            f"are convolutions, got {channels} and side {side}"
        )
    shapes = [(n_out, n_in, KERNEL, KERNEL) for n_in, n_out in zip(channels[:-1], channels[1:], strict=True)]
    return tuple(
        torch.randn(*shape, generator=generator, dtype=dtype) * (2 / torch.Size(shape[1:]).numel()) ** 0.5
        for shape in (*shapes, (classes, channels[-1] * left * left))
    )
