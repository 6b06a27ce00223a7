"""Values of a trainer as every database and every JSON reader can hold them."""

import math
from typing import Any, Final

_NO_SURROGATES: Final = "replace"


def storable(fields: dict[str, Any]) -> dict[str, Any]:
    """A copy in which what is not finite is null and named in ``nonfinite``, and every text can be stored."""
    nonfinite: list[dict[str, str]] = []
    copy: dict[str, Any] = _copy(fields, "", nonfinite)
    return {**copy, "nonfinite": nonfinite} if nonfinite else copy


def storable_text(text: str) -> str:
    """Without NUL, which PostgreSQL refuses, and without lone surrogates, which UTF-8 does."""
    return text.replace("\0", "\u2400").encode(errors=_NO_SURROGATES).decode()


def _copy(value: Any, pointer: str, nonfinite: list[dict[str, str]]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        nonfinite.append({"pointer": pointer, "kind": str(value)})
        return None
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable_text(key): _copy(item, f"{pointer}/{key}", nonfinite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item, f"{pointer}/{index}", nonfinite) for index, item in enumerate(value)]
    return value
