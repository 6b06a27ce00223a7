"""One range of bytes (RFC 9110, section 14). What is not one well-formed range is ignored, as the standard allows."""

import re

_ONE = re.compile(r"bytes=\s*(\d{0,4000})-(\d{0,4000})\s*", re.ASCII)


class NotSatisfiable(ValueError):
    """The range lies outside the file."""


def satisfied(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None for no range, several ranges, or what cannot be read."""
    match = _ONE.fullmatch(header) if header is not None else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        length = min(int(last), size)
        start, stop = size - length, size
    else:
        start = int(first)
        stop = size if last == "" else min(int(last) + 1, size)
        if last != "" and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise NotSatisfiable
    return start, stop
