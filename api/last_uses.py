"""When a key was used last, as exactly as is worth a write: once a minute, so that reading does not write each time."""

import threading
import time
from typing import Final

NOTED_EVERY_S: Final = 60.0
MOST_KEYS: Final = 10_000
"""So many keys are remembered; beyond them all are forgotten, which costs each one write."""


class LastUses:
    """When the use of each key was written down. Of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}

    def is_due(self, key_id: str, *, now: float | None = None) -> bool:
        """Whether this use is to be written down. Of requests at once only one is told so: none waits for it."""
        now = time.monotonic() if now is None else now
        with self._lock:
            noted = self._noted.get(key_id)
            if noted is not None and now - noted < NOTED_EVERY_S:
                return False
            if len(self._noted) >= MOST_KEYS:
                self._noted.clear()
            self._noted[key_id] = now
            return True
