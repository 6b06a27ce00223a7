"""What webhooks are told is written with the change that it tells of, claimed once, and tried for a day at most."""

from typing import Any

import pytest
from sqlalchemy import select, update

from store import deliveries, jobs, settlement, webhooks
from store.database import Database
from store.deliveries import MOST_TRIES, PAUSES_S, Claim
from store.errors import NotFound
from store.tables import Job
from store.webhook_tables import Delivery, Webhook
from tests import lived_comparison
from tests.api import lived_job

REFUSED = {"status_code": 500, "error": "status", "duration_s": 0.1}
TAKEN = {"status_code": 204, "error": None, "duration_s": 0.1}


def made(database: Database, *events: str, project: str = "default") -> str:
    wanted = events or ("job.succeeded", "job.failed", "job.cancelled", "job.expired", "comparison.finished")
    with database.writing.begin() as session:
        return webhooks.create(session, project=project, url="https://hooks.example.org/", events=wanted).id


def told(database: Database, webhook_id: str) -> list[tuple[str, dict[str, Any]]]:
    with database.reading() as session:
        rows = webhooks.deliveries(session, webhook_id, limit=200)
    return [(row.type, row.detail) for row in reversed(rows)]


def claimed(database: Database) -> Claim | None:
    with database.writing.begin() as session:
        return deliveries.claim(session)


def recorded(database: Database, claim: Claim, outcome: dict[str, Any]) -> str | None:
    with database.writing.begin() as session:
        return deliveries.record(session, claim, told=outcome)


def cancelled(database: Database, **changes: Any) -> str:
    job_id = lived_job.queued(database, **changes)
    with database.writing.begin() as session:
        jobs.cancel(session, job_id)
    return job_id


def make_due(database: Database, **columns: Any) -> None:
    with database.writing.begin() as session:
        session.execute(update(Delivery).where(Delivery.status == "pending").values(next_try_at=0.0, **columns))


def test_every_end_of_a_job_is_told_with_it_and_nothing_else(database: Database) -> None:
    webhook_id = made(database)
    failed = lived_job.failed(database)
    ended = cancelled(database, name=None)
    with database.writing.begin() as session:
        waiting = jobs.create(
            session,
            spec={},
            resolved_spec={**lived_job.SPEC, "limits": {"max_attempts": 1, "max_pending_s": 1e-6}},
            resource_class="cpu",
            dataset="digits",
        ).id
    with database.writing.begin() as session:
        assert settlement.expire_pending(session) == [waiting]
    lost = lived_job.running(database).job_id
    with database.writing.begin() as session:
        session.execute(update(Job).where(Job.id == lost).values(lease_expires_at=0.0, charged_attempts=99))
        settlement.expire_leases(session)
    assert told(database, webhook_id) == [
        ("job.failed", {"id": failed, "name": "lived", "status": "failed"}),
        ("job.cancelled", {"id": ended, "name": None, "status": "cancelled"}),
        ("job.expired", {"id": waiting, "name": "lived", "status": "expired"}),
        ("job.failed", {"id": lost, "name": "lived", "status": "failed"}),
    ]


def test_what_is_rolled_back_is_not_told(database: Database) -> None:
    webhook_id = made(database)
    job_id = lived_job.queued(database)
    with database.writing() as session:
        jobs.cancel(session, job_id)
        session.rollback()
    assert told(database, webhook_id) == []


def test_webhook_is_told_what_it_asked_for_of_its_own_project(database: Database) -> None:
    wanted, other, foreign = made(database, "job.cancelled"), made(database, "job.failed"), made(database, project="b")
    cancelled(database)
    assert [len(told(database, webhook_id)) for webhook_id in (wanted, other, foreign)] == [1, 0, 0]
    with database.reading() as session:
        assert webhooks.count(session, "b") == 1
        for read in (webhooks.get, webhooks.rotate, webhooks.remove):
            with pytest.raises(NotFound):
                read(session, foreign, project="default")


def test_one_event_has_one_id_for_all_whom_it_is_told(database: Database) -> None:
    made(database), made(database)
    cancelled(database), cancelled(database)
    with database.reading() as session:
        ids = list(session.scalars(select(Delivery.event_id)))
    assert len(ids) == 4 and len(set(ids)) == 2


def test_delivery_is_claimed_once_while_its_lease_runs_and_again_when_its_worker_died(database: Database) -> None:
    made(database)
    cancelled(database), cancelled(database)
    first = claimed(database)
    assert first is not None
    assert claimed(database) is None, "the other one waits: one at a time for a webhook"
    with database.writing.begin() as session:
        session.execute(update(Delivery).where(Delivery.id == first.delivery_id).values(lease_expires_at=0.0))
    second = claimed(database)
    assert second is not None and (second.delivery_id, second.event_id) == (first.delivery_id, first.event_id)
    assert second.attempt == first.attempt + 1
    assert recorded(database, first, TAKEN) is None, "the dead one's word comes too late"
    assert recorded(database, second, TAKEN) == "delivered"
    assert recorded(database, second, REFUSED) is None
    third = claimed(database)
    assert third is not None and third.event_id != first.event_id
    assert recorded(database, third, TAKEN) == "delivered"
    with database.reading() as session:
        assert not deliveries.any_due(session)


def test_webhooks_do_not_wait_for_each_other(database: Database) -> None:
    made(database), made(database)
    cancelled(database), cancelled(database)
    first, second = claimed(database), claimed(database)
    assert first is not None and second is not None and first.event_id == second.event_id
    assert claimed(database) is None


def test_delivery_is_tried_eight_times_within_a_day_with_growing_pauses(database: Database) -> None:
    webhook_id = made(database)
    cancelled(database)
    assert sum(PAUSES_S) + MOST_TRIES * deliveries.LEASE_S < 24 * 3600 and list(PAUSES_S) == sorted(PAUSES_S)
    ids = set()
    for number in range(1, MOST_TRIES + 1):
        claim = claimed(database)
        assert claim is not None and claim.attempt == number
        ids.add(claim.event_id)
        assert recorded(database, claim, REFUSED) == ("pending" if number < MOST_TRIES else "failed")
        assert claimed(database) is None, "it pauses first"
        with database.reading() as session:
            (row,) = webhooks.deliveries(session, webhook_id, limit=9)
        if number < MOST_TRIES:
            assert row.next_try_at is not None
            pause_s = row.next_try_at - row.tries[-1]["at"]
            assert 0.9 * PAUSES_S[number - 1] <= pause_s <= PAUSES_S[number - 1]
        make_due(database)
    assert len(ids) == 1, "the event's id is the same at every try"
    assert (row.status, row.next_try_at, len(row.tries)) == ("failed", None, MOST_TRIES)


def test_delivery_whose_worker_died_in_the_last_try_ends(database: Database) -> None:
    webhook_id = made(database)
    cancelled(database)
    make_due(database, attempt=MOST_TRIES, lease_expires_at=0.0)
    assert claimed(database) is None
    with database.reading() as session:
        (row,) = webhooks.deliveries(session, webhook_id, limit=9)
        assert not deliveries.any_due(session)
    assert row.status == "failed"


def test_rotated_secret_signs_beside_the_new_one_for_a_day(database: Database) -> None:
    webhook_id = made(database)
    with database.writing.begin() as session:
        before = webhooks.get(session, webhook_id, project="default").secret
        after = webhooks.rotate(session, webhook_id, project="default").secret
    assert before != after and before.startswith("whsec_") and after.startswith("whsec_")
    cancelled(database)
    claim = claimed(database)
    assert claim is not None and claim.secrets == (after, before)
    assert recorded(database, claim, REFUSED) == "pending"
    with database.writing.begin() as session:
        session.execute(update(Webhook).values(previous_until=0.0))
    make_due(database)
    claim = claimed(database)
    assert claim is not None and claim.secrets == (after,)


def test_deleted_webhook_is_told_nothing_more(database: Database) -> None:
    webhook_id = made(database)
    cancelled(database)
    claim = claimed(database)
    assert claim is not None
    with database.writing.begin() as session:
        webhooks.remove(session, webhook_id, project="default")
    assert recorded(database, claim, TAKEN) is None
    assert claimed(database) is None


def test_end_of_a_comparison_is_told_once(database: Database) -> None:
    webhook_id = made(database, "comparison.finished")
    comparison_id = lived_comparison.made(database)
    with database.writing.begin() as session:
        lived_comparison.comparisons.cancel(session, comparison_id)
    with database.writing.begin() as session:
        lived_comparison.comparisons.finish_cancelling(session, comparison_id)
    assert told(database, webhook_id) == [
        ("comparison.finished", {"id": comparison_id, "name": "lived", "status": "cancelled"})
    ]
