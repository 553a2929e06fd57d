"""Products of float32 matrices by the quicker of torch's two libraries.

On a processor `torch.mm` calls MKL, which takes half-width instructions on machines that are not of its maker's make; oneDNN, which torch has
for convolutions and compiled code, makes its own code for the machine it is on. With AVX-512 on an AMD EPYC it takes 0.45 to 0.6 of the time for the
shapes of coordinate networks and operators (benchmarks/products.py). The numbers are those of `torch.mm` to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["product"]

_LEAST = 8
"""With a shorter side than this the call costs more than it saves."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """A b of (m, k) and (k, n), outside of autograd: for forward and backward passes that are written out."""
    onednn = _onednn()
    if onednn is None or a.dtype != torch.float32 or a.device.type != "cpu" or min(*a.shape, b.shape[1]) < _LEAST:
        return torch.mm(a, b)
    return onednn(a, b.mT, None, "none", [], "")


@functools.cache
def _onednn() -> Callable[..., Tensor] | None:
    """OneDNN's x w^T + b, which compilers of torch use; not part of its public functions, so that it may be missing."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    found = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)
    return None if found is None else found.default
