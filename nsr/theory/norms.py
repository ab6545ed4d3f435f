"""Induced norms of layers, the factors of tau and zeta, for dense layers and 2D convolutions. All differentiable.

A convolution without its bias is a matrix A: input pixels in, output pixels out. The matrix is never built. Per axis,
output t meets kernel entry a at pixel s t + d a - p (stride s, dilation d, p zeros before), so each row of A holds the
kernel entries that meet real pixels, and each column those that one pixel meets. Both sets are products of one set per
axis, and few differ. The groups of a layer are blocks of A.

l_1 and l_inf norms are exact for every stride, dilation, kernel shape, zero padding and number of groups. `size` is the
input's (H, W). Without it the norm is that of all large inputs, H >= 2 (d (k - 1) + s) on its axis being enough, and W
likewise; of smaller inputs it is an upper bound. Values are computed in the weight's dtype and not rounded outward.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, linalg, nn
from torch.nn import functional as F

from nsr.steps import Convolution
from nsr.theory import dense_norms

Size = tuple[int, int]  # of the input: H, W


def linf(layer: Tensor | nn.Module, size: Size | None = None) -> Tensor:
    """||A||_inf = max ||Ax||_inf / ||x||_inf: the largest row sum of |A|, max over o, S of sum_{c, a in S} |K_oca|.

    S are the kernel entries that one output position meets on real pixels: all of them where inputs are large.

    >>> conv = nn.Conv2d(1, 1, 3, padding=1)
    >>> _ = nn.init.ones_(conv.weight)
    >>> linf(conv).item(), linf(conv, size=(2, 2)).item()
    (9.0, 4.0)
    """
    if not isinstance(layer, nn.Conv2d):
        return dense_norms.linf(_dense(layer, size))
    mass = layer.weight.abs().sum(1)  # [out, kh, kw]
    return _largest_sum(mass, [axis.row_sets(n) for axis, n in _axes(layer, size)])


def l1(layer: Tensor | nn.Module, size: Size | None = None) -> Tensor:
    """||A||_1 = max ||Ax||_1 / ||x||_1: the largest column sum of |A|, max over c, S of sum_{o, a in S} |K_oca|.

    S are the kernel entries that one pixel meets: where inputs are large, the residue classes of d a modulo the stride.

    >>> conv = nn.Conv2d(1, 1, 3, stride=2)
    >>> _ = nn.init.ones_(conv.weight)
    >>> l1(conv).item(), l1(conv, size=(4, 4)).item()
    (4.0, 1.0)
    """
    if not isinstance(layer, nn.Conv2d):
        return dense_norms.l1(_dense(layer, size))
    axes = _axes(layer, size)
    blocks = layer.weight.unflatten(0, (layer.groups, -1))  # [groups, out / groups, in / groups, kh, kw]
    mass = blocks.abs().sum(1).flatten(0, 1)  # [in, kh, kw]
    return _largest_sum(mass, [axis.column_sets(n) for axis, n in axes])


def spectral(
    layer: Tensor | nn.Module,
    size: Size | None = None,
    *,
    tol: float = 1e-5,
    steps: int = 1000,
    generator: torch.Generator | None = None,
) -> Tensor:
    """||A||_2 = max ||Ax||_2 / ||x||_2: the largest singular value, u^T A v of its singular vectors.

    Dense layers are decomposed. A convolution, whose value hangs on the input's size, is iterated from a random v
    (`generator`, by default of seed 0) until ||A^T A v - sigma^2 v|| <= tol sigma^2; a warning says where `steps` were
    too few. The value is then within a share of tol of a singular value, of the largest one for nearly every start,
    and, rounding apart, never above the largest. u and v count as constants, which makes the first derivative right and
    no higher one.

    >>> conv = nn.Conv2d(1, 1, 1)
    >>> _ = nn.init.constant_(conv.weight, -3.0)
    >>> round(spectral(conv, size=(4, 4)).item(), 4)
    3.0
    """
    if not isinstance(layer, nn.Conv2d):
        return dense_norms.spectral(_dense(layer, size))
    if size is None:
        raise ValueError("the spectral norm of a convolution hangs on its input: give size=(H, W)")
    forward, adjoint = _maps(layer, size)
    weight = layer.weight.detach()
    # singular vectors do not change with the scale, and squares of tiny or huge weights leave the range of floats
    weight = weight / weight.abs().max().clamp(min=torch.finfo(weight.dtype).tiny)
    draws = torch.Generator().manual_seed(0) if generator is None else generator
    start = torch.randn(1, layer.in_channels, *size, dtype=weight.dtype, generator=draws, device=draws.device)
    u, v = _top_singular_pair(
        lambda x: forward(x, weight), lambda y: adjoint(y, weight), start.to(weight.device), tol, steps
    )
    return (u * forward(v, layer.weight)).sum()


def conv2d(K: Tensor, step: Convolution) -> nn.Conv2d:
    """The layer that applies this step of a network with the kernel K: with K itself, so its norm has K's gradient.

    >>> K = torch.ones(1, 1, 3, 3, requires_grad=True)
    >>> torch.autograd.grad(linf(conv2d(K, Convolution())), K)[0].sum()
    tensor(9.)
    """
    geometry = {"stride": step.stride, "padding": step.padding, "dilation": step.dilation, "groups": step.groups}
    out, channels, *size = K.shape
    layer = nn.Conv2d(channels * step.groups, out, tuple(size), **geometry, bias=False, device="meta")
    del layer.weight  # a parameter; what takes its place is the tensor that was passed in
    layer.weight = K
    return layer


def _dense(layer: Tensor | nn.Module, size: Size | None) -> Tensor | nn.Module:
    """A Linear or a matrix, or else one line about what is wrong with it."""
    if not isinstance(layer, nn.Linear) and not (isinstance(layer, Tensor) and layer.ndim == 2):
        what = f"a tensor {list(layer.shape)}" if isinstance(layer, Tensor) else type(layer).__name__
        raise ValueError(f"expected a Linear, a Conv2d or a matrix [out, in], got {what}")
    if size is not None:
        raise ValueError(f"a size belongs to a convolution, and this is a dense layer: got size={size}")
    return layer


class _Axis(NamedTuple):
    """One axis of a convolution: k entries, d apart, move by s over n pixels between `before` and `after` zeros."""

    k: int
    s: int
    d: int
    before: int
    after: int

    def outputs(self, n: int) -> int:
        """T, the number of output positions over n pixels."""
        return (n + self.before + self.after - self.d * (self.k - 1) - 1) // self.s + 1

    def unmet(self, n: int) -> int:
        """The padded pixels behind the last window, fewer than s."""
        return (n + self.before + self.after - self.d * (self.k - 1) - 1) % self.s

    def row_sets(self, n: int | None) -> Tensor:
        """S of `linf`: the entries that meet 0 <= pixel < n, one row a kind of output position, bool [kinds, k]."""
        if n is None:
            return torch.ones(1, self.k, dtype=torch.bool)
        pixel = self.s * torch.arange(self.outputs(n))[:, None] + self.d * torch.arange(self.k) - self.before
        return ((pixel >= 0) & (pixel < n)).unique(dim=0)

    def column_sets(self, n: int | None) -> Tensor:
        """S of `l1`: the entries by which some output 0 <= t < T meets a pixel, one row a kind, bool [kinds, k]."""
        offset = self.d * torch.arange(self.k)
        if n is None:
            return (offset % self.s == torch.arange(self.s)[:, None]).unique(dim=0)
        moved = torch.arange(n)[:, None] + self.before - offset  # s t
        return ((moved % self.s == 0) & (moved >= 0) & (moved < self.s * self.outputs(n))).unique(dim=0)


def _axes(conv: nn.Conv2d, size: Size | None) -> list[tuple[_Axis, int | None]]:
    """Each axis with its pixels, where they are known."""
    if conv.padding_mode != "zeros":
        raise ValueError(f"these norms are for zero padding: {conv.padding_mode!r} lets one pixel count several times")
    if size is not None and len(size) != 2:
        raise ValueError(f"size is the height and the width of the input, got {tuple(size)}")
    axes, pixels = [], (None, None) if size is None else size
    for k, s, d, p, n in zip(conv.kernel_size, conv.stride, conv.dilation, _padding(conv), pixels, strict=True):
        axis = _Axis(k, s, d, *p)
        if n is not None and (n < 1 or axis.outputs(n) < 1):
            raise ValueError(f"no output: a kernel {d * (k - 1) + 1} long on {n} pixels with {p[0]} + {p[1]} zeros")
        axes.append((axis, n))
    return axes


def _padding(conv: nn.Conv2d) -> list[tuple[int, int]]:
    """Zeros before and after, for each axis."""
    if conv.padding == "same":  # the odd zero goes behind, as in torch
        spans = [d * (k - 1) for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
        return [(span // 2, span - span // 2) for span in spans]
    return [(0, 0)] * 2 if conv.padding == "valid" else [(p, p) for p in conv.padding]


def _largest_sum(mass: Tensor, sets: list[Tensor]) -> Tensor:
    """The largest sum of masses [channels, kh, kw] over a channel and a product of one set per axis."""
    rows, columns = (chosen.to(mass) for chosen in sets)
    return torch.einsum("cab,ia,jb->cij", mass, rows, columns).amax()


def _maps(conv: nn.Conv2d, size: Size) -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """x, K -> A x and y, K -> A^T y."""
    (rows, H), (columns, W) = _axes(conv, size)
    window = {"stride": conv.stride, "dilation": conv.dilation, "groups": conv.groups}
    unmet = (rows.unmet(H), columns.unmet(W))

    # padded by hand: conv2d copies and warns where "same" is uneven, and conv_transpose2d knows no "same"
    def forward(x: Tensor, K: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (columns.before, columns.after, rows.before, rows.after)), K, **window)

    def adjoint(y: Tensor, K: Tensor) -> Tensor:
        x = F.conv_transpose2d(y, K, output_padding=unmet, **window)
        return x[..., rows.before : rows.before + H, columns.before : columns.before + W]

    return forward, adjoint


def _top_singular_pair(
    forward: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], v: Tensor, tol: float, steps: int
) -> tuple[Tensor, Tensor]:
    """u, v of the largest singular value, by power iteration that remembers its last direction.

    Each step takes the best vector of the span of v, A^T A v and the last direction. A plain step takes A^T A v, and
    needs ten times as many steps, since the upper singular values of a convolution lie close together.
    """
    v = v / _length(v)
    y, last = forward(v), v[:0]
    for _ in range(steps):
        square = y.square().sum()  # sigma^2
        residual = adjoint(y) - square * v
        if _length(residual) <= tol * square:
            break
        basis = linalg.qr(torch.cat([v, residual, last]).flatten(1).T)[0].T.unflatten(1, v.shape[1:])
        images = forward(basis)
        best = linalg.eigh(images.flatten(1) @ images.flatten(1).T)[1][:, -1]
        new, y = (torch.tensordot(best, each, 1)[None] for each in (basis, images))
        # in float32 the columns of a long basis are unit vectors to 5 digits only
        last, v, y = new - (new * v).sum() * v, new / _length(new), y / _length(new)
    else:
        warnings.warn(f"spectral: {steps} steps did not reach tol {tol:g}, so the value is too low", stacklevel=3)
    return y / _length(y).clamp(min=torch.finfo(y.dtype).tiny), v


def _length(x: Tensor) -> Tensor:
    """||x||_2, from a sum in pairs: over 500,000 entries in float32 `vector_norm` keeps 5 digits, this keeps 7."""
    return x.square().sum().sqrt()
