"""The linear program behind a case in which every sign is known: where its maximum is reached, and why no higher."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from nsr.certify.branching import Chain
from nsr.certify.linear import Rows


class Leaf(NamedTuple):
    """A point of the case: the input [d], the pre-activations [n_m] of each hidden layer, and a multiplier for each."""

    x: Tensor
    s: list[Tensor]
    beta: Tensor  # [H], >= 0


def solve(chain: Chain, rows: Rows, row: int, sign: Tensor) -> Leaf | None:
    """The maximum of one row where the hidden neurons, then the straddling inputs, have these signs [H + ..].

        a <= x <= b;  (W - eps) |z| <= .. i.e.  |s^m - b^m - W^m z^{m-1}| <= eps_m ||z^{m-1}||_1 + beta_m

    A sign of 0 is that of the neuron's box. None where the program has no solution, or none was found.
    """
    *signs, halves = sign.split([*chain.sizes, len(sign) - sum(chain.sizes)])
    signs = [
        torch.where(known != 0, known, (p[0] >= 0).to(known) * 2 - 1)
        for known, (p, _) in zip(signs, chain.boxes, strict=True)
    ]
    a, b = chain.a[0].clone(), chain.b[0].clone()
    free = chain.straddling
    a[free], b[free] = torch.where(halves > 0, 0.0, a[free]), torch.where(halves < 0, 0.0, b[free])
    passes = torch.ones_like(a)  # the derivative of z by what comes before it
    size = torch.where(a < 0, -1.0, 1.0).to(a)  # |z| = size * z
    starts = np.cumsum([0, len(a), *chain.sizes])
    blocks, ends = [], []
    for m, ball in enumerate(chain.hidden):
        for side in (1.0, -1.0):
            block = np.zeros((len(ball.W), starts[-1]))
            block[:, starts[m] : starts[m + 1]] = ((-side * ball.W - ball.eps * size) * passes).numpy()
            block[:, starts[m + 1] : starts[m + 2]] = side * np.eye(len(ball.W))
            blocks.append(sparse.csr_array(block))
            ends.append((ball.beta + side * (0.0 if ball.b is None else ball.b) + torch.zeros(len(ball.W))).numpy())
        passes, size = (signs[m] > 0).to(a), torch.ones_like(signs[m])
    gain = np.zeros(starts[-1])
    gain[starts[-2] :] = ((rows.slope[0, row] + rows.eps) * passes).numpy()
    low = np.concatenate([a, *(np.where(known > 0, 0.0, -np.inf) for known in signs)])
    high = np.concatenate([b, *(np.where(known < 0, 0.0, np.inf) for known in signs)])
    found = linprog(-gain, sparse.vstack(blocks), np.concatenate(ends), bounds=np.stack([low, high], 1), method="highs")
    if found.status != 0:
        return None
    x, *s = torch.from_numpy(found.x).to(a).split([len(a), *chain.sizes])
    beta = torch.from_numpy(found.lower.marginals - found.upper.marginals)[len(a) :]
    return Leaf(x, list(s), beta.clamp(min=0))
