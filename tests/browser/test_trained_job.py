"""The page of a job that a real worker trains."""

import pytest
from playwright.sync_api import Browser, expect

from afterprop.client import Client
from tests.browser.conftest import watch
from tests.browser.test_job_page import expect_points

pytestmark = [pytest.mark.browser, pytest.mark.service, pytest.mark.slow]


def test_trained_job_is_followed_from_queue_to_result(client: Client, service_url: str, browser: Browser) -> None:
    job = client.jobs.create(
        {
            "name": "looked at",
            "dataset": {"kind": "builtin", "name": "digits"},
            "network": {"kind": "mlp", "hidden": [64, 64]},
            "learner": {"kind": "forward_forward"},
            "training": {"epochs": 12},
            "diagnostics": {"alignment_every_steps": 20, "budget_percent": None},
        }
    )
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    watched = watch(context, service_url)
    page = watched.page
    watched.open(f"/jobs/{job['id']}")
    expect(page.locator("[data-field=status]")).to_have_text("succeeded", timeout=120_000)
    for chart in ("loss", "metric", "gradient", "alignment", "other"):
        expect_points(page, chart, least=10)
    accuracy = client.jobs.retrieve(job["id"])["result"]["metrics"]["test"]["accuracy"]
    expect(page.locator("[data-table=result]")).to_contain_text(f"{100 * accuracy:.1f} %")
    expect(page.locator("[data-table=layers] tbody tr")).not_to_have_count(0)
    expect(page.locator("[data-table=files] a", has_text="safetensors")).to_be_visible()
    watched.screenshot("job_trained")
    watched.assert_clean()
    context.close()
