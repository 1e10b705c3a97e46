"""Freed memory is kept: counted in the pages that the kernel has to hand out."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys
import torch
from kdsearch.distill.allocator import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(14):
    if turn == 4:
        before = faults()
    tensors = [torch.ones(4 * 2**20) for _ in range(4)]  # 16 MiB each
    del tensors
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_tensors_take_the_room_of_those_that_were_freed() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", SCRIPT, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert 4 * faults("kept") < faults("as ever")
