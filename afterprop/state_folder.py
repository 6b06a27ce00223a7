"""The state folder of an embedded stack: who holds it, what it started, what a dead one left behind."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, final


class FolderInUse(Exception):
    """Another `afterprop up` holds this state folder."""


def birth(pid: int) -> str | None:
    """What tells this process from a later one with the same number; None when there is no such process."""
    if sys.platform == "linux":
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        state, *fields = status.rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    answer = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return answer or None


@final
class StateFolder:
    """A folder that one stack at a time may hold. The kernel gives the lock back when the holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._record = self.path / "up.json"
        self._lock = self.path / "up.lock"
        self._held: int | None = None

    def hold(self) -> None:
        """Take the folder, or raise FolderInUse."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            holder = self.recorded()
            where = f" (process {holder['pid']}, {holder['url']})" if holder else ""
            raise FolderInUse(f"{self.path} is held by another `afterprop up`{where}") from None
        self._held = descriptor

    def reap(self) -> list[str]:
        """Kill what a dead stack left behind; the names of what was found."""
        found = []
        for child in self.recorded().get("children", []):
            if birth(child["pid"]) == child["birth"]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child["pid"], signal.SIGKILL)
                found.append(f"{child['name']} ({child['pid']})")
        self._record.unlink(missing_ok=True)
        return found

    def record(self, *, url: str, children: dict[str, int]) -> None:
        """Write down who runs here, so that the next start can reap them."""
        content = {
            "pid": os.getpid(),
            "url": url,
            "children": [{"name": name, "pid": pid, "birth": birth(pid)} for name, pid in children.items()],
        }
        temporary = self._record.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        temporary.replace(self._record)

    def recorded(self) -> dict[str, Any]:
        """What the last stack wrote down; empty when there is nothing readable."""
        try:
            content = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def release(self) -> None:
        """Forget the children, which have all ended, and give the folder back."""
        if self._held is not None:
            self._record.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None
