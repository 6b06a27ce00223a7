"""What is found in an uploaded file before it is parsed."""

from dataclasses import dataclass, field
from typing import Any, Final

MAX_UNPACKED_BYTES: Final = 8 << 30
"""Of all arrays of a file: what a worker takes into memory at most."""
MAX_FINDINGS: Final = 10


class Unfit(Exception):
    """The file cannot be used; the message is for whoever sent it. ``findings`` say where: row and column."""

    def __init__(self, code: str, message: str, *, findings: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.findings = findings or []


@dataclass(frozen=True)
class Contents:
    """What a file claims to hold; what only parsing would tell is None."""

    rows: int | None = None
    columns: list[str] | None = None
    input_shape: list[int] | None = None
    classes: int | None = None
    warnings: list[str] = field(default_factory=list)
