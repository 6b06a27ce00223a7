"""The catalog of what is measured on demand: every kind is there, with the fields that a request may hold."""

from fastapi.testclient import TestClient

from specs.probes import PROBE_KINDS


def test_catalog_names_every_probe_and_its_fields(http: TestClient) -> None:
    entries = http.get("/v1/probes").json()["data"]
    assert [entry["schema"]["properties"]["kind"]["const"] for entry in entries] == [entry["kind"] for entry in entries]
    assert {entry["kind"]: set(entry["schema"]["properties"]) for entry in entries} == {
        spec.model_fields["kind"].default: set(spec.model_fields) for spec in PROBE_KINDS
    }
    for entry in entries:
        assert entry["summary"] and http.get(f"/v1/probes/{entry['kind']}").json() == entry
    unknown = http.get("/v1/probes/hessian_tracer")
    assert unknown.status_code == 404
    assert unknown.json()["errors"][0]["allowed"] == [entry["kind"] for entry in entries]
    assert "hessian_trace" in unknown.json()["detail"]
