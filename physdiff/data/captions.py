r"""Words and numbers that describe a trajectory, as fields that are constant in space and time.

A caption becomes a vector by any encoder, a callable from text to numbers; entry k is then the variable ``<name>_k``, alike at every point and frame.
A task that knows it (``{"u": (0,), **known_captions("text", 16)}``) conditions a prior of trajectories on it (`prepare_trajectories`), one that does
not asks what could have been said: one model, with and without words. Numbers (a viscosity, a radius) need no encoder: they are fields already.

`HashedWords` is a small encoder without weights or downloads: words and pairs of neighbours are hashed to signs of `features` numbers, a number in
the text adds its own value to those of its neighbours, so that 0.1 and 0.2 are near. Any other model of text does as well.

Reference: Weinberger et al., Feature hashing for large scale multitask learning, ICML 2009; Text2PDE (arXiv 2410.01153) for the use.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import spec_of

__all__ = ["HashedWords", "known_captions", "with_captions"]

_TOKEN = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?|[^\W\d_]+", re.IGNORECASE)


@dataclass(frozen=True)
class HashedWords:
    """A text as `features` numbers: the signed counts of its words and of their pairs, over the root of their number.

    Args:
        features: Number of features.
    """

    features: int = 16

    def __post_init__(self) -> None:
        check_positive(self.features, "HashedWords features")

    def __call__(self, text: str) -> Tensor:
        """(features,) float32.

        Raises:
            InputError: If the text holds no word.
        """
        words = [w.lower() for w in _TOKEN.findall(text)]
        if not words:
            raise InputError(f"HashedWords: expected a text with words, got {text!r}")
        out, count = torch.zeros(self.features), 0
        for before, word in zip(["", *words], words, strict=False):
            number = _number(word)
            # a number counts in its size, under the word that it follows
            terms = [(word, 1.0), (f"{before} {word}", 1.0)] if number is None else [(f"{before} #", number)]
            for term, size in terms:
                digest = hashlib.blake2b(term.encode(), digest_size=8).digest()
                out[int.from_bytes(digest[:4], "big") % self.features] += size if digest[4] % 2 else -size
                count += 1
        return out / math.sqrt(count)


def _number(word: str) -> float | None:
    """The size of a number, its logarithm beyond 10; None for a word."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) <= 10 else math.copysign(9 + math.log10(abs(value)), value)


def known_captions(name: str, features: int) -> dict[str, str]:
    """The part of a task that knows a caption: each of its entries, at all frames."""
    return {f"{name}_{k}": "all" for k in range(features)}


def with_captions(ds: xr.Dataset, captions: Sequence[str], encoder: Callable[[str], Tensor], *, name: str = "text") -> xr.Dataset:
    """The data set with the encoded caption of each sample as fields ``<name>_0``, ``<name>_1``, ...

    Args:
        ds: Trajectories with a dimension ``sample``.
        captions: One text for each sample.
        encoder: From a text to a vector, as long for every text.
        name: Of the variables.

    Raises:
        DataError: If the samples and captions differ in number, or a variable of that name is there.
        InputError: If the encoder's vectors differ in length, or are not finite.
    """
    if "sample" not in ds.dims or ds.sizes["sample"] != len(captions):
        got = f"{ds.sizes['sample']} samples" if "sample" in ds.dims else "no dimension sample"
        raise DataError(f"with_captions: expected one caption for each sample, got {len(captions)} and {got}")
    taken = [str(n) for n in ds.data_vars if str(n).startswith(f"{name}_")]
    if taken:
        raise DataError(f"with_captions: expected no variables named {name}_..., got {', '.join(taken)}; choose another name")
    vectors = [torch.as_tensor(encoder(text)).detach().float().cpu().flatten() for text in captions]
    if len({len(v) for v in vectors}) != 1 or not all(bool(v.isfinite().all()) for v in vectors):
        lengths = sorted({len(v) for v in vectors})
        raise InputError(f"with_captions: expected finite vectors of one length, got lengths {lengths}; look at the encoder")
    dims = ("sample", "time", *spec_of(ds, gaps=True).grid.dims)
    shape, space = tuple(ds.sizes[d] for d in dims), (1,) * (len(dims) - 1)
    values = torch.stack(vectors).numpy()
    columns = (np.broadcast_to(column.reshape(-1, *space), shape) for column in values.T)
    return ds.assign({f"{name}_{k}": (dims, column, {"units": "1"}) for k, column in enumerate(columns)})
