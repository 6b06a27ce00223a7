"""The log: one JSON object a line, so that no request can forge a line; tracebacks without the values in them."""

import structlog

from api import redaction


def configure() -> None:
    """For the whole process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redaction.redact_event,
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=True,
    )
    redaction.configure()
