"""Kinds of files by their first bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset
from physdiff.data.readers.detect import kind_of, open_file


def test_kinds_do_not_depend_on_names(tmp_path):
    ds = xr.Dataset({"u": (("time", "x"), np.zeros((3, 4)))}, coords={"time": np.arange(3.0), "x": np.arange(4.0)})
    ds.to_netcdf(tmp_path / "classic.bin", format="NETCDF3_64BIT", engine="netcdf4")
    ds.to_netcdf(tmp_path / "four.bin", engine="netcdf4")
    with (tmp_path / "arrays.bin").open("wb") as file:
        np.savez(file, u=np.zeros(3))
    torch.save({}, tmp_path / "new.bin")
    torch.save({}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "mat.bin").write_bytes(b"MATLAB 5.0 MAT-file")
    (tmp_path / "grib.bin").write_bytes(b"GRIB....")
    kinds = {"classic": "netcdf", "four": "hdf5", "arrays": "npz", "new": "torch", "old": "torch", "mat": "matlab", "grib": "grib"}
    assert {n: kind_of(str(tmp_path / f"{n}.bin")) for n in kinds} == kinds
    assert open_dataset(tmp_path / "four.bin")["u"].shape == open_dataset(tmp_path / "classic.bin")["u"].shape == (3, 4)


def test_nothing_and_unknown_kinds(tmp_path):
    (tmp_path / "a.nc").write_text("not a netCDF")
    told = {"a.nc": "expected netCDF, Zarr, .*, got something else", "none.nc": "found nothing there", "": "got a folder"}
    for path, message in ((tmp_path / name, message) for name, message in told.items()):
        with pytest.raises(DataError, match=message):
            open_file(str(path))


def test_a_folder_gives_its_files(tmp_path):
    for k in range(2):
        ds = xr.Dataset({"u": (("time", "x"), np.full((3, 4), float(k)))}, coords={"time": np.arange(3.0) + 3 * k, "x": np.arange(4.0)})
        ds.to_netcdf(tmp_path / f"{k}.nc", engine="netcdf4")
    (tmp_path / "README.txt").write_text("notes")
    assert open_dataset(tmp_path)["u"].values[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected a folder with files .*, got none; give a file"):
        open_dataset(tmp_path / "empty")


@pytest.mark.parametrize("folder", ["cfd", "format_samples", "pde", "reanalysis"])
def test_every_shared_file_opens_by_its_path_alone_or_is_refused_with_a_reason(shared_data, folder):
    """How many open is counted: a file that no longer does is seen here."""
    opened = {"cfd": 1, "format_samples": 5, "pde": 8, "reanalysis": 11}
    pytest.importorskip("h5py")
    pytest.importorskip("zarr")
    places = [p for p in sorted((shared_data / folder).iterdir()) if p.suffix not in (".json",)]
    good = 0
    for place in places:
        try:
            open_dataset(place)
            good += 1
        except DataError as error:
            assert "expected" in str(error) and (";" in str(error)), error
    assert good >= opened[folder], (good, len(places))
