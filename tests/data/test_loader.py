from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import physdiff.data.windows as module
from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data import loader
from physdiff.data.loader import chunked_order, load_batches, shared_chunks
from physdiff.data.windows import TrajectoryWindows, WindowRange
from tests.data.files import earth, save

h5py = pytest.importorskip("h5py")


@pytest.fixture
def windows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY", 0)
    path = save(earth(30), tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (4, 4, 6)}})
    return TrajectoryWindows(path, history=2, horizon=2, extras=("hour_sin",))


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("kind", ["windows", "range", "range of range", "other"])
def test_batches_are_the_items_stacked(windows, workers, kind):
    part = WindowRange(windows, 3, 20)
    of = {"windows": windows, "range": part, "range of range": WindowRange(part, 2, 15), "other": Subset(windows, range(3, 25))}[kind]
    order = [[4, 1, 9], [12, 0, 5], [7], [2, 3, 6]]
    found = list(load_batches(of, order, workers=workers))
    assert len(found) == 4
    for indices, batch in zip(order, found, strict=True):
        for name in ("x", "cond"):
            assert torch.equal(batch[name], torch.stack([of[i][name] for i in indices]))
        assert batch["index"].tolist() == [of[i]["index"] for i in indices]


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_used_again_but_never_under_a_tensor_that_is_kept(windows, workers):
    order = np.random.default_rng(0).integers(0, len(windows), (40, 3)).tolist()
    kept, places = {}, set()
    for k, batch in enumerate(load_batches(windows, order, workers=workers)):
        if k % 7 == 0:
            kept[k] = batch["x"][1:, :, :2]  # a view keeps the batch
        places.add(batch["x"].data_ptr())
        del batch
    for k, view in kept.items():
        assert torch.equal(view, torch.stack([windows[i]["x"] for i in order[k][1:]])[:, :, :2])
    assert len(places) < 12
    kept.clear()
    places = {batch["x"].data_ptr() for batch in load_batches(windows, order, workers=workers, reuse=True)}
    assert len(places) == (2 if workers else 1)


def test_reuse_still_gives_every_batch_in_its_turn(windows):
    order = [[i, i + 1] for i in range(20)]
    for workers in (0, 2):
        for indices, batch in zip(order, load_batches(windows, order, workers=workers, reuse=True), strict=True):
            assert torch.equal(batch["x"], torch.stack([windows[i]["x"] for i in indices]))


@pytest.mark.parametrize("workers", [0, 2])
def test_of_big_batches_one_is_alive_and_kept_tensors_stay(windows, workers, monkeypatch):
    monkeypatch.setattr(loader, "_BIG", 1500)  # bytes; a window has 384
    order = [[4, 1, 9, 12], [2, 3], [0, 5, 7, 11, 13], [1, 2, 3, 4], [8, 9, 10, 11]]
    expected = [torch.stack([windows[i]["x"] for i in indices]) for indices in order]
    places, batches, kept = [], [], []
    for k, batch in enumerate(load_batches(windows, order, workers=workers)):
        batches.append(batch)
        if k > 2:
            places.append(batch["x"].data_ptr())
        else:
            kept.append(batch["x"][1:])
    for view, x in zip(kept, expected, strict=False):
        assert torch.equal(view, x[1:])
    assert places[0] == places[1] and torch.equal(batches[-1]["x"], expected[-1])
    assert torch.equal(batches[1]["x"], expected[1])  # a small one stays whole
    for ask in (lambda b: b["x"], lambda b: b.get("cond"), lambda b: "cond" in b):
        with pytest.raises(DataError, match="let go when the next was asked for; keep tensors"):
            ask(batches[0])
    assert [b["index"].tolist() for b in batches] == order and batches[-1].get("none", 1) == 1
    with pytest.raises(KeyError):
        batches[-1]["none"]
    whole = list(load_batches(windows, order, workers=workers, reuse=False))
    assert all(torch.equal(b["x"], x) for b, x in zip(whole, expected, strict=True))


def test_an_error_of_a_thread_and_a_loop_that_is_left_end_well(windows):
    with pytest.raises(IndexError):
        list(load_batches(windows, [[0], [99]], workers=2))
    for _ in load_batches(windows, [[i] for i in range(20)], workers=2):
        break
    with pytest.raises(InputError, match="workers >= 0"):
        next(load_batches(windows, [[0]], workers=-1))


def test_page_locked_memory_where_there_is_an_accelerator(windows, monkeypatch):
    if torch.accelerator.is_available():
        assert next(load_batches(windows, [[0, 1]], pin=True))["x"].is_pinned()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(InputError, match="expected an accelerator to copy from page-locked memory, found none; leave pin out"):
        next(load_batches(windows, [[0]], pin=True))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)])
def test_torch_workers_open_their_own_files(windows, start):
    """The parent has the file open when it forks."""
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    expected = torch.stack([windows[i]["x"] for i in range(len(windows))])
    found = DataLoader(windows, batch_size=5, num_workers=2, multiprocessing_context=start)
    assert torch.equal(torch.cat([b["x"] for b in found]), expected)
    assert torch.equal(torch.stack([windows[i]["x"] for i in range(len(windows))]), expected)


def test_a_forked_child_has_other_descriptors(windows):
    windows[0]
    files = windows._fields["t2m"]._data.array.files
    mine = files._raw[next(iter(files._raw))][0]._descriptor

    def child(queue):
        windows[1]
        (raw, _), *_ = files._raw.values()
        queue.put((raw._descriptor != mine, os.getpid() == files._process))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=30) == (True, True)
    process.join(30)


@pytest.mark.slow
def test_ten_thousand_windows_leak_neither_memory_nor_files(windows):
    """Traced allocations would cost a minute; the resident set in pages is what a leak of a window (384 B) each would raise by 3.8 MB."""

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def read(count):
        for i in range(count):
            windows.fields_at(i % len(windows))

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")
    read(500)
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    read(10_000)
    assert resident() - before < 2**20 and len(os.listdir("/proc/self/fd")) == files


def test_a_chunked_order_is_a_permutation_that_stays_near():
    rng = Rng(3).child(0)
    for count, block, mix in ((100, 7, 4), (5, 10, 8), (64, 1, 8), (1, 1, 1)):
        order = chunked_order(count, block, rng=rng, mix=mix)
        assert sorted(order.tolist()) == list(range(count))
        assert np.array_equal(order, chunked_order(count, block, rng=rng, mix=mix))
    order = chunked_order(1000, 10, rng=rng, mix=4)
    # of any 40 windows in a row all are from 4 blocks of 10
    assert max(len(set(order[k : k + 40] // 10)) for k in range(0, 1000, 40)) <= 5
    assert not np.array_equal(order, chunked_order(1000, 10, rng=Rng(4), mix=4)) and abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 1


def test_windows_of_compressed_chunks_are_read_near_each_other(tmp_path, monkeypatch, windows):
    monkeypatch.setattr(module, "_IN_MEMORY", 0)
    assert windows.block == 1  # without filters any order is as fast
    path = save(earth(40), tmp_path / "z.nc", encoding={"t2m": {"chunksizes": (8, 4, 6), "zlib": True}})
    packed = TrajectoryWindows(path, history=1, horizon=1)
    assert packed.block == 8 and shared_chunks(WindowRange(packed, 2, 30)) == 8 and shared_chunks(Subset(packed, [1])) == 1
    assert TrajectoryWindows(path, history=1, horizon=1, stride=3).block == 2
    assert TrajectoryWindows(earth(40), history=1, horizon=1).block == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit of address space is Linux's")
def test_a_file_larger_than_the_memory_that_may_be_used(tmp_path):
    """96 MiB in a process that may allocate 32 MiB more than it has: two batches of 2 MiB are all that it needs."""
    with h5py.File(tmp_path / "a.hdf5", "w") as f:
        f.attrs["periodic"] = 1
        made = f.create_dataset("tensor", (96, 16, 128, 128), "f4")
        for k in range(96):
            made[k] = k
        f["x-coordinate"] = f["y-coordinate"] = np.linspace(0, 1, 128)
        f["t-coordinate"] = np.arange(16.0)
    code = f"""
    import resource, physdiff.data.windows as module
    from physdiff.data.loader import load_batches
    from physdiff.data.open import open_dataset
    module._IN_MEMORY = 0
    windows = module.TrajectoryWindows(open_dataset({str(tmp_path / "a.hdf5")!r}), history=0, horizon=16)
    windows[0]
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**25
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    total = sum(float(b["x"][:, 0, 0, 0, 0].sum()) for b in load_batches(windows, [[i, i + 1] for i in range(0, 96, 2)]))
    print(len(windows), total)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["96", str(float(sum(range(96))))], done.stderr[-500:]


def test_threads_overlap_with_the_caller(windows, monkeypatch):
    """While the caller works, the next batch is read: two of 50 ms side by side take less than one after the other."""
    plain = TrajectoryWindows.read_into
    monkeypatch.setattr(TrajectoryWindows, "read_into", lambda self, i, out: (time.sleep(0.05), plain(self, i, out))[1])
    began = time.monotonic()
    for _ in load_batches(windows, [[i] for i in range(6)], workers=1):
        time.sleep(0.05)
    assert time.monotonic() - began < 0.55  # 0.35 s if all overlap, 0.6 s if nothing does
