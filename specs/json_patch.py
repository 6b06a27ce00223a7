"""JSON Patch (RFC 6902): the six operations, on a copy."""

import copy
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

Pointer = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$", max_length=1000)]


class PatchFailed(ValueError):
    """An operation of the patch does not apply; ``index`` says which."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class Operation(BaseModel):
    """One operation."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Pointer
    source: Pointer | None = Field(default=None, alias="from")
    value: Any = None

    @model_validator(mode="after")
    def _complete(self) -> "Operation":
        if self.op in ("move", "copy") and self.source is None:
            raise ValueError(f"{self.op} needs from")
        if self.op in ("add", "replace", "test") and "value" not in self.model_fields_set:
            raise ValueError(f"{self.op} needs value")
        return self


class Patch(RootModel[list[Operation]]):
    """A list of operations, applied in order, all or none."""

    root: list[Operation] = Field(max_length=100)


def apply(document: Any, patch: Patch) -> Any:
    """The document as the patch makes it; the original stays as it is. Raises PatchFailed."""
    document = copy.deepcopy(document)
    for index, operation in enumerate(patch.root):
        try:
            document = _applied(document, operation)
        except (LookupError, ValueError, TypeError) as error:
            raise PatchFailed(index, f"{operation.op} {operation.path}: {error}") from None
    return document


def _applied(document: Any, operation: Operation) -> Any:
    path = parts(operation.path)
    if operation.op == "test":
        if not _equal(_at(document, path), operation.value):
            raise ValueError("the value is another one")
        return document
    if operation.op in ("add", "replace"):
        if operation.op == "replace":
            _at(document, path)
        return _put(document, path, copy.deepcopy(operation.value), insert=operation.op == "add")
    if operation.op == "remove":
        return _without(document, path)
    source = parts(operation.source or "")
    moved = copy.deepcopy(_at(document, source))
    if operation.op == "move":
        if path[: len(source)] == source and path != source:
            raise ValueError("a value cannot move into itself")
        document = _without(document, source)
    return _put(document, path, moved, insert=True)


def parts(pointer: str) -> list[str]:
    """The names along a JSON pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def _at(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[_key(document, part)]
    return document


def _key(container: Any, part: str, *, may_append: bool = False) -> Any:
    if isinstance(container, dict):
        return part
    if not isinstance(container, list):
        raise LookupError("there is nothing below this value")
    if part == "-" and may_append:
        return len(container)
    if not part.isdecimal() or not part.isascii() or (len(part) > 1 and part[0] == "0"):
        raise LookupError(f"{part[:40]!r} is no place in a list")
    place = int(part[:9])
    if place >= len(container) + int(may_append):
        raise LookupError(f"the list ends before {place}")
    return place


def _put(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    container = _at(document, path[:-1])
    key = _key(container, path[-1], may_append=insert)
    if isinstance(container, list) and insert:
        container.insert(key, value)
    else:
        container[key] = value
    return document


def _without(document: Any, path: list[str]) -> Any:
    if not path:
        raise ValueError("the whole document cannot be removed")
    container = _at(document, path[:-1])
    del container[_key(container, path[-1])]
    return document
