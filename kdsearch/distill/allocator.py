"""How this process's memory is handed out. Freed tensors' room is kept for the next ones."""

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of <malloc.h>
_MOST_BYTES = 2**31 - 1
"""The largest value that glibc's mallopt takes: never give memory back."""

_KEPT_BELOW_BYTES = 2**30
"""Tensors of a step are smaller; larger ones are mapped, and go when they are freed."""

_TAKEN_AT_ONCE_BYTES = 2**26
"""By hand: few calls to the kernel, and little taken in vain."""


@cache  # once a process is enough
def keep_freed_memory() -> None:
    """Let glibc keep freed memory of tensors below 1 GiB.

    Nothing happens where the C library is another. By itself glibc gives large ones back to the kernel, which
    then clears page after page anew in every operation: that was a fifth to a third of a small convolutional
    student's training step on a CPU, and two fifths of its teacher's forward pass. The process holds on to
    about as much as it had at its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_THRESHOLD, _KEPT_BELOW_BYTES)
    library.mallopt(_TRIM_THRESHOLD, _MOST_BYTES)
    library.mallopt(_TOP_PAD, _TAKEN_AT_ONCE_BYTES)
