"""The pages of comparisons, as a browser shows them, and the exported file, which needs no service."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from store.settings import Settings
from tests import lived_comparison
from tests.api.conftest import NO_BROKER
from tests.browser.conftest import Service, Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DRAWN = "name => (document.getElementById(name).data ?? []).length"


def answered(service: Service) -> str:
    settings = Settings(state_dir=service.state_dir, broker_url=NO_BROKER)
    return lived_comparison.answered(service.database, settings)


def test_answered_comparison_shows_sentence_tables_and_charts(service: Service, watched: Watched) -> None:
    comparison_id = answered(service)
    watched.open(f"/comparisons/{comparison_id}")
    page = watched.page
    expect(page.locator("[data-field=sentence]")).to_contain_text(
        "not worth it: forward_forward; no win and no loss: mono_forward"
    )
    expect(page.locator("[data-table=result] tbody tr")).to_have_count(7)
    expect(page.locator("[data-table=result]")).to_contain_text("worse")
    expect(page.locator("[data-table=bill] tbody tr")).to_have_count(7)
    expect(page.locator("[data-table=seeds] tbody a")).to_have_count(4 * 7)
    plausibility = page.locator("[data-table=plausibility] tbody tr")
    expect(plausibility).to_have_count(7)
    expect(plausibility.filter(has_text="backprop checkpointing").locator("td")).to_have_text(
        ["yes", "no", "yes", "yes", "defaults, mlp"]
    )
    expect(plausibility.filter(has_text="forward forward").locator("td").nth(1)).to_have_text("yes")
    expect(page.locator("[data-list=protocol] li").first).to_be_visible()
    for chart in ("pareto-chart", "curve-chart"):
        page.wait_for_function(f"() => ({DRAWN})('{chart}') === 7")
    page.select_option("#pareto-select", "memory")
    page.wait_for_function("() => document.getElementById('pareto-chart').layout.xaxis.title.text.includes('bytes')")
    expect(page.locator("#progress")).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.locator("[data-table=bill]").evaluate("place => place.scrollWidth <= place.clientWidth")
    watched.screenshot("comparison")
    watched.assert_clean()


def test_running_comparison_counts_its_jobs_and_can_be_cancelled(service: Service, watched: Watched) -> None:
    unfit = {"learner": {"kind": "e_prop"}, "required": False}
    comparison_id = lived_comparison.made(service.database, learners=[*lived_comparison.SPEC["learners"], unfit])
    watched.open(f"/comparisons/{comparison_id}")
    page = watched.page
    expect(page.locator("[data-list=left-out]")).to_contain_text("e prop is left out: e_prop cannot train this network")
    expect(page.locator("[data-field=progress]")).to_contain_text("0 of 10 jobs of tuning")
    page.locator("[data-action=cancel]").click()
    expect(page.locator("[data-field=status]")).to_have_text("cancelled")
    expect(page.locator("[data-field=sentence]")).to_have_text("Cancelled: there is no answer.")
    expect(page.locator("[data-table=result]")).to_have_text("Cancelled: there is no answer.")
    page.reload()
    expect(page.locator("[data-table=result]")).to_have_text("Cancelled: there is no answer.")
    expect(page.locator("body")).not_to_contain_text("when the last job has ended")
    watched.assert_clean()


def test_interval_of_an_accuracy_stays_between_0_and_100(service: Service, watched: Watched) -> None:
    def far_apart(arm: str, seed: int) -> float:
        return 0.3 + 0.5 * seed

    settings = Settings(state_dir=service.state_dir, broker_url=NO_BROKER)
    comparison_id = lived_comparison.answered(
        service.database, settings, far_apart, seeds=2, tuning=None, training={"epochs": 1}
    )
    watched.open(f"/comparisons/{comparison_id}")
    expect(watched.page.locator("[data-table=result] tbody tr").first).to_contain_text("55.00 (0.00 to 100.00)")
    expect(watched.page.locator(".facts")).to_contain_text("1 epoch")
    expect(watched.page.locator(".facts")).not_to_contain_text("1 epochs")
    watched.assert_clean()


def test_list_leads_to_the_comparison(service: Service, watched: Watched) -> None:
    watched.open("/comparisons")
    expect(watched.page.locator(".command")).to_contain_text("/v1/comparisons")
    comparison_id = answered(service)
    watched.open("/comparisons")
    watched.page.get_by_role("link", name="lived").click()
    assert watched.page.url.endswith(f"/comparisons/{comparison_id}")
    watched.assert_clean()


def test_exported_file_shows_the_same_with_nothing_else_there(
    service: Service, watched: Watched, tmp_path: Path
) -> None:
    comparison_id = answered(service)
    file = tmp_path / "comparison.html"
    watched.open(f"/comparisons/{comparison_id}")
    with watched.page.expect_download() as download:
        watched.page.get_by_role("link", name="This page as one file").click()
    download.value.save_as(file)
    requested: list[str] = []
    page = watched.page.context.new_page()
    page.on("request", lambda request: requested.append(request.url))
    page.goto(file.as_uri())
    for chart in ("pareto-chart", "curve-chart"):
        page.wait_for_function(f"() => ({DRAWN})('{chart}') === 7")
    expect(page.locator("[data-table=result] tbody tr")).to_have_count(7)
    expect(page.locator("[data-table=plausibility] tbody tr")).to_have_count(7)
    page.select_option("#curve-select", "flops")
    page.wait_for_function("() => document.getElementById('curve-chart').layout.xaxis.title.text.includes('FLOPs')")
    assert [url for url in requested if not url.startswith(("file:", "data:", "blob:"))] == []
