"""What a handler may ask for, as type names."""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request

from api.admission import admitted
from api.bad_keys import BadKeys
from api.callers import Caller
from api.errors import Refused
from api.exposure import asks_for_keys
from api.last_uses import LastUses
from api.meant import asked
from api.metrics import Metrics
from api.problems import ProblemItem
from api.quotas import OpenStreams
from api.strict_json import escaped
from api.watcher import EventWatcher
from store.database import Database
from store.errors import NotFound
from store.identifiers import is_id
from store.queue import Bell
from store.settings import Settings

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True)
class Door:
    """What one API process holds from start to stop; it stands on ``app.state.door``."""

    settings: Settings
    database: Database
    bell: Bell
    watcher: EventWatcher
    metrics: Metrics
    bad_keys: BadKeys = field(default_factory=BadKeys)
    last_uses: LastUses = field(default_factory=LastUses)
    open_streams: OpenStreams = field(default_factory=OpenStreams)

    @property
    def asks_for_keys(self) -> bool:
        return asks_for_keys(self.settings)


async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


async def _database(request: Request) -> Database:
    door: Door = request.app.state.door
    return door.database


def id_in_path(name: str, prefix: str, noun: str) -> Callable[..., Coroutine[Any, Any, str]]:
    """The dependency that reads an id from the path parameter ``name``: what is no id of its kind is not found."""

    async def read(
        given: Annotated[
            str,
            Path(
                alias=name,
                description=f"`{prefix}_` and 32 hexadecimal digits",
                json_schema_extra={"pattern": f"^{prefix}_[0-9a-f]{{32}}$"},
            ),
        ],
    ) -> str:
        if not is_id(given, prefix):
            raise NotFound(f"There is no such {noun}.")
        return given

    return read


async def _idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 printable ASCII characters; the same key and body make one job within 24 hours",
            json_schema_extra={"pattern": "^[\\x21-\\x7e]([\\x20-\\x7e]{0,253}[\\x21-\\x7e])?$"},
        ),
    ] = None,
) -> str | None:
    if key is not None and not _KEY.fullmatch(key):
        detail = "a key is 1 to 255 printable ASCII characters and does not begin or end with a space"
        raise bad_header("Idempotency-Key", "bad_idempotency_key", detail, "1..255 printable ASCII characters")
    return key


def bad_header(name: str, code: str, detail: str, allowed: str) -> Refused:
    """The refusal of a header that cannot be read."""
    return Refused(code, errors=[ProblemItem(pointer=f"/header/{name}", code=code, detail=detail, allowed=[allowed])])


async def known_parameters_only(request: Request) -> None:
    """Refuses a query parameter that the operation does not have: a misspelt filter must not pass for none."""
    route = request.scope["route"]
    known = {parameter.alias for parameter in route.dependant.query_params} | _of_dependencies(route.dependant)
    items = []
    for name, value in request.query_params.multi_items():
        if "\0" in name or "\0" in value:
            pointer = f"/query/{escaped(name[:80])}"
            items.append(ProblemItem(pointer=pointer, code="nul_in_string", detail="NUL in a query parameter"))
        elif name.partition("[")[0] not in known:
            pointer, detail = f"/query/{escaped(name[:80])}", f"there is no query parameter {name[:80]!r} here"
            detail += asked(name.partition("[")[0], known)
            items.append(ProblemItem(pointer=pointer, code="unknown_parameter", detail=detail, allowed=sorted(known)))
    if items:
        raise Refused("invalid_request", items[0].detail, errors=items)


def _of_dependencies(dependant: object) -> set[str]:
    found: set[str] = set()
    for below in dependant.dependencies:  # type: ignore[attr-defined]  # the framework's Dependant
        found |= {parameter.alias for parameter in below.query_params} | _of_dependencies(below)
    return found


CallerDep = Annotated[Caller, Depends(admitted)]
"""Who asks. Whatever belongs to somebody is asked for with ``project=caller.project``."""
DoorDep = Annotated[Door, Depends(_door)]
DatabaseDep = Annotated[Database, Depends(_database)]
JobIdDep = Annotated[str, Depends(id_in_path("job_id", "job", "job"))]
IdempotencyKeyDep = Annotated[str | None, Depends(_idempotency_key)]
