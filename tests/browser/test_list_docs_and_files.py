"""The list of jobs, the documentation, the pages of errors, and the files that pages load."""

import gzip
import json
import urllib.request

import pytest
from playwright.sync_api import expect

from api.dashboard.static_files import PLOTLY
from api.problems import KINDS
from tests.browser import recorded_jobs
from tests.browser.conftest import Service, Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_empty_list_shows_a_command_that_posts_the_first_job(service: Service, watched: Watched) -> None:
    watched.open("/")
    page = watched.page
    expect(page.locator("#no-worker")).to_be_visible()
    watched.screenshot("list_empty")
    command = page.locator("#first-command").inner_text()
    url = command.split("-X POST ")[1].split()[0]
    body = command.split("-d '")[1].removesuffix("'")
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers)) as answer:
        assert answer.status == 202
        posted = json.load(answer)
    # The page notices by itself.
    expect(page.locator(f"tr[data-job={posted['id']}]")).to_contain_text("queued")
    watched.assert_clean()


def test_first_job_can_be_posted_from_the_page(service: Service, watched: Watched) -> None:
    watched.open("/")
    watched.page.get_by_role("button", name="Post it from here").click()
    expect(watched.page.locator("h1")).to_have_text("first")
    expect(watched.page.locator("[data-field=status]")).to_have_text("queued")
    watched.screenshot("job_queued")
    watched.assert_clean()


def test_list_keeps_up_and_filters(service: Service, watched: Watched) -> None:
    with service.database.writing.begin() as session:
        recorded_jobs.register_worker(session)
        recorded_jobs.queue(session, "done already")
        done = recorded_jobs.start(session)
        recorded_jobs.train(session, done, after=0, to=recorded_jobs.STEPS)
        recorded_jobs.finish(session, done, service.state_dir / "artifacts" / done[0])
        recorded_jobs.queue(session, "lost its way", learner="backprop")
        failed = recorded_jobs.start(session)
        recorded_jobs.train(session, failed, after=0, to=420, lost_from=410)
        recorded_jobs.fail(session, failed)
        recorded_jobs.queue(session, "under way", learner="forward_forward")
        under_way = recorded_jobs.start(session)
        recorded_jobs.train(session, under_way, after=0, to=150)
        recorded_jobs.queue(session, None, learner="readout_only")
    watched.open("/")
    page = watched.page
    rows = page.locator("#jobs tbody tr")
    expect(rows).to_have_count(4)
    expect(page.locator("[data-stat=workers]")).to_have_text("1")
    expect(page.locator(f"tr[data-job={done[0]}]")).to_contain_text("97.2 % validation")
    running = page.locator(f"tr[data-job={under_way[0]}]")
    expect(running).to_contain_text("25.0 %")
    expect(running.locator("[data-label=Last]")).to_contain_text("validation")
    shown = running.locator("[data-label=Last]").inner_text()
    watched.screenshot("list")
    with service.database.writing.begin() as session:
        recorded_jobs.train(session, under_way, after=150, to=300)
        recorded_jobs.queue(session, "came later")
    expect(running).to_contain_text("50.0 %")
    expect(running.locator("[data-label=Last]")).not_to_have_text(shown)
    expect(rows.first).to_contain_text("came later")
    page.get_by_role("link", name="Failed").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("diverged")
    page.goto(f"{watched.url}/?learner=forward_forward")
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="learner: forward_forward").click()
    expect(rows).to_have_count(5)
    watched.assert_clean()


def test_list_leads_from_page_to_page(service: Service, watched: Watched) -> None:
    with service.database.writing.begin() as session:
        for number in range(60):
            recorded_jobs.queue(session, f"number {number}")
    watched.open("/")
    names = watched.page.locator("#jobs .name")
    expect(names).to_have_count(50)
    expect(names.first).to_have_text("number 59")
    watched.page.get_by_role("link", name="Older").click()
    expect(names).to_have_count(10)
    expect(names.last).to_have_text("number 0")
    watched.page.wait_for_timeout(2500)
    expect(names).to_have_count(10)
    watched.page.get_by_role("link", name="Newest").click()
    expect(names.first).to_have_text("number 59")
    watched.assert_clean()


def test_docs_need_nothing_from_elsewhere(service: Service, watched: Watched) -> None:
    watched.open("/docs")
    page = watched.page
    operation = page.locator("#operations-jobs-create_job")
    expect(operation).to_be_visible()
    operation.locator("button.opblock-summary-control").click()
    expect(operation.locator(".opblock-body")).to_contain_text("Parameters")
    expect(operation.locator(".opblock-body .examples-select")).to_be_visible()
    watched.screenshot("docs")
    watched.assert_clean()


def test_every_kind_of_problem_has_its_page(service: Service, watched: Watched) -> None:
    for slug, kind in KINDS.items():
        assert watched.open(f"/errors/{slug}").status == 200
        expect(watched.page.locator("h1")).to_have_text(kind.title)
    watched.assert_clean()
    assert watched.open("/errors/none_of_them").status == 404


def test_chart_library_is_sent_small_and_once(service: Service) -> None:
    url = f"{service.url}/static/{PLOTLY}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})) as answer:
        body = answer.read()
        headers = dict(answer.headers)
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-encoding"] == "gzip"
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == gzip.decompress(body)
    again = urllib.request.Request(url, headers={"If-None-Match": headers["etag"]})
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        urllib.request.urlopen(again)
    assert unchanged.value.code == 304
    unchanged.value.close()
