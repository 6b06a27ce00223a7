"""``python -m api.keys create|list|revoke``: keys at the machine itself, where there is none to ask with yet.

It works on the database of the settings, beside a running service or before its first start. One JSON object a line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.callers import SCOPES
from api.rows import key_fields
from specs.api_keys import ApiKeyRequest
from store import audit, keys
from store.database import connect
from store.errors import NotFound
from store.key_tables import ApiKey
from store.settings import settings

USAGE, NO_DATABASE = 2, 3
MOST_LISTED = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 2 the request is wrong, 3 the database does not answer."""
    asked = _parser().parse_args(arguments)
    database = connect(settings().resolved_database_url)
    try:
        with database.writing.begin() as session:
            for answer in asked.run(session, asked):
                print(json.dumps(answer), flush=True)  # noqa: T201  # a command answers on its standard output
    except NotFound as error:
        return _failed(str(error), USAGE)
    except ValidationError as error:
        return _failed("; ".join(f"{found['loc'][0]}: {found['msg']}" for found in error.errors()), USAGE)
    except SQLAlchemyError as error:
        return _failed(f"The database does not answer, or was not migrated: {type(error).__name__}", NO_DATABASE)
    finally:
        database.dispose()
    return 0


def _create(session: Session, asked: argparse.Namespace) -> list[dict[str, Any]]:
    seconds = None if asked.expires_days is None else round(asked.expires_days * 86400)
    scopes = asked.scope or ["write"]
    wanted = ApiKeyRequest(project=asked.project, name=asked.name, scopes=scopes, expires_in_s=seconds)
    row, text = keys.create(session, **wanted.model_dump())
    _note(session, "api_key.create", row, {"scopes": row.scopes, "expires_in_s": seconds})
    return [{**key_fields(row), "key": text}]


def _list(session: Session, _asked: argparse.Namespace) -> list[dict[str, Any]]:
    return [key_fields(row) for row in keys.page(session, limit=MOST_LISTED)]


def _revoke(session: Session, asked: argparse.Namespace) -> list[dict[str, Any]]:
    row = keys.revoke(session, asked.key_id)
    _note(session, "api_key.revoke", row, {})
    return [key_fields(row)]


def _note(session: Session, action: str, row: ApiKey, detail: dict[str, Any]) -> None:
    told = {**detail, "project": row.project, "name": row.name, "at": "the machine itself"}
    audit.record(session, project=row.project, key_id=None, action=action, subject=row.id, detail=told)


def _failed(message: str, code: int) -> int:
    print(message, file=sys.stderr)  # noqa: T201  # a command says on standard error what went wrong
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.keys", description=__doc__)
    commands = parser.add_subparsers(required=True)
    create = commands.add_parser("create", help="make a key; its text is shown once")
    create.add_argument("--project", default="default")
    create.add_argument("--name", default="")
    create.add_argument("--scope", action="append", choices=SCOPES, help="write by default; each holds those before it")
    create.add_argument("--expires-days", type=float, help="never by default")
    create.set_defaults(run=_create)
    commands.add_parser("list", help="all keys, newest first, without their texts").set_defaults(run=_list)
    revoke = commands.add_parser("revoke", help="end a key for good")
    revoke.add_argument("key_id")
    revoke.set_defaults(run=_revoke)
    return parser


if __name__ == "__main__":
    sys.exit(main())
