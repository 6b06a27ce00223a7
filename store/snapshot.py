"""A copy of the whole database at one moment, while others write: SQLite's backup, or PostgreSQL's own dump."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session, sessionmaker

from store.database import Database, connect

SQLITE_FILE: Final = "database.sqlite"
POSTGRESQL_FILE: Final = "database.dump"


class CannotBackUp(Exception):
    """The backup could not be made, or not be restored; the text says why."""


def file_of(database: Database) -> str:
    """The name of the copy within a backup; it says of which kind of database it is."""
    return SQLITE_FILE if database.is_sqlite else POSTGRESQL_FILE


@contextmanager
def snapshot(database: Database, url: str, *, into: Path) -> Iterator[Session]:
    """Writes the copy and gives a session that reads exactly what is in it."""
    if database.is_sqlite:
        _copy_sqlite(make_url(url), into / SQLITE_FILE)
        copy = connect(f"sqlite:///{into / SQLITE_FILE}")
        try:
            with copy.reading() as session:
                yield session
        finally:
            copy.dispose()
            _fold(into / SQLITE_FILE)
        return
    with database.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        # The dump may take longer than a transaction of the service may idle.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        name = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        _dump(make_url(url), into / POSTGRESQL_FILE, name)
        with sessionmaker(connection)() as session:
            yield session


def restore(url: str, copy: Path) -> None:
    """Puts the copy into an empty database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        target = Path(parsed.database or "")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.restoring")
        shutil.copyfile(copy, temporary)
        temporary.chmod(0o600)
        temporary.replace(target)
        return
    options = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--dbname", _address(parsed)]
    _run("pg_restore", [*options, str(copy)], parsed)


def is_empty(url: str) -> bool:
    """Whether nothing stands in the database: no file, or no table."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return not Path(parsed.database or "").exists()
    database = connect(url)
    try:
        return not inspect(database.engine).get_table_names()
    finally:
        database.dispose()


def check(session: Session) -> list[str]:
    """What the database itself finds wrong with its file; PostgreSQL checks its pages when it reads them."""
    if session.get_bind().dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in session.execute(text("PRAGMA integrity_check(20)")) if row[0] != "ok"]
    broken = session.execute(text("PRAGMA foreign_key_check")).all()
    return found + [f"row {row[1]} of {row[0]} names a row of {row[2]} that is not there" for row in broken[:20]]


def _copy_sqlite(url: URL, target: Path) -> None:
    source = Path(url.database or "")
    if not source.exists():
        raise CannotBackUp(f"There is no database at {source}.")
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)  # all pages in one step: writers go on beside it, and cannot make it start again


def _fold(file: Path) -> None:
    """One file without a log beside it, so that a digest covers the whole copy."""
    with closing(sqlite3.connect(file)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")


def _dump(url: URL, target: Path, name: str) -> None:
    target.touch(mode=0o600)
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={name}", f"--file={target}"]
    _run("pg_dump", [*options, f"--dbname={_address(url)}"], url)


def _run(program: str, arguments: list[str], url: URL) -> None:
    found = shutil.which(program)
    if found is None:
        raise CannotBackUp(
            f"{program} is not on PATH. It comes with PostgreSQL's client programs (postgresql-client) and must "
            "be at least as new as the server."
        )
    done = subprocess.run([found, *arguments], env=_environment(url), capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotBackUp(f"{program} failed: {done.stderr.strip()[-1000:]}")


def _address(url: URL) -> str:
    """The connection as libpq reads it, without the password, which others could see among the arguments."""
    without = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    return without.render_as_string()


def _environment(url: URL) -> Mapping[str, str]:
    return {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
