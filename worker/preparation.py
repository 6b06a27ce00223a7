"""Fetching and preparing a job's data, in a process of its own that can be killed like a trainer."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from store.attempts import Claim
from store.settings import Settings
from worker.environment import preparing_environment

MAX_ANSWER_BYTES: Final = 1 << 20


def preparation_order(settings: Settings, claim: Claim) -> dict[str, Any]:
    """What ``worker.prepare`` is asked for by a claimed job."""
    return data_order(settings, claim.resolved_spec)


def data_order(settings: Settings, resolved: dict[str, Any]) -> dict[str, Any]:
    """What ``worker.prepare`` is asked for by a job's resolved spec."""
    return {
        "dataset": resolved["dataset"],
        "precision": resolved["training"]["precision"],
        "data_dir": None if settings.data_dir is None else str(settings.data_dir.resolve()),
        "uploads_dir": str(settings.uploads_dir),
        "prepared_dir": str(settings.prepared_dir),
        "mirror_url": settings.mnist_mirror_url,
    }


class Preparation:
    """One run of ``python -m worker.prepare``; leaving the block kills what is left of it."""

    def __init__(self, order: dict[str, Any], *, folder: Path, log: Path) -> None:
        self._answer_path = folder / "prepared.json"
        with self._answer_path.open("wb") as answer, log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.leashed", str(os.getpid()), "worker.prepare"],
                stdin=subprocess.PIPE,
                stdout=answer,
                stderr=errors,
                cwd=folder,
                env=preparing_environment(),
                start_new_session=True,
            )
        # A thread, because a process that does not read must not hold up its supervisor.
        threading.Thread(target=self._send, args=(json.dumps(order).encode(),), daemon=True).start()

    def __enter__(self) -> "Preparation":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """The answer once the process has ended; None while it works."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        try:
            with self._answer_path.open("rb") as file:
                answer: dict[str, Any] = json.loads(file.read(MAX_ANSWER_BYTES))
        except ValueError:
            message = f"Preparing the data ended with exit code {code} and no answer."
            answer = {"error": {"kind": "data_unreadable", "fault": "system", "message": message}}
        return answer

    def _send(self, order: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(order)
