"""What the store refuses. The docstring of a class is its message; the door maps each class to an HTTP status."""


class StoreError(Exception):
    """The store refused the request."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class NotFound(StoreError):
    """There is no such resource."""


class IllegalTransition(StoreError):
    """The status does not allow this."""

    def __init__(self, status: str, *, allowed: tuple[str, ...], noun: str = "job") -> None:
        super().__init__(f"A {noun} that is {status} does not allow this; it must be {' or '.join(allowed)}.")
        self.status = status
        self.allowed = allowed


class BelongsToComparison(StoreError):
    """The job belongs to a comparison."""


class VersionMismatch(StoreError):
    """The resource has changed since the version named in If-Match."""


class IdempotencyKeyReused(StoreError):
    """This Idempotency-Key was used with another request body."""


class IdempotencyKeyInFlight(StoreError):
    """A request with this Idempotency-Key is still being answered."""
