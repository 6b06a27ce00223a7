"""The real application on a free port, in a process of its own."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from afterprop.address import listen

READY_WITHIN_S = 30.0


@contextmanager
def served(state_dir: Path, log: Path, **environment: str) -> Iterator[tuple[str, int]]:
    """The address of a running API, and its process id."""
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "api.app:app",
            "--fd",
            str(listener.fileno()),
            "--log-level",
            "warning",
        ]
        settings = {
            "AFTERPROP_STATE_DIR": str(state_dir),
            "AFTERPROP_BROKER_URL": "redis://127.0.0.1:1/0",
            **environment,
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*command, "--no-server-header", "--timeout-graceful-shutdown", "2"],
                env={**os.environ, **settings},
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=output,
            )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the API ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/livez", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the API does not answer: {log.read_text()[-2000:]}")
