"""Keys are no matter for a log, wherever they were put: what looks like one is cut short before it is written."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

_KEY = re.compile(r"(afp_|whsec_)[\w%+/=-]{4,}", re.ASCII)
LOGGERS = ("uvicorn.access", "uvicorn.error", "uvicorn.asgi")


def redacted(text: str) -> str:
    """The text with every key cut down to what tells that it was one."""
    return _KEY.sub(r"\1…", text)


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Of a structured log line, before it is rendered."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = redacted(value)
    return event


class Redacting(logging.Filter):
    """Of the server's own lines, which hold the whole address that was asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redacted(value) if isinstance(value, str) else value for value in record.args)
        record.msg = redacted(record.msg) if isinstance(record.msg, str) else record.msg
        return True


def configure() -> None:
    """For the loggers of the server."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, Redacting) for known in logger.filters):
            logger.addFilter(Redacting())
