"""Files behind addresses: a local server that sends parts, fsspec's memory and files; forked and spawned readers."""

from __future__ import annotations

import http.server
import multiprocessing
import re
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader

import physdiff.data.windows as module
from physdiff.base.errors import DataError
from physdiff.data.loader import load_batches
from physdiff.data.open import open_dataset
from physdiff.data.readers.address import open_address
from physdiff.data.windows import TrajectoryWindows
from tests.data.files import earth, packed, save, smooth

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("h5py")
pytest.importorskip("aiohttp")


class Server(http.server.BaseHTTPRequestHandler):
    """Files of a folder, in parts where these are asked for."""

    folder: Path
    parts, sent = True, 0

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        file = self.folder / self.path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        data, span = file.read_bytes(), self.headers.get("Range") if self.parts else None
        first, last = (0, len(data) - 1) if span is None else (int(n) for n in span.removeprefix("bytes=").split("-"))
        last = min(last, len(data) - 1)
        self.send_response(200 if span is None else 206)
        if self.parts:
            self.send_header("Accept-Ranges", "bytes")
        if span is not None:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if body:
            type(self).sent += last - first + 1
            self.wfile.write(data[first : last + 1])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path) -> Iterator[tuple[type[Server], str]]:
    kind = type("Here", (Server,), {"folder": tmp_path})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.handle_error = lambda *_: None  # a client that has enough
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_netcdf4_at_an_address_is_the_file(tmp_path, served):
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -9, "zlib": True}
    path = save(earth(30), tmp_path / "a.nc", encoding={"t2m": packing})
    expected = open_dataset(path).load()
    fsspec.filesystem("memory").pipe("/folder/a.nc", path.read_bytes())
    for address in (f"{served[1]}/a.nc", f"file://{path}", "memory://folder/a.nc"):
        xr.testing.assert_identical(open_dataset(address).load(), expected)
    xr.testing.assert_identical(open_dataset([f"{served[1]}/a.nc"], variables=["2m_temperature"]), open_dataset(path, variables=["2m_temperature"]))


def test_only_what_is_asked_for_is_fetched(tmp_path, served):
    ds = earth(40, ny=400, nx=100)
    path = save(ds, tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (1, 400, 100)}})
    found = open_dataset(f"{served[1]}/a.nc")
    assert np.array_equal(found["t2m"][30].values, ds["t2m"].values[30]) and path.stat().st_size > 6e6 and served[0].sent < 3.5e6


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)])
def test_every_process_asks_for_itself(tmp_path, served, monkeypatch, start):
    monkeypatch.setattr(module, "_IN_MEMORY", 0)
    path = save(earth(30), tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (4, 4, 6)}})
    expected = TrajectoryWindows(path, history=1, horizon=2)
    windows = TrajectoryWindows(open_dataset(f"{served[1]}/a.nc"), history=1, horizon=2)
    values = torch.stack([expected[i]["x"] for i in range(len(expected))])
    assert torch.equal(torch.stack([windows[i]["x"] for i in range(len(windows))]), values)
    workers = multiprocessing.get_context(start)
    assert torch.equal(torch.cat([b["x"] for b in DataLoader(windows, batch_size=7, num_workers=2, multiprocessing_context=workers)]), values)
    order = [list(range(k, k + 4)) for k in range(0, 28, 4)]
    assert torch.equal(torch.cat([b["x"] for b in load_batches(windows, order, workers=2)]), values)


def test_other_hdf5_layouts(tmp_path):
    import h5py

    u = smooth(3, 8, 8, 5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["t"] = u, np.arange(5.0)
    assert np.array_equal(open_dataset(f"file://{tmp_path}/a.h5")["u"].values, u.transpose(0, 3, 2, 1))


def test_classic_netcdf_at_an_http_address(tmp_path, served):
    packed(tmp_path / "old.nc", smooth(200, 100, 100), step=0.01, offset=0.0)
    found = open_dataset(f"{served[1]}/old.nc")
    assert np.array_equal(found["t2m"][7].values, open_dataset(tmp_path / "old.nc")["t2m"][7].values)
    assert served[0].sent < 1.3e6 < 3e6 < (tmp_path / "old.nc").stat().st_size  # one block to see what it is, and the parts


class OpenDap(http.server.BaseHTTPRequestHandler):
    """Version 2 of the protocol: descriptions in text, values as XDR."""

    fields: ClassVar = {
        "time": (("time",), np.arange(5.0), "hours since 2000-01-01"),
        "lat": (("lat",), np.linspace(50, 40, 4), "degrees_north"),
        "lon": (("lon",), np.arange(6) * 2.5, "degrees_east"),
        "t2m": (("time", "lat", "lon"), smooth(5, 4, 6), "K"),
    }

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = urllib.parse.unquote(query).split(",") if query else list(self.fields)
        kind, parts = path.rpartition(".")[2], [self._part(item) for item in asked]
        lines = "".join(f"  Float64 {n}{''.join(f'[{d} = {k}]' for d, k in zip(dims, v.shape, strict=True))};\n" for n, dims, v in parts)
        body = f"Dataset {{\n{lines}}} a;\n".encode()
        if kind == "das":
            body = ("Attributes {\n" + "".join(f'  {n} {{ String units "{u}"; }}\n' for n, (_, _, u) in self.fields.items()) + "}\n").encode()
        elif kind == "dods":
            body += b"\nData:\n" + b"".join(struct.pack(">ii", v.size, v.size) + v.astype(">f8").tobytes() for _, _, v in parts)
        elif kind != "dds":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("XDODS-Server", "dods/3.2")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def _part(self, item: str) -> tuple[str, tuple[str, ...], np.ndarray]:
        """A variable, or a part of it: ``name[first:step:last][...]``."""
        name = re.split(r"[\[.]", item)[0]
        dims, values, _ = self.fields[name]
        for axis, cut in enumerate(re.findall(r"\[([\d:]+)\]", item)):
            ends = [int(n) for n in cut.split(":")]
            values = np.take(values, range(ends[0], ends[-1] + 1, ends[1] if len(ends) == 3 else 1), axis=axis)
        return name, dims, values

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def opendap() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OpenDap) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/dodsC/a"
        server.shutdown()
        thread.join()


def test_opendap(opendap):
    ds = open_dataset(opendap)
    assert ds["t2m"].attrs["units"] == "K" and str(ds["time"].values[4])[:13] == "2000-01-01T04"
    assert np.array_equal(ds["t2m"][1:3].values, OpenDap.fields["t2m"][1][1:3])
    assert np.array_equal(TrajectoryWindows(ds, history=0, horizon=2).fields_at(3)[0], OpenDap.fields["t2m"][1][3:5])


def test_what_cannot_be_read_in_parts_is_refused(tmp_path, served):
    packed(tmp_path / "old.nc", smooth(3, 4, 6), step=0.01, offset=0.0)
    np.savez(tmp_path / "a.npz", u=np.zeros(3))
    for address, kind in ((f"file://{tmp_path}/old.nc", "classic netCDF"), (f"{served[1]}/a.npz", "npz or torch")):
        with pytest.raises(DataError, match=f"expected Zarr, an HDF5 file .*, got {kind}, which has no parts to fetch here; download it"):
            open_address(address)
    save(earth(9, ny=400, nx=100), tmp_path / "a.nc")
    served[0].parts = False
    told = r"expected to read an HDF5 file, got an error .*; check the network and that the server sends parts of a file \(range requests\)"
    with pytest.raises(DataError, match=told):
        open_address(f"{served[1]}/a.nc")
    served[0].parts = True
    with pytest.raises(DataError, match="expected a Zarr store or an HDF5 file, got one that cannot be read .*; check the address"):
        open_address(f"{served[1]}/none.nc")
    (tmp_path / "b.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:3000])
    with pytest.raises(DataError, match="expected to read an HDF5 file, got an error .*; check the network"):
        open_address(f"{served[1]}/b.nc")


def test_a_server_that_goes_away_is_an_error_in_words(tmp_path, served):
    save(earth(40, ny=400, nx=100), tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (1, 400, 100)}})
    found = open_dataset(f"{served[1]}/a.nc")
    (tmp_path / "a.nc").unlink()
    with pytest.raises(DataError, match="expected to read t2m, got an error .*; check the address and the network"):
        found["t2m"][30].load()
