"""The page of a job, as a browser shows it."""

import re
from collections.abc import Sequence

import pytest
from playwright.sync_api import Browser, Page, expect

from store import jobs
from tests.browser import recorded_jobs
from tests.browser.conftest import Service, Watched, watch

pytestmark = [pytest.mark.browser, pytest.mark.slow]

POINTS = (
    "(document.getElementById(name + '-chart').data ?? [])"
    ".reduce((sum, line) => sum + line.y.filter(value => value !== null).length, 0)"
)


def expect_points(page: Page, chart: str, *, least: int) -> None:
    """Waits until the chart holds at least as many points, and shows their lines."""
    page.wait_for_function(f"([name, least]) => {POINTS} >= least", arg=[chart, least])
    expect(page.locator(f"#{chart}-chart .scatterlayer .trace").first).to_be_visible()


def shown_range(page: Page, chart: str) -> Sequence[float]:
    shown: Sequence[float] = page.evaluate("name => document.getElementById(name + '-chart').layout.xaxis.range", chart)
    return shown


def running_job(service: Service, *, to: int, name: str = "mezo on digits") -> tuple[str, int]:
    with service.database.writing.begin() as session:
        recorded_jobs.register_worker(session)
        recorded_jobs.queue(session, name, labels={"study": "pages"})
        key = recorded_jobs.start(session)
        recorded_jobs.train(session, key, after=0, to=to)
    return key


def finish(service: Service, key: tuple[str, int]) -> None:
    with service.database.writing.begin() as session:
        recorded_jobs.finish(session, key, service.state_dir / "artifacts" / key[0])


def test_finished_job_shows_charts_results_bill_and_files(service: Service, watched: Watched) -> None:
    key = running_job(service, to=recorded_jobs.STEPS)
    finish(service, key)
    watched.open(f"/jobs/{key[0]}")
    page = watched.page
    expect_points(page, "loss", least=100)
    expect_points(page, "metric", least=5)
    expect_points(page, "gradient", least=4 * 100)
    expect_points(page, "alignment", least=2 * 4 * 10)
    expect_points(page, "other", least=100)
    assert page.evaluate("document.getElementById('gradient-chart').layout.yaxis.type") == "log"
    expect(page.locator("[data-field=status]")).to_have_text("succeeded")
    expect(page.locator("[data-table=result]")).to_contain_text("96.1 %")
    expect(page.locator("[data-table=bill]")).to_contain_text("not measured: no counter")
    expect(page.locator("[data-table=layers] tbody tr")).to_have_count(len(recorded_jobs.LAYERS) + 1)
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    watched.screenshot("job_finished")
    page.get_by_text("What the trainer printed").click()
    expect(page.locator("#log-lines")).to_have_text("started\ndone")
    for link in page.locator("[data-table=files] a, .links a").all():
        answer = page.request.get(watched.url + (link.get_attribute("href") or ""))
        assert answer.ok, link.get_attribute("href")
    with page.expect_download() as download:
        page.get_by_role("link", name="Every point as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("name,layer") and len(lines) > 1000
    watched.assert_clean()


def test_page_says_the_same_before_its_scripts_run(service: Service, browser: Browser) -> None:
    key = running_job(service, to=recorded_jobs.STEPS)
    finish(service, key)
    tables = ("result", "bill", "layers", "files", "attempts", "events")
    shown = []
    for scripts in (False, True):
        context = browser.new_context(java_script_enabled=scripts, timezone_id="UTC", locale="en-GB")
        page = context.new_page()
        page.goto(f"{service.url}/jobs/{key[0]}")
        if scripts:
            expect_points(page, "loss", least=100)
            page.wait_for_load_state("networkidle")
        found = {name: page.locator(f"[data-table={name}]").inner_text() for name in tables}
        # Times are shown in the reader's own zone once scripts run.
        shown.append({name: re.sub(r"[\d-]* ?\d\d:\d\d:\d\d( UTC)?", "", text) for name, text in found.items()})
        context.close()
    assert shown[0] == shown[1]


def test_verdicts_say_the_same_before_scripts_run_and_a_button_tries_the_remedy(
    service: Service, browser: Browser, watched: Watched
) -> None:
    key = running_job(service, to=100)
    with service.database.writing.begin() as session:
        recorded_jobs.find_faults(session, key)
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(f"{service.url}/jobs/{key[0]}")
    before = [item.inner_text() for item in plain.locator(".verdicts > li").all()]
    assert [text.splitlines()[0] for text in before] == [
        "error lr too high blocks.1, steps 1 to 20",
        "error nonfinite readout, step 420, explained by: lr too high",
        "warning vanishing blocks.0, steps 10 to 1\u202f600, explained by: lr too high",
    ]
    assert "update ratio 0.5130, above 0.1000 over 3 points" in before[0]
    assert "Lower the learning rate tenfold. /optimizer/lr = 1.00e-5. Frees about 1.0 MiB." in before[0]
    plain.context.close()
    watched.open(f"/jobs/{key[0]}")
    page = watched.page
    buttons = page.get_by_role("button", name="Try it")
    expect(buttons).to_have_count(3)
    after = [item.inner_text().replace(" Try it", "") for item in page.locator(".verdicts > li").all()]
    assert [text.split() for text in after] == [text.split() for text in before]
    watched.screenshot("job_verdicts")
    buttons.first.click()
    page.wait_for_url(lambda url: "/jobs/job_" in url and key[0] not in url)
    expect(page.locator(".facts")).to_contain_text(key[0])
    page.goto(f"{service.url}/jobs/{key[0]}")
    expect(page.locator(".tried")).to_have_text("Lower the learning rate tenfold: has not ended yet")
    watched.assert_clean()


def test_running_job_is_followed_to_its_end_without_losing_the_zoom(service: Service, watched: Watched) -> None:
    key = running_job(service, to=200)
    watched.open(f"/jobs/{key[0]}")
    page = watched.page
    expect_points(page, "loss", least=40)
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("[data-field=progress]")).to_contain_text("step 200 of 600")
    watched.screenshot("job_running")
    _zoom(page, "loss")
    zoomed = shown_range(page, "loss")
    assert zoomed[1] - zoomed[0] < 150
    with service.database.writing.begin() as session:
        recorded_jobs.train(session, key, after=200, to=400)
    expect(page.locator("[data-field=progress]")).to_contain_text("step 400 of 600")
    expect_points(page, "loss", least=80)
    assert shown_range(page, "loss") == zoomed
    with service.database.writing.begin() as session:
        recorded_jobs.train(session, key, after=400, to=recorded_jobs.STEPS)
    finish(service, key)
    expect(page.locator("[data-field=status]")).to_have_text("succeeded")
    expect(page.locator("[data-table=result]")).to_contain_text("96.1 %")
    expect(page.locator("[data-table=events] tbody tr").first).to_contain_text("end")
    expect(page.locator("#progress")).to_be_hidden()
    page.wait_for_timeout(3000)  # the last points may still be fetched once
    asked = len(watched.requested)
    page.wait_for_timeout(4000)
    assert watched.requested[asked:] == [], "an ended job is not asked for again"
    watched.assert_clean()


def test_diverged_job_shows_its_cause_and_a_gap(service: Service, watched: Watched) -> None:
    with service.database.writing.begin() as session:
        recorded_jobs.queue(session, "too bold a step")
        key = recorded_jobs.start(session)
        recorded_jobs.train(session, key, after=0, to=430, lost_from=420)
        recorded_jobs.fail(session, key)
    watched.open(f"/jobs/{key[0]}")
    page = watched.page
    expect_points(page, "loss", least=80)
    expect(page.locator("[data-field=error]")).to_contain_text("diverged")
    expect(page.locator("#loss-figure [data-note]")).to_have_text("not finite from step 420")
    lost = page.evaluate("document.getElementById('loss-chart').data[0].y.filter(value => value === null).length")
    assert lost == 3
    watched.screenshot("job_diverged")
    watched.assert_clean()


def test_name_that_looks_like_markup_is_shown_as_text(service: Service, watched: Watched) -> None:
    key = running_job(service, to=100, name=recorded_jobs.HOSTILE_NAME)
    page = watched.page
    for path, place in ((f"/jobs/{key[0]}", "h1"), ("/", ".jobs .name")):
        watched.open(path)
        expect(page.locator(place)).to_have_text(recorded_jobs.HOSTILE_NAME)
        page.wait_for_timeout(2500)  # once more after the scripts have written it anew
        expect(page.locator(place)).to_have_text(recorded_jobs.HOSTILE_NAME)
        assert page.evaluate("window.intruded ?? null") is None
    watched.assert_clean()


def test_buttons_pause_resume_cancel_and_run_again(service: Service, watched: Watched) -> None:
    with service.database.writing.begin() as session:
        job_id = recorded_jobs.queue(session, "to be stopped")
    watched.open(f"/jobs/{job_id}")
    page = watched.page
    status = page.locator("[data-field=status]")
    expect(status).to_have_text("queued")
    expect(page.locator("[data-field=reason]")).to_contain_text("No live worker offers a CPU")
    with service.database.writing.begin() as session:
        key = recorded_jobs.start(session)
        recorded_jobs.train(session, key, after=0, to=100)
    page.get_by_role("button", name="Pause").click()
    expect(status).to_have_text("pausing")
    page.get_by_role("button", name="Cancel").click()
    expect(status).to_have_text("pausing")
    page.get_by_role("button", name="Cancel: sure?").click()
    expect(status).to_have_text("cancelling")
    with service.database.writing.begin() as session:
        assert jobs.get(session, job_id).desired_state == "cancel"
        recorded_jobs.settle_cancelled(session, key)
    expect(status).to_have_text("cancelled")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("Retry of")).to_be_visible()
    assert page.url != f"{service.url}/jobs/{job_id}"
    expect(page.locator("[data-field=status]")).to_have_text("queued")
    watched.assert_clean()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 390), ("dark", 390)])
def test_page_fits_its_reader(service: Service, browser: Browser, scheme: str, width: int) -> None:
    key = running_job(service, to=300)
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
        timezone_id="UTC",
    )
    watched = watch(context, service.url)
    for path, name in ((f"/jobs/{key[0]}", "job"), ("/", "list")):
        watched.open(path)
        if name == "job":
            expect_points(watched.page, "gradient", least=200)
        watched.screenshot(f"{name}_{scheme}_{width}")
        over = watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0, f"{name} is {over} pixels wider than the window"
    watched.assert_clean()
    context.close()


def test_unknown_job_is_a_page_that_says_so(service: Service, watched: Watched) -> None:
    answer = watched.open("/jobs/job_00000000000000000000000000000000")
    assert answer.status == 404
    expect(watched.page.locator("h1")).to_have_text("There is no such job")


def _zoom(page: Page, chart: str) -> None:
    """Drags over the middle of the chart, as a person does."""
    area = page.locator(f"#{chart}-chart .nsewdrag").bounding_box()
    assert area is not None
    middle = area["y"] + area["height"] / 2
    page.mouse.move(area["x"] + 0.3 * area["width"], middle)
    page.mouse.down()
    page.mouse.move(area["x"] + 0.6 * area["width"], middle, steps=5)
    page.mouse.up()
    page.wait_for_function(
        "name => document.getElementById(name + '-chart').layout.xaxis.autorange === false", arg=chart
    )
