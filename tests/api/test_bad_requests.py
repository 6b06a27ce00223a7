"""Bad requests as a table: what comes in, what goes out. Nothing is a 500, and everything is a problem."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.meant import meant
from api.problems import KINDS
from tests.api.lived_job import SPEC

JSON = {"Content-Type": "application/json"}
UNKNOWN = "job_01a2100000007000a000000000000000"
HOLDS = "widths with at most 2,000,000,000 weights between them"
DATA_FILE = "a csv, npz or parquet file, relative to the data folder"


@pytest.fixture
def http(shared_http: TestClient) -> TestClient:
    return shared_http


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good job with one field of it changed."""
    body: dict[str, Any] = json.loads(json.dumps(SPEC))
    *sections, name = path.split("/")
    node = body
    for section in sections:
        node = node.setdefault(section, {})
    node[name] = value
    return body


def assert_problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
    assert problem["status"] == status
    assert problem["type"] == f"/errors/{problem['code']}"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert len(answer.content) <= 8192
    assert "Traceback" not in answer.text
    if code is not None:
        assert problem["code"] == code
    return problem


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network/hidden", [10**9]),
        ("network/hidden", [64] * 50_000),
        ("network/hidden", [8192] * 200),
        ("network/hidden", [0]),
        ("network/hidden", [-1]),
        ("network/hidden", [1.5]),
        ("network/hidden", ["64"]),
        ("network/hidden", [True]),
        ("network/hidden", [2**63]),
        ("network/hidden", [2**70]),
        ("network/hidden", {"0": 1}),
        ("network/dropout", 1.0),
        ("network/dropout", -0.1),
        ("network/activation", "os.system"),
        ("network/kind", "../../dev/mem"),
        ("training/epochs", 10**9),
        ("training/batch_size", 10**9),
        ("training/batch_size", 0),
        ("training/seed", -1),
        ("training/seed", 2**64),
        ("training/checkpoint_every_s", 0),
        ("optimizer", {"kind": "sgd", "lr": -1}),
        ("optimizer", {"kind": "sgd", "momentum": 1.5}),
        ("optimizer", {"kind": "adam", "betas": [1, 1]}),
        ("optimizer", {"kind": "__import__('os').system('id')"}),
        ("dataset/split", {"validation": 0.6, "test": 0.6}),
        ("dataset/split", {"validation": -0.1}),
        ("dataset/path", "/etc/passwd"),
        ("resources/device", "cuda:99"),
        ("resources/device", "../../dev/mem"),
        ("limits/max_runtime_s", 10**12),
        ("name", "x" * 1_001),
        ("name", "a\0b"),
        ("labels", {"k\0": "v"}),
        ("labels", {str(number): "v" for number in range(10_000)}),
        ("labels", {"a": 1}),
        ("priority", 100),
        ("status", "succeeded"),
        ("attempt", 7),
        ("result", {}),
        ("tenant_id", "other"),
        ("env", {"A": "b"}),
        ("command", "id"),
    ],
)
def test_field_that_cannot_be_is_refused_at_the_door(http: TestClient, path: str, value: Any) -> None:
    before = http.get("/v1/jobs", params={"limit": 200}).json()
    problem = assert_problem(http.post("/v1/jobs", json=changed(path, value)), 422)
    assert problem["errors"]
    assert http.get("/v1/jobs", params={"limit": 200}).json() == before


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b'"x"', 422, "invalid_request"),
        (b"1e400", 422, "invalid_request"),
        (b'{"a": 1', 400, "malformed_json"),
        (b'{"a": 1} x', 400, "malformed_json"),
        (b"\xef\xbb\xbf{}", 400, "malformed_json"),
        ("{}".encode("utf-16"), 400, "malformed_json"),
        (b'{"a": "\xff"}', 400, "malformed_json"),
        (b'{"a": "\\ud800"}', 400, "malformed_json"),
        (b'{"a": NaN}', 400, "malformed_json"),
        (b'{"a": -Infinity}', 400, "malformed_json"),
        (b'{"name": "a", "name": "b"}', 400, "malformed_json"),
        (b'{"a": {"b": 1, "b": 1}}', 400, "malformed_json"),
        (b"[" * 100_000 + b"]" * 100_000, 400, "malformed_json"),
        (b"[" * 100 + b"]" * 100, 400, "malformed_json"),
        (b"1" * 10_000, 400, "malformed_json"),
        (b" " * (256 * 1024 + 1), 413, "body_too_large"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else None,
)
def test_body_that_is_no_spec_is_refused(http: TestClient, body: bytes, status: int, code: str) -> None:
    assert_problem(http.post("/v1/jobs", content=body, headers=JSON), status, code)


def test_body_of_unannounced_length_is_counted(http: TestClient) -> None:
    pieces = (b" " * 65_536 for _ in range(5))
    assert_problem(http.post("/v1/jobs", content=pieces, headers=JSON), 413, "body_too_large")


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
)
def test_other_media_type_is_not_read(http: TestClient, media_type: str) -> None:
    answer = http.post("/v1/jobs", content=json.dumps(SPEC), headers={"Content-Type": media_type})
    assert assert_problem(answer, 415)["errors"][0]["allowed"] == ["application/json"]


def test_compressed_body_is_not_read(http: TestClient) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert_problem(http.post("/v1/jobs", content=json.dumps(SPEC), headers=headers), 415)


@pytest.mark.parametrize(
    ("body", "pointer", "allowed", "words"),
    [
        (changed("training/epoch", 3), "/training/epoch", "epochs", "did you mean 'epochs'?"),
        (changed("network/kind", "mpl"), "/network/kind", "mlp", "did you mean 'mlp'?"),
        (changed("optimizer", {"kind": "adam", "lrr": 1}), "/optimizer/lrr", "lr", "did you mean 'lr'?"),
        (changed("learner", {}), "/learner/kind", "backprop", "kind is required"),
        (changed("network/activation", "rellu"), "/network/activation", "relu", "did you mean 'relu'?"),
        (changed("network/activation", "Tanh"), "/network/activation", "tanh", "did you mean 'tanh'?"),
        (changed("optimizer", {"kind": "adam", "learning_rate": 1}), "/optimizer/learning_rate", "lr", "mean 'lr'?"),
        (changed("training/n_epochs", 3), "/training/n_epochs", "epochs", "did you mean 'epochs'?"),
        (changed("training/batchsize", 3), "/training/batchsize", "batch_size", "did you mean 'batch_size'?"),
        (changed("network/hidden_sizes", [8]), "/network/hidden_sizes", "hidden", "did you mean 'hidden'?"),
        (changed("resources/device", "gpu"), "/resources/device", "cuda", "did you mean 'cuda'?"),
        (changed("network/hidden", [8, 1.5]), "/network/hidden/1", "an integer, 1..65536", "integer"),
        (changed("network/hidden", [10**9]), "/network/hidden/0", "1..65536", "65536"),
        (changed("network/hidden", [8] * 600), "/network/hidden", "at most 512 items", "512"),
        (changed("network/dropout", "0.5"), "/network/dropout", "a number, >= 0, < 1", "number"),
        (changed("training/epochs", -1), "/training/epochs", "1..10000000", "greater"),
        (changed("training/seed", 2**64), "/training/seed", ">= 0, < 9223372036854775808", "less"),
        (changed("optimizer", {"kind": "sgd", "lr": 0}), "/optimizer/lr", "> 0, <= 1000000", "greater"),
        (changed("name", 1), "/name", "a string", "string"),
        (changed("name", "x" * 1_001), "/name", "at most 200 characters", "200"),
        (changed("training", []), "/training", "an object", "object"),
        (changed("dataset", {"kind": "file", "path": "x.txt"}), "/dataset/path", DATA_FILE, "is not a csv, npz"),
        (changed("dataset", {"kind": "file", "path": ".csv"}), "/dataset/path", DATA_FILE, "is not a csv, npz"),
        (changed("dataset", {"kind": "file", "path": "a/../../x.csv"}), "/dataset/path", DATA_FILE, "leads out"),
        (changed("dataset", {"kind": "file", "path": "/etc/x.csv"}), "/dataset/path", DATA_FILE, "leads out"),
        ({"recipe": "lesson_dead_rellu"}, "/recipe", "lesson_dead_relu", "did you mean 'lesson_dead_relu'?"),
        (changed("training/batch_size", 5_000), "/training/batch_size", "full", "training rows"),
        (changed("learner/kind", "backpropagation"), "/learner/kind", "backprop", "did you mean 'backprop'?"),
        (changed("learner/kind", "EP"), "/learner/kind", "equilibrium_propagation", "'equilibrium_propagation'?"),
        (changed("training/steps", 9), "/training/steps", "budget", 'Write "budget": {"kind": "steps", "value": 1000}'),
        (changed("training/max_steps", 9), "/training/max_steps", "budget", "did you mean 'budget'?"),
        (changed("training/budget", {"kind": "steps"}), "/training/budget/value", "a number, > 0", "required"),
        (changed("training/budget", {"value": 9}), "/training/budget/kind", "steps", "required"),
        (changed("optimizer", {"kind": "adam", "momentum": 0.9}), "/optimizer/momentum", "betas", "of rmsprop, sgd"),
        (changed("network", {"kind": "cnn", "kernel_size": 4}), "/network/kernel_size", "an odd integer", "odd"),
        (changed("network", {"kind": "transformer", "width": 63}), "/network/width", "a multiple of 4", "4 heads"),
        (changed("network/hidden", [60_000] * 2), "/network/hidden", HOLDS, "3,600,000,000 weights"),
        (changed("reciep", "liquid"), "/reciep", "recipe", "did you mean 'recipe'?"),
        ({"recipe": "liqid"}, "/recipe", "liquid", "did you mean 'liquid'?"),
        ({"dataset": SPEC["dataset"], "network": SPEC["network"]}, "/learner", None, "required"),
    ],
)
def test_mistake_is_named_by_pointer_with_what_was_meant(
    http: TestClient, body: Any, pointer: str, allowed: str | None, words: str
) -> None:
    problem = assert_problem(http.post("/v1/jobs", json=body), 422, "invalid_request")
    [item] = problem["errors"]
    assert item["pointer"] == pointer
    assert words in item["detail"]
    if allowed is None:
        assert item["allowed"] is None
    else:
        assert allowed in item["allowed"]


@pytest.mark.parametrize(
    ("given", "known"), [("tpu", ["cpu", "cuda"]), ("skip", ["stop"]), ("x", ["y"]), ("a" * 10_000, ["a" * 9_999])]
)
def test_far_name_is_not_suggested(given: str, known: list[str]) -> None:
    assert meant(given, known) is None


def test_misspelt_field_stands_before_the_one_that_is_then_missing(http: TestClient) -> None:
    body = {("lerner" if name == "learner" else name): value for name, value in SPEC.items()}
    problem = assert_problem(http.post("/v1/jobs", json=body), 422)
    assert problem["errors"][0]["pointer"] == "/lerner"
    assert "did you mean 'learner'?" in problem["detail"]


@pytest.mark.parametrize(
    ("blocks", "at", "mended"),
    [(["1-0"], 0, "0-1"), (["2-3"], 0, "0-3"), (["0-0", "0-"], 1, "1-"), (["0-0", "2-3"], 1, "1-3")],
)
def test_blocks_of_a_hybrid_are_told_as_they_may_stand(
    http: TestClient, blocks: list[str], at: int, mended: str
) -> None:
    segments = [{"blocks": given, "learner": {"kind": "backprop"}} for given in blocks]
    body = changed("learner", {"kind": "hybrid", "phases": [{"segments": segments}]})
    [item] = assert_problem(http.post("/v1/jobs", json=body), 422)["errors"]
    assert item["pointer"] == f"/learner/phases/0/segments/{at}/blocks"
    assert item["allowed"] == [mended]


def test_message_of_a_spec_stands_without_the_parsers_words(http: TestClient) -> None:
    body = changed("network", {"kind": "cnn", "kernel_size": 4})
    [item] = assert_problem(http.post("/v1/jobs", json=body), 422)["errors"]
    assert item["detail"].startswith("kernel_size must be odd")


def test_pair_that_cannot_train_names_the_nearest_that_can(http: TestClient) -> None:
    body = {**SPEC, "learner": {"kind": "forward_forward"}, "network": {"kind": "mlp", "hidden": []}}
    [item] = assert_problem(http.post("/v1/jobs", json=body), 422)["errors"]
    assert item["pointer"] == "/network/hidden"
    [nearest] = item["allowed"]
    assert http.post("/v1/jobs", json={**body, **nearest}).status_code == 202


@pytest.mark.parametrize("fields", [{}, {"patch_size": 3}])
def test_transformer_on_images_points_at_its_patches(http: TestClient, fields: dict[str, int]) -> None:
    body = changed("network", {"kind": "transformer", **fields})
    [item] = assert_problem(http.post("/v1/jobs", json=body), 422)["errors"]
    assert item["pointer"] == "/network/patch_size"
    assert "patch" in item["detail"]
    [nearest] = item["allowed"]
    assert nearest["network"] == {"kind": "transformer", "patch_size": 4}
    assert http.post("/v1/jobs", json={**body, **nearest}).status_code == 202


@pytest.mark.parametrize(
    "path",
    ["/v1/learners", "/v1/learners/backprop", "/v1/datasets", "/v1/recipes/liquid", "/openapi.json"],
)
def test_catalog_is_not_sent_twice(http: TestClient, path: str) -> None:
    first = http.get(path)
    again = http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    other = http.get(path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1/jobs/",
        "/v1/jobs/..%2f..%2fetc%2fpasswd",
        "/v1/jobs/%2e%2e",
        "/v1/jobs/%00",
        "/v1/jobs/" + "x" * 5_000,
        "/v1/jobs/JOB_" + "0" * 32,
        "/v1/jobs/job_" + "٣" * 32,
        f"/v1/jobs/{UNKNOWN}",
        "/v1/learners/nothing",
        "/v1/networks/..%2f",
        "/static/..%2f..%2fapp.py",
    ],
)
def test_what_is_not_there_is_not_found(http: TestClient, path: str) -> None:
    assert_problem(http.get(path), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_unknown_job_is_not_found_by_any_method(http: TestClient, method: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    assert_problem(http.request(method, f"/v1/jobs/{UNKNOWN}", **body), 404, "not_found")


@pytest.mark.parametrize(
    "below",
    [
        "attempts",
        "events",
        "logs",
        "series",
        "series/query",
        "series/export",
        "diagnostics",
        "artifacts",
        "artifacts/a",
        "checkpoints",
        "receipt",
    ],
)
def test_nothing_is_found_below_an_unknown_job(http: TestClient, below: str) -> None:
    assert_problem(http.get(f"/v1/jobs/{UNKNOWN}/{below}"), 404, "not_found")


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry"])
def test_nothing_is_asked_of_an_unknown_job(http: TestClient, action: str) -> None:
    assert_problem(http.post(f"/v1/jobs/{UNKNOWN}/{action}"), 404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=1000000000",
        "limit=x",
        "after=x",
        "after=" + "0" * 48,
        "after=%00",
        "status=done",
        "status=queued,",
        "created_after=yesterday",
        "created_after=99999-01-01T00:00:00Z",
        "created_after=-2020-01-01T00:00:00Z",
        "created_after=2020-01-01T00:00:00",
        "created_after=2020-13-01T00:00:00Z",
        "created_after=0",
        "label=x",
        "label[]=x",
        "label[a%00]=x",
        "label[%27]=x",
        "labels[a]=x",
        "stauts=queued",
        "sort=id;drop",
        "learner=%00",
    ],
)
def test_query_that_means_nothing_is_refused(http: TestClient, query: str) -> None:
    problem = assert_problem(http.get(f"/v1/jobs?{query}"), 422)
    if query == "stauts=queued":
        assert "status" in problem["errors"][0]["allowed"]


@pytest.mark.parametrize(
    ("query", "pointer", "allowed", "words"),
    [
        ("limit=100000", "/query/limit", "1..200", "200"),
        ("limit=x", "/query/limit", "an integer, 1..200", "integer"),
        ("after=x", "/query/after", "next_cursor of an earlier page, or no `after` for the first page", "cursor"),
        ("learner=backprob", "/query/learner", "backprop", "did you mean 'backprop'?"),
        ("network=mpl", "/query/network", "mlp", "did you mean 'mlp'?"),
        ("dataset=digit", "/query/dataset", "digits", "did you mean 'digits'?"),
        ("status=done", "/query/status", "succeeded", "there is no status 'done'"),
        ("stauts=queued", "/query/stauts", "status", "did you mean 'status'?"),
        ("label=x", "/query/label", "label[key]=value", "label[key]"),
    ],
)
def test_mistake_in_a_query_is_named_with_what_was_meant(
    http: TestClient, query: str, pointer: str, allowed: str, words: str
) -> None:
    [item] = assert_problem(http.get(f"/v1/jobs?{query}"), 422)["errors"]
    assert item["pointer"] == pointer
    assert words in item["detail"]
    assert allowed in item["allowed"]


@pytest.mark.parametrize("query", ["learner=backprop", "network=mlp", "dataset=digits", "dataset=own/gone.csv"])
def test_filter_by_what_is_on_the_menu_is_served(http: TestClient, query: str) -> None:
    assert http.get(f"/v1/jobs?{query}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/v1/jobs", {"Idempotency-Key": " "}, "bad_idempotency_key"),
        ("POST", "/v1/jobs", {"Idempotency-Key": "x" * 256}, "bad_idempotency_key"),
        ("GET", f"/v1/jobs/{UNKNOWN}/events", {"Last-Event-ID": "x"}, "bad_last_event_id"),
    ],
)
def test_bad_header_is_named(http: TestClient, method: str, path: str, headers: dict[str, str], code: str) -> None:
    answer = http.request(method, path, headers=headers, json=SPEC if method == "POST" else None)
    [item] = assert_problem(answer, 400, code)["errors"]
    assert item["pointer"] == f"/header/{next(iter(headers))}"
    assert "1.." in item["allowed"][0]


@pytest.mark.parametrize(
    ("path", "name"),
    [("learners/backprob", "backprop"), ("recipes/liqid", "liquid"), ("datasets/bultin", "builtin")],
)
def test_entry_that_the_catalog_lacks_is_told_the_nearest(http: TestClient, path: str, name: str) -> None:
    [item] = assert_problem(http.get(f"/v1/{path}"), 404, "not_found")["errors"]
    assert f"did you mean {name!r}?" in item["detail"]
    assert name in item["allowed"]


@pytest.mark.parametrize("body", [{"nam": "x"}, {"name": 1}, {"priority": 1001}, {"priority": None}, {"status": "x"}])
def test_change_of_anything_else_is_refused(http: TestClient, body: Any) -> None:
    location = http.post("/v1/jobs", json=SPEC).headers["Location"]
    assert_problem(http.patch(location, json=body), 422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("TRACE", "/v1/jobs", "GET, POST"),
        ("POST", f"/v1/jobs/{UNKNOWN}", "DELETE, GET, PATCH"),
        ("GET", f"/v1/jobs/{UNKNOWN}/cancel", "POST"),
        ("DELETE", f"/v1/jobs/{UNKNOWN}/artifacts/x", "GET, HEAD"),
        ("OPTIONS", "/livez", "GET"),
    ],
)
def test_other_method_is_told_the_right_ones(http: TestClient, method: str, path: str, allowed: str) -> None:
    answer = http.request(method, path, headers={"X-HTTP-Method-Override": "GET"})
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "host", ["evil.com", "127.0.0.1.evil.com", "evil.com:80", "[::2]", "0.0.0.0", "localhost@evil"]
)
def test_other_host_name_is_not_served(http: TestClient, host: str) -> None:
    assert_problem(http.get("/livez", headers={"Host": host}), 400, "untrusted_host")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_loopback_names_are_served(http: TestClient, host: str) -> None:
    assert http.get("/livez", headers={"Host": host}).status_code == 200


def test_markup_in_a_name_is_stored_as_it_is(http: TestClient) -> None:
    name = "<script>alert(1)</script>'; DROP TABLE jobs; {{7*7}} \u202e ${jndi:ldap://x}"
    job = http.post("/v1/jobs", json={**SPEC, "name": name}).json()
    assert http.get(f"/v1/jobs/{job['id']}").json()["name"] == name


def test_no_other_origin_is_let_in(http: TestClient) -> None:
    for origin in ("https://evil.com", "null"):
        answer = http.get("/v1/jobs", headers={"Origin": origin})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/jobs", "/nothing", "/openapi.json", "/", "/docs"])
def test_every_answer_carries_the_security_headers(http: TestClient, path: str) -> None:
    headers = http.get(path).headers
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"].split("style-src")[0]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_kind_of_problem_has_its_page(http: TestClient, code: str) -> None:
    page = http.get(f"/errors/{code}")
    assert page.status_code == 200
    assert KINDS[code].title in page.text.replace("&#39;", "'")
