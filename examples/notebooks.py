"""Execute all notebooks in full, or bring the .ipynb in step with the .py: `make notebooks`, `python examples/notebooks.py --sync`."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import jupytext
import nbformat

__all__ = ["main", "paired", "scripts"]

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def scripts() -> list[Path]:
    """The numbered notebooks as scripts, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def paired(script: Path) -> nbformat.NotebookNode:
    """The notebook of a script: its cells, named by their numbers, without outputs."""
    book = jupytext.read(script)
    book.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = nbformat.from_dict({})
    book.nbformat, book.nbformat_minor = 4, 5
    return book


def _children() -> float:
    """CPU seconds of ended child processes: a kernel and what it started."""
    told = resource.getrusage(resource.RUSAGE_CHILDREN)
    return told.ru_utime + told.ru_stime


def _execute(script: Path, folder: Path, seconds: int) -> None:
    from nbclient import NotebookClient

    start, used = time.monotonic(), _children()
    book = paired(script)
    try:
        NotebookClient(book, timeout=seconds, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    finally:
        nbformat.write(book, folder / f"{script.stem}.ipynb")
    print(f"{script.stem}: {time.monotonic() - start:.0f} s, {_children() - used:.0f} CPU s", flush=True)


def main() -> None:
    """Read the arguments; write notebooks beside the scripts, or executed ones into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sync", action="store_true", help="write the .ipynb beside each .py, without outputs")
    parser.add_argument("--out", default="examples/build", help="folder of the executed notebooks and of what they write")
    parser.add_argument("--only", nargs="+", default=[], help="numbers, as 02 06")
    parser.add_argument("--seconds", type=int, default=900, help="most that one cell may take")
    asked = parser.parse_args()
    chosen = [s for s in scripts() if not asked.only or s.stem[:2] in asked.only]
    if not chosen:
        sys.exit(f"notebooks.py: expected numbers among {', '.join(s.stem[:2] for s in scripts())}, got {', '.join(asked.only)}")
    folder = Path(asked.out)
    if not asked.sync:
        folder.mkdir(parents=True, exist_ok=True)
    for script in chosen:
        if asked.sync:
            nbformat.write(paired(script), script.with_suffix(".ipynb"))
        else:
            _execute(script, folder.resolve(), asked.seconds)


if __name__ == "__main__":
    main()
