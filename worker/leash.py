"""What Linux lets a process ask about its parents and children: a leash to the parent, a claim on orphans.

On other systems every function here does nothing; the plain launcher (``spawn_launcher``) needs none of them.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform == "linux"

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36

# Loaded once: a trainer calls it right after the fork, where nothing should be searched for.
_libc: Final = ctypes.CDLL(None, use_errno=True) if LINUX else None


def prctl(option: int, *arguments: int) -> None:
    """prctl(2). Raises OSError when the kernel refuses."""
    assert _libc is not None
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, *[0] * (4 - len(arguments)))]
    if _libc.prctl(ctypes.c_int(option), *padded) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """Die by SIGKILL when the thread that created this process ends.

    Not inherited by fork, and cleared by setuid. A parent that was gone before is noticed too.
    """
    if not LINUX:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    if LINUX:
        prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory_and_environment() -> None:
    """Close /proc/<this>/environ and ptrace to other processes of the same user: credentials live there."""
    if LINUX:
        prctl(_PR_SET_DUMPABLE, 0)


def children() -> list[int]:
    """The living and unreaped children of this process, those of all its threads."""
    found: list[int] = []
    for thread in Path("/proc/self/task").glob("*/children"):
        try:
            found.extend(map(int, thread.read_text().split()))
        except FileNotFoundError:  # the thread ended meanwhile
            continue
    return found


def count_threads() -> int:
    """Threads of this process, those of C libraries included; 1 where the system does not say."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 1
