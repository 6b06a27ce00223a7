"""A real `afterprop up` of the tests: its own process, its own state folder, a free port."""

import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 45.0


class EmbeddedStack:
    """`afterprop up --port 0 --json` on a state folder."""

    def __init__(self, state_dir: Path, *, workers: int = 1, **environment: str) -> None:
        self.state_dir = state_dir
        self.url = ""
        self.errors = state_dir.parent / f"{state_dir.name}.stderr"
        self._arguments = ["--state-dir", str(state_dir), "--workers", str(workers)]
        inherited = {
            name: value for name, value in os.environ.items() if name not in ("AFTERPROP_URL", "AFTERPROP_API_KEY")
        }
        self._environment = {**inherited, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def launch(self) -> "EmbeddedStack":
        """Start it without waiting for it."""
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "afterprop.cli", "up", "--port", "0", "--json", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment,
                start_new_session=True,
            )
        return self

    def start(self) -> "EmbeddedStack":
        """Start it and wait until it says that it is ready."""
        self.launch()
        self.url = self.announcement()["url"]
        return self

    def announcement(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            ready = selector.select(READY_WITHIN_S)
        line = self.process.stdout.readline() if ready else b""
        assert line, f"not ready within {READY_WITHIN_S} s: {self.errors.read_text()}\n{self.logs()}"
        announced: dict[str, Any] = json.loads(line)
        return announced

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child_pid(self, name: str) -> int:
        """The number of a process of the stack by its name: broker, api, worker-1."""
        recorded = json.loads((self.state_dir / "up.json").read_text())
        return int(next(entry["pid"] for entry in recorded["children"] if entry["name"] == name))

    def logs(self) -> str:
        found = sorted((self.state_dir / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in found)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and wait; the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        status = self.process.wait(STOPPED_WITHIN_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def end(self) -> None:
        """Leave nothing, whatever the test did."""
        if self._process is None:
            return
        if self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        elif self._process.stdout is not None:
            self._process.stdout.close()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie does not."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
