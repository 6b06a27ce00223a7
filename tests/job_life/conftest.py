"""Floors of these tests: SQLite and PostgreSQL, the forking and the plain launcher."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.job_life.floor import Floor, digits_job
from tests.store.conftest import _fresh_database, postgresql_url

__all__ = ["postgresql_url"]


@pytest.fixture(scope="module", params=["sqlite-fork"])
def floor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    """A floor with a lease of 1.5 s, shared by the tests of a file: workers that are killed are replaced.

    A test names its floors (database-launcher); without a word it runs on SQLite with the forking launcher.
    """
    kind, launcher = request.param.split("-")
    folder = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{folder / 'afterprop.db'}"
    if kind == "postgresql":
        url = _fresh_database(request.getfixturevalue("postgresql_url"))
    made = Floor(folder, database_url=url, launcher=launcher)
    made.migrate()
    yield made
    made.end()


@pytest.fixture(scope="session")
def known() -> dict[str, Any]:
    """What undisturbed jobs came to, by spec."""
    return {}


@pytest.fixture
def undisturbed(floor: Floor, known: dict[str, Any]) -> dict[Any, Any]:
    """What ``digits_job()`` comes to when nobody dies: run once, on whatever floor comes first."""
    if "digits" not in known:
        floor.have_workers(1)
        job_id = floor.post(digits_job())
        floor.wait_for(job_id, "succeeded", timeout_s=120)
        assert len(floor.attempts(job_id)) == 1
        known["digits"] = floor.mathematics(job_id)
    found: dict[Any, Any] = known["digits"]
    return found
