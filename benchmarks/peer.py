"""A peer in its own interpreter: asked by lines of JSON, silent while we run."""

from __future__ import annotations

# ruff: noqa: ANN401 - JSON lines are not typed
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Peer", "keep_freed_memory"]


def keep_freed_memory() -> None:
    """Start this program anew so that it and its peers keep freed blocks (see physdiff/cli/memory.py); glibc reads that at the start only.

    Call it before anything else in `main`.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ.update(MALLOC_MMAP_THRESHOLD_=str(32 << 20), MALLOC_TRIM_THRESHOLD_=str(512 << 20))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class Peer:
    """A process that answers each line of JSON by one.

    Args:
        python: Interpreter of the peer's environment.
        worker: Its program; first it prints what is to be kept with every result (versions).
        needs: What its environment must have, for the message if it ends.
        arguments: Of the program.
        variables: Of its environment, besides ours.
    """

    def __init__(self, python: str, worker: str, *, needs: str, arguments: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> None:
        environment = {**os.environ, **(variables or {}), "PYTHONPATH": ""}
        command = [python, "-c", worker, *arguments]
        self._needs = needs
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.versions = self._answer()

    def ask(self, **question: Any) -> dict[str, Any]:
        """One question, one answer.

        Raises:
            SystemExit: If the process has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer's process ended; see its message above (does its environment have {self._needs}?)")
        answer: dict[str, Any] = json.loads(line)
        return answer
