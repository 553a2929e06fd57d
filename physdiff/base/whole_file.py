"""Files that are whole or not there: written under another name in the same folder, put on the disk, then renamed, which is atomic.

A process killed at any moment leaves the old file (or none) under the name, and perhaps a hidden ``.<name>.<host>.<process>.part``, which the next
writer on the same machine removes. A disk that is full, or a limit on the size of files, ends in a worded error that leaves the old file too.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from physdiff.base.errors import DataError

__all__ = ["whole_file"]

# what torch, safetensors and netCDF say, in errors of no errno, when the system did not take a write
_REFUSED = ("PytorchStreamWriter", "file write failed", "NetCDF: ", "HDF", "I/O error", "os error", "unexpected pos")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The name to write under, a file's or a folder's; after a block without an error it becomes `path`, and what was there before is gone.

    Args:
        path: The file in the end; its folder is made if need be.

    Raises:
        DataError: If it cannot be written (no leave, no space); nothing is left then but the file that was there before.
    """
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target}: expected the name of a file to write, got a folder; add a file name")
    prefix = f".{target.name}.{re.sub(r'[^A-Za-z0-9-]', '-', platform.node())}"
    temporary = target.with_name(f"{prefix}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{target}: expected a folder to write into, got {error}; choose another place") from error
    try:
        _sweep(target.parent, prefix)
        yield temporary
        _onto_disk(temporary)
        os.replace(temporary, target)
        _onto_disk(target.parent)
    except Exception as error:
        if isinstance(error, OSError) or any(words in str(error) for words in _REFUSED):
            what = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
            kept = " (the file that was there is as before)" if target.is_file() else ""
            raise DataError(f"{target}: expected to write a file, got {what}; check the folder and the space left{kept}") from error
        raise
    finally:
        _remove(temporary)


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what killed processes of this machine left of this file."""
    for leftover in folder.iterdir():
        number = leftover.name.removeprefix(f"{prefix}.").removesuffix(".part")
        if leftover.name == f"{prefix}.{number}.part" and number.isdigit() and not _lives(int(number)):
            _remove(leftover)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def _onto_disk(path: Path) -> None:
    """Have the system write out what it holds of a file, or of a folder's list of names; where it cannot, the rename alone must do."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir():
            raise error
    finally:
        os.close(handle)
