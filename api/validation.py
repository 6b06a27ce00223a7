"""What pydantic found wrong, as items of a problem: JSON pointers, allowed values, and the name that was meant."""

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from api.problems import ProblemItem
from api.strict_json import escaped

Location = Sequence[int | str]
Schema = Mapping[str, Any]

_QUOTED = re.compile(r"'([^']*)'")


def body_items(errors: Sequence[ErrorDetails], body: Any, model: type[BaseModel]) -> list[ProblemItem]:
    """The errors of a JSON body that was read as ``model``."""
    return [_item(error, body, schema_of(model)) for error in errors]


def parameter_items(errors: Sequence[Mapping[str, Any]]) -> list[ProblemItem]:
    """The errors of query parameters, headers and paths, as the framework found them."""
    items = []
    for error in errors:
        pointer = "".join(f"/{escaped(str(part))}" for part in error["loc"])
        items.append(ProblemItem(pointer=pointer, code=error["type"], detail=error["msg"], allowed=_quoted(error)))
    return items


@lru_cache(maxsize=8)
def schema_of(model: type[BaseModel]) -> Schema:
    """The JSON Schema by which names and choices are looked up."""
    return model.model_json_schema()


def _item(error: ErrorDetails, body: Any, schema: Schema) -> ProblemItem:
    context: Mapping[str, Any] = error.get("ctx") or {}
    pointer = _pointer(error, body) + str(context.get("pointer", ""))
    allowed, detail = context.get("allowed"), error["msg"]
    if error["type"] == "extra_forbidden":
        allowed = sorted(_names_at(schema, error["loc"][:-1]))
        detail = _unknown_field(str(error["loc"][-1]), allowed)
    elif error["type"] == "union_tag_not_found":
        pointer, detail = f"{pointer}/kind", "kind is required: it says which one of the union this is"
        allowed = _choices_at(schema, error["loc"])
    elif error["type"] == "union_tag_invalid":
        pointer, allowed = f"{pointer}/kind", _QUOTED.findall(context["expected_tags"])
        detail = _unknown_choice(str(context["tag"]), allowed)
    elif error["type"] == "literal_error":
        allowed = _quoted(error)
        detail = _unknown_choice(str(error["input"]), allowed or [])
    elif "reason" in context:
        detail = str(context["reason"])
        if "nearest" in context:
            allowed = [context["nearest"]]
    if allowed is not None and not isinstance(allowed, list):
        allowed = [allowed]
    return ProblemItem(pointer=pointer, code=error["type"], detail=detail[:400], allowed=allowed)


def _pointer(error: ErrorDetails, body: Any) -> str:
    """The error's location as a pointer into what the client sent: tags of unions are no part of it."""
    pointer, node = "", body
    last = len(error["loc"]) - 1
    for index, part in enumerate(error["loc"]):
        inside = isinstance(node, dict) and part in node
        within = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if inside or within:
            pointer, node = f"{pointer}/{escaped(str(part))}", node[part]
        elif index == last and error["type"] == "missing":
            pointer = f"{pointer}/{escaped(str(part))}"
    return pointer


def _quoted(error: Mapping[str, Any]) -> list[Any] | None:
    expected = (error.get("ctx") or {}).get("expected")
    return _QUOTED.findall(expected) if isinstance(expected, str) else None


def _unknown_field(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no field {name[:80]!r} here{meant}"


def _unknown_choice(given: str, allowed: Sequence[Any]) -> str:
    near = difflib.get_close_matches(given, [str(choice) for choice in allowed], n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{given[:80]!r} is not one of {', '.join(map(str, allowed))}{meant}"


def _names_at(schema: Schema, location: Location) -> list[str]:
    names: set[str] = set()
    for node in _nodes_at(schema, location):
        names |= set(node.get("properties", ()))
    return sorted(names)


def _choices_at(schema: Schema, location: Location) -> list[str]:
    for node in _nodes_at(schema, location):
        mapping = node.get("discriminator", {}).get("mapping")
        if mapping:
            return list(mapping)
    return []


def _nodes_at(schema: Schema, location: Location) -> list[Schema]:
    """The parts of the schema that describe a location; several where a union has no discriminator."""
    nodes = _opened(schema, schema)
    for part in location:
        below: list[Schema] = []
        for node in nodes:
            tagged = node.get("discriminator", {}).get("mapping", {}).get(part)
            if tagged is not None:
                below += _opened(schema, {"$ref": tagged})
            elif isinstance(part, int):
                below += _opened(schema, node.get("items", {}))
            elif part in node.get("properties", {}):
                below += _opened(schema, node["properties"][part])
        nodes = below or nodes  # a part that is no place of its own: the name of a validator
    return nodes


def _opened(schema: Schema, node: Schema) -> list[Schema]:
    """The node with references followed and plain unions taken apart."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    if "discriminator" in node or "anyOf" not in node:
        return [node]
    return [opened for choice in node["anyOf"] for opened in _opened(schema, choice)]
