"""One strict JSON parser for every body: what two parsers could read differently is refused.

Refused as malformed: anything but UTF-8, a byte order mark, NaN and Infinity, a name twice in one object, half of a
surrogate pair, and nesting deeper than any spec needs. A NUL in a string and a number beyond float64 are well-formed
JSON that no field takes.
"""

import json
import math
from typing import Any

from specs.limits import FORM

MAX_DEPTH = FORM.json_depth
MAX_DIGITS = FORM.number_digits
LARGEST_EXACT = 2**53


class MalformedJson(ValueError):
    """The body is not JSON as this service reads it."""


class UnusableValue(ValueError):
    """Well-formed JSON with a value that no field takes; ``pointer`` says where."""

    def __init__(self, pointer: str, code: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.code = code


def parse(body: bytes) -> Any:
    """The value of ``body``. Raises MalformedJson, or UnusableValue for what is JSON but fits nowhere."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except MalformedJson:
        raise
    except RecursionError:
        raise MalformedJson("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise MalformedJson(f"not UTF-8: byte {error.start} cannot be read") from None
    except json.JSONDecodeError as error:
        raise MalformedJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedJson(f"the name {twice[:40]!r} stands twice in one object")
    return found


def _refuse_constant(text: str) -> None:
    raise MalformedJson(f"{text} is not JSON")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise MalformedJson(f"a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float | int:
    """56.0 is the integer 56: JSON knows one kind of number."""
    number = float(text)
    return int(number) if abs(number) < LARGEST_EXACT and number.is_integer() else number


def _check(value: Any) -> None:
    """Walks the value without recursion: depth, strings and numbers."""
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        pointer, node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise MalformedJson(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, str):
            _check_text(pointer, node)
        elif isinstance(node, float) and not math.isfinite(node):
            raise UnusableValue(pointer, "number_out_of_range", "the number is beyond what a float64 holds")
        elif isinstance(node, dict):
            for name, below in node.items():
                _check_text(pointer, name)
                waiting.append((f"{pointer}/{escaped(name)}", below, depth + 1))
        elif isinstance(node, list):
            waiting.extend((f"{pointer}/{index}", below, depth + 1) for index, below in enumerate(node))


def _check_text(pointer: str, text: str) -> None:
    if "\0" in text:
        raise UnusableValue(pointer, "nul_in_string", "a string must not hold the NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedJson("half of a surrogate pair in a string") from None


def escaped(name: str) -> str:
    """One part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
