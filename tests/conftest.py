"""What every room's tests share: one real embedded stack, and what happens when something is missing."""

import gc
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from afterprop.client import Client
from tests.embedded_stack import EmbeddedStack

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow begins first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Thousands of collected tests are not looked through again whenever garbage is collected."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI all but a GPU, a Docker engine and peers outside the lock can be had, so there a skip is a failure."""
    report = yield
    cannot_be_had = any(item.get_closest_marker(name) for name in ("gpu", "engine", "peer"))
    if IN_CI and report.skipped and not getattr(report, "wasxfail", "") and not cannot_be_had:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report


@pytest.fixture(scope="session")
def embedded_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """The one embedded stack of the session."""
    stack = EmbeddedStack(tmp_path_factory.mktemp("stack") / "state")
    try:
        yield stack.start()
    finally:
        stack.end()


@pytest.fixture(scope="session")
def service_url(request: pytest.FixtureRequest) -> str:
    """The service under test: AFTERPROP_URL if it is set, else the embedded stack."""
    given = os.environ.get("AFTERPROP_URL")
    if given:
        return given.rstrip("/")
    stack: EmbeddedStack = request.getfixturevalue("embedded_stack")
    return stack.url


@pytest.fixture(scope="session")
def client(service_url: str) -> Iterator[Client]:
    with Client(service_url) as client:
        yield client


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Callable[..., EmbeddedStack]]:
    """Makes stacks that the test may kill: ``new_stack("name", workers=2, AFTERPROP_LEASE_S="1.5").start()``."""
    made: list[EmbeddedStack] = []

    def make(name: str = "state", *, workers: int = 1, **environment: str) -> EmbeddedStack:
        made.append(EmbeddedStack(tmp_path / name, workers=workers, **environment))
        return made[-1]

    yield make
    for stack in made:
        stack.end()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on PATH")
    return found
