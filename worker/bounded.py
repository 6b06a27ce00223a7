"""A process beside the jobs, from its side: bounded in time and memory, at a low priority, with one answer in a file.

It runs where a trainer would, forked from the same template and under the same filter. It knows no SQL and no queue.
"""

import os
import resource
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from worker import answer_file, out_of_memory
from worker.accelerator import NoSuchDevice
from worker.attempt import DataMismatch
from worker.checkpoint import CorruptCheckpoint

_NICE: Final = 10
"""Jobs go first: an answer is looked at by a person, a job may be timed."""
_KINDS: Final = (
    (CorruptCheckpoint, "checkpoint_corrupt"),
    (DataMismatch, "data_mismatch"),
    (NoSuchDevice, "no_such_device"),
)


def answer(
    order: Mapping[str, Any], find: Callable[[Mapping[str, Any], Path], dict[str, Any]], *, folder: Path
) -> None:
    """Finds what the order asks for within its limits, and writes the answer, or why there is none."""
    signal.alarm(int(order["limit_s"]) + 1)  # SIGALRM kills: whatever became of the worker, this ends
    with suppress(OSError):
        os.nice(_NICE)
    if order["limit_bytes"] is not None:
        _limit_memory(order["limit_bytes"])
    try:
        found = find(order, folder)
    except Exception as error:  # the outer door: whatever happened, the worker gets an answer
        found = {"error": _error(error)}
    answer_file.write(folder, found)


def _limit_memory(more_bytes: int) -> None:
    """Lets the address space grow by so much; where the system does not say how large it is, nothing is limited."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _error(error: Exception) -> dict[str, str]:
    if out_of_memory.is_meant(error):
        return {"kind": "oom", "message": "The memory that it may take is not enough."}
    for kind, name in _KINDS:
        if isinstance(error, kind):
            return {"kind": name, "message": str(error)}
    traceback.print_exc()
    return {"kind": "internal", "message": f"{type(error).__name__}: {error}"}
