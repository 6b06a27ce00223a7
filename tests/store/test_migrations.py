"""The migrations and the tables say the same, up and down, on both databases."""

from alembic import command
from sqlalchemy import inspect

from migrations.__main__ import configuration
from store.database import Database
from store.tables import Table


def test_migrated_tables_match_the_declared_ones(database: Database) -> None:
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.check(configuration)


def test_migrated_columns_are_the_declared_columns(database: Database) -> None:
    inspector = inspect(database.engine)
    for table in Table.metadata.sorted_tables:
        assert {column["name"] for column in inspector.get_columns(table.name)} == set(table.columns.keys())


def test_downgrade_leaves_nothing(database: Database) -> None:
    with database.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "base")
        connection.commit()
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
