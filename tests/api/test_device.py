"""``device: auto`` is decided when the job is posted, and written out."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from store import workers
from store.database import Database
from store.settings import Settings

_JOB: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "iris"},
    "network": {"kind": "mlp", "hidden": [4]},
    "learner": {"kind": "backprop"},
}


@pytest.mark.parametrize(("classes", "expected"), [(["cpu"], "cpu"), (["cpu", "gpu"], "cuda"), ([], "cpu")])
def test_auto_becomes_a_gpu_only_where_a_worker_offers_one(
    settings: Settings, database: Database, classes: list[str], expected: str
) -> None:
    if classes:
        with database.writing.begin() as session:
            workers.register(
                session,
                worker_id="wrk_1",
                host="here",
                pid=1,
                classes=classes,
                slots=1,
                devices=[],
                launcher={"kind": "fork"},
                versions={},
            )
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        job = client.post("/v1/jobs", json=_JOB).json()
    assert job["resolved_spec"]["resources"]["device"] == expected


def test_a_gpu_that_nobody_offers_is_waited_for(settings: Settings, database: Database) -> None:
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/jobs", json={**_JOB, "resources": {"device": "cuda"}})
    assert answer.status_code == 202
    assert answer.json()["status_reason"]["code"] == "no_worker_of_class"
