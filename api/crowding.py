"""More requests than can be worked on: the rest is sent away at once, while that is cheap and before memory grows."""

from typing import Final

from anyio import to_thread

MOST_WAITING: Final = 100
"""Requests that wait for one of the handlers: behind them an answer would take longer than coming again."""
MOST_INSIDE: Final = 1000
"""Requests that are open at a time, streams included. The server's own limit lies above, since it speaks no JSON."""
COME_AGAIN_S: Final = 1
ALWAYS_ANSWERED: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Whoever watches the service must not take a crowd for its death."""


class Crowd:
    """The requests that are inside."""

    def __init__(self) -> None:
        self.inside = 0

    def is_too_large(self, path: str) -> bool:
        """Whether another request is one too many."""
        if path in ALWAYS_ANSWERED:
            return False
        waiting = to_thread.current_default_thread_limiter().statistics().tasks_waiting
        return self.inside >= MOST_INSIDE or waiting >= MOST_WAITING
