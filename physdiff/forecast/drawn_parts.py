"""Batches of draws kept on disk while others are drawn, so that an interrupted run goes on with the first that is missing.

Each batch becomes a netCDF file in the folder ``<out>.parts`` under its own name only when it is whole, marked with all that its draws follow from:
weights and parts of the prior, seed, what was known. A batch with another mark is drawn anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.base.saved import describe
from physdiff.data.write import write_dataset
from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["DrawnParts", "prior_digest"]

log = logging.getLogger(__name__)

_MARK = "draws_fingerprint"


def prior_digest(prior: WindowPrior, settings: object) -> hashlib._Hash:
    """SHA-256 so far of a prior's parts and weights and of `settings` (JSON)."""
    tensors: dict[str, Tensor] = {}
    digest = hashlib.sha256(json.dumps([describe(prior, tensors), settings], sort_keys=True).encode())
    for name, tensor in sorted([*tensors.items(), *prior.state_dict().items()]):
        digest.update(name.encode() + _bytes(tensor))
    return digest


class DrawnParts:
    """The batches of one run.

    Args:
        out: File that the run ends in.
        digest: Of the prior and the settings, see `prior_digest`.

    Raises:
        DataError: If `out` is a folder.
    """

    def __init__(self, out: Path, digest: hashlib._Hash) -> None:
        if out.is_dir():
            raise DataError(f"{out}: expected the name of a file to write, got a folder; add a file name")
        self.out, self.folder, self._digest = out, out.with_name(f"{out.name}.parts"), digest

    def take(self, start: int, given: Iterable[Tensor]) -> Tensor | None:
        """The batch that begins with row `start`, if it is there and follows from what is `given`."""
        path = self._path(start)
        if not path.is_file():
            return None
        with xr.open_dataset(path, engine="netcdf4") as part:
            if part.attrs.get(_MARK) != self._mark(given):
                log.warning("%s was made from another prior, seed or data: computed anew", path)
                return None
            return torch.from_numpy(part["draws"].values)

    def keep(self, start: int, given: Iterable[Tensor], draws: Tensor) -> None:
        """Write a batch of draws."""
        dims = tuple(f"axis_{k}" for k in range(draws.ndim))
        write_dataset(xr.Dataset({"draws": (dims, draws.numpy())}, attrs={_MARK: self._mark(given)}), self._path(start))

    def finish(self, result: xr.Dataset) -> None:
        """Write the whole and remove the parts."""
        write_dataset(result, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"draws_{start:08d}.nc"

    def _mark(self, given: Iterable[Tensor]) -> str:
        digest = self._digest.copy()
        for tensor in given:
            digest.update(str(tuple(tensor.shape)).encode() + _bytes(tensor))
        return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
