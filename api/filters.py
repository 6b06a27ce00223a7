"""The filters of the list of jobs."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypedDict

from fastapi import Query, Request
from pydantic import TypeAdapter, ValidationError

from api.errors import Refused
from api.meant import asked
from api.problems import ProblemItem
from specs.compatibility import kind_of
from specs.data_sources import named_datasets
from specs.job import NO_NUL, LabelKey
from specs.learners import LEARNER_SPECS
from specs.limits import FORM
from specs.networks import NETWORK_SPECS
from store.identifiers import is_id
from store.listing import OWN
from store.tables import ACTIVE, PENDING, TERMINAL

STATUSES = (*PENDING, *ACTIVE, *TERMINAL)
ONE = "|".join(STATUSES)
MAX_LABELS = FORM.label_filters
LABEL_WORDS = "a label's key is 1 to 63 of A-Z a-z 0-9 . _ / -"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_LABEL = re.compile(r"label\[(.*)\]", re.DOTALL)
_LABEL_KEY: TypeAdapter[str] = TypeAdapter(LabelKey)

LEARNERS = tuple(kind_of(spec) for spec in LEARNER_SPECS)
NETWORKS = tuple(kind_of(spec) for spec in NETWORK_SPECS)
DATASETS = named_datasets()
FILE_SUFFIX = r"\.(csv|npz|parquet)"
LONGEST_NAME = 80
"""By so much of a file's path a job is found."""


class Filters(TypedDict):
    """What ``listing.page`` takes."""

    statuses: tuple[str, ...]
    learner: str | None
    network: str | None
    dataset: str | None
    name: str | None
    comparison: str | None
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
    learner: Annotated[str | None, Query(max_length=200, json_schema_extra={"enum": list(LEARNERS)})] = None,
    network: Annotated[str | None, Query(max_length=200, json_schema_extra={"enum": list(NETWORKS)})] = None,
    dataset: Annotated[
        str | None,
        Query(
            description="a name of the catalog, or the path of a file in the data folder",
            max_length=512,
            json_schema_extra={"pattern": f"^({'|'.join(DATASETS)}|[^\\x00]+{FILE_SUFFIX})$"},
        ),
    ] = None,
    name: Annotated[
        str | None,
        Query(description="the whole name of a job", max_length=200, json_schema_extra={"pattern": NO_NUL}),
    ] = None,
    comparison: Annotated[
        str | None,
        Query(
            description="the id of a comparison, for its jobs; none: jobs that belong to no comparison",
            max_length=200,
            json_schema_extra={"pattern": f"^({OWN}|cmp_[0-9a-f]{{32}})$"},
        ),
    ] = None,
    label: Annotated[str | None, Query(include_in_schema=False)] = None,
    created_after: Annotated[
        str | None,
        Query(description="RFC 3339, with a time zone", json_schema_extra={"format": "date-time"}, max_length=40),
    ] = None,
) -> Filters:
    """Reads the filters; each mistake is a problem that names the parameter."""
    if label is not None:
        raise _refused("label", "bad_label", "write label[key]=value", ["label[key]=value"])
    return {
        "statuses": _statuses(status),
        "learner": _on_the_menu("learner", learner, LEARNERS),
        "network": _on_the_menu("network", network, NETWORKS),
        "dataset": _dataset(dataset),
        "name": name,
        "comparison": _comparison(comparison),
        "labels": _labels(request),
        "created_after": None if created_after is None else _seconds(created_after),
    }


def _on_the_menu(name: str, kind: str | None, kinds: Sequence[str]) -> str | None:
    if kind is None or kind in kinds:
        return kind
    raise _refused(name, f"unknown_{name}", f"there is no {name} {kind[:80]!r}{asked(kind, kinds)}", list(kinds))


def _dataset(name: str | None) -> str | None:
    """The name under which jobs keep it; a file may be gone that jobs were trained on."""
    if name is None or re.fullmatch(f".+{FILE_SUFFIX}", name, re.DOTALL):
        return name if name is None else name[:LONGEST_NAME]
    return _on_the_menu("dataset", name, DATASETS)


def _comparison(given: str | None) -> str | None:
    if given is None or given == OWN or is_id(given, "cmp"):
        return given
    detail = "a comparison is named by its id: cmp_ and 32 hexadecimal digits"
    raise _refused("comparison", "bad_comparison", detail, [OWN, "the id of a comparison"])


def _statuses(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(text.split(","))
    if not set(found) <= set(STATUSES):
        wrong = next(status for status in found if status not in STATUSES)
        detail = f"there is no status {wrong[:80]!r}{asked(wrong, STATUSES)}"
        raise _refused("status", "unknown_status", detail, list(STATUSES))
    return found


def _labels(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        match = _LABEL.fullmatch(name)
        if name.startswith("label") and name != "label":
            try:
                found[_LABEL_KEY.validate_python(match[1] if match else "")] = value
            except ValidationError:
                raise _refused("label", "bad_label", LABEL_WORDS, ["label[key]=value"]) from None
    if len(found) > MAX_LABELS:
        raise _refused("label", "too_many_labels", f"at most {MAX_LABELS} labels at a time", [f"0..{MAX_LABELS}"])
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
