"""The command in this process: what it returns, what it prints, and what it leaves in a folder."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from physdiff.cli.main import main

TINY = ("--network", "UNet", "--network.width", "8", "--training.max_steps", "3")


@dataclass(frozen=True)
class Done:
    """What a run of the command left."""

    code: int
    out: str
    err: str


def physdiff(*words: object) -> Done:
    """Run a verb; words may hold several separated by blanks."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])])
    return Done(code, out.getvalue(), err.getvalue())


def works(*words: object) -> str:
    """Run a verb that must succeed; what it prints."""
    done = physdiff(*words)
    assert done.code == 0, done.err
    return done.out


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Nothing in the folder is made, removed or changed meanwhile."""

    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in (folder, *folder.rglob("*"))}

    before = state()
    yield
    assert state() == before


def refuses(verb: str, *words: object) -> str:
    """Run a verb that must refuse with exit code 2 and one sentence on the standard error; the sentence."""
    done = physdiff(verb, *words)
    assert done.code == 2, (done.code, done.out, done.err)
    lines = done.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"physdiff {verb}: "), done.err
    assert "Traceback" not in done.out
    return lines[0].removeprefix(f"physdiff {verb}: ")
