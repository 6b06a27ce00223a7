"""The filters of the list of jobs."""

import re
from datetime import datetime
from typing import Annotated, Any, TypedDict

from fastapi import Query, Request
from pydantic import TypeAdapter, ValidationError

from api.errors import Refused
from api.problems import ProblemItem
from specs.job import LabelKey
from store.tables import ACTIVE, PENDING, TERMINAL

STATUSES = (*PENDING, *ACTIVE, *TERMINAL)
ONE = "|".join(STATUSES)
MAX_LABELS = 16
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_LABEL = re.compile(r"label\[(.*)\]", re.DOTALL)
_LABEL_KEY: TypeAdapter[str] = TypeAdapter(LabelKey)

Text = Annotated[str | None, Query(max_length=200)]


class Filters(TypedDict):
    """What ``listing.page`` takes."""

    statuses: tuple[str, ...]
    learner: str | None
    network: str | None
    dataset: str | None
    labels: dict[str, str]
    created_after: float | None


async def filters(
    request: Request,
    status: Annotated[
        str | None,
        Query(
            description=f"one or more of {', '.join(STATUSES)}, separated by commas",
            max_length=200,
            json_schema_extra={"pattern": f"^({ONE})(,({ONE}))*$"},
        ),
    ] = None,
    learner: Text = None,
    network: Text = None,
    dataset: Text = None,
    label: Annotated[str | None, Query(include_in_schema=False)] = None,
    created_after: Annotated[
        str | None,
        Query(description="RFC 3339, with a time zone", json_schema_extra={"format": "date-time"}, max_length=40),
    ] = None,
) -> Filters:
    """Reads the filters; each mistake is a problem that names the parameter."""
    if label is not None:
        raise _refused("label", "bad_label", "write label[key]=value", None)
    return {
        "statuses": _statuses(status),
        "learner": learner,
        "network": network,
        "dataset": dataset,
        "labels": _labels(request),
        "created_after": None if created_after is None else _seconds(created_after),
    }


def _statuses(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(text.split(","))
    if not set(found) <= set(STATUSES):
        raise _refused("status", "unknown_status", "there is no such status", list(STATUSES))
    return found


def _labels(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        match = _LABEL.fullmatch(name)
        if name.startswith("label") and name != "label":
            try:
                found[_LABEL_KEY.validate_python(match[1] if match else "")] = value
            except ValidationError:
                raise _refused("label", "bad_label", "a label's key is 1 to 63 of A-Z a-z 0-9 . _ / -", None) from None
    if len(found) > MAX_LABELS:
        raise _refused("label", "too_many_labels", f"at most {MAX_LABELS} labels at a time", None)
    return found


def _seconds(text: str) -> float:
    text = text.replace(" ", "+") if text.count(" ") == 1 and "T" in text else text  # a plus sign that was not escaped
    if _TIME.fullmatch(text):
        trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
        try:
            return datetime.fromisoformat(trimmed).timestamp()
        except (ValueError, OverflowError):
            pass
    raise _refused("created_after", "bad_time", "a time is RFC 3339 with a time zone", ["2026-01-31T12:00:00Z"])


def _refused(name: str, code: str, detail: str, allowed: list[Any] | None) -> Refused:
    item = ProblemItem(pointer=f"/query/{name}", code=code, detail=detail, allowed=allowed)
    return Refused("invalid_request", detail, errors=[item])
