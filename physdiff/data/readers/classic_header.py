"""Headers of classic netCDF files, looked at before the library does: a count that a flipped bit made huge would have it allocate gigabytes.

Grammar of the versions 1, 2 and 5: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator

from physdiff.base.errors import DataError

__all__ = ["check_classic"]

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}  # of the types, byte to uint64
_MOST = 2**24  # bytes of a header
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12


def check_classic(path: str) -> None:
    """Raise DataError if a count in the header does not fit into the file, or a variable is larger than the file."""
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            _Header(file.read(min(size, _MOST)), size).walk()
    except (ValueError, KeyError, IndexError, struct.error) as error:
        reason = str(error) or type(error).__name__
        what = f"expected a netCDF file (classic, 64-bit or netCDF-4), got a damaged one (header: {reason})"
        raise DataError(f"{path}: {what}; fetch it again") from error


class _Header:
    """A walk over a header: counts in words of 4 or 8 bytes, most significant first.

    Args:
        data: The beginning of the file.
        size: Length of the file.
    """

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size, self.at = data, size, 4
        version = data[3]
        self.wide, self.far = version == 5, version in (2, 5)

    def walk(self) -> None:
        """Raise ValueError for a count that is too large."""
        self._count(1, records=True)
        lengths = []
        for _ in self._list(_DIMENSIONS):
            self._skip_name()
            lengths.append(self._number(self.wide))
        self._skip_attributes()
        for _ in self._list(_VARIABLES):
            self._skip_name()
            dims = [self._number(self.wide) for _ in range(self._count(4))]
            self._skip_attributes()
            each = _BYTES[self._number(wide=False)]
            self._number(self.wide)
            begin = self._number(self.far)
            shape = [lengths[d] for d in dims]
            held = math.prod(n for n in shape if n) * each  # a length of zero is the records'
            if begin + held > self.size + 3 and 0 not in shape:
                raise ValueError(f"a variable of {held} bytes at {begin} in a file of {self.size}")

    def _number(self, wide: bool) -> int:
        found = struct.unpack_from(">q" if wide else ">i", self.data, self.at)[0]
        self.at += 8 if wide else 4
        return int(found)

    def _count(self, least: int, *, records: bool = False) -> int:
        """A number of things that take at least so many bytes each."""
        found = self._number(self.wide)
        if found == -1 and records:  # of a file that is still written
            return 0
        if found < 0 or (found * least > self.size and not records):
            raise ValueError(f"a count of {found} in a file of {self.size} bytes")
        return found

    def _list(self, tag: int) -> Iterator[int]:
        given, count = self._number(wide=False), self._count(8)
        if given not in (tag, 0) or (given == 0 and count):
            raise ValueError(f"a list of kind {given} where {tag} was due")
        return iter(range(count))

    def _skip(self, count: int) -> None:
        self.at += -(-count // 4) * 4

    def _skip_name(self) -> None:
        self._skip(self._count(1))

    def _skip_attributes(self) -> None:
        for _ in self._list(_ATTRIBUTES):
            self._skip_name()
            each = _BYTES[self._number(wide=False)]
            self._skip(self._count(each) * each)
