"""Products of float32 matrices by the quicker of torch's two libraries.

On a processor `torch.mm` calls MKL, which takes half-width instructions on machines that are not of its maker's make; oneDNN, which torch has
for convolutions and compiled code, makes its own code for the machine it is on. With AVX-512 on an AMD EPYC it is 1.5 to 2.0 times as fast for the
shapes of coordinate networks and operators (benchmarks/products.py). The numbers are those of `torch.mm` to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["affine", "product"]

_LEAST, _LEAST_SUMMED = 8, 3
"""With fewer rows or columns of the result, or fewer terms in its sums, than this the call costs more than it saves."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """The product a b of (m, k) and (k, n), for passes that are written out by hand; where autograd looks on it is `torch.mm`."""
    onednn = _for(a, b.mT)
    return torch.mm(a, b) if onednn is None else onednn(a, b.mT, None, "none", [], "")


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The sum x w^T + b of (n, k), (m, k) and (m,), likewise."""
    onednn = _for(x, weight)
    return torch.addmm(bias, x, weight.mT) if onednn is None else onednn(x, weight, bias, "none", [], "")


def _for(x: Tensor, weight: Tensor) -> Callable[..., Tensor] | None:
    """The product of oneDNN if it is there and worth it."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or not (_dense(x) and _dense(weight)):
        return None
    if min(len(x), len(weight)) < _LEAST or x.shape[1] < _LEAST_SUMMED:
        return None
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return None  # it knows no derivatives
    return _onednn()


def _dense(a: Tensor) -> bool:
    """Whether the entries lie side by side: for part of a larger matrix oneDNN has slow code alone, some hundred times so."""
    return a.is_contiguous() or a.mT.is_contiguous()


@functools.cache
def _onednn() -> Callable[..., Tensor] | None:
    """The x w^T + b of oneDNN, which compilers of torch use; not part of its public functions, so that it may be missing."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    found = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)
    return None if found is None else found.default
