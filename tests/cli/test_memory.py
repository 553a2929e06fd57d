"""Freed memory is reused: the second round of the same work meets no fresh pages."""

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT

COUNT = """
import resource, sys, torch
from physdiff.cli.memory import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    print("no glibc"); sys.exit()
torch.set_num_threads(1)
def round(): return [torch.ones(90_000) for _ in range(40)]
for _ in range(5): round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", COUNT, how], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    if "no glibc" in done.stdout:
        pytest.skip("another allocator than glibc's: nothing to set")
    return int(done.stdout)


def test_freed_blocks_are_reused():
    # 40 blocks of 88 pages a round, 20 rounds: 70400 fresh pages if every block went back; a few are always met
    assert faults("kept") < 2000
