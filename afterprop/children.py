"""The processes of the embedded stack, each on a leash and in a process group of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import final

from afterprop import leash

FIRST_BACK_OFF_S = 0.1
LONGEST_BACK_OFF_S = 30.0
STEADY_AFTER_S = 30.0
LOG_TAIL_BYTES = 4000


@final
class Child:
    """One process that is started again, ever more slowly, when it ends by itself.

    Only the main thread may start it: the kernel ties the leash to the thread that created the process.
    """

    def __init__(
        self,
        name: str,
        *,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        log: Path,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._folder = folder
        self._descriptors = descriptors
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._back_off_s = FIRST_BACK_OFF_S
        self._start_again_at: float | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_status(self) -> int | None:
        """How it ended; None while it runs or before its first start."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        on_leash = [sys.executable, "-S", leash.__file__, str(os.getpid()), str(int(signal.SIGKILL)), *self._command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                on_leash,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                pass_fds=self._descriptors,
                start_new_session=True,  # Ctrl-C in a terminal reaches the stack alone, which stops in order
            )
        self._started_at = time.monotonic()
        self._start_again_at = None

    def revive(self) -> bool:
        """Start it again if it ended and its back-off is over. True: it was started now."""
        if self.exit_status is None:
            return False
        now = time.monotonic()
        if self._start_again_at is None:
            if now - self._started_at > STEADY_AFTER_S:
                self._back_off_s = FIRST_BACK_OFF_S
            self._start_again_at = now + self._back_off_s
            self._back_off_s = min(2 * self._back_off_s, LONGEST_BACK_OFF_S)
        if now < self._start_again_at:
            return False
        self.start()
        return True

    def ask_to_stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, *, deadline: float) -> None:
        """Wait for its end; at the deadline (monotonic) its whole group is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
