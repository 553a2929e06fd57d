"""Headers of classic netCDF: every good file passes, a count that does not fit is refused before it costs memory."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.readers.classic_header import check_classic
from physdiff.data.readers.detect import open_file
from tests.data.files import box, save

VERSIONS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


@pytest.mark.parametrize("version", VERSIONS)
def test_files_of_the_library_pass(tmp_path, version):
    check_classic(str(save(box(), tmp_path / "a.nc", format=version)))
    check_classic(str(save(box().transpose("time", ...), tmp_path / "b.nc", format=version, unlimited_dims=["time"])))
    with netCDF4.Dataset(tmp_path / "c.nc", "w", format=version) as file:
        file.title, file.numbers = "odd", np.arange(3, dtype="i2")
        file.createDimension("time", None)
        file.createDimension("x", 3)
        for kind in ("i1", "i2", "i4", "f4", "f8", "S1"):
            made = file.createVariable(f"v{kind}", kind, ("time", "x"))
            made.units, made.flags = "m", np.arange(5, dtype="i1")
            file.createVariable(f"s{kind}", kind, ())
        file["vf4"][:] = np.zeros((7, 3))
    check_classic(str(tmp_path / "c.nc"))
    with netCDF4.Dataset(tmp_path / "empty.nc", "w", format=version):
        pass
    check_classic(str(tmp_path / "empty.nc"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_count_or_a_length_made_huge_is_refused(tmp_path, version):
    """Flips of each high bit of the first words: refused here, or no count that costs anything."""
    raw = save(box(), tmp_path / "a.nc", format=version).read_bytes()
    wide = version.endswith("DATA")
    lists = 4 + (8 if wide else 4)  # the dimensions' tag, their number, the first name, the first length
    name = lists + (12 if wide else 8)
    length = name + (8 if wide else 4) + 8
    for place in (lists, lists + 4, name, length):
        damaged = bytearray(raw)
        damaged[place] ^= 0x40
        (tmp_path / "b.nc").write_bytes(damaged)
        with pytest.raises(DataError, match=r"got a damaged one \(header: .*\); fetch it again"):
            open_file(str(tmp_path / "b.nc"))
    (tmp_path / "b.nc").write_bytes(raw[:40])
    with pytest.raises(DataError, match="got a damaged one"):
        open_file(str(tmp_path / "b.nc"))
