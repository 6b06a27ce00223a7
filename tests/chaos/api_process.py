"""The API as it is served: one uvicorn process on a port of its own, which may be killed and started again."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx2

from afterprop.broker import free_port
from tests.job_life.floor import wait_until
from worker.environment import ROOT


class ApiProcess:
    """``uvicorn api.app:app`` with the settings of a floor."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        wait_until(self.answers, 60)

    def launch(self) -> None:
        """Start it without waiting for it."""
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "api.app:app", *address, "--log-level", "warning"],
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/livez", timeout=1):
                return True
        except OSError:
            return False

    def client(self) -> httpx2.Client:
        """A client of this service."""
        return httpx2.Client(base_url=self.url, timeout=30)

    def kill(self) -> None:
        """SIGKILL: whatever was under way is cut off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
