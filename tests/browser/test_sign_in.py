"""The pages of a service that asks for keys: a person signs in, acts, signs out."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from store import jobs, keys
from tests.api import lived_job
from tests.api.conftest import migrated
from tests.api.serving import served
from tests.browser.conftest import watch

pytestmark = pytest.mark.browser


def test_a_person_signs_in_cancels_a_job_and_signs_out(browser: Browser, tmp_path: Path) -> None:
    database = migrated(f"sqlite:///{tmp_path / 'state' / 'afterprop.db'}")
    with database.writing.begin() as session:
        _, key = keys.create(session, project="default", name="", scopes=["write"])
    job_id = lived_job.queued(database)
    with served(tmp_path / "state", tmp_path / "api.log", AFTERPROP_KEYS="required") as (url, _):
        context = browser.new_context()
        watched = watch(context, url)
        page = watched.page
        watched.open(f"/jobs/{job_id}")
        assert page.url.startswith(f"{url}/login")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{url}/jobs/{job_id}")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel: sure?").click()
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
        assert page.evaluate("document.cookie") == ""
        with database.reading() as session:
            assert jobs.get(session, job_id).status == "cancelled"
        watched.assert_clean()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{url}/login")
        watched.open("/")
        assert page.url.startswith(f"{url}/login")
        context.close()
    assert key not in (tmp_path / "api.log").read_text()
    database.dispose()
