"""Floors on both databases, the scale, the seed, the history of a test, and what it measured.

``make chaos`` runs these tests whole, ``make chaos-ci`` at a fifth; ``make test`` leaves them out. Each is marked with
its rows of the fault table, ``@pytest.mark.chaos("T1")``, and says by ``measured`` what it did and found.
"""

import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.api_process import ApiProcess
from tests.chaos.history import History
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor
from tests.store.conftest import _fresh_database, postgresql_url

__all__ = ["postgresql_url"]

SEED = os.environ.get("AFTERPROP_CHAOS_SEED") or secrets.token_hex(4)
NO_TEST_TAKES_LONGER_S = 3600


def pytest_report_header() -> str:
    return f"chaos: AFTERPROP_CHAOS_SCALE={Scale.chosen().factor:g} AFTERPROP_CHAOS_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rows of the fault table go into the report; the limit of a single test is no limit here."""
    for item in items:
        if (rows := item.get_closest_marker("chaos")) is None:
            continue
        item.user_properties.append(("rows", list(rows.args)))
        item.user_properties.append(("database", _database(item)))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(NO_TEST_TAKES_LONGER_S))


def _database(item: pytest.Item) -> str:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return str(parameters.get("floor", parameters.get("database", "")))


@pytest.fixture(scope="session")
def scale() -> Scale:
    """How much of the whole is done: ``scale.of(200)``."""
    return Scale.chosen()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Every draw of a test comes from here; AFTERPROP_CHAOS_SEED repeats them."""
    print(f"AFTERPROP_CHAOS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``measured("200 jobs, 71 workers killed", lost=0, doubled=0)``: for the page of results, and for the log."""

    def note(done: str, **figures: Any) -> None:
        found = ", ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())
        request.node.user_properties += [("done", done), ("found", found)]
        print(f"{request.node.name}: {done}: {found}")

    return note


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """What clients were told and what was done to the service, to be held against the end."""
    return History(tmp_path / "history.jsonl")


@pytest.fixture
def new_floor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Floor]]:
    """Makes empty floors: ``new_floor("postgresql", lease_s=1.5, WORKER_SLOTS="2")``."""
    made: list[Floor] = []

    def make(database: str, **options: Any) -> Floor:
        folder = tmp_path_factory.mktemp(database)
        url = f"sqlite:///{folder / 'afterprop.db'}"
        if database == "postgresql":
            url = _fresh_database(request.getfixturevalue("postgresql_url"))
        made.append(Floor(folder, database_url=url, launcher="fork", **options))
        made[-1].migrate()
        return made[-1]

    yield make
    for floor in made:
        floor.end()


@pytest.fixture(params=["sqlite", "postgresql"])
def floor(request: pytest.FixtureRequest, new_floor: Callable[..., Floor]) -> Floor:
    """An empty floor on either database, with a lease of 1.5 s. ``floor_options`` marks what differs."""
    options = request.node.get_closest_marker("floor_options")
    return new_floor(request.param, **(options.kwargs if options else {}))


@pytest.fixture
def api(floor: Floor) -> Iterator[ApiProcess]:
    """The service's front door on this floor: a uvicorn process of its own."""
    process = ApiProcess(floor.environment, floor.folder / "api.log")
    process.start()
    yield process
    process.kill()
