"""A disk that is full (a limit on the size of files, which the system reports alike): a sentence, and nothing under the final name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.architecture.sources import ROOT

pytest.importorskip("resource")


def outcomes(tmp_path, calls: str) -> dict[str, str]:
    """What each call raised, and what lies in the folder afterwards, in a process whose files may not pass 200 kB."""
    code = f"""
    import json, os, pathlib, resource
    from physdiff.base.errors import PhysdiffError
    from physdiff.data.join import join_parts
    from physdiff.data.open import open_dataset
    from physdiff.data.rewrite import rewrite
    from physdiff.data.write import write_dataset
    from tests.data.files import box, earth
    folder = pathlib.Path({str(tmp_path)!r})
    ds = earth(200, ny=30, nx=40)
    source = write_dataset(ds, folder / "source.nc")
    parts = [write_dataset(box(150, ny=20, nx=20, samples=1), folder / f"part{{k}}.nc") for k in range(2)]
    before = set(os.listdir(folder))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    for name, call in {{{calls}}}.items():
        try:
            call(folder / name)
            text = "no error"
        except PhysdiffError as error:
            text = str(error)
        print(json.dumps([name, text, sorted(set(os.listdir(folder)) - before)]))
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert all(not left for _, _, left in lines), lines
    return {name: text for name, text, _ in lines}


@pytest.mark.slow
def test_every_writer_says_so_and_leaves_nothing(tmp_path):
    pytest.importorskip("dask")
    pytest.importorskip("zarr")
    calls = """
        "a.nc": lambda out: write_dataset(ds, out),
        "b.nc": lambda out: rewrite(open_dataset(source), out, progress=False),
        "c.zarr": lambda out: rewrite(open_dataset(source), out, frames=200, progress=False),
        "d.nc": lambda out: join_parts(parts, out, attrs={}),
        "e.zarr": lambda out: join_parts([source.with_name("part0.nc")], out, attrs={"long": "x" * 300_000}),
    """
    found = outcomes(tmp_path, calls)
    assert len(found) == 5
    for name, text in found.items():
        assert f"{name}: expected to" in text and text.endswith("check the folder and the space left"), (name, text)
