"""What can go wrong between a caller and the service."""

from typing import Any, final

from afterprop.answers import Problem


class AfterpropError(Exception):
    """The service did not do what was asked."""


@final
class Unreachable(AfterpropError):
    """No answer came from the service."""


@final
class StreamLost(AfterpropError):
    """An event stream ended without its `end` event, and could not be resumed."""


class ProblemError(AfterpropError):
    """The service answered with a problem (RFC 9457), carried as ``problem``."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.code = str(problem.get("code", ""))
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP {self.status}")


@final
class InvalidRequest(ProblemError):
    """The request itself is wrong (400, 406, 413, 415, 422); ``problem["errors"]`` says where."""


@final
class NotAllowed(ProblemError):
    """The key is missing, wrong, or may not do this (401, 403)."""


@final
class NotFound(ProblemError):
    """There is no such thing (404, 410)."""


@final
class Conflict(ProblemError):
    """The state of the thing does not allow it (409, 412, 428)."""


@final
class TooManyRequests(ProblemError):
    """Slow down (429)."""


@final
class ServiceFault(ProblemError):
    """The service failed or is overloaded (5xx)."""


CLASS_OF_STATUS: dict[int, type[ProblemError]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    428: Conflict,
    429: TooManyRequests,
}


def error_of(status: int, body: Any) -> ProblemError:
    """The error for an answer of 4xx or 5xx, whatever its body is."""
    problem: Problem = {"status": status, "title": f"HTTP {status}"}
    if isinstance(body, dict):
        problem.update(body)  # type: ignore[typeddict-item]
    default = ServiceFault if status >= 500 else InvalidRequest
    return CLASS_OF_STATUS.get(status, default)(problem)
