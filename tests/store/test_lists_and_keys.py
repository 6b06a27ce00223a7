"""Pages of jobs, idempotency keys, workers and the queue, on both databases."""

from typing import Any

import pytest

from store import idempotency, jobs, listing, workers
from store.database import Database
from store.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, IllegalTransition
from store.tables import Job


def _create(database: Database, *, learner: str = "backprop", labels: dict[str, str] | None = None) -> str:
    resolved: dict[str, Any] = {
        "labels": labels or {},
        "learner": {"kind": learner},
        "network": {"kind": "mlp"},
        "limits": {"max_attempts": 3},
    }
    with database.writing.begin() as session:
        return jobs.create(session, spec={}, resolved_spec=resolved, resource_class="cpu", dataset="digits").id


def _ids(database: Database, **wanted: Any) -> list[str]:
    """All ids that the filters let through, page by page."""
    found: list[str] = []
    after = None
    while True:
        with database.reading() as session:
            page, after = listing.page(session, limit=2, after=after, **wanted)
        found += [job.id for job in page]
        if after is None:
            return found


def test_pages_hold_every_job_once_newest_first(database: Database) -> None:
    made = [_create(database) for _ in range(5)]
    assert _ids(database) == made[::-1]


def test_filters_choose_jobs(database: Database) -> None:
    plain = _create(database)
    other = _create(database, learner="mezo", labels={"study": "a'b\"c"})
    assert _ids(database, learner="mezo") == [other]
    assert _ids(database, labels={"study": "a'b\"c"}) == [other]
    assert _ids(database, statuses=["queued"]) == [other, plain]
    assert _ids(database, statuses=["failed"]) == []


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "bnVsbA", "W05hTiwgImEiXQ", "WzEsIDJd", "é"])
def test_a_cursor_of_nobody_is_refused(cursor: str) -> None:
    with pytest.raises(listing.BadCursor):
        listing.decode(cursor)


def test_only_a_terminal_job_is_removed(database: Database) -> None:
    job_id = _create(database)
    with pytest.raises(IllegalTransition), database.writing.begin() as session:
        listing.remove(session, jobs.get(session, job_id))
    with database.writing.begin() as session:
        jobs.cancel(session, job_id)
    with database.writing.begin() as session:
        listing.remove(session, jobs.get(session, job_id))
    assert _ids(database) == []


def test_a_key_answers_with_its_first_job(database: Database) -> None:
    with database.writing.begin() as session:
        assert idempotency.begin(session, "key", request_sha256="a") is None
        idempotency.finish(session, "key", job_id="job_1")
    with database.writing.begin() as session:
        assert idempotency.begin(session, "key", request_sha256="a") == "job_1"
    with pytest.raises(IdempotencyKeyReused), database.writing.begin() as session:
        idempotency.begin(session, "key", request_sha256="b")


def test_a_key_of_a_request_that_failed_is_free_again(database: Database) -> None:
    with pytest.raises(RuntimeError), database.writing.begin() as session:
        idempotency.begin(session, "key", request_sha256="a")
        raise RuntimeError
    with database.writing.begin() as session:
        assert idempotency.begin(session, "key", request_sha256="b") is None


def test_a_key_without_a_job_is_in_flight(database: Database) -> None:
    with database.writing.begin() as session:
        idempotency.begin(session, "key", request_sha256="a")
    with pytest.raises(IdempotencyKeyInFlight), database.writing.begin() as session:
        idempotency.begin(session, "key", request_sha256="a")


def _register(database: Database, classes: list[str]) -> None:
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


def _place(database: Database, job_id: str) -> workers.Place:
    with database.reading() as session:
        return workers.place(session, session.get_one(Job, job_id), lease_s=30)


def test_the_place_in_the_queue_has_a_reason(database: Database) -> None:
    first, second = _create(database), _create(database)
    assert _place(database, first).code == "no_worker_of_class"
    _register(database, ["gpu"])
    assert _place(database, first).code == "no_worker_of_class"
    _register(database, ["cpu"])
    assert (_place(database, second).jobs_ahead, _place(database, second).code) == (1, "waiting_for_capacity")
    with database.writing.begin() as session:
        jobs.get(session, second).priority = 1
    assert (_place(database, first).position, _place(database, first).code) == (2, "behind_higher_priority")
    with database.reading() as session:
        assert workers.queue_counts(session) == {"cpu": {"queued": 2}}


def test_a_worker_that_says_goodbye_is_not_living(database: Database) -> None:
    _register(database, ["cpu"])
    with database.reading() as session:
        assert [worker.id for worker in workers.living(session, lease_s=30)] == ["wrk_1"]
        assert workers.living(session, lease_s=-1) == []
    with database.writing.begin() as session:
        workers.say_goodbye(session, "wrk_1")
    with database.reading() as session:
        assert workers.living(session, lease_s=30) == []
