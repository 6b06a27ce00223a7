"""A csv table with a header: read line by line within bounds; the first faults are named by row and column."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from specs.uploads.findings import MAX_FINDINGS, Contents, Unfit

MAX_LINE_BYTES: Final = 1 << 20
MAX_COLUMNS: Final = 10_000
_LARGEST: Final = 3.4028234663852886e38
"""The largest float32: what is beyond it would be infinite in training."""


def inspect(path: Path) -> Contents:
    """Rows and columns. Raises ``Unfit`` with the first faults, rows counted from 1 after the header."""
    with path.open("rb") as file:
        lines = csv.reader(_lines(file), strict=True)
        try:
            names = _header(next(lines, []))
            table = _Table(names)
            for number, cells in enumerate(lines, 1):
                table.take(number, cells)
        except csv.Error as error:
            raise Unfit("csv_syntax", f"line {lines.line_num}: {error}") from None
    return table.contents()


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Lines as text; a quoted cell may span lines, but all of a row share one bound."""
    number = 0
    open_quote = False
    taken = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        taken = taken + len(line) if open_quote else len(line)
        if taken > MAX_LINE_BYTES:
            raise Unfit("csv_line", f"line {number} is longer than {MAX_LINE_BYTES} bytes, or a quote is not closed")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise Unfit("csv_encoding", "the file is UTF-16; send UTF-8")
        if b"\0" in line:
            raise Unfit("csv_encoding", f"line {number} holds a NUL byte")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise Unfit("csv_encoding", f"line {number} is not UTF-8") from None
        open_quote ^= text.count('"') % 2 == 1
        yield text
    if open_quote:
        raise Unfit("csv_syntax", "a quote is opened and never closed")


def _header(names: list[str]) -> list[str]:
    if len(names) < 2:
        raise Unfit("csv_columns", f"the header has {len(names)} column(s); features and a target are needed")
    if len(names) > MAX_COLUMNS:
        raise Unfit("csv_columns", f"the header has {len(names)} columns; at most {MAX_COLUMNS}")
    twice = sorted({name for name in names if names.count(name) > 1} if len(names) <= 2000 else _twice(names))
    if twice:
        raise Unfit("csv_columns", f"the header names {twice[0][:80]!r} twice")
    if "" in names:
        raise Unfit("csv_columns", "a column of the header has no name")
    return names


def _twice(names: list[str]) -> set[str]:
    seen: set[str] = set()
    return {name for name in names if name in seen or seen.add(name)}  # type: ignore[func-returns-value]


class _Table:
    """What the rows come to, and what is wrong with them."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._rows = 0
        self._findings: list[dict[str, Any]] = []
        self._first: list[str] | None = None
        self._varies = [False] * len(names)
        self._texts = [0] * len(names)

    def take(self, number: int, cells: list[str]) -> None:
        if not cells:
            return
        self._rows += 1
        if len(cells) != len(self._names):
            self._note(number, None, f"has {len(cells)} cells; the header has {len(self._names)}")
            return
        if self._first is None:
            self._first = cells
        for index, cell in enumerate(cells):
            if cell != self._first[index]:
                self._varies[index] = True
            fault = self._fault(index, cell)
            if fault is not None:
                self._note(number, self._names[index], fault)

    def contents(self) -> Contents:
        if self._rows < 2 and not self._findings:
            raise Unfit("too_few_rows", f"the table has {self._rows} row(s); at least two are needed")
        for index, count in enumerate(self._texts[:-1]):
            if 0 < count < self._rows and len(self._findings) < MAX_FINDINGS:
                self._note(0, self._names[index], f"{count} of {self._rows} cells are not numbers")
        if self._findings:
            first = self._findings[0]
            place = f"row {first['row']}" if first["row"] else f"column {first['column']!r}"
            raise Unfit("csv_cells", f"{place}: {first['detail']}", findings=self._findings)
        constant = [name for name, varies in zip(self._names, self._varies, strict=True) if not varies]
        if self._names[-1] in constant:
            raise Unfit("single_class", f"the last column, {self._names[-1][:80]!r}, holds one value alone")
        warnings = [f"column {name[:80]!r} holds one value alone" for name in constant[:MAX_FINDINGS]]
        return Contents(
            rows=self._rows, columns=self._names[:200], input_shape=[len(self._names) - 1], warnings=warnings
        )

    def _fault(self, index: int, cell: str) -> str | None:
        if not cell.strip():
            return "is empty"
        try:
            value = float(cell)
        except ValueError:
            self._texts[index] += 1
            return None
        if not math.isfinite(value) or abs(value) > _LARGEST:
            return f"{cell[:20]} is not a finite float32"
        return None

    def _note(self, row: int, column: str | None, detail: str) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append({"row": row, "column": column, "detail": detail})
