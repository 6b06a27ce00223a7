"""Nobody gets in who does not belong: keys, scopes, sessions of the pages. Bad inputs 66 to 69 and 74."""

import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update
from sqlalchemy.exc import DatabaseError

from api import keys as command
from api.admission import COOKIE
from api.app import create_app
from api.bad_keys import ADDRESSES, MOST, WITHIN_S, BadKeys, source_of
from api.callers import EVERYBODY, SCOPES, with_lower
from api.last_uses import MOST_KEYS, LastUses
from api.routes.sign_in import own_address
from api.scopes import EXCEPTIONS, PAGES, PUBLIC, is_public, scope_of
from store import audit, keys, page_sessions
from store.database import Database
from store.key_tables import ApiKey, PageSession
from store.settings import Settings
from store.settings import settings as settings_of_this_process
from tests.api import lived_job
from tests.api.serving import served
from tests.api.two_projects import key_of, operations

WRONG = "afp_" + "0" * 32 + "_" + "0" * 64
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"keys": "required"})


def made(database: Database, **wanted: Any) -> tuple[str, str]:
    """The id and the text of a new key."""
    with database.writing.begin() as session:
        row, told = keys.create(session, **{"project": "default", "name": "", "scopes": ["write"], **wanted})
    return row.id, told


def bearer(told: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {told}"}


# Routes and scopes


def test_every_route_has_a_scope_or_is_public_on_purpose() -> None:
    found = set(operations(create_app(Settings())))
    assert {one for one in found if not is_public(*one) and scope_of(*one) is None} == set()
    assert set(PUBLIC) | set(EXCEPTIONS) <= found  # no exception outlives its route
    assert {("GET", path) for path in PAGES} <= found


def test_a_route_that_no_rule_knows_is_refused_to_everybody(database: Database, settings: Settings) -> None:
    app = create_app(settings)
    app.get("/forgotten")(lambda: "secret")
    app.post("/")(lambda: "secret")
    with TestClient(app, base_url="http://127.0.0.1") as http:
        for answer in (
            http.get("/forgotten", headers=key_of(database, "default", "admin")),
            http.post("/", headers=key_of(database, "default", "admin")),
        ):
            assert answer.status_code == 403
            assert "secret" not in answer.text


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_may_do_what_its_scope_says_and_no_more(http: TestClient, database: Database, scope: str) -> None:
    """Every route: below its scope 403 that names the scope, from it on anything but 401 and 403."""
    headers = key_of(database, "default", scope)
    for method, path in operations(http.app):  # type: ignore[arg-type]
        if is_public(method, path):
            continue
        wanted = scope_of(method, path)
        assert wanted is not None
        answer = http.request(method, re.sub(r"{\w+}", "none", path), headers=headers, follow_redirects=False)
        if SCOPES.index(scope) < SCOPES.index(wanted):
            assert answer.status_code == 403, f"{method} {path}"
            if method != "HEAD":
                assert answer.json()["errors"][0]["allowed"] == [wanted]
        else:
            assert answer.status_code not in (401, 403), f"{method} {path}: {answer.text}"


def test_each_scope_holds_those_below() -> None:
    assert with_lower([]) == frozenset()
    assert with_lower(["read"]) == {"read"}
    assert with_lower(["write"]) == {"read", "write"}
    assert with_lower(["admin"]) == with_lower(["read", "admin"]) == {"read", "write", "admin"}
    assert with_lower(["root"]) == frozenset()


def test_a_priority_asks_for_admin_and_a_name_does_not(http: TestClient, database: Database) -> None:
    job = f"/v1/jobs/{lived_job.queued(database)}"
    writer, admin = key_of(database, "default", "write"), key_of(database, "default", "admin")
    assert http.patch(job, json={"name": "mine"}, headers=writer).status_code == 200
    refused = http.patch(job, json={"name": "first", "priority": 5}, headers=writer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert http.get(job, headers=writer).json()["name"] == "mine"  # nothing of it was done
    assert http.patch(job, json={"priority": 5}, headers=admin).json()["priority"] == 5


# Keys


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
def test_every_key_that_does_not_stand_gets_one_answer(http: TestClient, database: Database) -> None:
    revoked, expired = made(database), made(database, expires_in_s=1000)
    with database.writing.begin() as session:
        keys.revoke(session, revoked[0])
        session.execute(update(ApiKey).where(ApiKey.id == expired[0]).values(expires_at=1.0))
    _, good = made(database)
    sent: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
        bearer(WRONG),
        bearer(revoked[1]),
        bearer(expired[1]),
        bearer(good[:-1] + ("0" if good[-1] != "0" else "1")),
    ]
    told = set()
    for headers in sent:
        answer = http.get("/v1/jobs", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        told.add(re.sub(r"req_[0-9a-f]{32}", "", answer.text))
        assert "afp_" not in answer.text
    assert len(told) == 1
    assert http.get("/v1/jobs", headers=bearer(good)).status_code == 200
    assert http.get("/v1/jobs", headers={"Authorization": f"bearer  {good} "}).status_code == 200


@pytest.mark.parametrize("odd", ["afp_", "é", "\x00", "afp_" + "0" * 5000, "afp_" + "٠" * 32 + "_" + "0" * 64])
def test_a_malformed_key_is_a_bad_key(http: TestClient, database: Database, odd: str) -> None:
    answer = http.get("/v1/jobs", headers=[(b"authorization", b"Bearer " + odd.encode())])
    assert answer.status_code == 401
    with database.reading() as session:
        assert keys.of_text(session, odd) is None


def test_a_key_ends_with_the_moment_at_which_it_expires() -> None:
    key = ApiKey(revoked_at=None, expires_at=100.0)
    assert keys.stands(key, 99.999)
    assert not keys.stands(key, 100.0)
    assert not keys.stands(key, 100.001)
    assert keys.stands(ApiKey(revoked_at=None, expires_at=None), 1e12)
    assert not keys.stands(ApiKey(revoked_at=99.0, expires_at=None), 1.0)
    assert not keys.stands(ApiKey(revoked_at=99.0, expires_at=1e12), 1.0)


def test_a_key_is_kept_as_a_digest_and_is_long(database: Database) -> None:
    texts = {made(database)[1] for _ in range(20)}
    assert len(texts) == 20
    with database.reading() as session:
        stored = json.dumps([list(map(str, row)) for row in session.execute(text("SELECT * FROM api_keys"))])
    for told in texts:
        secret = told.rpartition("_")[2]
        assert len(bytes.fromhex(secret)) >= 32
        assert secret not in stored


def test_an_id_with_another_ones_secret_is_no_key(database: Database) -> None:
    (_, one), (_, other) = made(database), made(database)
    mixed = one.rpartition("_")[0] + "_" + other.rpartition("_")[2]
    with database.reading() as session:
        assert keys.of_text(session, one) is not None
        assert keys.of_text(session, mixed) is None
        assert keys.of_text(session, one.upper()) is None
        assert keys.of_text(session, one + "\n") is None


def test_refusing_takes_as_long_for_every_reason(http: TestClient, database: Database) -> None:
    """An id that exists and one that does not, by the medians of interleaved looks; three tries at most."""
    _, good = made(database)
    _, secret = WRONG.rsplit("_", 1)
    near = good.rpartition("_")[0] + "_" + secret
    for _ in range(3):
        took: dict[str, list[float]] = {near: [], WRONG: []}
        for _ in range(60):
            for told, times in took.items():
                with database.reading() as session:
                    began = time.perf_counter()
                    assert keys.of_text(session, told) is None
                    times.append(time.perf_counter() - began)
        ratio = statistics.median(took[near]) / statistics.median(took[WRONG])
        if 1 / 1.5 <= ratio <= 1.5:
            return
    raise AssertionError(f"an id that exists takes {ratio:.2f} times as long")


def test_keys_are_made_listed_and_revoked_over_http(http: TestClient, database: Database) -> None:
    admin = key_of(database, "default", "admin")
    body = {"project": "vision", "name": "ci", "scopes": ["read"], "expires_in_s": 3600}
    answer = http.post("/v1/api-keys", json=body, headers=admin)
    made_key = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"/v1/api-keys/{made_key['id']}"
    assert (made_key["project"], made_key["scopes"], made_key["last_used_at"]) == ("vision", ["read"], None)
    key = bearer(made_key.pop("key"))
    assert http.get("/v1/jobs", headers=key).status_code == 200
    listed = http.get("/v1/api-keys", headers=admin).json()["data"]
    assert listed[0].pop("last_used_at") is not None
    made_key.pop("last_used_at")
    assert listed[0] == made_key
    assert "sha256" not in json.dumps(listed)
    assert http.delete(f"/v1/api-keys/{made_key['id']}", headers=admin).status_code == 204
    assert http.get("/v1/jobs", headers=key).status_code == 401
    assert http.delete(f"/v1/api-keys/{made_key['id']}", headers=admin).status_code == 404
    assert http.get("/v1/api-keys", headers=admin).json()["data"][0]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"project": "Upper"}, "/project"),
        ({"project": ""}, "/project"),
        ({"project": "a" * 65}, "/project"),
        ({"project": "../x"}, "/project"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"expires_in_s": 0}, "/expires_in_s"),
        ({"expires_in_s": 10**10}, "/expires_in_s"),
        ({"name": "a\0"}, "/name"),
        ({"sha256": "0"}, "/sha256"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_a_pointer(
    http: TestClient, database: Database, body: dict[str, Any], pointer: str
) -> None:
    answer = http.post("/v1/api-keys", json=body, headers=key_of(database, "default", "admin"))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_last_use_is_noted_once_a_minute(http: TestClient, database: Database) -> None:
    key_id, told = made(database)

    def last_used_at() -> float | None:
        with database.reading() as session:
            return session.get_one(ApiKey, key_id).last_used_at

    assert http.get("/v1/jobs", headers=bearer(told)).status_code == 200
    first = last_used_at()
    assert first is not None
    assert http.get("/v1/jobs", headers=bearer(told)).status_code == 200
    assert last_used_at() == first


def test_of_uses_within_a_minute_one_is_written() -> None:
    uses = LastUses()
    assert [uses.is_due("key_1", now=now) for now in (0.0, 0.0, 59.9, 60.0, 61.0)] == [True, False, False, True, False]
    assert uses.is_due("key_2", now=0.0)
    for number in range(MOST_KEYS + 1):
        uses.is_due(f"key_{number}", now=100.0)
    assert len(uses._noted) <= MOST_KEYS


def test_a_key_is_let_in_though_its_use_cannot_be_noted(http: TestClient, database: Database) -> None:
    _, told = made(database)
    with database.writing.begin() as session:
        session.execute(text("CREATE TRIGGER full BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'full'); END"))
    assert http.get("/v1/jobs", headers=bearer(told)).status_code == 200


def test_keys_come_in_pages(http: TestClient, database: Database) -> None:
    ids = [made(database)[0] for _ in range(3)]
    admin = key_of(database, "default", "admin")
    first = http.get("/v1/api-keys", params={"limit": 2}, headers=admin).json()
    rest = http.get("/v1/api-keys", params={"limit": 2, "after": first["next_cursor"]}, headers=admin).json()
    assert [key["id"] for key in [*first["data"], *rest["data"]]][1:] == ids[::-1]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)
    assert http.get("/v1/api-keys", params={"after": "key_1"}, headers=admin).status_code == 422


def test_a_key_in_the_address_is_no_key_and_is_not_logged(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    _, told = made(database)
    log = tmp_path / "api.log"
    with served(settings.state_dir, log, AFTERPROP_KEYS="required") as (url, _):
        for name in ("api_key", "key", "access_token", "authorization"):
            assert httpx2.get(f"{url}/v1/jobs", params={name: told}).status_code == 401
        # Open where a good key came with the request too: what is in the address is refused by its name alone.
        answer = httpx2.get(f"{url}/v1/jobs", params={"api_key": told}, headers=bearer(told))
        assert answer.status_code == 422
        assert told not in answer.text
    assert told not in log.read_text()


# At the machine


def at_the_machine(state_dir: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """``python -m api.keys`` in this process."""
    monkeypatch.setenv("AFTERPROP_STATE_DIR", str(state_dir))
    settings_of_this_process.cache_clear()
    try:
        return command.main(arguments)
    finally:
        settings_of_this_process.cache_clear()


def test_keys_are_made_listed_and_revoked_at_the_machine(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--project", "vision", "--name", "ci", "--scope", "read", "--scope", "admin", "--expires-days", "0.5"]
    assert at_the_machine(settings.state_dir, monkeypatch, "create", *asked) == 0
    key = json.loads(capsys.readouterr().out)
    with database.reading() as session:
        row = keys.of_text(session, key.pop("key"))
        assert row is not None
        assert (row.id, row.project, row.name, row.scopes) == (key["id"], "vision", "ci", ["read", "admin"])
        assert row.expires_at is not None
        assert row.expires_at - row.created_at == pytest.approx(43200, abs=0.01)
    assert at_the_machine(settings.state_dir, monkeypatch, "list") == 0
    assert json.loads(capsys.readouterr().out) == key
    assert at_the_machine(settings.state_dir, monkeypatch, "revoke", key["id"]) == 0
    assert json.loads(capsys.readouterr().out)["revoked_at"] is not None
    assert at_the_machine(settings.state_dir, monkeypatch, "revoke", key["id"]) == 2
    with database.reading() as session:
        entries = [(entry.action, entry.subject, entry.key_id) for entry in audit.page(session, limit=5)]
    assert entries == [("api_key.revoke", key["id"], None), ("api_key.create", key["id"], None)]


@pytest.mark.parametrize("wrong", [["--project", "A B"], ["--expires-days", "9999999"], ["--expires-days", "0"]])
def test_a_key_that_cannot_be_is_said_in_a_line(
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
) -> None:
    assert at_the_machine(settings.state_dir, monkeypatch, "create", *wrong) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert wrong[0].removeprefix("--").partition("-")[0] in told.err
    assert len(told.err.splitlines()) == 1
    with database.reading() as session:
        assert keys.page(session, limit=5) == []


def test_without_tables_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert at_the_machine(tmp_path, monkeypatch, "list") == 3
    assert "not migrated" in capsys.readouterr().err


# Too many bad keys


def test_the_eleventh_bad_key_of_a_minute_is_told_to_wait(http: TestClient, database: Database) -> None:
    _, good = made(database)
    for number in range(MOST):
        forwarded = {"X-Forwarded-For": f"10.0.0.{number}", "Forwarded": f"for=10.0.0.{number}"}
        assert http.get("/v1/jobs", headers=bearer(WRONG) | forwarded).status_code == 401
    for headers in ({}, {"X-Forwarded-For": "10.9.9.9"}, {"X-Real-IP": "10.9.9.9"}):
        answer = http.get("/v1/jobs", headers=bearer(WRONG) | headers)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_bad_keys")
        assert 1 <= int(answer.headers["retry-after"]) <= WITHIN_S
    assert http.get("/v1/jobs", headers=bearer(good)).status_code == 200  # a neighbour's mistake shuts nobody out
    assert http.get("/v1/jobs").status_code == 401  # no key is no bad key


def test_bad_keys_are_counted_by_address_for_a_minute() -> None:
    seen = BadKeys()
    assert [seen.wait_s("192.0.2.1", now=float(second)) for second in range(MOST)] == [None] * MOST
    assert seen.wait_s("192.0.2.1", now=10.0) == 50
    assert seen.wait_s("192.0.2.2", now=10.0) is None
    assert seen.wait_s("192.0.2.1", now=WITHIN_S - 0.001) == 1
    assert seen.wait_s("192.0.2.1", now=WITHIN_S) is None
    assert seen.wait_s("192.0.2.1", now=WITHIN_S) == 1
    for number in range(ADDRESSES + 5):
        seen.wait_s(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", now=70.0)
    assert len(seen._seen) == ADDRESSES


def test_one_household_is_one_address() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff") != source_of("2001:db8:0:1::1")
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1") != source_of("192.0.2.2")
    assert source_of(None) == source_of("testclient") == "unknown"


# Sessions of the pages


def test_a_person_signs_in_uses_the_pages_and_signs_out(http: TestClient, database: Database) -> None:
    key_id, told = made(database)
    job = lived_job.queued(database)
    away = http.get(f"/jobs/{job}", params={"x": ""}, follow_redirects=False)
    assert (away.status_code, away.headers["location"]) == (303, f"/login?next=%2Fjobs%2F{job}%3Fx%3D")
    form = http.get("/login", params={"next": f"/jobs/{job}"})
    assert form.status_code == 200
    assert form.headers["referrer-policy"] == "same-origin"  # without it a form's Origin is null where there is no TLS
    assert f'value="/jobs/{job}"' in form.text
    entered = http.post("/login", data={"key": told, "next": f"/jobs/{job}"}, headers=OWN_PAGE, follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, f"/jobs/{job}")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "max-age=28800" in cookie
    with database.reading() as session:
        [lasts] = session.scalars(select(PageSession.expires_at - PageSession.created_at))
    assert lasts == pytest.approx(8 * 3600, abs=1)
    assert told not in cookie
    assert http.get(f"/jobs/{job}").status_code == 200
    assert "Sign out" in http.get("/").text
    assert http.get(f"/v1/jobs/{job}").status_code == 200
    assert http.post(f"/v1/jobs/{job}/cancel", headers=OWN_PAGE).status_code == 202
    own = {"Origin": "http://127.0.0.1"}
    assert http.post("/logout", data={"a": "b"}, headers=own, follow_redirects=False).headers["location"] == "/login"
    assert http.get("/", follow_redirects=False).status_code == 303
    with database.reading() as session:
        actions = [(entry.action, entry.key_id) for entry in audit.page(session, limit=2)]
    assert actions == [("job.cancel", key_id), ("page_session.begin", key_id)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
def test_a_session_does_nothing_for_another_sites_page(
    http: TestClient, database: Database, headers: dict[str, str]
) -> None:
    _, told = made(database)
    job = lived_job.queued(database)
    assert http.post("/login", data={"key": told}, headers=headers).json()["code"] == "cross_site"
    http.post("/login", data={"key": told}, headers=OWN_PAGE)
    refused = http.post(f"/v1/jobs/{job}/cancel", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
    assert http.get(f"/v1/jobs/{job}").json()["status"] == "queued"
    # A key in a header is put there by no browser on its own.
    assert http.post(f"/v1/jobs/{job}/cancel", headers=headers | bearer(told)).status_code == 202


def test_a_session_ends_with_its_time_and_with_its_key(http: TestClient, database: Database) -> None:
    key_id, told = made(database)
    http.post("/login", data={"key": told}, headers=OWN_PAGE)
    assert http.get("/v1/jobs").status_code == 200
    with database.writing.begin() as session:
        session.execute(text("UPDATE page_sessions SET expires_at = created_at"))
    assert http.get("/v1/jobs").status_code == 401
    with database.writing.begin() as session:
        cookie = page_sessions.begin(session, key_id)  # sweeps away what has ended
        assert session.execute(text("SELECT count(*) FROM page_sessions")).scalar() == 1
    http.cookies.clear()
    http.cookies.set(COOKIE, cookie)
    assert http.get("/v1/jobs").status_code == 200
    with database.writing.begin() as session:
        keys.revoke(session, key_id)
    assert http.get("/v1/jobs").status_code == 401


def test_a_header_stands_above_a_cookie(http: TestClient, database: Database) -> None:
    _, told = made(database)
    http.post("/login", data={"key": told}, headers=OWN_PAGE)
    assert http.get("/v1/jobs", headers=bearer(WRONG)).status_code == 401


def test_a_wrong_key_at_the_form_is_said_and_counted(http: TestClient) -> None:
    for _ in range(MOST):
        answer = http.post("/login", data={"key": WRONG}, headers=OWN_PAGE)
        assert answer.status_code == 401
        assert "not known" in answer.text
        assert COOKIE not in answer.cookies
    assert http.post("/login", data={"key": WRONG}, headers=OWN_PAGE).status_code == 429


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb", "evil", "", "/\t/evil.example"]
)
def test_signing_in_leads_to_no_other_place(wanted: str) -> None:
    assert own_address(wanted) == "/"
    assert own_address("/jobs/job_1?a=b") == "/jobs/job_1?a=b"


def test_cookies_go_by_tls_alone_where_people_come_by_it(database: Database, settings: Settings) -> None:
    _, told = made(database)
    for behind in (False, True):
        app = create_app(settings.model_copy(update={"behind_tls": behind}))
        with TestClient(app, base_url="http://127.0.0.1") as http:
            answer = http.post("/login", data={"key": told}, headers=OWN_PAGE, follow_redirects=False)
        assert ("secure" in answer.headers["set-cookie"].lower()) is behind


# What is told without a key, and the log


def test_what_is_nobodys_is_told_to_anybody(http: TestClient) -> None:
    assert {http.get(path).status_code for path in ("/livez", "/docs", "/openapi.json", "/errors/forbidden")} == {200}
    told = http.get("/version").json()
    assert (told["open"], told["open_mode"], told["workers"]) == (False, None, None)
    document = http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    post = document["paths"]["/v1/jobs"]["post"]
    assert (post["security"], post["x-scope"]) == ([{"api_key": []}], "write")
    assert {"401", "403", "429"} <= set(post["responses"])
    assert document["paths"]["/livez"]["get"]["security"] == []


def test_an_open_service_asks_for_nothing_and_says_so(database: Database, settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"keys": None}))
    with TestClient(app, base_url="http://127.0.0.1") as http:
        assert http.get("/v1/jobs", headers=bearer(WRONG)).status_code == 200
        assert http.get("/version").json()["open"] is True
        assert "asks for no keys" in http.get("/").text
    assert EVERYBODY.scopes == set(SCOPES)


def test_the_log_says_who_changed_what(http: TestClient, database: Database) -> None:
    admin_id, told = made(database, scopes=["admin"])
    admin = bearer(told)
    job = lived_job.queued(database)
    http.patch(f"/v1/jobs/{job}", json={"priority": 3}, headers=admin)
    http.post(f"/v1/jobs/{job}/cancel", headers=admin)
    http.post(f"/v1/jobs/{job}/cancel", headers=admin)  # changes nothing
    http.delete(f"/v1/jobs/{job}", headers=admin)
    key = http.post("/v1/api-keys", json={}, headers=admin).json()
    http.delete(f"/v1/api-keys/{key['id']}", headers=admin)
    entries = http.get("/v1/audit", headers=admin).json()["data"]
    assert [(entry["action"], entry["subject"]) for entry in reversed(entries)] == [
        ("job.priority", job),
        ("job.cancel", job),
        ("job.delete", job),
        ("api_key.create", key["id"]),
        ("api_key.revoke", key["id"]),
    ]
    assert {(entry["key_id"], entry["project"]) for entry in entries} == {(admin_id, "default")}
    assert key["key"] not in json.dumps(entries)
    first = http.get("/v1/audit", params={"limit": 2}, headers=admin).json()
    rest = http.get("/v1/audit", params={"after": first["next_cursor"]}, headers=admin).json()
    assert [*first["data"], *rest["data"]] == entries
    assert (first["has_more"], rest["has_more"]) == (True, False)


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("change", ["UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log"])
def test_the_database_itself_keeps_the_log(database: Database, change: str) -> None:
    with database.writing.begin() as session:
        audit.record(session, project="default", key_id=None, action="job.cancel", subject="job_1")
    with pytest.raises(DatabaseError, match="only added to"), database.writing.begin() as session:
        session.execute(text(change))
    with database.reading() as session:
        assert [entry.action for entry in audit.page(session, limit=5)] == ["job.cancel"]
