"""The weight ball of a convolution, as bounds see it: a linear map whose rows are moved within radii of their own.

A convolution is a matrix: each output is a row, which holds the kernel where it looks and zeros elsewhere. Its kernel's
ball moves the rows of one channel together; here each row moves by itself, with the kernel's radii where it looks and 0
elsewhere. That box of matrices holds the ball of kernels, so what bounds the one bounds the other. A maximum over the
box is taken row by row: for t >= 0 it is W * t + eps * t, where eps * t convolves t with the radii. Backwards, the
dense layer's eps ||lam||_1, one number for all inputs, becomes the transposed convolution of |lam| with the radii.

Sums are matrix products over unfolded images and not calls of a convolution, which some backends compute by Winograd's
scheme or in TF32: what is proved of rounding errors holds for plain sums of products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from nsr.steps import Convolution, Pair

Shape = tuple[int, int, int]  # channels, height, width


class ConvolutionBall(NamedTuple):
    """A convolution between flat images with the box around it: kernel [O, I/g, h, w] and bias, with a radius each.

    Bias and its radii are spread over all outputs, [n_out].
    """

    W: Tensor
    b: Tensor | None
    eps: Tensor
    beta: Tensor
    step: Convolution
    seen: Shape
    given: Shape

    @property
    def n_in(self) -> int:
        return self.seen[0] * self.seen[1] * self.seen[2]

    @property
    def n_out(self) -> int:
        return self.given[0] * self.places

    @property
    def places(self) -> int:
        return self.given[1] * self.given[2]

    @property
    def terms(self) -> int:
        """How many products the sums forward and backward have, together."""
        return (self.W.shape[1] + len(self.W) // self.step.groups) * self.W[0, 0].numel()

    @property
    def widest(self) -> Tensor:
        return self.eps.detach().max()

    def forward(self, t: Tensor) -> Tensor:
        """W * t + b [.., n_out] of flat images t [.., n_in]."""
        return self.apply(t, self.W) if self.b is None else self.apply(t, self.W) + self.b

    def apply(self, t: Tensor, V: Tensor) -> Tensor:
        """V * t, for a kernel V in W's place."""
        cols = F.unfold(t.reshape(-1, *self.seen), **self._windows)
        found = _grouped(V, self.step.groups) @ cols.unflatten(1, (self.step.groups, -1))
        return found.reshape(*t.shape[:-1], self.n_out)

    def back(self, lam: Tensor, V: Tensor | None = None) -> Tensor:
        """The coefficients [.., n_in] of t in lam . (V * t), for V = W where none is given."""
        kernel = _grouped(self.W if V is None else V, self.step.groups)
        cols = kernel.mT @ lam.reshape(-1, self.step.groups, self.given[0] // self.step.groups, self.places)
        images = F.fold(cols.flatten(1, 2), self.seen[1:], **self._windows)
        return images.reshape(*lam.shape[:-1], self.n_in)

    def spread(self, size: Tensor, room: Tensor | float = 0.0) -> Tensor:
        """What the kernel's ball, widened by `room`, can add to each output where inputs have these sizes."""
        return self.apply(size, self.eps + room)

    def spread_back(self, size: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        """What the balls of bias and kernel add to a bound: constants, and coefficients of |t| [.., n_in].

        `size` is |lam|; its sum, enough for a dense layer, is of no use here.
        """
        return size @ self.beta, self.back(size, self.eps)

    @property
    def _windows(self) -> dict[str, Pair]:
        step = self.step
        kernel = self.W.shape[2], self.W.shape[3]
        return {"kernel_size": kernel, "dilation": step.dilation, "padding": step.padding, "stride": step.stride}

    @property
    def reach(self) -> Pair:
        """Height and width of what an output sees of its image."""
        (h, w), (d_h, d_w) = self.W.shape[2:], self.step.dilation
        return d_h * (h - 1) + 1, d_w * (w - 1) + 1

    def cut(self, size: Pair) -> ConvolutionBall:
        """The same kernel where outputs [O, *size] are asked for, far from any border."""
        step = Convolution(stride=self.step.stride, dilation=self.step.dilation, groups=self.step.groups)
        sides = tuple((n - 1) * s + k for n, s, k in zip(size, step.stride, self.reach, strict=True))
        n = size[0] * size[1]
        b, beta = (
            None if t is None else t.view(len(self.W), -1)[:, :1].expand(-1, n).flatten() for t in (self.b, self.beta)
        )
        return ConvolutionBall(self.W, b, self.eps, beta, step, (self.seen[0], *sides), (len(self.W), *size))


def output_shape(step: Convolution, kernel: Pair, seen: Shape, channels: int) -> Shape:
    """The shape of what a convolution makes of an image.

    >>> output_shape(Convolution(stride=(2, 2), padding=(1, 1)), (4, 4), (1, 28, 28), 16)
    (16, 14, 14)
    """
    sides = zip(seen[1:], kernel, step.stride, step.padding, step.dilation, strict=True)
    height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)
    return channels, height, width


class Patches(NamedTuple):
    """What the outputs at each place of a convolution see: the layers before it, cut down, and their boxes there.

    What lies outside an image is 0: an input in [0, 0], a ReLU that is off.
    """

    hidden: list[ConvolutionBall]
    ball: ConvolutionBall
    boxes: list[tuple[Tensor, Tensor]]  # [B * places, n_m]
    a: Tensor
    b: Tensor


def patches(
    hidden: Sequence[ConvolutionBall],
    ball: ConvolutionBall,
    boxes: Sequence[tuple[Tensor, Tensor]],
    a: Tensor,
    b: Tensor,
) -> Patches:
    """A convolution behind others, place by place: at each it is a small network of its own, the same for all places.

    An output of the last layer hangs on a few outputs of each layer before it, so a bound of it need not look at more.
    """
    places, size, stride, padding = ball.given[1:], ball.reach, ball.step.stride, ball.step.padding
    cut_balls, cut_boxes = [], []
    for before, (p, q) in zip(reversed(hidden), reversed(boxes), strict=True):
        window = before.given, places, size, stride, padding
        cut_boxes.append((_windowed(p, *window, -1.0), _windowed(q, *window, -1.0)))
        cut_balls.append(before.cut(size))
        size = cut_balls[-1].seen[1:]
        padding = tuple(n * s + p for n, s, p in zip(padding, before.step.stride, before.step.padding, strict=True))
        stride = tuple(n * s for n, s in zip(stride, before.step.stride, strict=True))
    window = hidden[0].seen, places, size, stride, padding
    a, b = _windowed(a, *window, 0.0), _windowed(b, *window, 0.0)
    return Patches(cut_balls[::-1], ball.cut((1, 1)), cut_boxes[::-1], a, b)


def _windowed(t: Tensor, shape: Shape, places: Pair, size: Pair, stride: Pair, padding: Pair, outside: float) -> Tensor:
    """The windows [B * places, C * height * width] of flat images, filled up with `outside`."""
    sides = zip(shape[1:], places, size, stride, padding, strict=True)
    (top, bottom), (left, right) = ((p, (n - 1) * s + k - p - side) for side, n, k, s, p in sides)
    image = F.pad(t.reshape(-1, *shape), (left, right, top, bottom), value=outside)
    return F.unfold(image, size, stride=stride).mT.flatten(0, 1)


def _grouped(kernel: Tensor, groups: int) -> Tensor:
    """[O, I/g, h, w] as one matrix a group [g, O/g, I/g * h * w]."""
    return kernel.reshape(groups, len(kernel) // groups, -1)
