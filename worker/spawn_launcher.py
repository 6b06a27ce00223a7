"""The plain launcher: one ordinary subprocess per attempt, for systems without prctl, pidfd and seccomp.

Slower to start, because each trainer imports everything for itself, and not hardened. A trainer whose worker died
notices it by the end of its down pipe.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Final

from worker.environment import training_environment
from worker.launcher import DEFAULT_TRAINER, Exited, Forked, Launcher, LaunchEvent, LaunchOrder, NotReady

_KIB_PER_RSS_UNIT: Final = 1 / 1024 if sys.platform == "darwin" else 1


class SpawnLauncher(Launcher):
    """Starts ``python -m worker.trainer UP DOWN`` for each attempt, with a thread that waits for its end."""

    def __init__(self, *, trainer: str = DEFAULT_TRAINER) -> None:
        self._trainer = trainer
        self._tokens = count(1)
        self._lock = threading.Lock()
        self._pids: dict[int, int] = {}
        self._closed = False

    def start(self) -> None:
        """Nothing is kept warm."""

    def wait_ready(self, timeout_s: float) -> bool:  # noqa: ARG002 - ready from the beginning
        return True

    def launch(self, order: LaunchOrder, *, notify: Callable[[LaunchEvent], None]) -> int:
        token = next(self._tokens)
        with self._lock:
            if self._closed:
                raise NotReady("the launcher is closed")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._trainer, str(order.up), str(order.down)],
                pass_fds=[order.up, order.down],
                stdin=subprocess.DEVNULL,
                stdout=order.log,
                stderr=order.log,
                cwd=order.folder,
                env=training_environment(threads=order.threads),
                start_new_session=True,
            )
            self._pids[token] = process.pid
        notify(Forked(process.pid))
        threading.Thread(
            target=self._wait, args=(token, process, notify), name=f"trainer-{process.pid}", daemon=True
        ).start()
        return token

    def signal(self, token: int, signum: int) -> None:
        with self._lock:
            pid = self._pids.get(token)
            if pid is not None:
                _kill_group(pid, signum)

    def is_dead(self, token: int) -> bool:  # noqa: ARG002 - its thread reports every end at once
        return False

    def replace(self) -> None:
        """Nothing stands between this process and its trainers."""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for pid in self._pids.values():
                _kill_group(pid, signal.SIGKILL)

    def describe(self) -> dict[str, Any]:
        return {"kind": "spawn", "seccomp": {"cpu": False, "cuda": False}, "reason": "the plain launcher has no filter"}

    def _wait(self, token: int, process: subprocess.Popen[bytes], notify: Callable[[LaunchEvent], None]) -> None:
        if sys.platform != "darwin":
            # Until it is reaped its number is its own, so its group can be killed without a doubt.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _kill_group(process.pid, signal.SIGKILL)
            del self._pids[token]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        notify(
            Exited(
                code=process.returncode,
                cpu_s=usage.ru_utime + usage.ru_stime,
                max_rss_kb=int(usage.ru_maxrss * _KIB_PER_RSS_UNIT),
            )
        )


def _kill_group(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)
