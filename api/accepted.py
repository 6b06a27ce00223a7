"""What would have been accepted, in words, for every kind of error that pydantic can say it of."""

from collections.abc import Mapping
from typing import Any

TYPES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_type": "an integer",
    "list_type": "an array",
    "mapping_type": "an object",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "none_required": "null",
    "string_sub_type": "a string",
    "string_type": "a string",
    "tuple_type": "an array",
}
"""Type of the error -> the type that the field has."""

LIMITS = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "a string that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
}
"""Type of the error -> the limit that it carries."""

NAMES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
"""Type in a JSON Schema -> as it is said here."""

_RANGES = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def accepted(error: Mapping[str, Any], field: Mapping[str, Any]) -> list[Any] | None:
    """The bounds or the type that the error tells of; ``field`` is the field's JSON Schema, {} where it is unknown."""
    kind = error["type"]
    if kind in TYPES:
        bounds = _bounds(field) if TYPES[kind] in ("an integer", "a number") else None
        return [TYPES[kind]] if bounds is None else [f"{TYPES[kind]}, {bounds}"]
    if kind not in LIMITS:
        return None
    bounds = _bounds(field) if kind in _RANGES else None
    return [bounds or LIMITS[kind].format_map(error.get("ctx") or {})]


def described(field: Mapping[str, Any]) -> list[Any] | None:
    """What a field takes by its JSON Schema; None where that is more than a choice or a plain type."""
    if "enum" in field or "const" in field:
        return list(field.get("enum", [field.get("const")]))
    word = NAMES.get(field.get("type", ""))
    bounds = _bounds(field)
    return None if word is None else [word if bounds is None else f"{word}, {bounds}"]


def _bounds(field: Mapping[str, Any]) -> str | None:
    """``1..200``, or the bounds one by one where one of them is open."""
    least, most = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f"{_number(least)}..{_number(most)}"
    words = ((">=", least), (">", above), ("<=", most), ("<", below))
    return ", ".join(f"{word} {_number(bound)}" for word, bound in words if bound is not None) or None


def _number(bound: float) -> str:
    return f"{int(bound)}" if bound == int(bound) else f"{bound}"
