"""A file is whole, old, or not there, whatever happens while it is written."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from physdiff.base.errors import DataError
from physdiff.base.whole_file import whole_file

PARTS, PART = 40, b"0123456789" * 2000


def write_slowly(path: Path, letter: bytes) -> None:
    with whole_file(path) as fresh, fresh.open("wb") as file:
        for _ in range(PARTS):
            file.write(letter + PART)
            file.flush()
            time.sleep(0.0002)


def endlessly(path: Path) -> None:
    for k in range(10**6):
        write_slowly(path, b"%d" % (k % 10))


def test_killed_at_twelve_moments(tmp_path) -> None:
    """Under its name there is always a whole file; what a killed process left is gone after the next write."""
    path, whole = tmp_path / "a.bin", PARTS * (1 + len(PART))
    context, halves = multiprocessing.get_context("fork"), 0
    for k in range(12):
        process = context.Process(target=endlessly, args=(path,))
        process.start()
        time.sleep(0.02 + 0.0013 * k)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        halves += len(list(tmp_path.glob(".a.bin.*.part")))
        if path.exists():
            found = path.read_bytes()
            assert len(found) == whole and set(found[:: 1 + len(PART)]) == {found[0]}
    assert halves > 0, "some were killed while they wrote"
    write_slowly(path, b"z")
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_error_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with whole_file(path) as fresh:
        fresh.write_text("old")
    with pytest.raises(KeyError), whole_file(path) as fresh:
        fresh.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["a.txt"]


def test_a_folder_is_moved_whole(tmp_path) -> None:
    with whole_file(tmp_path / "a.zarr") as fresh:
        fresh.mkdir()
        (fresh / "zarr.json").write_text("{}")
    assert os.listdir(tmp_path / "a.zarr") == ["zarr.json"]


def test_what_others_write_is_left_alone(tmp_path) -> None:
    """Another file, another machine, a process that lives."""
    with whole_file(tmp_path / "a") as fresh:
        stem = fresh.name.removesuffix(f"{os.getpid()}.part")
        fresh.touch()
    gone = multiprocessing.get_context("fork").Process(target=int)
    gone.start()
    gone.join()
    others = [f"{stem}{os.getppid()}.part", ".a.elsewhere.1.part", f"{stem}x.part", ".b.part"]
    for name in (*others, f"{stem}{gone.pid}.part"):
        (tmp_path / name).touch()
    with whole_file(tmp_path / "a") as fresh:
        fresh.touch()
    assert sorted(os.listdir(tmp_path)) == sorted(["a", *others])


def full(path: str, how: str) -> None:
    """Write more than the system takes; the exit code tells whether the error is the right one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        with whole_file(path) as fresh:
            if how == "torch":
                torch.save({"x": torch.zeros(10_000)}, fresh)
            else:
                fresh.write_bytes(bytes(40_000))
    except DataError as error:
        os._exit(0 if "the space left (the file that was there is as before)" in str(error) else 1)
    os._exit(2)


@pytest.mark.parametrize("how", ["plain", "torch"])
def test_no_space(tmp_path, how) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    process = multiprocessing.get_context("fork").Process(target=full, args=(str(path), how))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_bad_places(tmp_path) -> None:
    with pytest.raises(DataError, match="expected the name of a file to write, got a folder"), whole_file(tmp_path):
        pass
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match="expected a folder to write into"), whole_file(tmp_path / "a" / "b"):
        pass
