"""What pydantic found wrong, as items of a problem: JSON pointers, allowed values, and the name that was meant."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from api.accepted import accepted, described
from api.meant import asked, meant
from api.problems import ProblemItem
from api.strict_json import escaped
from specs.job import JobSpec

Location = Sequence[int | str]
Schema = Mapping[str, Any]

ENTRY = ("learner", "optimizer")
"""What a learner's section leaves to the entry that it stands for."""

RECIPE = "recipe"

_QUOTED = re.compile(r"'([^']*)'")


def body_items(errors: Sequence[ErrorDetails], body: Any, model: type[BaseModel]) -> list[ProblemItem]:
    """The errors of a JSON body that was read as ``model``; a name that is nearly right comes first."""
    items = [_item(error, body, schema_of(model)) for error in errors]
    # A misspelt field is two errors, of which the missing one misleads.
    return sorted(items, key=lambda item: not (item.code == "extra_forbidden" and "did you mean" in item.detail))


def parameter_items(errors: Sequence[Mapping[str, Any]], schemas: Mapping[str, Schema]) -> list[ProblemItem]:
    """The errors of query parameters, headers and paths, as the framework found them; ``schemas`` by pointer."""
    items = []
    for error in errors:
        pointer = "".join(f"/{escaped(str(part))}" for part in error["loc"])
        allowed = _quoted(error) or accepted(error, _parameter(schemas.get(pointer, {})))
        detail = error["msg"]
        if error["type"] in ("literal_error", "enum") and allowed:
            detail = _unknown_choice(str(error["input"]), allowed)
        items.append(ProblemItem(pointer=pointer, code=error["type"], detail=detail[:400], allowed=allowed))
    return items


@lru_cache(maxsize=8)
def schema_of(model: type[BaseModel]) -> Schema:
    """The JSON Schema by which names and choices are looked up."""
    return model.model_json_schema()


def _item(error: ErrorDetails, body: Any, schema: Schema) -> ProblemItem:
    context: Mapping[str, Any] = error.get("ctx") or {}
    pointer = _posted(_pointer(error, body) + str(context.get("pointer", "")), body)
    allowed, detail = context.get("allowed"), error["msg"]
    if error["type"] == "extra_forbidden":
        allowed = sorted(_names_at(schema, error["loc"][:-1]) | ({RECIPE} if _takes_recipes(error, schema) else set()))
        detail = _unknown_field(str(error["loc"][-1]), allowed, _kinds_with(schema, error["loc"]))
    elif error["type"] == "missing":
        allowed = _of_one(_parts_at(schema, error["loc"]))
    elif error["type"] == "union_tag_not_found":
        allowed = _choices_at(schema, error["loc"])
        pointer, detail = f"{pointer}/kind", f"kind is required: one of {', '.join(allowed)}"
    elif error["type"] == "union_tag_invalid":
        pointer, allowed = f"{pointer}/kind", _QUOTED.findall(context["expected_tags"])
        detail = _unknown_choice(str(context["tag"]), allowed)
    elif error["type"] == "literal_error":
        allowed = _quoted(error)
        detail = _unknown_choice(str(error["input"]), allowed or [])
    elif error["type"] == "value_error":
        detail = str(context["error"])
    elif "given" in context:
        detail = _unknown_choice(str(context["given"]), allowed or [])
    elif "reason" in context:
        detail = str(context["reason"])
        if "nearest" in context:
            allowed = [context["nearest"]]
    elif allowed is None:
        allowed = accepted(error, _field_at(schema, error["loc"]))
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


def _posted(pointer: str, body: Any) -> str:
    """The pointer into what was posted: a learner's name stands for its whole entry, a section for its learner.

    A field that an object lacks is a place of its own: it can be added there.
    """
    kept, node, inside = [""], body, True
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not inside:
            kept.append(part)
        elif isinstance(node, dict) and name in node:
            kept.append(part)
            node = node[name]
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            kept.append(part)
            node = node[int(name)]
        elif isinstance(node, dict) and "kind" in node and name in ENTRY:
            if name != "learner":
                break
        elif isinstance(node, str):
            break
        else:
            kept.append(part)
            inside = False
    return "/".join(kept)


def _quoted(error: Mapping[str, Any]) -> list[Any] | None:
    expected = (error.get("ctx") or {}).get("expected")
    return _QUOTED.findall(expected) if isinstance(expected, str) else None


def _unknown_field(name: str, known: Sequence[str], others: Sequence[str]) -> str:
    hint = asked(name, known) or (f"; it is a field of {', '.join(others)}" if others else "")
    return f"there is no field {name[:80]!r} here{hint}"


def _unknown_choice(given: str, allowed: Sequence[Any]) -> str:
    choices = [str(choice) for choice in allowed]
    near = meant(given, choices)
    if near is not None:
        return f"{given[:80]!r} is not known here; did you mean {near!r}? It is one of {', '.join(choices)}"
    return f"{given[:80]!r} is not one of {', '.join(choices)}"


def _field_at(schema: Schema, location: Location) -> Schema:
    """The schema of a number, where there is one; {} of anything else."""
    return _only_number(_nodes_at(schema, location))


def _parameter(schema: Schema) -> Schema:
    return _only_number(_opened(schema, schema))


def _only_number(nodes: Sequence[Schema]) -> Schema:
    numbers = [node for node in nodes if node.get("type") in ("integer", "number")]
    return numbers[0] if len(numbers) == 1 else {}


def _takes_recipes(error: ErrorDetails, schema: Schema) -> bool:
    """A whole job may be posted by a recipe's name, which is no field of the spec that it stands for."""
    return len(error["loc"]) == 1 and schema.get("title") == JobSpec.__name__


def _names_at(schema: Schema, location: Location) -> set[str]:
    return {name for node in _nodes_at(schema, location) for name in node.get("properties", ())}


def _kinds_with(schema: Schema, location: Location) -> list[str]:
    """The other kinds of the same section that have the field: what is no field of adam may be one of sgd."""
    if len(location) < 3:
        return []
    *above, kind, name = location
    tags: Mapping[str, str] = {}
    for node in _nodes_at(schema, above):
        tags = tags or node.get("discriminator", {}).get("mapping", {})
    if kind not in tags:
        return []
    return [
        tag for tag in tags if any(name in one.get("properties", ()) for one in _opened(schema, {"$ref": tags[tag]}))
    ]


def _parts_at(schema: Schema, location: Location) -> list[Schema]:
    """The parts that describe a field which is not there."""
    *above, name = location
    holders = [node.get("properties", {}) for node in _nodes_at(schema, above)]
    return [part for fields in holders if name in fields for part in _opened(schema, fields[name])]


def _of_one(parts: Sequence[Schema]) -> list[Any] | None:
    return described(parts[0]) if len(parts) == 1 else None


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
