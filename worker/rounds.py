"""Rounds: what a thread of a worker does again and again until it is closed. A failing database is waited out."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

_log = structlog.get_logger(__name__)


class Rounds:
    """A thread that calls ``do`` every ``every_s`` or when it is woken; the first time after one pause, and at once
    again when ``do`` returns True: there is more to do."""

    def __init__(self, name: str, do: Callable[[], bool | None], *, every_s: float) -> None:
        self._name = name
        self._do = do
        self._every_s = every_s
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._due = threading.Event()
        self._closed = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Go round now."""
        self._due.set()

    def close(self) -> None:
        """Ends after the round under way."""
        self._closed.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._due.wait(self._every_s)
            self._due.clear()
            try:
                while not self._closed.is_set() and self._do():
                    pass
            except SQLAlchemyError as error:  # the next round tries again
                _log.warning("round_failed", thread=self._name, error=str(error.__cause__ or error))
            except Exception:  # the outer door of this thread: it must not end without a word
                _log.exception("round_failed", thread=self._name)
