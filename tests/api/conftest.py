"""The real application on a real database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from fastapi.testclient import TestClient

from api.app import create_app
from migrations.__main__ import configuration
from store.database import Database, connect
from store.settings import Settings
from tests.store.conftest import _fresh_database
from tests.store.conftest import postgresql_url as postgresql_url  # the same server for these tests

NO_BROKER = "redis://127.0.0.1:1/0"


def migrated(url: str) -> Database:
    """A database of the newest form."""
    database = connect(url)
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        connection.commit()
    return database


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """SQLite, or PostgreSQL in a test that is marked ``parametrize("settings", ["postgresql"], indirect=True)``."""
    url = None
    if getattr(request, "param", "sqlite") == "postgresql":
        url = _fresh_database(request.getfixturevalue("postgresql_url"))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "own.csv").write_text("a,b\n1,2\n")
    return Settings(
        state_dir=tmp_path / "state", data_dir=data_dir, broker_url=NO_BROKER, database_url=url, event_poll_s=0.05
    )


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, made once and copied for each test."""
    file = tmp_path_factory.mktemp("migrated") / "afterprop.db"
    migrated(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def database(settings: Settings, migrated_file: Path) -> Iterator[Database]:
    if settings.database_url is None:
        settings.state_dir.mkdir()
        shutil.copy(migrated_file, settings.state_dir / "afterprop.db")
        database = connect(settings.resolved_database_url)
    else:
        database = migrated(settings.resolved_database_url)
    yield database
    database.dispose()


@pytest.fixture
def http(settings: Settings, database: Database) -> Iterator[TestClient]:
    """The application, called in this process."""
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as http:
        yield http


@pytest.fixture(scope="module")
def shared_http(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[TestClient]:
    """One application for all tests of a file that leave nothing behind, or do not mind what is there."""
    state_dir = tmp_path_factory.mktemp("shared")
    shutil.copy(migrated_file, state_dir / "afterprop.db")
    with TestClient(
        create_app(Settings(state_dir=state_dir, broker_url=NO_BROKER)), base_url="http://127.0.0.1"
    ) as http:
        yield http
