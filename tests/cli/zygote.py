"""Runs of the command in forked processes of one that has loaded everything: the same as new ones but for the seconds of loading torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Zygote:
    """Starts runs one at a time; each gets a process group of its own, so that loader processes can be counted."""

    def __init__(self) -> None:
        more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-W", "ignore", "-m", "tests.cli.zygote"]
        self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **more}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def start(self, *words: object) -> int:
        """Begin a run; its process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        line = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
        print(json.dumps(line), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def end(self) -> tuple[int, str]:
        """Wait for the end of the run: its exit code (negative: the signal), and what it said."""
        assert self.process.stdout is not None
        code, said = json.loads(self.process.stdout.readline())
        return code, said

    def run(self, *words: object) -> tuple[int, str]:
        """A run to its end."""
        self.start(*words)
        return self.end()

    def close(self) -> None:
        """No more runs."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def members(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(owner) == group and state != "Z":
                found.append(int(entry.name))
    return found


def gone(group: int, seconds: float) -> bool:
    """Whether a process group dies out within so many seconds; what is left then is killed."""
    deadline = time.monotonic() + seconds
    while members(group):
        if time.monotonic() > deadline:
            os.killpg(group, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


def serve(lines: Sequence[str]) -> None:
    """Fork a run for every line of arguments; answer with its process, then with its end."""
    import lightning.pytorch  # noqa: F401 - loaded once for all
    import torch

    import physdiff.cli.fit
    import physdiff.cli.forecast
    import physdiff.cli.generate  # noqa: F401
    from physdiff.cli.main import main

    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in lines:
        said = tempfile.TemporaryFile()
        process = os.fork()
        if process == 0:
            os.setpgid(0, 0)
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = ["physdiff", *json.loads(line)]
            code = 1
            try:
                code = main(sys.argv[1:])
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(process, flush=True)
        status = os.waitpid(process, 0)[1]
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        said.seek(0)
        print(json.dumps([code, said.read().decode(errors="replace")[-4000:]]), flush=True)
        said.close()


if __name__ == "__main__":
    serve(sys.stdin)  # type: ignore[arg-type]
