"""The gradients of dense ReLU networks, written by hand for the attack's inner loop.

No autograd graph is built, nothing is computed that the caller does not ask for, and every tensor has a leading axis
of groups: G weight sets at once, each with inputs of its own. Shapes: W^m [G, out, in], bias [G, out], x [G, n, d].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

Directions = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # logits -> the two losses' gradients at the logits (for x, for W)

# torch multiplies float32 matrices by MKL, which is twice as slow as oneDNN on AMD's processors and faster on Intel's.
# torch reaches oneDNN through this operator alone.
_CPUINFO = Path("/proc/cpuinfo")
_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and _CPUINFO.exists()
    and "AuthenticAMD" in _CPUINFO.read_text()
)
_SMALL = 64  # below this width oneDNN's set-up costs more than it saves


def logits(W: Sequence[Tensor], x: Tensor) -> Tensor:
    """f_W(x) [G, n, K]."""
    return _forward(_layers(W), x.flatten(2))[-1]


def gradients(
    W: Sequence[Tensor], x: Tensor, directions: Directions, wrt_x: bool, wrt_W: Sequence[bool]
) -> tuple[Tensor, Tensor | None, list[Tensor | None]]:
    """The logits, the gradient on x and the gradients on W, None where not wanted.

    `directions` turns the logits into the gradients of the two losses at the logits: of the one that x ascends and of
    the one that W ascends. If both are the same tensor, one backward pass serves both.
    """
    dense = _layers(W)
    wanted = _layers_wanted(dense, wrt_W)
    z = _forward(dense, x.flatten(2))
    d_x, d_W = directions(z[-1])
    if d_x is d_W:
        g_x, g_W = _backward(dense, z, d_x, wrt_x, wanted)
    else:
        g_x, _ = _backward(dense, z, d_x, wrt_x, [(False, False)] * len(dense))
        _, g_W = _backward(dense, z, d_W, False, wanted)
    return z[-1], None if g_x is None else g_x.view_as(x), g_W


def _forward(dense: list[tuple[Tensor, Tensor | None]], x: Tensor) -> list[Tensor]:
    """z^0 = x, z^1 .. z^{L-1} after their ReLU, and the logits."""
    z = [x]
    for m, (W_m, b_m) in enumerate(dense, start=1):
        s = product(z[-1], W_m.mT)
        if b_m is not None:
            s += b_m[:, None]
        z.append(s.relu_() if m < len(dense) else s)
    return z


def _backward(
    dense: list[tuple[Tensor, Tensor | None]],
    z: list[Tensor],
    d: Tensor,
    wrt_x: bool,
    wanted: Sequence[tuple[bool, bool]],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """The chain rule from the logits' gradient d down to the lowest thing wanted."""
    found: list[Tensor | None] = []
    lowest = 0 if wrt_x else next((m for m, want in enumerate(wanted) if any(want)), len(dense)) + 1
    for m in range(len(dense), 0, -1):
        W_m, b_m = dense[m - 1]
        want_W, want_b = wanted[m - 1]
        if b_m is not None:
            found.append(d.sum(1) if want_b else None)
        found.append(product(d.mT, z[m - 1]) if want_W else None)
        if m > lowest:
            d = product(d, W_m)
            if m > 1:
                d = torch.ops.aten.threshold_backward(d, z[m - 1], 0)  # d where the ReLU was on, 0 elsewhere
    return (d if wrt_x else None), found[::-1]


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for every group [G, r, k] x [G, k, c] -> [G, r, c]."""
    if len(a) > 1 or a.device.type != "cpu":
        return torch.bmm(a, b)
    if _ONEDNN and a.dtype == torch.float32 and min(*a.shape[1:], b.shape[2]) >= _SMALL:
        return torch.ops.mkldnn._linear_pointwise(a[0], b[0].mT, None, "none", [], "")[None]
    return torch.mm(a[0], b[0])[None]


def _layers(W: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
    """Matrices with their biases, as `network.layers` reads them, behind the axis of groups."""
    found: list[tuple[Tensor, Tensor | None]] = []
    for tensor in W:
        if tensor.ndim == 3:
            found.append((tensor, None))
        else:
            found[-1] = (found[-1][0], tensor)
    return found


def _layers_wanted(dense: list[tuple[Tensor, Tensor | None]], wrt_W: Sequence[bool]) -> list[tuple[bool, bool]]:
    flags = iter(wrt_W)
    return [(next(flags), b_m is not None and next(flags)) for _, b_m in dense]
