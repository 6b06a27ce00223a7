"""A real browser that reaches this machine alone, before the real application on a real database."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, sync_playwright
from sqlalchemy import delete

from store.comparison_tables import Comparison
from store.database import Database
from store.tables import Job, Worker
from tests.api.conftest import migrated
from tests.api.serving import served

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
OFFLINE = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)


@dataclass
class Service:
    """A running API, its database and its folder."""

    url: str
    database: Database
    state_dir: Path


@dataclass
class Watched:
    """A page, and whatever went wrong on it."""

    page: Page
    url: str
    failures: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def open(self, path: str) -> Response:
        response = self.page.goto(self.url + path)
        assert response is not None
        return response

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def assert_clean(self) -> None:
        """No failed or outside request, no word in the console, nothing that the policy refused."""
        outside = [url for url in self.requested if not url.startswith((self.url, "data:", "blob:"))]
        assert (self.failures, outside) == ([], [])
        assert self.page.evaluate("window.refusedByPolicy ?? null") == []


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(OFFLINE))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def running_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("pages")
    database = migrated(f"sqlite:///{folder / 'state' / 'afterprop.db'}")
    with served(folder / "state", folder / "api.log", AFTERPROP_EVENT_POLL_S="0.1") as (url, _):
        yield Service(url, database, folder / "state")
    database.dispose()


@pytest.fixture
def service(running_service: Service) -> Iterator[Service]:
    """The service without a job and without a worker."""
    yield running_service
    with running_service.database.writing.begin() as session:
        session.execute(delete(Comparison))
        session.execute(delete(Job))
        session.execute(delete(Worker))


@pytest.fixture
def watched(browser: Browser, service: Service) -> Iterator[Watched]:
    """A page at desk width."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", timezone_id="UTC")
    yield watch(context, service.url)
    context.close()


def watch(context: BrowserContext, url: str) -> Watched:
    """A new page that keeps what goes wrong on it."""
    page = context.new_page()
    watched = Watched(page, url)
    page.add_init_script(
        "window.refusedByPolicy = [];"
        "document.addEventListener('securitypolicyviolation', e => window.refusedByPolicy.push(e.violatedDirective));"
    )
    page.on("request", lambda request: watched.requested.append(request.url))
    page.on("requestfailed", lambda request: _keep_failure(watched, request))
    page.on("pageerror", lambda error: watched.failures.append(f"page error: {error}"))
    page.on("response", lambda response: watched.failures.append(response.url) if response.status >= 400 else None)
    page.on(
        "console",
        lambda line: watched.failures.append(line.text) if line.type in ("error", "warning") else None,
    )
    return watched


def _keep_failure(watched: Watched, request: Request) -> None:
    """A request that was under way when its page was left is no failure."""
    if request.failure != "net::ERR_ABORTED":
        watched.failures.append(f"{request.url}: {request.failure}")
