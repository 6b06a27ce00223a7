"""Engines and sessions: SQLite (one host) and PostgreSQL behind the same functions.

SQLite writes begin IMMEDIATE: a deferred transaction that upgrades to a write fails with "database is locked"
whatever the busy timeout is.
"""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Double

Role = Literal["api", "worker"]


class now_s(GenericFunction[float]):
    """The database's own clock, in seconds since 1970. All times are stored so; no worker's clock decides a lease."""

    type = Double()
    inherit_cache = True
    name = "now_s"


@compiles(now_s, "sqlite")
def _now_sqlite(_element: now_s, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now_s, "postgresql")
def _now_postgresql(_element: now_s, _compiler: SQLCompiler, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())"


@dataclass(frozen=True)
class Database:
    """A database with one session factory for reading and one for writing."""

    engine: Engine
    reading: sessionmaker[Session]
    writing: sessionmaker[Session]

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def dispose(self) -> None:
        self.engine.dispose()


def connect(url: str, *, role: Role = "api", busy_timeout_s: float = 30.0) -> Database:
    """The database at ``url``. A worker waits less for it than the API: its wait must end before its lease does."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(parsed, busy_timeout_s)
    return _connect_postgresql(parsed, role)


def _connect_sqlite(url: URL, busy_timeout_s: float) -> Database:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=10, max_overflow=10, pool_timeout=5, json_serializer=_strict_json)

    @event.listens_for(engine, "connect")
    def _settings(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a 202 must survive a power loss
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return _database(engine)


def _connect_postgresql(url: URL, role: Role) -> Database:
    statement_s, lock_s, connect_s = (5, 3, 2) if role == "worker" else (15, 3, 5)
    options = (
        f"-c statement_timeout={statement_s}s -c lock_timeout={lock_s}s "
        "-c idle_in_transaction_session_timeout=30s -c synchronous_commit=on"
    )
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=10,
        pool_timeout=5,
        pool_recycle=1800,
        json_serializer=_strict_json,
        connect_args={
            "options": options,
            "connect_timeout": connect_s,
            "client_encoding": "utf8",  # a server without an encoding of its own would answer in bytes
            "keepalives_idle": 5,
            "tcp_user_timeout": 10000,
        },
    )
    return _database(engine)


def _database(engine: Engine) -> Database:
    reading = engine.execution_options(writes=False)
    return Database(
        engine=engine,
        reading=sessionmaker(reading, expire_on_commit=False),
        writing=sessionmaker(engine, expire_on_commit=False),
    )


def _strict_json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
