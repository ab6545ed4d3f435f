"""The truth over a grid for a set of images: plane after plane, each kept as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from nsr.budget import UNIT, Box
from nsr.contour.contour import Decided
from nsr.contour.deciding import plane
from nsr.contour.stored import Planes, digest
from nsr.network import Network

Watch = Callable[[Sequence[str], int], None]  # (planes so far, cells of the next one that are settled)


def decided(
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    box: Box | None = UNIT,
    geometry: str = "absolute",
    only: str | None = None,
    seconds: float = 10.0,
    path: Path | None = None,
    code: Mapping[str, str] | None = None,
    watch: Watch = lambda planes, settled: None,
) -> Decided:
    """The verdicts on every image over the grid, see `plane`; `seconds` is the limit of one question.

    With a `path` each finished plane is stored there under its image, and the same call, on more images too, goes on
    from it. A keyboard interrupt gives up the image at hand.

    >>> import torch, nsr
    >>> network = nsr.mlp((torch.eye(2), torch.eye(2)))
    >>> x, y = torch.tensor([[0.6, 0.5], [0.9, 0.1]]), torch.tensor([0, 0])
    >>> found = nsr.contour.decided(network, x, y, (0, 0.02, 0.1), (0, 0.01, 0.1))
    >>> found.verdicts, found.accuracy[1], found.open
    (('rrbrrbbbb', 'rrrrrrrrr'), (1.0, 1.0, 0.5), 0.0)
    """
    if not len(x):
        raise ValueError("the truth over no images is not a number: x is empty")
    how = {"box": box, "geometry": geometry, "only": only, "seconds": seconds}
    store = verdict_file(path, network, grid_x, grid_w, **how, code=code) if path else None
    known, found = store.read() if store else {}, []
    watch(found, 0)
    for image in zip(x.split(1), y.split(1), strict=True):
        name = digest(*image)
        if name not in known:
            known[name] = plane(network, *image, grid_x, grid_w, **how, watch=partial(watch, found))
            if store:
                store.write(known)
        found.append(known[name])
        watch(found, 0)
    return Decided.of(grid_x, grid_w, found, geometry)


def verdict_file(
    path: Path,
    network: Network,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    box: Box | None,
    geometry: str,
    only: str | None,
    seconds: float,
    code: Mapping[str, str] | None = None,
) -> Planes:
    """The stored planes of this dense network, grid and settings, and of this code where it is told."""
    belongs = {
        "network": digest(*network.W, *(network.affine or ())),
        "grid": [[*map(float, grid_x)], [*map(float, grid_w)]],
        "settings": {"box": box, "geometry": geometry, "only": only, "seconds": seconds},
        "code": code,
    }
    return Planes(path, belongs, len(grid_x) * len(grid_w))
