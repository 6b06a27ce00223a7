"""What a forked process does before it trains, in an order in which every line has its reason."""

import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from worker import leash, seccomp

CRASHED: Final = 70
MAX_FILE_BYTES: Final = 64 << 30
MAX_OPEN_FILES: Final = 4096
_OOM_SCORE: Final = "500"  # when memory ends, the kernel takes a trainer, not the worker


def stand_alone(parent: int) -> None:
    """The first thing after the fork: a session and a leash of its own. SIGTERM is blocked on entry."""
    # SIG_DFL, not a handler: Python runs handlers between bytecodes only, and a cancel must end a long product too.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.setsid()
    leash.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write above the limit is an error, not a death
    _limit()


def run(module: str, *, up: int, down: int, log: int, folder: str, threads: int, filtered: bool) -> NoReturn:
    """Train what the pipe says, and end."""
    code = CRASHED
    try:
        _take_descriptors(log)
        os.chdir(folder)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if filtered:
            seccomp.install()
        code = import_module(module).run(up, down)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # no exit handler of the template may run in its copy


def _take_descriptors(log: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for limit, wanted in ((resource.RLIMIT_FSIZE, MAX_FILE_BYTES), (resource.RLIMIT_NOFILE, MAX_OPEN_FILES)):
        _, hard = resource.getrlimit(limit)
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (allowed, allowed))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
