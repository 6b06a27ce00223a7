"""Alembic's entry: brings the database of the settings to the newest revision, one process at a time."""

import os

from alembic import context
from sqlalchemy import Connection, text

from store import (  # noqa: F401 - declare their tables
    comparison_tables,
    dataset_tables,
    estimate_tables,
    key_tables,
    probe_tables,
    verdict_tables,
    verification_tables,
    webhook_tables,
)
from store.database import connect
from store.settings import settings
from store.tables import Table

_ADVISORY_LOCK = 0x41465452  # any number that all our migrations share


def _can_be_compared(_item: object, name: str | None, kind: str, *_reflection: object) -> bool:
    """SQLite cannot reflect the descending column of the claim index, so a comparison would always find it changed."""
    return not (kind == "index" and name == "ix_jobs_queue")


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=True,
        transaction_per_migration=False,
        compare_type=False,
        include_object=_can_be_compared,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        context.run_migrations()


def _main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run(given)
        return
    url = os.environ.get("AFTERPROP_MIGRATIONS_URL") or settings().resolved_database_url
    database = connect(url)
    with database.engine.connect() as connection:
        _run(connection)
        connection.commit()
    database.dispose()


_main()
