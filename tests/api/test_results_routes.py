"""What a job measured and left: series, diagnostics, files, receipt, attempts."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.app import create_app
from store import settlement
from store.database import Database
from store.settings import Settings
from store.tables import Artifact
from tests.api import lived_job
from tests.api.lived_job import LAYERS, NAN_STEP, SPIKE_STEP, STEPS, WEIGHTS


@pytest.fixture
def job(database: Database, settings: Settings) -> str:
    return lived_job.succeeded(database, settings)


def query(http: TestClient, job: str, **parameters: Any) -> list[dict[str, Any]]:
    answer = http.get(f"/v1/jobs/{job}/series/query", params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_catalogue_of_series_follows_the_network(http: TestClient, job: str) -> None:
    entries = http.get(f"/v1/jobs/{job}/series").json()["data"]
    layers = list(dict.fromkeys(entry["layer"] for entry in entries))
    assert layers == [None, *LAYERS]
    loss = next(entry for entry in entries if entry["name"] == "loss" and entry["split"] == "train")
    assert (loss["count"], loss["max"], loss["nonfinite_count"]) == (len(STEPS), 50.0, 1)


def test_series_is_whole_when_it_has_few_enough_points(http: TestClient, job: str) -> None:
    [loss] = query(http, job, names="loss", split="train", max_points=2000)
    assert loss["x"] == list(STEPS)
    assert (loss["sampled"], loss["raw_count"]) == (False, len(STEPS))
    assert loss["y"][STEPS.index(NAN_STEP)] is None
    assert loss["nonfinite"] == [{"step": NAN_STEP, "kind": "nan"}]


@pytest.mark.parametrize("method", ["minmax", "lttb"])
def test_spike_and_nan_survive_sampling(http: TestClient, job: str, method: str) -> None:
    [loss] = query(http, job, names="loss", split="train", max_points=20, method=method)
    assert loss["sampled"] is True
    assert len(loss["x"]) <= 20
    assert loss["raw_count"] == len(STEPS)
    assert loss["y"][loss["x"].index(SPIKE_STEP)] == 50.0
    assert {"step": NAN_STEP, "kind": "nan"} in loss["nonfinite"]
    assert (loss["x"][0], loss["x"][-1]) == (STEPS[0], STEPS[-1])


def test_series_are_chosen_by_name_layer_split_and_step(http: TestClient, job: str) -> None:
    chosen = query(http, job, names=["grad_norm", "weight_norm"], layers="readout", from_step=20, to_step=40)
    assert [(series["name"], series["layer"], series["x"]) for series in chosen] == [
        ("grad_norm", "readout", [20, 30, 40]),
        ("weight_norm", "readout", [20, 30, 40]),
    ]
    [validation] = query(http, job, names="loss", split="validation")
    assert (validation["x"], validation["y"]) == ([1000, 2000], pytest.approx([0.3, 0.2]))
    assert query(http, job, names="update_ratio", layers="nothing") == []


def test_series_that_is_not_there_is_told_those_that_are(http: TestClient, job: str) -> None:
    answer = http.get(f"/v1/jobs/{job}/series/query", params={"names": "loss,grad_nrm"})
    assert answer.status_code == 422
    [item] = answer.json()["errors"]
    assert item["pointer"] == "/query/names"
    assert "did you mean 'grad_norm'?" in item["detail"]
    assert "grad_norm" in item["allowed"]


def test_series_that_this_job_did_not_measure_is_empty(http: TestClient, job: str) -> None:
    assert query(http, job, names="mse") == []


def test_no_name_is_refused_while_nothing_was_measured(http: TestClient) -> None:
    waiting = http.post("/v1/jobs", json=lived_job.SPEC).json()["id"]
    assert query(http, waiting, names="goodness") == []


@pytest.mark.parametrize(("axis", "at_step_1000"), [("wall_s", 1000 / 160), ("samples", 64_000)])
def test_series_is_drawn_over_seconds_or_samples(http: TestClient, job: str, axis: str, at_step_1000: float) -> None:
    [validation] = query(http, job, names="loss", split="validation", x=axis)
    assert validation["x"][0] == pytest.approx(at_step_1000)
    [norm] = query(http, job, names="grad_norm", layers="blocks.0", x=axis)
    assert norm["x"][STEPS.index(1000)] == pytest.approx(at_step_1000)


def test_series_over_what_was_not_measured_has_no_points(http: TestClient, job: str) -> None:
    [norm] = query(http, job, names="grad_norm", layers="blocks.0", x="joules")
    assert (norm["x"], norm["y"], norm["raw_count"]) == ([], [], len(STEPS))


def test_series_come_as_csv(http: TestClient, job: str) -> None:
    parameters = {"names": "loss", "split": "train", "max_points": 2000}
    answer = http.get(f"/v1/jobs/{job}/series/query", params=parameters, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert [int(float(row["x"])) for row in rows] == list(STEPS)
    assert [row["y"] for row in rows if row["x"] == str(float(NAN_STEP))] == ["nan"]
    assert {row["raw_count"] for row in rows} == {str(len(STEPS))}
    assert {row["sampled"] for row in rows} == {"false"}


@pytest.mark.parametrize("accept", ["image/png", "application/vnd.apache.arrow.stream", "text/csv;q=0"])
def test_series_come_in_no_other_form(http: TestClient, job: str, accept: str) -> None:
    refused = http.get(f"/v1/jobs/{job}/series/query", headers={"Accept": accept})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    assert refused.json()["errors"][0]["allowed"] == ["application/json", "text/csv"]


def test_most_wanted_form_is_served(http: TestClient, job: str) -> None:
    accept = "text/csv;q=0.5, application/*;q=0.9, */*;q=0.1"
    answer = http.get(f"/v1/jobs/{job}/series/query", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "parameters",
    [{"max_points": 0}, {"max_points": 2001}, {"method": "best"}, {"x": "days"}, {"from_step": -1}, {"name": "loss"}],
)
def test_query_that_cannot_be_answered_is_refused(http: TestClient, job: str, parameters: dict[str, Any]) -> None:
    assert http.get(f"/v1/jobs/{job}/series/query", params=parameters).status_code == 422


def test_diagnostics_sum_up_every_layer_in_network_order(http: TestClient, job: str) -> None:
    answer = http.get(f"/v1/jobs/{job}/diagnostics").json()
    assert [layer["layer"] for layer in answer["layers"]] == list(LAYERS)
    for layer in answer["layers"]:
        weight_norm = layer["quantities"]["weight_norm"]
        assert {weight_norm[name] for name in ("latest", "min", "max", "mean")} == {5.0}
        assert weight_norm["step"] == STEPS[-1]
        assert (layer["alignment"]["mean"], layer["alignment"]["expected"]) == (1.0, 1.0)
    loss = answer["network"]["loss"]
    assert (loss["max"], loss["nonfinite_count"], loss["count"]) == (50.0, 1, len(STEPS))
    assert answer["splits"]["validation"]["accuracy"]["latest"] == pytest.approx(0.95)
    assert answer["cost"]["energy"]["reason"] == "no_counter"
    assert answer["measured"]["overhead_share"] == 0.004


def test_signal_over_depth_and_time_follows_from_what_is_stored(http: TestClient, job: str) -> None:
    answer = http.get(f"/v1/jobs/{job}/diagnostics").json()
    depth = answer["signal_over_depth"]
    # Both layers have the same gradient norm, over 100 and over 4 parameters.
    assert [layer["layer"] for layer in depth["layers"]] == list(LAYERS)
    assert depth["layers"][1]["grad_rms"] == pytest.approx(5 * depth["layers"][0]["grad_rms"])
    assert (depth["ratio"], depth["slope"], depth["reason"]) == (pytest.approx(0.2), pytest.approx(math.log10(5)), None)
    first = answer["layers"][0]
    time = first["signal_over_time"]
    assert (time["steps"], time["norms"]) == ([1, 2], [pytest.approx(0.001), pytest.approx(0.1)])
    assert (time["ratio"], time["slope"]) == (pytest.approx(0.01), 2.0)
    assert not any(name.startswith("time_signal") for name in first["quantities"])


def test_alignment_says_whether_the_layers_own_step_helped(http: TestClient, job: str) -> None:
    alignment = http.get(f"/v1/jobs/{job}/diagnostics").json()["layers"][0]["alignment"]
    assert (alignment["ratio_to_expected"], alignment["norm_ratio_spread"], alignment["sign_agreement"]) == (1, 1, 1)
    assert (alignment["first_order_decrease"], alignment["lowered_loss"]) == (pytest.approx(0.01), True)


def test_diagnostics_of_a_job_that_has_measured_nothing_are_empty(http: TestClient, database: Database) -> None:
    answer = http.get(f"/v1/jobs/{lived_job.queued(database)}/diagnostics").json()
    assert (answer["layers"], answer["network"], answer["cost"]) == ([], {}, None)
    assert answer["signal_over_depth"]["reason"] == "sizes_not_known"


def test_receipt_names_what_was_trained_and_on_what(http: TestClient, job: str) -> None:
    receipt = http.get(f"/v1/jobs/{job}/receipt").json()
    assert receipt["measured"]["dataset_sha256"] == "cd" * 32
    assert receipt["weights_sha256"] == "ab" * 32
    other = http.post("/v1/jobs", json={**lived_job.SPEC, "name": "another name"}).json()["id"]
    again = http.get(f"/v1/jobs/{other}/receipt").json()
    assert again["spec_sha256"] == receipt["spec_sha256"]


def test_attempts_are_listed_oldest_first(http: TestClient, database: Database) -> None:
    lived = lived_job.running(database)
    with database.writing.begin() as session:
        assert settlement.settle(session, lived.job_id, 1, charge=True, code="worker_lost", message="Gone.")
    again = lived_job.attempts.claim
    with database.writing.begin() as session:
        assert again(session, worker_id="wrk_2", host="b", worker_pid=2, resource_class="cpu", lease_s=60)
    first, second = http.get(f"/v1/jobs/{lived.job_id}/attempts").json()["data"]
    assert (first["number"], first["exit_cause"], first["trainer_pid"]) == (1, "worker_lost", 7)
    assert first["started_at"] <= first["ended_at"]
    assert (second["number"], second["ended_at"], second["worker_id"]) == (2, None, "wrk_2")


class TestArtifacts:
    """Files, whole and in ranges."""

    @pytest.fixture
    def path(self, job: str) -> str:
        return f"/v1/jobs/{job}/artifacts/weights.safetensors"

    def test_lists_name_every_file(self, http: TestClient, job: str, path: str) -> None:
        [weights] = http.get(f"/v1/jobs/{job}/artifacts").json()["data"]
        assert (weights["name"], weights["bytes"], weights["url"]) == ("weights.safetensors", len(WEIGHTS), path)
        [checkpoint] = http.get(f"/v1/jobs/{job}/checkpoints").json()["data"]
        assert (checkpoint["step"], checkpoint["sha256"]) == (2000, weights["sha256"])

    def test_file_is_served_whole_as_an_attachment(self, http: TestClient, path: str) -> None:
        answer = http.get(path)
        assert answer.content == WEIGHTS
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="weights.safetensors"'
        assert answer.headers["Accept-Ranges"] == "bytes"

    def test_head_says_what_get_would_send(self, http: TestClient, path: str) -> None:
        head, whole = http.head(path), http.get(path)
        assert head.content == b""
        for name in ("Content-Length", "ETag", "Content-Type", "Accept-Ranges"):
            assert head.headers[name] == whole.headers[name]

    @pytest.mark.parametrize(
        ("range_", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=10-99", 10, 100),
            ("bytes=10000-", 10_000, len(WEIGHTS)),
            ("bytes=-7", len(WEIGHTS) - 7, len(WEIGHTS)),
            ("bytes=-999999", 0, len(WEIGHTS)),
            ("bytes=5-999999", 5, len(WEIGHTS)),
            ("bytes=0-99999999999999999999999999", 0, len(WEIGHTS)),
            ("bytes=-99999999999999999999999999", 0, len(WEIGHTS)),
        ],
    )
    def test_range_is_served_alone(self, http: TestClient, path: str, range_: str, start: int, stop: int) -> None:
        answer = http.get(path, headers={"Range": range_})
        assert answer.status_code == 206
        assert answer.content == WEIGHTS[start:stop]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(WEIGHTS)}"
        assert answer.headers["Content-Length"] == str(stop - start)

    @pytest.mark.parametrize(
        "range_", [f"bytes={len(WEIGHTS)}-", "bytes=-0", "bytes=99999999-99999999", f"bytes={'9' * 30}-"]
    )
    def test_range_outside_the_file_is_refused(self, http: TestClient, path: str, range_: str) -> None:
        refused = http.get(path, headers={"Range": range_})
        assert (refused.status_code, refused.json()["code"]) == (416, "range_not_satisfiable")
        assert refused.headers["Content-Range"] == f"bytes */{len(WEIGHTS)}"

    @pytest.mark.parametrize(
        "range_", ["bytes=9-3", "bytes=-", "lines=0-3", "bytes=a-b", "bytes=" + ",".join(["0-1"] * 10_000), "\u0663"]
    )
    def test_what_is_no_single_range_gives_the_whole(self, http: TestClient, path: str, range_: str) -> None:
        answer = http.get(path, headers={"Range": range_.encode()})  # type: ignore[dict-item]
        assert (answer.status_code, answer.content) == (200, WEIGHTS)

    def test_client_that_has_the_file_is_told_so(self, http: TestClient, path: str) -> None:
        tag = http.get(path).headers["ETag"]
        assert http.get(path, headers={"If-None-Match": tag}).status_code == 304
        stale = {"Range": "bytes=0-3", "If-Range": '"another"'}
        assert http.get(path, headers=stale).content == WEIGHTS
        fresh = {"Range": "bytes=0-3", "If-Range": tag}
        assert http.get(path, headers=fresh).content == WEIGHTS[:4]

    def test_link_is_not_followed_out_of_the_artifacts(
        self, http: TestClient, path: str, database: Database, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        with database.reading() as session:
            file = Path(session.scalars(select(Artifact.path)).one())
        file.unlink()
        file.symlink_to(secret)
        assert http.get(path).status_code == 404
        with database.writing.begin() as session:
            session.execute(update(Artifact).values(path="/etc/passwd"))
        assert http.get(path).status_code == 404


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_results_are_the_same_on_postgresql(settings: Settings, database: Database) -> None:
    job = lived_job.succeeded(database, settings)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as http:
        [loss] = query(http, job, names="loss", split="train", max_points=2000)
        assert loss["x"] == list(STEPS)
        assert http.get(f"/v1/jobs/{job}").json()["result"]["metrics"]["test"]["accuracy"] == 0.94
        assert len(http.get(f"/v1/jobs/{job}/events").json()["data"]) >= 6
        json.loads(http.get(f"/v1/jobs/{job}/diagnostics").content, parse_constant=pytest.fail)
