"""Every notebook runs in its small mode to its checked number; each .ipynb is its .py, without outputs or places of a machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
RUN_ALL = """
import matplotlib.pyplot as plt, pathlib, runpy, sys, traceback
for script in map(pathlib.Path, sys.argv[1:]):
    try:
        runpy.run_path(str(script), run_name="__main__")
    except BaseException:
        pathlib.Path(script.stem + ".failed").write_text(traceback.format_exc())
    else:
        pathlib.Path(script.stem + ".passed").touch()
    plt.close("all")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one process that ran all, each to its end or its error: a minute of CPU; a process each took 160 s."""
    folder = tmp_path_factory.mktemp("notebooks")
    data = os.environ.get("PHYSDIFF_DATA", str(ROOT.parent / "shared" / "data"))
    more = {"PHYSDIFF_SMALL": "1", "PHYSDIFF_DATA": data, "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    env = {**os.environ, **more, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    call = [sys.executable, "-c", RUN_ALL, *map(str, SCRIPTS)]
    done = subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_it_runs_to_its_number(script: Path, ran: Path) -> None:
    failed = ran / f"{script.stem}.failed"
    assert (ran / f"{script.stem}.passed").exists(), failed.read_text() if failed.exists() else "it was not reached"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_it_says_what_is_needed(script: Path) -> None:
    """The opening sentence, which data are used, two sizes, a picture, and one number that is asserted at the end."""
    text = script.read_text(encoding="utf-8")
    assert re.match(rf"# %% \[markdown\]\n# # {script.stem[:2]} .+\n#\n# At the end ", text)
    assert "PHYSDIFF_SMALL" in text and re.search(r"[Dd]ata are|data: |solution is", text)
    last = text.rstrip().split("# %%")
    assert "assert " in last[-1] and "The number: " in last[-2]
    assert re.search(r"figure|ensemble_maps|_plot\(", text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_its_notebook_is_in_step(script: Path) -> None:
    pytest.importorskip("jupytext")
    spec = importlib.util.spec_from_file_location("examples_notebooks", EXAMPLES / "notebooks.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    stored = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    made = json.loads(json.dumps(tool.paired(script)))
    joined = lambda cell: (cell["cell_type"], "".join(cell["source"]))  # noqa: E731
    assert [joined(c) for c in stored["cells"]] == [joined(c) for c in made["cells"]], "run python examples/notebooks.py --sync"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_its_notebook_is_clean(script: Path) -> None:
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    for cell in json.loads(text)["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert not re.search(r"(?<![\w.~])/(home|root|work|tmp|Users|mnt)/", text + script.read_text(encoding="utf-8"))
