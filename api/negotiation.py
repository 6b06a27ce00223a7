"""Which of several forms a client asked for (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from api.errors import Refused
from api.problems import ProblemItem


def chosen(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type of the highest quality; the first of equals. 406 when none is accepted."""
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    qualities = {media_type: _quality(media_type, ranges) for media_type in offered}
    best = max(offered, key=lambda media_type: qualities[media_type])
    if qualities[best] <= 0:
        item = ProblemItem(pointer="/header/Accept", code="not_offered", detail="not offered", allowed=list(offered))
        raise Refused("not_acceptable", errors=[item])
    return best


def _range(part: str) -> tuple[str, float]:
    name, *parameters = [piece.strip().lower() for piece in part.split(";")]
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers the type."""
    for wanted in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
