"""Freed memory is kept: told by the C library itself, whatever kernel is below it."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes
import sys
import torch
from kdsearch.distill.allocator import keep_freed_memory

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # of <malloc.h>

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in FIELDS.split()]

if sys.argv[1] == "kept":
    keep_freed_memory()
tensors = [torch.ones(4 * 2**20) for _ in range(4)]  # 16 MiB each
del tensors
mallinfo = ctypes.CDLL(None).mallinfo
mallinfo.restype = Mallinfo
print(mallinfo().fordblks)  # the bytes that the process holds and nothing uses
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_tensors_take_the_room_of_those_that_were_freed() -> None:
    def held_free_bytes(how: str) -> int:
        command = [sys.executable, "-c", SCRIPT, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert held_free_bytes("as ever") < 16 * 2**20
    assert held_free_bytes("kept") > 64 * 2**20
